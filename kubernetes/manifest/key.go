package manifest

import (
	"errors"
	"fmt"
	"strings"
	"unicode"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/platformbus/platform/kubernetes/internal/kinds"
)

// A key is what an object is known by. The version is no part of it: the same object can
// be had in several.
type key struct {
	schema.GroupKind
	namespace, name string
}

func keyOf(u *unstructured.Unstructured) key {
	return key{u.GroupVersionKind().GroupKind(), u.GetNamespace(), u.GetName()}
}

// String returns the ID under which plans speak of the object: "default:deployment/web",
// "<cluster>:namespace/prod" for one in no namespace, and "default:database.example.com/main"
// for one that is not of Kubernetes' own kinds.
func (k key) String() string {
	namespace := k.namespace
	if namespace == "" {
		namespace = "<cluster>"
	}
	kind := strings.ToLower(k.Kind)
	if _, own := ownKinds[k.GroupKind]; !own && k.Group != "" {
		kind += "." + k.Group
	}
	return namespace + ":" + kind + "/" + k.name
}

// compare puts what others need first: namespaces, definitions of kinds, then the rest by
// group, kind, namespace and name, and last what takes part in requests for others.
func (k key) compare(other key) int {
	if d := k.stage() - other.stage(); d != 0 {
		return d
	}
	for _, pair := range [][2]string{
		{k.Group, other.Group}, {k.Kind, other.Kind}, {k.namespace, other.namespace}, {k.name, other.name},
	} {
		if c := strings.Compare(pair[0], pair[1]); c != 0 {
			return c
		}
	}
	return 0
}

func (k key) stage() int {
	switch {
	case k.GroupKind == namespaceKind:
		return 0
	case k.GroupKind == crdKind:
		return 1
	case k.Group == "admissionregistration.k8s.io", k.Group == "apiregistration.k8s.io":
		return 3
	default:
		return 2
	}
}

// check says what no API server would accept about the key. What it accepts can be shown
// on one line.
func (k key) check() error {
	if k.Kind == "" || k.name == "" {
		return errors.New("the kind or the name is missing")
	}
	if err := kinds.CheckKind(k.Kind); err != nil {
		return err
	}
	if err := kinds.CheckName(k.name); err != nil {
		return err
	}
	if err := kinds.CheckNamespace(k.namespace); err != nil {
		return err
	}
	for _, part := range []string{k.Group, k.name} {
		if strings.ContainsFunc(part, func(r rune) bool { return !unicode.IsGraphic(r) || unicode.IsSpace(r) }) {
			return fmt.Errorf("%.100q cannot be in the name of an object", part)
		}
	}
	return nil
}

var (
	namespaceKind      = schema.GroupKind{Kind: "Namespace"}
	secretKind         = schema.GroupKind{Kind: "Secret"}
	configMapKind      = schema.GroupKind{Kind: "ConfigMap"}
	serviceKind        = schema.GroupKind{Kind: "Service"}
	serviceAccountKind = schema.GroupKind{Kind: "ServiceAccount"}
	pvcKind            = schema.GroupKind{Kind: "PersistentVolumeClaim"}
	pvKind             = schema.GroupKind{Kind: "PersistentVolume"}
	jobKind            = schema.GroupKind{Group: "batch", Kind: "Job"}
	crdKind            = schema.GroupKind{Group: "apiextensions.k8s.io", Kind: "CustomResourceDefinition"}
)

