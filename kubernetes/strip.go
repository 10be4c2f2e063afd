package kubernetes

import (
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// strip takes off an object what is no part of its definition: what the server and the
// controllers set by themselves. What a user wrote stays, empty maps too, since an empty
// selector is not the same as none.
func strip(object *unstructured.Unstructured) {
	content := object.Object
	delete(content, "status")
	meta, _ := content["metadata"].(map[string]any)
	for _, field := range []string{"creationTimestamp", "generation", "managedFields", "resourceVersion", "selfLink", "uid"} {
		delete(meta, field)
	}
	dropKeys(meta, "annotations", func(name string) bool {
		return name == "kubectl.kubernetes.io/last-applied-configuration" || name == "deployment.kubernetes.io/revision" ||
			strings.HasPrefix(name, "pv.kubernetes.io/") || name == "volume.kubernetes.io/storage-provisioner" ||
			name == "volume.beta.kubernetes.io/storage-provisioner" || name == "deprecated.daemonset.template.generation"
	})
	spec, _ := content["spec"].(map[string]any)
	switch object.GroupVersionKind().GroupKind() {
	case namespaceKind:
		dropKeys(meta, "labels", func(name string) bool { return name == "kubernetes.io/metadata.name" })
		delete(content, "spec") // the finalizer of the system
	case schema.GroupKind{Kind: "Service"}:
		stripService(spec)
	case schema.GroupKind{Kind: "PersistentVolumeClaim"}:
		delete(spec, "volumeName")
	case schema.GroupKind{Kind: "ServiceAccount"}:
		delete(content, "secrets")
	case schema.GroupKind{Group: "batch", Kind: "Job"}:
		stripJob(object, spec)
	}
}

// stripService takes off the addresses and ports that were allocated. A Service without
// an address ("None") was defined so.
func stripService(spec map[string]any) {
	if ip, _ := spec["clusterIP"].(string); ip != "None" {
		delete(spec, "clusterIP")
		delete(spec, "clusterIPs")
	}
	delete(spec, "healthCheckNodePort")
	for port := range items(spec, "ports") {
		if p, ok := port.(map[string]any); ok {
			delete(p, "nodePort")
		}
	}
}

// stripJob takes off the selector and labels that the Job controller generates.
func stripJob(object *unstructured.Unstructured, spec map[string]any) {
	if manual, _ := spec["manualSelector"].(bool); manual {
		return
	}
	delete(spec, "selector")
	generated := func(name string) bool {
		return strings.HasPrefix(name, "batch.kubernetes.io/") || name == "controller-uid" || name == "job-name"
	}
	if template, ok := dig(spec, "template", "metadata").(map[string]any); ok {
		dropKeys(template, "labels", generated)
		delete(template, "creationTimestamp")
	}
	if meta, ok := object.Object["metadata"].(map[string]any); ok {
		dropKeys(meta, "labels", generated)
	}
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
