package kubernetes

import (
	"context"
	"crypto/sha256"
	"fmt"
	"sync"

	"github.com/pkg/errors"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"

	"github.com/platformbus/platform/kubernetes/internal/redact"
)

// An observation is what the metadata of a live object said, reduced to what decides
// whether and how to write it.
type observation struct {
	uid        types.UID
	version    string // its resourceVersion
	generation int64  // 0 where the kind has none
	// ours identifies what our field manager owns: the set of fields, at an API version.
	// Any other writer who changes the value of one of them takes it out of the set.
	ours    [sha256.Size]byte
	ignored bool // it says that Sync shall leave it alone
	foreign bool // a manager of adoptedManagers has fields in it
}

// adoptedManagers are those under which tools record fields that they set by anything but
// server-side apply. Such fields become ours, so that those that a definition leaves out
// are removed.
var adoptedManagers = map[string]bool{
	"kubectl-client-side-apply": true,
	"kubectl-create":            true,
	"kubectl-replace":           true,
	"before-first-apply":        true,
	"helm":                      true,
}

// observe reduces the metadata of a live object, whose managed fields are given, since to
// get them costs much for some forms of objects.
func (c *clients) observe(meta metav1.Object, entries []metav1.ManagedFieldsEntry) *observation {
	o := &observation{
		uid:        meta.GetUID(),
		version:    meta.GetResourceVersion(),
		generation: meta.GetGeneration(),
		ignored:    ignoresSync(meta.GetAnnotations()),
	}
	for i := range entries {
		entry := &entries[i]
		o.foreign = o.foreign || isForeign(entry)
	}
	if entry := c.ours(entries); entry != nil {
		o.ours = sha256.Sum256(append([]byte(entry.APIVersion+"\n"), entry.FieldsV1.GetRawBytes()...))
	}
	return o
}

// ours returns the entry that says what our field manager owns, or nil.
func (c *clients) ours(entries []metav1.ManagedFieldsEntry) *metav1.ManagedFieldsEntry {
	for i := range entries {
		entry := &entries[i]
		if entry.Manager == c.options.FieldManager && entry.Operation == metav1.ManagedFieldsOperationApply &&
			entry.Subresource == "" && entry.FieldsV1 != nil {
			return entry
		}
	}
	return nil
}

func isForeign(entry *metav1.ManagedFieldsEntry) bool {
	return entry.Operation == metav1.ManagedFieldsOperationUpdate && entry.Subresource == "" && adoptedManagers[entry.Manager]
}

// verified is an object of which this process knows that at one time it was what a
// definition says, as seen then.
type verified struct {
	digest [sha256.Size]byte // of the definition
	observation
}

// holds says whether the object is certain to be still what the definition says: nothing
// has been written since; or something has, but it neither took a field from us nor, as
// the generation tells, changed the spec, and what we set in the metadata is unchanged.
// The second clause is needed because an admission webhook may change an owned field in
// another writer's request, which the managed fields do not show.
func (v verified) holds(d *definition, now *observation, meta metav1.Object) bool {
	switch {
	case v.digest != d.digest || v.uid != now.uid || now.foreign:
		return false
	case v.version == now.version:
		return true
	default:
		return v.ours == now.ours && d.simple && v.generation != 0 && v.generation == now.generation &&
			isSubset(d.labels, meta.GetLabels()) && isSubset(d.annotations, meta.GetAnnotations())
	}
}

// survey looks at the live objects that steps are about to apply. It sets what was seen
// of each, and marks those as unchanged of which it is certain that to apply them would
// change nothing. It takes one list for each kind: of metadata alone where this process
// has verified the objects before, of whole objects otherwise. What it cannot see it
// leaves to be applied; it fails only if the API server cannot be reached at all.
func (c *clients) survey(ctx context.Context, steps []*step) error {
	kinds := map[resource]map[objectKey]*step{}
	touched := map[objectKey]bool{}
	for _, s := range steps {
		if first := !touched[s.object.key]; first && !s.delete && s.object.resource.listable && !s.object.fresh {
			if kinds[s.object.resource] == nil {
				kinds[s.object.resource] = map[objectKey]*step{}
			}
			kinds[s.object.resource][s.object.key] = s
		}
		touched[s.object.key] = true
	}
	var (
		mu    sync.Mutex
		errs  []error // guarded by mu
		group sync.WaitGroup
	)
	for res, wanted := range kinds {
		group.Go(func() {
			if err := c.surveyKind(ctx, res, wanted); err != nil {
				mu.Lock()
				defer mu.Unlock()
				errs = append(errs, fmt.Errorf("look at the %s that are there: %w", res.GroupResource(), err))
			}
		})
	}
	group.Wait()
	redact.Sort(errs)
	if len(errs) > 0 {
		return errs[0]
	}
	return nil
}

