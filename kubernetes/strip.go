package kubernetes

import (
	"bytes"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
)

// strip takes off an object what it was not defined to be: what the server and the
// controllers set by themselves. What a user wrote stays, empty maps too, since an empty
// selector is not the same as none. Where a field may be either, the managed fields tell.
func strip(object *unstructured.Unstructured) {
	content := object.Object
	chosen := chosenFields{entries: object.GetManagedFields()}
	delete(content, "status")
	meta, _ := content["metadata"].(map[string]any)
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
		stripService(spec, &chosen)
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
		stripPod(spec, &chosen)
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

// chosenFields tells which fields somebody chose, by the managed fields of an object:
// those that some manager other than Kubernetes' own controllers set.
type chosenFields struct {
	entries []metav1.ManagedFieldsEntry
	sets    []*fieldpath.Set // read when first asked
}

func (c *chosenFields) has(path ...any) bool {
	if c.sets == nil {
		c.sets = []*fieldpath.Set{}
		for _, entry := range c.entries {
			set := &fieldpath.Set{}
			if entry.Subresource == "" && !strings.HasPrefix(entry.Manager, "kube-") && entry.FieldsV1 != nil &&
				set.FromJSON(bytes.NewReader(entry.FieldsV1.GetRawBytes())) == nil {
				c.sets = append(c.sets, set)
			}
		}
	}
	p, err := fieldpath.MakePath(path...)
	return err == nil && slices.ContainsFunc(c.sets, func(s *fieldpath.Set) bool { return s.Has(p) })
}

// stripService takes off the addresses and ports that were allocated. A Service without
// an address ("None") was defined so.
func stripService(spec map[string]any, chosen *chosenFields) {
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
func stripPod(spec map[string]any, chosen *chosenFields) {
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