// ownKinds has the kinds of Kubernetes itself, and whether they are in namespaces.
var ownKinds = func() map[schema.GroupKind]bool {
	kinds := map[schema.GroupKind]bool{}
	for group, names := range map[string][2]string{
		"": {
			"Namespace Node PersistentVolume ComponentStatus",
			"ConfigMap Secret Service ServiceAccount Pod PodTemplate ReplicationController PersistentVolumeClaim " +
				"Endpoints Event LimitRange ResourceQuota",
		},
		"admissionregistration.k8s.io": {
			"MutatingWebhookConfiguration ValidatingWebhookConfiguration ValidatingAdmissionPolicy " +
				"ValidatingAdmissionPolicyBinding MutatingAdmissionPolicy MutatingAdmissionPolicyBinding", "",
		},
		"apiextensions.k8s.io":         {"CustomResourceDefinition", ""},
		"apiregistration.k8s.io":       {"APIService", ""},
		"apps":                         {"", "Deployment StatefulSet DaemonSet ReplicaSet ControllerRevision"},
		"autoscaling":                  {"", "HorizontalPodAutoscaler"},
		"batch":                        {"", "Job CronJob"},
		"certificates.k8s.io":          {"CertificateSigningRequest ClusterTrustBundle", "PodCertificateRequest"},
		"coordination.k8s.io":          {"", "Lease LeaseCandidate"},
		"discovery.k8s.io":             {"", "EndpointSlice"},
		"events.k8s.io":                {"", "Event"},
		"extensions":                   {"", "Deployment DaemonSet ReplicaSet Ingress NetworkPolicy"},
		"flowcontrol.apiserver.k8s.io": {"FlowSchema PriorityLevelConfiguration", ""},
		"internal.apiserver.k8s.io":    {"StorageVersion", ""},
		"networking.k8s.io":            {"IngressClass IPAddress ServiceCIDR", "Ingress NetworkPolicy"},
		"node.k8s.io":                  {"RuntimeClass", ""},
		"policy":                       {"PodSecurityPolicy", "PodDisruptionBudget"},
		"rbac.authorization.k8s.io":    {"ClusterRole ClusterRoleBinding", "Role RoleBinding"},
		"resource.k8s.io":              {"DeviceClass ResourceSlice DeviceTaintRule", "ResourceClaim ResourceClaimTemplate"},
		"scheduling.k8s.io":            {"PriorityClass", ""},
		"storage.k8s.io":               {"StorageClass VolumeAttachment CSIDriver CSINode VolumeAttributesClass", "CSIStorageCapacity"},
		"storagemigration.k8s.io":      {"StorageVersionMigration", ""},
	} {
		for i, list := range names {
			for name := range strings.FieldsSeq(list) {
				kinds[schema.GroupKind{Group: group, Kind: name}] = i == 1
			}
		}
	}
	return kinds
}()

// scopes knows which kinds are in namespaces.
type scopes struct {
	namespace string // of what is in one and does not say which
	known     map[schema.GroupKind]bool
}

// newScopes learns from the definitions of kinds among the objects, and, of kinds that
// nothing defines, from how the cluster has them.
func newScopes(namespace string, current, desired []Object) scopes {
	s := scopes{namespace: namespace, known: map[schema.GroupKind]bool{}}
	for _, objects := range [][]Object{current, desired} {
		for _, o := range objects {
			if kind, namespaced, ok := defines(o.Unstructured); ok {
				if _, before := s.known[kind]; !before {
					s.known[kind] = namespaced
				}
			}
		}
	}
	for _, o := range current {
		kind := o.GroupVersionKind().GroupKind()
		if _, ok := s.known[kind]; !ok {
			s.known[kind] = o.GetNamespace() != ""
		}
	}
	return s
}

// defines returns the kind that a CustomResourceDefinition defines, and whether it is in
// namespaces.
func defines(u *unstructured.Unstructured) (kind schema.GroupKind, namespaced, ok bool) {
	if u.GroupVersionKind().GroupKind() != crdKind {
		return kind, false, false
	}
	kind.Group, _ = dig(u.Object, "spec", "group").(string)
	kind.Kind, _ = dig(u.Object, "spec", "names", "kind").(string)
	scope, _ := dig(u.Object, "spec", "scope").(string)
	return kind, scope != "Cluster", kind.Kind != ""
}

// place returns the key of an object, with the namespace that it belongs to. An object of
// a kind about which nothing is known is taken to be in one: if it were not, the cluster
// would ignore the namespace.
func (s scopes) place(u *unstructured.Unstructured) key {
	k := keyOf(u)
	namespaced, ok := ownKinds[k.GroupKind]
	if !ok {
		if namespaced, ok = s.known[k.GroupKind]; !ok {
			namespaced = true
		}
	}
	switch {
	case !namespaced:
		k.namespace = ""
	case k.namespace == "":
		k.namespace = s.namespace
	}
	return k
}

// dig returns the value at path below value, or nil if there is none.
func dig(value any, path ...string) any {
	for _, name := range path {
		m, _ := value.(map[string]any)
		value = m[name]
	}
	return value
}