// surveyKind is survey for one kind.
func (c *clients) surveyKind(ctx context.Context, res resource, wanted map[objectKey]*step) error {
	namespaces := map[string]bool{}
	unknown := 0
	for key := range wanted {
		namespaces[key.namespace] = true
		if _, ok := c.verified.get(key); !ok {
			unknown++
		}
	}
	look := c.surveyMetadata
	if 10*unknown > len(wanted) { // for a few, applying them costs less than seeing all
		look = c.surveyWhole
	}
	scope := ""
	if len(namespaces) == 1 {
		for only := range namespaces {
			scope = only
		}
	}
	err := look(ctx, res, scope, wanted)
	if apierrors.IsForbidden(err) && scope == "" && res.namespaced {
		for namespace := range namespaces { // those that we may see
			if err = look(ctx, res, namespace, wanted); err != nil && !apierrors.IsForbidden(err) {
				break
			}
		}
	}
	if err != nil && (isUnreachable(err) || ctx.Err() != nil) {
		return err
	}
	return nil // to apply them will show what is wrong
}

// selectorFor returns the field selector for what is wanted, if that is one object: the API
// server then reads that object only.
func selectorFor(wanted map[objectKey]*step) string {
	if len(wanted) == 1 {
		for key := range wanted {
			return fields.OneTermEqualSelector("metadata.name", key.name).String()
		}
	}
	return ""
}

// surveyMetadata judges by metadata alone.
func (c *clients) surveyMetadata(ctx context.Context, res resource, namespace string, wanted map[objectKey]*step) error {
	judge := func(meta metav1.Object) {
		s := wanted[objectKey{res.gvk().GroupKind(), meta.GetNamespace(), meta.GetName()}]
		if s == nil {
			return
		}
		s.seen = c.observe(meta, meta.GetManagedFields())
		v, ok := c.verified.get(s.object.key)
		s.unchanged = ok && v.holds(s.object.definition, s.seen, meta)
		if s.unchanged {
			c.verified.put(s.object.key, verified{s.object.digest, *s.seen})
		}
	}
	only := selectorFor(wanted)
	return c.pages(ctx, func(ctx context.Context, options metav1.ListOptions) (metav1.ListInterface, error) {
		options.FieldSelector = only
		list, err := c.metadataOf(res, namespace).List(ctx, options)
		if err != nil {
			return nil, err
		}
		for i := range list.Items {
			judge(&list.Items[i])
		}
		return list, nil
	})
}

// surveyWhole judges by the objects as a whole.
func (c *clients) surveyWhole(ctx context.Context, res resource, namespace string, wanted map[objectKey]*step) error {
	judge := func(live *unstructured.Unstructured) {
		s := wanted[objectKey{res.gvk().GroupKind(), live.GetNamespace(), live.GetName()}]
		if s == nil {
			return
		}
		entries := live.GetManagedFields()
		s.seen = c.observe(live, entries)
		v, known := c.verified.get(s.object.key)
		s.unchanged = known && v.holds(s.object.definition, s.seen, live) ||
			!s.seen.foreign && isCertain(s.object.definition, live, c.ours(entries))
		if s.unchanged {
			c.verified.put(s.object.key, verified{s.object.digest, *s.seen})
		}
	}
	only := selectorFor(wanted)
	return c.pages(ctx, func(ctx context.Context, options metav1.ListOptions) (metav1.ListInterface, error) {
		options.FieldSelector = only
		list, err := c.dynamicOf(res, namespace).List(ctx, options)
		if err != nil {
			return nil, err
		}
		for i := range list.Items {
			judge(&list.Items[i])
			list.Items[i].Object = nil // most of a page is not needed while the rest is judged
		}
		return list, nil
	})
}

// look observes one object, or returns nil if there is none.
func (c *clients) look(ctx context.Context, t *target) (*observation, error) {
	var seen *observation
	err := retry(ctx, func(ctx context.Context) error {
		ctx, cancel := c.request(ctx)
		defer cancel()
		live, err := c.metadataOf(t.resource, t.key.namespace).Get(ctx, t.key.name)
		if err == nil {
			seen = c.observe(live, live.ManagedFields)
		}
		return causeOf(ctx, err)
	})
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	return seen, errors.Wrap(err, "look at what is there")
}
