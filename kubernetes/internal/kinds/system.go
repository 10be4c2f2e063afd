package kinds

import (
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// An Origin says who makes objects of a kind.
type Origin int

// The origins.
const (
	Users  Origin = iota + 1 // users define them
	System                   // the system makes them; nobody defines them
)

// systemNamespaces are made, and filled, by Kubernetes itself.
var systemNamespaces = map[string]bool{
	metav1.NamespaceSystem: true,
	metav1.NamespacePublic: true,
	"kube-node-lease":      true,
}

// IsSystemNamespace says whether Kubernetes itself makes, and fills, a namespace.
func IsSystemNamespace(name string) bool { return systemNamespaces[name] }

// IsMadeBySystem says whether an object is somebody's own doing rather than a definition: it
// is owned by another object, made by Kubernetes itself, or on its way out.
func IsMadeBySystem(object *unstructured.Unstructured) bool {
	name, namespace := object.GetName(), object.GetNamespace()
	if len(object.GetOwnerReferences()) > 0 || object.GetDeletionTimestamp() != nil {
		return true
	}
	if labels := object.GetLabels(); labels["kubernetes.io/bootstrapping"] == "rbac-defaults" ||
		labels["kube-aggregator.kubernetes.io/automanaged"] != "" {
		return true
	}
	switch object.GroupVersionKind().GroupKind() {
	case Namespace:
		return systemNamespaces[name] || name == metav1.NamespaceDefault
	case PersistentVolume:
		return object.GetAnnotations()["pv.kubernetes.io/provisioned-by"] != ""
	case ServiceAccount:
		return name == "default"
	case ConfigMap:
		return name == "kube-root-ca.crt"
	case Service:
		return name == "kubernetes" && namespace == metav1.NamespaceDefault
	case Secret:
		kind := text(object.Object, "type")
		return kind == "kubernetes.io/service-account-token" || kind == "bootstrap.kubernetes.io/token"
	case clusterTrustBundle:
		return strings.HasPrefix(name, "kubernetes.io:")
	case priorityClass:
		return strings.HasPrefix(name, "system-")
	case serviceCIDR:
		return name == "kubernetes"
	}
	return false
}
