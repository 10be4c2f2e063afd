package kinds

import (
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// systemNamespaces are made, and filled, by Kubernetes itself.
var systemNamespaces = map[string]bool{
	metav1.NamespaceSystem: true,
	metav1.NamespacePublic: true,
	"kube-node-lease":      true,
}

// IsSystemNamespace says whether Kubernetes itself makes, and fills, a namespace. What is in
// it counts as a definition only if our field manager, or one whose fields it adopts, has an
// entry in it.
func IsSystemNamespace(name string) bool { return systemNamespaces[name] }

// IsDefinable says whether somebody may define objects of a kind.
func IsDefinable(kind schema.GroupKind) bool {
	return Of(kind).Origin != System && kind.Group != "metrics.k8s.io"
}

// IsOwnGroup says whether the kinds of a group are Kubernetes' own.
func IsOwnGroup(group string) bool {
	return slices.ContainsFunc(table, func(k Kind) bool { return k.Group == group })
}

// HasManager says whether a field manager that is accepts has an entry in an object's managed
// fields, other than for a subresource.
func HasManager(object map[string]any, is func(manager string) bool) bool {
	return hasEntry(object, func(entry any) bool { return is(text(entry, "manager")) })
}

// hasEntry says whether an object's managed fields have an entry that accept accepts, other
// than for a subresource.
func hasEntry(object map[string]any, accept func(entry any) bool) bool {
	for entry := range Items(object["metadata"], "managedFields") {
		if text(entry, "subresource") == "" && accept(entry) {
			return true
		}
	}
	return false
}

// isApplied says whether an entry of managed fields is one of server-side apply.
func isApplied(entry any) bool {
	return text(entry, "operation") == string(metav1.ManagedFieldsOperationApply)
}

// isElection says whether an entry of managed fields is of a leader election: it renews a
// Lease by updates. The programs whose fields we adopt have elections too.
func isElection(kind schema.GroupKind, entry any) bool {
	return kind == lease && !isApplied(entry) && Nested(entry, "fieldsV1", "f:spec", "f:renewTime") != nil
}

// IsMadeBySystem says whether an object is somebody's own doing rather than a definition: it
// is made by Kubernetes itself, on its way out, or owned by another object without being
// defined to be. isOurs accepts our field manager, and those whose fields it adopts.
func IsMadeBySystem(object *unstructured.Unstructured, isOurs func(manager string) bool) bool {
	kind, name, namespace := object.GroupVersionKind().GroupKind(), object.GetName(), object.GetNamespace()
	origin := Of(kind).Origin
	definesOwner := func(entry any) bool {
		return isOurs(text(entry, "manager")) && isApplied(entry) && Nested(entry, "fieldsV1", "f:metadata", "f:ownerReferences") != nil
	}
	defines := func(entry any) bool { return isOurs(text(entry, "manager")) && !isElection(kind, entry) }
	switch {
	case object.GetDeletionTimestamp() != nil, origin == System, IsCertificate(kind, namespace, name):
		return true
	case len(object.GetOwnerReferences()) > 0 && !hasEntry(object.Object, definesOwner):
		return true
	case hasEntry(object.Object, defines):
		return false
	case origin == SystemOrOurs, isNamedBySystem(kind, namespace, name), isMarked(object):
		return true
	}
	isUsers := func(manager string) bool { return !systemManagers[manager] }
	isSystems := func(manager string) bool { return systemManagers[manager] }
	return HasManager(object.Object, isSystems) && !HasManager(object.Object, isUsers)
}

// isMarked says whether an object bears a mark that Kubernetes' programs leave on what they
// make.
func isMarked(object *unstructured.Unstructured) bool {
	labels, annotations := object.GetLabels(), object.GetAnnotations()
	return labels["kubernetes.io/bootstrapping"] == "rbac-defaults" ||
		labels["kube-aggregator.kubernetes.io/automanaged"] != "" ||
		slices.Contains([]string{"endpointslice-controller.k8s.io", "endpointslicemirroring-controller.k8s.io"}, labels["endpointslice.kubernetes.io/managed-by"]) ||
		labels["endpoints.kubernetes.io/managed-by"] == "endpoint-controller" ||
		annotations["apf.kubernetes.io/autoupdate-spec"] == "true" ||
		annotations[provisionedBy] != "" ||
		text(object.Object, "type") == "bootstrap.kubernetes.io/token"
}

// IsCertificate says whether an object holds what a cluster proves its own identity with. It
// is of no use elsewhere.
func IsCertificate(kind schema.GroupKind, namespace, name string) bool {
	switch kind {
	case ConfigMap:
		return name == "kube-root-ca.crt" ||
			namespace == metav1.NamespaceSystem && (name == "extension-apiserver-authentication" || name == "kube-apiserver-legacy-service-account-token-tracking") ||
			namespace == metav1.NamespacePublic && name == "cluster-info"
	case clusterTrustBundle:
		return strings.HasPrefix(name, "kubernetes.io:")
	}
	return false
}

// isNamedBySystem says whether Kubernetes itself makes an object of that name.
func isNamedBySystem(kind schema.GroupKind, namespace, name string) bool {
	switch kind {
	case Namespace:
		return systemNamespaces[name] || name == metav1.NamespaceDefault
	case ServiceAccount:
		return name == "default"
	case Service, schema.GroupKind{Kind: "Endpoints"}, schema.GroupKind{Group: "discovery.k8s.io", Kind: "EndpointSlice"}:
		return name == "kubernetes" && namespace == metav1.NamespaceDefault
	case priorityClass:
		return strings.HasPrefix(name, "system-")
	case serviceCIDR:
		return name == "kubernetes"
	}
	return false
}

// MayBeSystems says whether a cluster may have an object of that name which is not a
// definition, so that an Export does not show it.
func MayBeSystems(kind schema.GroupKind, namespace, name string) bool {
	return Of(kind).Origin != Users || systemNamespaces[namespace] ||
		IsCertificate(kind, namespace, name) || isNamedBySystem(kind, namespace, name)
}
