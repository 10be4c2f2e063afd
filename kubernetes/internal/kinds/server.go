package kinds

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
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
	dropKeys(meta, "annotations", IsServersAnnotation)
	Of(object.GroupVersionKind().GroupKind()).Strip(content, managed)
}

// IsServersAnnotation says whether the server or a controller sets an annotation.
func IsServersAnnotation(name string) bool {
	switch name {
	case "kubectl.kubernetes.io/last-applied-configuration", "deployment.kubernetes.io/revision",
		"deprecated.daemonset.template.generation", "batch.kubernetes.io/job-tracking",
		"volume.kubernetes.io/storage-provisioner", "volume.beta.kubernetes.io/storage-provisioner",
		"volume.kubernetes.io/selected-node":
		return true
	}
	return strings.HasPrefix(name, "pv.kubernetes.io/")
}

// Fields are the managed fields of an object, as they are in it. They tell which
// fields somebody chose: those that some manager other than Kubernetes' own controllers
// set.
type Fields []any

// has says whether somebody chose the field at path. It looks no further than that: to
// read all managed fields of an object takes longer than to write the object.
func (c Fields) has(path ...any) bool {
	elements, err := fieldpath.MakePath(path...)
	if err != nil {
		return false
	}
	keys := make([]string, len(elements))
	for i, element := range elements {
		if keys[i], err = fieldpath.SerializePathElement(element); err != nil {
			return false
		}
	}
	return slices.ContainsFunc(c, func(entry any) bool {
		manager, _ := Nested(entry, "manager").(string)
		subresource, _ := Nested(entry, "subresource").(string)
		return subresource == "" && !strings.HasPrefix(manager, "kube-") &&
			Nested(entry, append([]string{"fieldsV1"}, keys...)...) != nil
	})
}

// stripService takes off the addresses and ports that were allocated. A Service without
// an address ("None") was defined so.
func stripService(object map[string]any, chosen Fields) {
	spec, _ := object["spec"].(map[string]any)
	if ip, _ := spec["clusterIP"].(string); ip != "None" && !chosen.has("spec", "clusterIP") {
		delete(spec, "clusterIP")
		delete(spec, "clusterIPs")
	}
	if !chosen.has("spec", "healthCheckNodePort") {
		delete(spec, "healthCheckNodePort")
	}
	for port := range Items(spec, "ports") {
		p, ok := port.(map[string]any)
		if ok && !chosen.has("spec", "ports", fieldpath.KeyByFields("port", p["port"], "protocol", p["protocol"]), "nodePort") {
			delete(p, "nodePort")
		}
	}
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

func stripVolume(object map[string]any, _ Fields) {
	if claim, ok := Nested(object, "spec", "claimRef").(map[string]any); ok {
		delete(claim, "uid")
		delete(claim, "resourceVersion")
	}
}

func stripServiceAccount(object map[string]any, _ Fields) { delete(object, "secrets") }

// stripClusterRole takes off the rules that a controller gathers.
func stripClusterRole(object map[string]any, _ Fields) {
	if _, aggregated := object["aggregationRule"].(map[string]any); aggregated {
		object["rules"] = nil
	}
}

// stripPod takes off what the scheduler and the admission of service accounts add, under
// names that differ each time.
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
	for _, list := range []string{"containers", "initContainers"} {
		for container := range Items(spec, list) {
			if c, ok := container.(map[string]any); ok {
				dropItems(c, "volumeMounts", isToken)
			}
		}
	}
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
