package kubernetes

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
)

// strip takes off an object what it was not defined to be: what the server and the
// controllers set by themselves. What a user wrote stays, empty maps too, since an empty
// selector is not the same as none. Where a field may be either, the managed fields tell.
func strip(object *unstructured.Unstructured) {
	content := object.Object
	delete(content, "status")
	meta, _ := content["metadata"].(map[string]any)
	managed, _ := meta["managedFields"].([]any)
	chosen := chosenFields(managed)
	for _, field := range []string{"creationTimestamp", "generateName", "generation", "managedFields", "resourceVersion", "selfLink", "uid"} {
		delete(meta, field)
	}
	dropKeys(meta, "annotations", isSystemsAnnotation)
	spec, _ := content["spec"].(map[string]any)
	switch object.GroupVersionKind().GroupKind() {
	case namespaceKind:
		dropKeys(meta, "labels", func(name string) bool { return name == corev1.LabelMetadataName })
		delete(content, "spec") // the finalizer of the system
	case schema.GroupKind{Kind: "Service"}:
		stripService(spec, chosen)
	case schema.GroupKind{Kind: "PersistentVolumeClaim"}:
		if !chosen.has("spec", "volumeName") {
			delete(spec, "volumeName")
		}
	case schema.GroupKind{Kind: "PersistentVolume"}:
		if claim, ok := spec["claimRef"].(map[string]any); ok {
			delete(claim, "uid")
			delete(claim, "resourceVersion")
		}
	case schema.GroupKind{Kind: "ServiceAccount"}:
		delete(content, "secrets")
	case schema.GroupKind{Kind: "Pod"}:
		stripPod(spec, chosen)
	case schema.GroupKind{Group: rbacGroup, Kind: "ClusterRole"}:
		if _, aggregated := content["aggregationRule"].(map[string]any); aggregated {
			content["rules"] = nil // a controller gathers them
		}
	case schema.GroupKind{Group: "batch", Kind: "Job"}:
		stripJob(meta, spec)
	}
}

func isSystemsAnnotation(name string) bool {
	switch name {
	case "kubectl.kubernetes.io/last-applied-configuration", "deployment.kubernetes.io/revision",
		"deprecated.daemonset.template.generation", "batch.kubernetes.io/job-tracking",
		"volume.kubernetes.io/storage-provisioner", "volume.beta.kubernetes.io/storage-provisioner",
		"volume.kubernetes.io/selected-node":
		return true
	}
	return strings.HasPrefix(name, "pv.kubernetes.io/")
}

// chosenFields are the managed fields of an object, as they are in it. They tell which
// fields somebody chose: those that some manager other than Kubernetes' own controllers
// set.
type chosenFields []any

// has says whether somebody chose the field at path. It looks no further than that: to
// read all managed fields of an object takes longer than to write the object.
func (c chosenFields) has(path ...any) bool {
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
		manager, _ := dig(entry, "manager").(string)
		subresource, _ := dig(entry, "subresource").(string)
		return subresource == "" && !strings.HasPrefix(manager, "kube-") &&
			dig(entry, append([]string{"fieldsV1"}, keys...)...) != nil
	})
}

// stripService takes off the addresses and ports that were allocated. A Service without
// an address ("None") was defined so.
func stripService(spec map[string]any, chosen chosenFields) {
	if ip, _ := spec["clusterIP"].(string); ip != "None" && !chosen.has("spec", "clusterIP") {
		delete(spec, "clusterIP")
		delete(spec, "clusterIPs")
	}
	if !chosen.has("spec", "healthCheckNodePort") {
		delete(spec, "healthCheckNodePort")
	}
	for port := range items(spec, "ports") {
		p, ok := port.(map[string]any)
		if ok && !chosen.has("spec", "ports", fieldpath.KeyByFields("port", p["port"], "protocol", p["protocol"]), "nodePort") {
			delete(p, "nodePort")
		}
	}
}

// stripPod takes off what the scheduler and the admission of service accounts add, under
// names that differ each time.
func stripPod(spec map[string]any, chosen chosenFields) {
	if !chosen.has("spec", "nodeName") {
		delete(spec, "nodeName")
	}
	isToken := func(item any) bool {
		name, _ := dig(item, "name").(string)
		return strings.HasPrefix(name, "kube-api-access-")
	}
	dropItems(spec, "volumes", isToken)
	for _, list := range []string{"containers", "initContainers"} {
		for container := range items(spec, list) {
			if c, ok := container.(map[string]any); ok {
				dropItems(c, "volumeMounts", isToken)
			}
		}
	}
}

// stripJob takes off the selector and labels that the Job controller generates.
func stripJob(meta, spec map[string]any) {
	if manual, _ := spec["manualSelector"].(bool); manual {
		return
	}
	delete(spec, "selector")
	generated := func(name string) bool {
		return strings.HasPrefix(name, "batch.kubernetes.io/") || name == "controller-uid" || name == "job-name"
	}
	if template, ok := dig(spec, "template", "metadata").(map[string]any); ok {
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
