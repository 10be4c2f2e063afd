package kubernetes

import (
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

var (
	namespaceKind = schema.GroupKind{Kind: "Namespace"}
	crdKind       = schema.GroupKind{Group: "apiextensions.k8s.io", Kind: "CustomResourceDefinition"}
	serviceKind   = schema.GroupKind{Kind: "Service"}
)

// isGate says whether objects of the kind decide about requests for others, or answer
// them. They come after all else: one that is in force before what serves it is up would
// fail the rest of the Sync.
func isGate(kind schema.GroupKind) bool {
	switch kind.Group {
	case "admissionregistration.k8s.io", "apiregistration.k8s.io":
		return true
	}
	return false
}

// chooses says whether obj is a Service that says which address or port it wants of those
// that the cluster allots.
func chooses(obj *unstructured.Unstructured) bool {
	if obj.GroupVersionKind().GroupKind() != serviceKind {
		return false
	}
	spec := obj.Object["spec"]
	for port := range items(spec, "ports") {
		if dig(port, "nodePort") != nil {
			return true
		}
	}
	ip, _ := dig(spec, "clusterIP").(string)
	return ip != "" && ip != "None" || dig(spec, "healthCheckNodePort") != nil
}

// limitsPods says whether objects of the kind decide what the pods of their namespace
// may be, or what they are made to be.
func limitsPods(kind schema.GroupKind) bool {
	return kind.Group == "" && (kind.Kind == "LimitRange" || kind.Kind == "ResourceQuota")
}

// A reference is to an object by what names it: one in the same namespace, or one that
// is in none.
type reference struct {
	schema.GroupKind
	name          string
	clusterScoped bool
}

// from returns the object that an object in namespace means.
func (r reference) from(namespace string) objectKey {
	if r.clusterScoped {
		namespace = ""
	}
	return objectKey{GroupKind: r.GroupKind, namespace: namespace, name: r.name}
}

const (
	rbacGroup      = "rbac.authorization.k8s.io"
	admissionGroup = "admissionregistration.k8s.io"
)

// references returns what must be there before obj can do its work, apart from its
// namespace and the definition of its kind.
func references(obj *unstructured.Unstructured) []reference {
	var refs []reference
	add := func(group, kind string, name any) {
		if s, _ := name.(string); s != "" {
			refs = append(refs, reference{schema.GroupKind{Group: group, Kind: kind}, s, isClusterScoped(kind)})
		}
	}
	switch gvk := obj.GroupVersionKind(); gvk.GroupKind() {
	case schema.GroupKind{Group: rbacGroup, Kind: "RoleBinding"}, schema.GroupKind{Group: rbacGroup, Kind: "ClusterRoleBinding"}:
		kind, _ := dig(obj.Object, "roleRef", "kind").(string)
		add(rbacGroup, kind, dig(obj.Object, "roleRef", "name"))
	case schema.GroupKind{Kind: "PersistentVolumeClaim"}:
		claimReferences(obj.Object, add)
	case schema.GroupKind{Group: "apps", Kind: "StatefulSet"}:
		for claim := range items(obj.Object["spec"], "volumeClaimTemplates") {
			claimReferences(claim, add)
		}
	case schema.GroupKind{Group: "networking.k8s.io", Kind: "Ingress"}:
		add("networking.k8s.io", "IngressClass", dig(obj.Object, "spec", "ingressClassName"))
	case schema.GroupKind{Group: admissionGroup, Kind: "ValidatingAdmissionPolicyBinding"},
		schema.GroupKind{Group: admissionGroup, Kind: "MutatingAdmissionPolicyBinding"}:
		add(gvk.Group, strings.TrimSuffix(gvk.Kind, "Binding"), dig(obj.Object, "spec", "policyName"))
	}
	if pod := podSpec(obj); pod != nil {
		podReferences(pod, add)
	}
	return refs
}

// isClusterScoped says of the kinds that references names whether they are in no
// namespace.
func isClusterScoped(kind string) bool {
	switch kind {
	case "ClusterRole", "StorageClass", "IngressClass", "PriorityClass", "RuntimeClass",
		"ValidatingAdmissionPolicy", "MutatingAdmissionPolicy":
		return true
	}
	return false
}

// podSpec returns the specification of the pods that obj is or makes, or nil.
func podSpec(obj *unstructured.Unstructured) any {
	switch gvk := obj.GroupVersionKind(); gvk.GroupKind() {
	case schema.GroupKind{Kind: "Pod"}:
		return dig(obj.Object, "spec")
	case schema.GroupKind{Group: "batch", Kind: "CronJob"}:
		return dig(obj.Object, "spec", "jobTemplate", "spec", "template", "spec")
	case schema.GroupKind{Group: "apps", Kind: "Deployment"}, schema.GroupKind{Group: "apps", Kind: "StatefulSet"},
		schema.GroupKind{Group: "apps", Kind: "DaemonSet"}, schema.GroupKind{Group: "apps", Kind: "ReplicaSet"},
		schema.GroupKind{Group: "batch", Kind: "Job"}, schema.GroupKind{Kind: "ReplicationController"}:
		return dig(obj.Object, "spec", "template", "spec")
	}
	return nil
}

func claimReferences(claim any, add func(group, kind string, name any)) {
	add("storage.k8s.io", "StorageClass", dig(claim, "spec", "storageClassName"))
}

func podReferences(pod any, add func(group, kind string, name any)) {
	add("", "ServiceAccount", dig(pod, "serviceAccountName"))
	add("", "ServiceAccount", dig(pod, "serviceAccount"))
	add("scheduling.k8s.io", "PriorityClass", dig(pod, "priorityClassName"))
	add("node.k8s.io", "RuntimeClass", dig(pod, "runtimeClassName"))
	for secret := range items(pod, "imagePullSecrets") {
		add("", "Secret", dig(secret, "name"))
	}
	for volume := range items(pod, "volumes") {
		add("", "PersistentVolumeClaim", dig(volume, "persistentVolumeClaim", "claimName"))
		claimReferences(dig(volume, "ephemeral", "volumeClaimTemplate"), add)
		add("", "ConfigMap", dig(volume, "configMap", "name"))
		add("", "Secret", dig(volume, "secret", "secretName"))
		for source := range items(dig(volume, "projected"), "sources") {
			add("", "ConfigMap", dig(source, "configMap", "name"))
			add("", "Secret", dig(source, "secret", "name"))
		}
	}
	for _, list := range []string{"containers", "initContainers", "ephemeralContainers"} {
		for container := range items(pod, list) {
			for from := range items(container, "envFrom") {
				add("", "ConfigMap", dig(from, "configMapRef", "name"))
				add("", "Secret", dig(from, "secretRef", "name"))
			}
			for variable := range items(container, "env") {
				add("", "ConfigMap", dig(variable, "valueFrom", "configMapKeyRef", "name"))
				add("", "Secret", dig(variable, "valueFrom", "secretKeyRef", "name"))
			}
		}
	}
}

// dig returns the value at path below value, or nil if there is none. Unlike the
// functions of package unstructured it has no opinion about what it passes on the way:
// definitions come from strangers.
func dig(value any, path ...string) any {
	for _, name := range path {
		m, _ := value.(map[string]any)
		value = m[name]
	}
	return value
}

// items yields the elements of the list called name in value.
func items(value any, name string) func(yield func(any) bool) {
	list, _ := dig(value, name).([]any)
	return func(yield func(any) bool) {
		for _, item := range list {
			if !yield(item) {
				return
			}
		}
	}
}
