package kinds

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// serverFields are the fields of an object's metadata that only the server sets.
var serverFields = []string{"creationTimestamp", "generation", "managedFields", "resourceVersion", "selfLink", "uid"}

// StripMetadata takes off an object's metadata what only the server sets.
func StripMetadata(metadata map[string]any) {
	for _, field := range serverFields {
		delete(metadata, field)
	}
}

// Strip takes off an object what it was not defined to be: what the server and the
// controllers set by themselves. What a user wrote stays, empty maps too, since an empty
// selector is not the same as none. Where a field may be either, the managed fields tell.
func Strip(object *unstructured.Unstructured) {
	content := object.Object
	delete(content, "status")
	meta, _ := content["metadata"].(map[string]any)
	managed, _ := meta["managedFields"].([]any)
	StripMetadata(meta)
	delete(meta, "generateName")
	strip(object.GroupVersionKind().GroupKind(), content, Fields{entries: managed})
}

// StripDefined takes off a definition what Strip takes off the object that is made of it,
// whatever the managed fields say.
func StripDefined(kind schema.GroupKind, object map[string]any) {
	strip(kind, object, Fields{all: true})
}

// StripsMetadataOnly says whether StripDefined changes only the metadata of a kind, of those
// that may be large.
func StripsMetadataOnly(kind schema.GroupKind) bool {
	return kind == CustomResourceDefinition || kind == ConfigMap || Lookup(kind) == nil
}

func strip(kind schema.GroupKind, object map[string]any, chosen Fields) {
	meta, _ := object["metadata"].(map[string]any)
	dropKeys(meta, "annotations", func(name string) bool {
		// A volume that its provisioner is to delete may be defined so.
		return IsServersAnnotation(name) && (name != provisionedBy || !chosen.has("metadata", "annotations", name))
	})
	dropItems(meta, "finalizers", func(item any) bool { name, _ := item.(string); return serversFinalizers[name] })
	Of(kind).Strip(object, chosen)
}

const provisionedBy = "pv.kubernetes.io/provisioned-by"

// serversFinalizers are those that the server and Kubernetes' controllers add.
var serversFinalizers = map[string]bool{
	"kubernetes.io/pv-protection":                 true,
	"kubernetes.io/pvc-protection":                true,
	"networking.k8s.io/service-cidr-finalizer":    true,
	"service.kubernetes.io/load-balancer-cleanup": true,
	"foregroundDeletion":                          true,
	"orphan":                                      true,
}

// IsServersAnnotation says whether the server or a controller sets an annotation.
func IsServersAnnotation(name string) bool {
	switch name {
	case "kubectl.kubernetes.io/last-applied-configuration", "deployment.kubernetes.io/revision",
		"deprecated.daemonset.template.generation", "batch.kubernetes.io/job-tracking",
		"volume.kubernetes.io/storage-provisioner", "volume.beta.kubernetes.io/storage-provisioner",
		"volume.kubernetes.io/selected-node", "endpoints.kubernetes.io/last-change-trigger-time",
		"kubernetes.io/service-account.uid":
		return true
	}
	return strings.HasPrefix(name, "pv.kubernetes.io/")
}

func stripNothing(map[string]any, Fields) {}

func stripNamespace(object map[string]any, _ Fields) {
	meta, _ := object["metadata"].(map[string]any)
	dropKeys(meta, "labels", func(name string) bool { return name == corev1.LabelMetadataName })
	delete(object, "spec") // the finalizer of the system
}

func stripClaim(object map[string]any, chosen Fields) {
	if spec, ok := object["spec"].(map[string]any); ok && !chosen.has("spec", "volumeName") {
		delete(spec, "volumeName")
	}
}

// stripVolume takes off the claim that a volume was bound to, unless it was meant for it.
func stripVolume(object map[string]any, chosen Fields) {
	spec, _ := object["spec"].(map[string]any)
	dropKeys(spec, "claimRef", func(name string) bool {
		return name == "uid" || name == "resourceVersion" || !chosen.has("spec", "claimRef", name)
	})
}

