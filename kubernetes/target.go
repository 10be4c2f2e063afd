package kubernetes

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/metadata"
)

// A target is an object that a definition names, and where the API server has it.
type target struct {
	key      objectKey
	resource resource
	content  *unstructured.Unstructured // as it is to be sent
	label    string                     // the ResourceID or ServiceID of the entry it comes from
}

// newTarget prepares a definition to be sent: it gets the namespace it belongs to, and
// loses what only the server may set, which is there if somebody dumped a live object.
func newTarget(content *unstructured.Unstructured, res resource, defaultNamespace, label string) *target {
	namespace := content.GetNamespace()
	switch {
	case !res.namespaced:
		namespace = ""
	case namespace == "":
		namespace = defaultNamespace
	}
	meta := content.Object["metadata"].(map[string]any) // manifest.Parse saw to it
	for _, field := range []string{"creationTimestamp", "generation", "managedFields", "resourceVersion", "selfLink", "uid", "namespace"} {
		delete(meta, field)
	}
	if namespace != "" {
		meta["namespace"] = namespace
	}
	if status, ok := content.Object["status"]; ok {
		if m, isMap := status.(map[string]any); status == nil || isMap && len(m) == 0 {
			delete(content.Object, "status")
		}
	}
	return &target{
		key:      objectKey{GroupKind: res.gvk().GroupKind(), namespace: namespace, name: content.GetName()},
		resource: res,
		content:  content,
		label:    label,
	}
}

func (c *clients) metadataOf(res resource, namespace string) metadata.ResourceInterface {
	return c.metadata.Resource(res.GroupVersionResource).Namespace(namespace)
}

func (c *clients) dynamicOf(res resource, namespace string) dynamic.ResourceInterface {
	return c.dynamic.Resource(res.GroupVersionResource).Namespace(namespace)
}

// apply makes the object what its definition says, by server-side apply.
func (c *clients) apply(ctx context.Context, t *target) error {
	body, err := json.Marshal(t.content.Object)
	if err != nil {
		return err
	}
	force := true
	err = retry(ctx, func(ctx context.Context) error {
		ctx, cancel := c.request(ctx)
		defer cancel()
		_, err := c.metadataOf(t.resource, t.key.namespace).Patch(ctx, t.key.name, types.ApplyPatchType, body,
			metav1.PatchOptions{FieldManager: c.options.FieldManager, Force: &force})
		return causeOf(ctx, err)
	})
	if err != nil {
		return err
	}
	if t.key.GroupKind == crdKind {
		return c.awaitEstablished(ctx, t)
	}
	return nil
}

// awaitEstablished waits until the API server serves what a CustomResourceDefinition
// defines.
func (c *clients) awaitEstablished(ctx context.Context, t *target) error {
	err := poll(ctx, func(ctx context.Context) (bool, error) {
		ctx, cancel := c.request(ctx)
		defer cancel()
		live, err := c.dynamicOf(t.resource, "").Get(ctx, t.key.name, metav1.GetOptions{})
		if err != nil {
			return false, causeOf(ctx, err)
		}
		for condition := range items(live.Object["status"], "conditions") {
			if dig(condition, "type") == "NamesAccepted" && dig(condition, "status") == "False" {
				return false, fmt.Errorf("names not accepted: %v", dig(condition, "message"))
			}
			if dig(condition, "type") == "Established" && dig(condition, "status") == "True" {
				return true, nil
			}
		}
		return false, nil
	})
	if err != nil {
		return fmt.Errorf("wait until it is established: %w", err)
	}
	return nil
}

// delete deletes the object; one that is gone already is fine. It returns when the
// object is really gone if awaitGone is set.
func (c *clients) delete(ctx context.Context, t *target, awaitGone bool) error {
	objects := c.metadataOf(t.resource, t.key.namespace)
	propagation := metav1.DeletePropagationBackground
	err := retry(ctx, func(ctx context.Context) error {
		ctx, cancel := c.request(ctx)
		defer cancel()
		return causeOf(ctx, objects.Delete(ctx, t.key.name, metav1.DeleteOptions{PropagationPolicy: &propagation}))
	})
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil || !awaitGone {
		return err
	}
	var (
		waiting []string // for whose finalizers
		uid     types.UID
	)
	err = poll(ctx, func(ctx context.Context) (bool, error) {
		ctx, cancel := c.request(ctx)
		defer cancel()
		live, err := objects.Get(ctx, t.key.name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return true, nil
		}
		if err != nil {
			return false, causeOf(ctx, err)
		}
		if uid == "" {
			uid = live.UID
		}
		waiting = live.Finalizers
		return live.UID != uid || live.DeletionTimestamp == nil, nil // somebody made it again
	})
	if err != nil && len(waiting) > 0 {
		return fmt.Errorf("wait until it is gone, for its finalizers %s: %w", strings.Join(waiting, ", "), err)
	}
	if err != nil {
		return fmt.Errorf("wait until it is gone: %w", err)
	}
	return nil
}

// poll asks until the answer is true, an error that will not pass, or ctx ends.
func poll(ctx context.Context, ask func(context.Context) (bool, error)) error {
	for wait := 10 * time.Millisecond; ; wait = min(2*wait, time.Second) {
		done, err := ask(ctx)
		if done || err != nil && !isTransient(err) {
			return err
		}
		if stopped := sleep(ctx, wait); stopped != nil {
			return join(stopped, err)
		}
	}
}

// definedBy returns the resources that a CustomResourceDefinition will make the API
// server serve, one for each version.
func definedBy(crd *unstructured.Unstructured) []resource {
	str := func(path ...string) string { s, _ := dig(crd.Object, path...).(string); return s }
	var defined []resource
	for version := range items(crd.Object["spec"], "versions") {
		name, _ := dig(version, "name").(string)
		if served, ok := dig(version, "served").(bool); ok && !served {
			continue
		}
		gvr := schema.GroupVersionResource{Group: str("spec", "group"), Version: name, Resource: str("spec", "names", "plural")}
		defined = append(defined, resource{
			GroupVersionResource: gvr,
			kind:                 str("spec", "names", "kind"),
			namespaced:           str("spec", "scope") == "Namespaced",
			listable:             true,
		})
	}
	return slices.DeleteFunc(defined, func(r resource) bool { return r.Resource == "" || r.kind == "" || r.Version == "" })
}
