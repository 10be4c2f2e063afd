package kubernetes

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/client-go/util/csaupgrade"

	"github.com/platformbus/platform/kubernetes/internal/api"
	"github.com/platformbus/platform/kubernetes/internal/redact"
)

func (c *clients) metadataOf(res resource, namespace string) api.Metadata {
	return c.api.Metadata(res.GroupVersionResource, namespace)
}

func (c *clients) dynamicOf(res resource, namespace string) api.Objects {
	return c.api.Objects(res.GroupVersionResource, namespace)
}

// apply makes the object what its definition says, by server-side apply. What is known
// of the live object is in seen; nil means that there is none, or it may not be seen. The
// caller holds the object's lock.
func (c *clients) apply(ctx context.Context, t *target, seen *observation) error {
	if seen != nil && seen.foreign {
		if err := c.adopt(ctx, t); err != nil {
			return fmt.Errorf("adopt the fields of other tools: %w", err)
		}
	}
	err := c.patch(ctx, t)
	switch {
	case !api.IsImmutable(err):
	case t.recreate():
		err = c.recreate(ctx, t, err)
	default:
		err = fmt.Errorf("%w (with the annotation %s: 'true' in its definition it would be deleted and made again)", err, recreateAnnotation)
	}
	if err != nil {
		return err
	}
	if t.key.GroupKind == crdKind {
		return c.awaitEstablished(ctx, t)
	}
	return nil
}

// patch sends the definition, and remembers what it made of the object.
func (c *clients) patch(ctx context.Context, t *target) error {
	force := !c.options.FailOnConflict
	c.verified.forget(t.key)
	return retry(ctx, func(ctx context.Context) error {
		ctx, cancel := c.request(ctx)
		defer cancel()
		live, err := c.metadataOf(t.resource, t.key.namespace).Patch(ctx, t.key.name, types.ApplyPatchType, t.body,
			metav1.PatchOptions{FieldManager: c.options.FieldManager, Force: &force})
		if err == nil {
			c.verified.put(t.key, verified{t.digest, *c.observe(live, live.ManagedFields)})
			return nil
		}
		if apierrors.IsNotFound(err) && apierrors.HasStatusCause(err, metav1.CauseTypeUnexpectedServerResponse) {
			if t.defined {
				return notServedYet{err}
			}
			c.catalog.forget() // the kind is not what it was
		}
		return causeOf(ctx, err)
	})
}

// adopt makes ours the fields that other tools have set, so that none has two owners and
// those that the definition leaves out are removed.
func (c *clients) adopt(ctx context.Context, t *target) error {
	objects := c.metadataOf(t.resource, t.key.namespace)
	return retry(ctx, func(ctx context.Context) error {
		ctx, cancel := c.request(ctx)
		defer cancel()
		live, err := objects.Get(ctx, t.key.name)
		if err != nil {
			if apierrors.IsNotFound(err) {
				return nil
			}
			return causeOf(ctx, err)
		}
		foreign := sets.New[string]()
		for i := range live.ManagedFields {
			if entry := &live.ManagedFields[i]; isForeign(entry) {
				foreign.Insert(entry.Manager)
			}
		}
		patch, err := csaupgrade.UpgradeManagedFieldsPatch(live, foreign, c.options.FieldManager)
		if err != nil || patch == nil {
			return err
		}
		_, err = objects.Patch(ctx, t.key.name, types.JSONPatchType, patch, metav1.PatchOptions{FieldManager: c.options.FieldManager})
		if apierrors.IsConflict(err) {
			return changedMeanwhile{err}
		}
		return causeOf(ctx, err)
	})
}

// awaitEstablished waits until the API server serves what a CustomResourceDefinition
// defines.
func (c *clients) awaitEstablished(ctx context.Context, t *target) error {
	c.tell(Event{ID: t.label, Object: t.key.String(), Result: Waiting, Progress: "until it is established"})
	err := c.poll(ctx, func(ctx context.Context) (bool, error) {
		ctx, cancel := c.request(ctx)
		defer cancel()
		live, err := c.dynamicOf(t.resource, "").Get(ctx, t.key.name)
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
	c.verified.forget(t.key)
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
	c.tell(Event{ID: t.label, Object: t.key.String(), Result: Waiting, Progress: "until it is gone"})
	var (
		waiting []string // for whose finalizers
		uid     types.UID
	)
	err = c.poll(ctx, func(ctx context.Context) (bool, error) {
		ctx, cancel := c.request(ctx)
		defer cancel()
		live, err := objects.Get(ctx, t.key.name)
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
	if err != nil && len(waiting) == 0 {
		// Who waits in vain wants to know for what, even if the time was too short to ask.
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastLookLimit)
		defer cancel()
		if live, err := objects.Get(last, t.key.name); err == nil {
			waiting = live.Finalizers
		}
	}
	if err != nil && len(waiting) > 0 {
		return fmt.Errorf("wait until it is gone, for its finalizers %s: %w", strings.Join(waiting, ", "), err)
	}
	if err != nil {
		return fmt.Errorf("wait until it is gone: %w", err)
	}
	return nil
}

// lastLookLimit bounds a look that is taken when the call is over.
const lastLookLimit = 500 * time.Millisecond

// poll asks until the answer is true, an error that will not pass, ctx ends or the time
// limit for a wait is over.
func (c *clients) poll(ctx context.Context, ask func(context.Context) (bool, error)) error {
	ctx, cancel := c.wait(ctx)
	defer cancel()
	for wait := 10 * time.Millisecond; ; wait = min(2*wait, time.Second) {
		done, err := ask(ctx)
		if done || err != nil && !isTransient(err) {
			return err
		}
		if stopped := sleep(ctx, wait); stopped != nil {
			return redact.Join(stopped, err)
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