// stripLease takes off what a leader election writes.
func stripLease(object map[string]any, chosen Fields) {
	defines := func(entry any) bool { return !isElection(lease, entry) }
	dropKeys(object, "spec", func(name string) bool { return !chosen.hasIn(defines, "spec", name) })
}

func stripServiceAccount(object map[string]any, chosen Fields) {
	if !chosen.has("secrets") {
		delete(object, "secrets")
	}
}

// stripSecret takes off the token of a service account that a controller put there.
func stripSecret(object map[string]any, chosen Fields) {
	if text(object, "type") != tokenType {
		return
	}
	dropKeys(object, "data", func(name string) bool { return !chosen.has("data", name) })
	meta, _ := object["metadata"].(map[string]any)
	dropKeys(meta, "labels", func(name string) bool { return strings.HasPrefix(name, "kubernetes.io/legacy-token-") })
}

// stripClusterRole takes off the rules that a controller gathers.
func stripClusterRole(object map[string]any, _ Fields) {
	if _, aggregated := object["aggregationRule"].(map[string]any); aggregated {
		delete(object, "rules")
	}
}

func stripEndpoints(object map[string]any, _ Fields) {
	meta, _ := object["metadata"].(map[string]any)
	dropKeys(meta, "labels", func(name string) bool { return name == "endpoints.kubernetes.io/managed-by" })
}

// stripPod takes off what the scheduler and admission add: of service accounts, under names
// that differ each time, and in a list that is replaced as a whole.
func stripPod(object map[string]any, chosen Fields) {
	spec, _ := object["spec"].(map[string]any)
	if !chosen.has("spec", "nodeName") {
		delete(spec, "nodeName")
	}
	isToken := func(item any) bool {
		name, _ := Nested(item, "name").(string)
		return strings.HasPrefix(name, "kube-api-access-")
	}
	dropItems(spec, "volumes", isToken)
	dropItems(spec, "tolerations", isDefaultToleration)
	for _, list := range []string{"containers", "initContainers"} {
		for container := range Items(spec, list) {
			if c, ok := container.(map[string]any); ok {
				dropItems(c, "volumeMounts", isToken)
			}
		}
	}
}

// isDefaultToleration says whether a toleration is one that each pod gets.
func isDefaultToleration(item any) bool {
	toleration, _ := item.(map[string]any)
	key := text(toleration, "key")
	return (key == corev1.TaintNodeNotReady || key == corev1.TaintNodeUnreachable) && len(toleration) == 4 &&
		text(toleration, "operator") == "Exists" && text(toleration, "effect") == "NoExecute" && Equal(toleration["tolerationSeconds"], int64(300))
}

// stripJob takes off the selector and labels that the Job controller generates.
func stripJob(object map[string]any, _ Fields) {
	meta, _ := object["metadata"].(map[string]any)
	spec, _ := object["spec"].(map[string]any)
	if manual, _ := spec["manualSelector"].(bool); manual {
		return
	}
	delete(spec, "selector")
	generated := func(name string) bool {
		return strings.HasPrefix(name, "batch.kubernetes.io/") || name == "controller-uid" || name == "job-name"
	}
	if template, ok := Nested(spec, "template", "metadata").(map[string]any); ok {
		dropKeys(template, "labels", generated)
	}
	dropKeys(meta, "labels", generated)
}

// dropKeys deletes from the map called name in m the keys that drop accepts, and the map
// itself if that leaves nothing.
func dropKeys(m map[string]any, name string, drop func(string) bool) {
	values, _ := m[name].(map[string]any)
	dropped := false
	for key := range values {
		if drop(key) {
			delete(values, key)
			dropped = true
		}
	}
	if dropped && len(values) == 0 {
		delete(m, name)
	}
}

// dropItems deletes from the list called name in m the items that drop accepts, and the
// list itself if that leaves nothing.
func dropItems(m map[string]any, name string, drop func(any) bool) {
	list, _ := m[name].([]any)
	kept := slices.DeleteFunc(list, drop)
	if len(kept) == len(list) {
		return
	}
	if m[name] = kept; len(kept) == 0 {
		delete(m, name)
	}
}
