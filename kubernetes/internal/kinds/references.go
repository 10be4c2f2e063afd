package kinds

import (
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"
)

func noReferences(map[string]any) []Reference { return nil }

// References returns what must be there before an object can do its work, apart from its
// namespace and the definition of its kind.
func References(kind schema.GroupKind, object map[string]any) []Reference {
	refs := Of(kind).References(object)
	if pod := PodSpec(kind, object); pod != nil {
		refs = append(refs, podReferences(pod)...)
	}
	return refs
}

// A referrer gathers references.
type referrer []Reference

func (r *referrer) add(group, kind string, name any) {
	if s, _ := name.(string); s != "" {
		gk := schema.GroupKind{Group: group, Kind: kind}
		*r = append(*r, Reference{gk, s, Of(gk).Scope == ClusterScoped})
	}
}

func roleReference(binding map[string]any) []Reference {
	var r referrer
	r.add(rbacGroup, text(binding, "roleRef", "kind"), Nested(binding, "roleRef", "name"))
	return r
}

func claimReferences(claim map[string]any) []Reference {
	var r referrer
	r.add("storage.k8s.io", "StorageClass", Nested(claim, "spec", "storageClassName"))
	return r
}

func claimTemplateReferences(set map[string]any) []Reference {
	var r referrer
	for claim := range Items(set["spec"], "volumeClaimTemplates") {
		r.add("storage.k8s.io", "StorageClass", Nested(claim, "spec", "storageClassName"))
	}
	return r
}

// tokenReferences is for the Secret that a service account's token is put in, which a controller
// deletes if the account is not there.
func tokenReferences(secret map[string]any) []Reference {
	var r referrer
	if text(secret, "type") == tokenType {
		r.add("", "ServiceAccount", Nested(secret, "metadata", "annotations", "kubernetes.io/service-account.name"))
	}
	return r
}

// tokenType is the type of Secrets that hold the token of a service account.
const tokenType = "kubernetes.io/service-account-token"

func ingressReferences(ingress map[string]any) []Reference {
	var r referrer
	r.add("networking.k8s.io", "IngressClass", Nested(ingress, "spec", "ingressClassName"))
	return r
}

// policyReference is for the bindings of admission policies, whose kinds are called after these.
func policyReference(binding map[string]any) []Reference {
	var r referrer
	r.add(admissionGroup, strings.TrimSuffix(text(binding, "kind"), "Binding"), Nested(binding, "spec", "policyName"))
	return r
}

func podReferences(pod any) []Reference {
	var r referrer
	r.add("", "ServiceAccount", Nested(pod, "serviceAccountName"))
	r.add("", "ServiceAccount", Nested(pod, "serviceAccount"))
	r.add("scheduling.k8s.io", "PriorityClass", Nested(pod, "priorityClassName"))
	r.add("node.k8s.io", "RuntimeClass", Nested(pod, "runtimeClassName"))
	for secret := range Items(pod, "imagePullSecrets") {
		r.add("", "Secret", Nested(secret, "name"))
	}
	for volume := range Items(pod, "volumes") {
		r.add("", "PersistentVolumeClaim", Nested(volume, "persistentVolumeClaim", "claimName"))
		r.add("storage.k8s.io", "StorageClass", Nested(volume, "ephemeral", "volumeClaimTemplate", "spec", "storageClassName"))
		r.add("", "ConfigMap", Nested(volume, "configMap", "name"))
		r.add("", "Secret", Nested(volume, "secret", "secretName"))
		for source := range Items(Nested(volume, "projected"), "sources") {
			r.add("", "ConfigMap", Nested(source, "configMap", "name"))
			r.add("", "Secret", Nested(source, "secret", "name"))
		}
	}
	for _, list := range ContainerFields {
		for container := range Items(pod, list) {
			for from := range Items(container, "envFrom") {
				r.add("", "ConfigMap", Nested(from, "configMapRef", "name"))
				r.add("", "Secret", Nested(from, "secretRef", "name"))
			}
			for variable := range Items(container, "env") {
				r.add("", "ConfigMap", Nested(variable, "valueFrom", "configMapKeyRef", "name"))
				r.add("", "Secret", Nested(variable, "valueFrom", "secretKeyRef", "name"))
			}
		}
	}
	return r
}

// ContainerFields are the lists of containers in the specification of a pod.
var ContainerFields = []string{"initContainers", "containers", "ephemeralContainers"}

// A Defined kind is one that a CustomResourceDefinition makes the API server serve, at one
// version.
type Defined struct {
	schema.GroupVersionKind
	Plural     string
	Namespaced bool
}

// DefinedKind returns the kind that a CustomResourceDefinition defines, whether it is served or
// not, and whether its objects are in namespaces.
func DefinedKind(crd map[string]any) (kind schema.GroupKind, namespaced bool) {
	kind = schema.GroupKind{Group: text(crd, "spec", "group"), Kind: text(crd, "spec", "names", "kind")}
	return kind, text(crd, "spec", "scope") != "Cluster"
}

// DefinedBy returns what a CustomResourceDefinition defines, one for each version that is
// served and of which it says all that is needed; of other kinds it returns nothing.
func DefinedBy(kind schema.GroupKind, object map[string]any) []Defined {
	if kind != CustomResourceDefinition {
		return nil
	}
	var defined []Defined
	for version := range Items(object["spec"], "versions") {
		if served, ok := Nested(version, "served").(bool); ok && !served {
			continue
		}
		d := Defined{
			GroupVersionKind: schema.GroupVersionKind{Group: text(object, "spec", "group"), Version: text(version, "name"), Kind: text(object, "spec", "names", "kind")},
			Plural:           text(object, "spec", "names", "plural"),
			Namespaced:       text(object, "spec", "scope") == "Namespaced",
		}
		if d.Plural != "" && d.Kind != "" && d.Version != "" {
			defined = append(defined, d)
		}
	}
	return defined
}

// Expires says whether an object is a Job that goes by itself some time after it has finished.
func Expires(kind schema.GroupKind, object map[string]any) bool {
	return kind == Job && Nested(object, "spec", "ttlSecondsAfterFinished") != nil
}
