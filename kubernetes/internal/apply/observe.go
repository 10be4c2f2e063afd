package apply

import (
	"bytes"
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

	"github.com/platformbus/platform/kubernetes/internal/api"
	"github.com/platformbus/platform/kubernetes/internal/kinds"
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
	foreign bool // a manager whose fields we adopt has some in it
	// managedAs is the API version at which our field manager's fields are recorded.
	managedAs string
	// hostNetwork says that our field manager, or one that is adopted, set a pod's field of that
	// name.
	hostNetwork bool
	// goes says that it is being deleted.
	goes bool
}

// observe reduces the metadata of a live object, whose managed fields are given, since to
// get them costs much for some forms of objects.
func (a *Applier) observe(meta metav1.Object, entries []metav1.ManagedFieldsEntry) *observation {
	o := &observation{
		uid:        meta.GetUID(),
		version:    meta.GetResourceVersion(),
		generation: meta.GetGeneration(),
		ignored:    kinds.Ignores(meta.GetAnnotations()[kinds.IgnoreAnnotation], "sync"),
		goes:       meta.GetDeletionTimestamp() != nil,
	}
	ours := a.ours(entries)
	for i := range entries {
		entry := &entries[i]
		if a.isAdopted(entry, ours) {
			o.foreign = true
			o.hostNetwork = o.hostNetwork || setsHostNetwork(entry)
		}
	}
	if entry := ours; entry != nil {
		fields := entry.FieldsV1.GetRawBytes()
		o.ours = sha256.Sum256(append([]byte(entry.APIVersion+"\n"), fields...))
		o.managedAs = entry.APIVersion
		o.hostNetwork = o.hostNetwork || setsHostNetwork(entry)
	}
	return o
}

func setsHostNetwork(entry *metav1.ManagedFieldsEntry) bool {
	return entry.FieldsV1 != nil && bytes.Contains(entry.FieldsV1.GetRawBytes(), []byte(`"f:hostNetwork"`))
}

// ours returns the entry that says what our field manager owns, or nil.
func (a *Applier) ours(entries []metav1.ManagedFieldsEntry) *metav1.ManagedFieldsEntry {
	for i := range entries {
		entry := &entries[i]
		if entry.Manager == a.options.FieldManager && entry.Operation == metav1.ManagedFieldsOperationApply &&
			entry.Subresource == "" && entry.FieldsV1 != nil {
			return entry
		}
	}
	return nil
}

// verified is an object of which this process knows that at one time it was what a
// definition says, as seen then.
type verified struct {
	digest [sha256.Size]byte // of the definition
	observation
	wipes int // how often its namespace had been deleted here by then
}

// holds says whether the object is certain to be still what the definition says: nothing
// has been written since; or something has, but it neither took a field from us nor, as
// the generation tells, changed the spec, and what we set in the metadata is unchanged.
// The second clause is needed because an admission webhook may change an owned field in
// another writer's request, which the managed fields do not show.
func (v verified) holds(d *Definition, now *observation, meta metav1.Object) bool {
	switch {
	case v.digest != d.digest || v.uid != now.uid || now.foreign || now.goes:
		return false
	case v.version == now.version:
		return true
	default:
		return v.ours == now.ours && d.simple && v.generation != 0 && v.generation == now.generation &&
			kinds.IsSubset(d.labels, meta.GetLabels()) && kinds.IsSubset(d.annotations, meta.GetAnnotations())
	}
}

// DetectUnchanged looks at the live objects that steps are about to apply. It sets what was seen
// of each, and marks those as unchanged of which it is certain that to apply them would
// change nothing. It takes one list for each kind: of metadata alone where this process
// has verified the objects before, of whole objects otherwise. What it cannot see it
// leaves to be applied; it fails only if the API server cannot be reached at all.
func (a *Applier) DetectUnchanged(ctx context.Context, steps []*Step) error {
	a.settleAll(ctx, steps, func(s *Step) bool { return !s.Object.Fresh })
	listed := map[api.Resource]map[api.Key]*Step{}
	touched := map[api.Key]bool{}
	for _, s := range steps {
		if first := !touched[s.Object.Key]; first && !s.Delete && s.Failed == nil && s.Object.Resource.Listable && !s.Object.Fresh {
			if listed[s.Object.Resource] == nil {
				listed[s.Object.Resource] = map[api.Key]*Step{}
			}
			listed[s.Object.Resource][s.Object.Key] = s
		}
		s.follows = touched[s.Object.Key] // what is seen before it is not what it finds
		touched[s.Object.Key] = true
	}
	var (
		mu    sync.Mutex
		errs  []error // guarded by mu
		group sync.WaitGroup
	)
	for res, wanted := range listed {
		group.Go(func() {
			if err := a.detectKind(ctx, res, wanted); err != nil {
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
	if len(touched) < len(steps) {
		repeatUnchanged(steps)
	}
	doubtWhatGoes(steps)
	for _, s := range steps {
		if d := s.Object.Definition; d.unsettled != nil && !s.Unchanged {
			d.body, d.hasNulls = d.unsettled, true
		}
		s.Object.unsettled = nil
	}
	return nil
}

// repeatUnchanged marks those steps as unchanged that say of an object the same as a step which
// is, if no step between says anything else of it.
func repeatUnchanged(steps []*Step) {
	unchanged := map[api.Key]*Step{}
	for _, s := range steps {
		before := unchanged[s.Object.Key]
		switch {
		case s.Unchanged:
			unchanged[s.Object.Key] = s
		case before != nil && !s.Delete && s.Failed == nil && s.Object.digest == before.Object.digest:
			s.Unchanged = true
		default:
			delete(unchanged, s.Object.Key)
		}
	}
}

// doubtWhatGoes makes steps look again, when it is their turn, at objects that go with their
// namespace or with the definition of their kind, since that is deleted, by the same Sync or by
// somebody else.
func doubtWhatGoes(steps []*Step) {
	going := map[string]bool{} // namespaces, and the names of definitions, which have a dot
	for _, s := range steps {
		switch kind := s.Object.Key.GroupKind; {
		case kind != kinds.Namespace && kind != kinds.CustomResourceDefinition:
		case s.Delete, s.seen != nil && s.seen.goes:
			going[s.Object.Key.Name] = true
		}
	}
	if len(going) == 0 {
		return
	}
	for _, s := range steps {
		r := s.Object.Resource
		if !s.Delete && (going[s.Object.Key.Namespace] || going[r.Resource+"."+r.Group]) {
			s.Unchanged, s.doubt, s.seen, s.follows = false, false, nil, true
		}
	}
}

// detectKind is DetectUnchanged for one kind.
func (a *Applier) detectKind(ctx context.Context, res api.Resource, wanted map[api.Key]*Step) error {
	namespaces := map[string]bool{}
	unknown := 0
	for key := range wanted {
		namespaces[key.Namespace] = true
		if _, ok := a.verified.Get(key); !ok {
			unknown++
		}
	}
	look := a.detectByMetadata
	if 10*unknown > len(wanted) { // for a few, applying them costs less than seeing all
		look = a.detectByObject
	}
	scope := ""
	if len(namespaces) == 1 {
		for only := range namespaces {
			scope = only
		}
	}
	err := look(ctx, res, scope, wanted)
	if apierrors.IsForbidden(err) && scope == "" && res.Namespaced {
		for namespace := range namespaces { // those that we may see
			if err = look(ctx, res, namespace, wanted); err != nil && !apierrors.IsForbidden(err) {
				break
			}
		}
	}
	if err != nil && (api.IsUnreachable(err) || ctx.Err() != nil) {
		return err
	}
	if err == nil {
		a.passExpired(wanted)
	}
	return nil // to apply them will show what is wrong
}

// passExpired marks as unchanged the Jobs that were applied as they are defined, and have gone
// by themselves since.
func (a *Applier) passExpired(wanted map[api.Key]*Step) {
	for key, s := range wanted {
		if !s.Object.expires || s.seen != nil {
			continue
		}
		wipes, _ := a.wipes.Get(key.Namespace)
		if v, ok := a.verified.Get(key); ok && v.digest == s.Object.digest && v.wipes == wipes {
			s.Unchanged = true
		}
	}
}

// selectorFor returns the field selector for what is wanted, if that is one object: the API
// server then reads that object only.
func selectorFor(wanted map[api.Key]*Step) string {
	if len(wanted) == 1 {
		for key := range wanted {
			return fields.OneTermEqualSelector("metadata.name", key.Name).String()
		}
	}
	return ""
}

// detectByMetadata judges by metadata alone.
func (a *Applier) detectByMetadata(ctx context.Context, res api.Resource, namespace string, wanted map[api.Key]*Step) error {
	judge := func(meta metav1.Object) {
		s := wanted[api.Key{GroupKind: res.GVK().GroupKind(), Namespace: meta.GetNamespace(), Name: meta.GetName()}]
		if s == nil {
			return
		}
		s.seen = a.observe(meta, meta.GetManagedFields())
		a.judge(s, meta)
	}
	only := selectorFor(wanted)
	return a.client.Pages(ctx, func(ctx context.Context, options metav1.ListOptions) (metav1.ListInterface, error) {
		options.FieldSelector = only
		list, err := a.client.Metadata(res.GroupVersionResource, namespace).List(ctx, options)
		if err != nil {
			return nil, err
		}
		for i := range list.Items {
			judge(&list.Items[i])
		}
		return list, nil
	})
}

// detectByObject judges by the objects as a whole.
func (a *Applier) detectByObject(ctx context.Context, res api.Resource, namespace string, wanted map[api.Key]*Step) error {
	judge := func(live *unstructured.Unstructured) {
		s := wanted[api.Key{GroupKind: res.GVK().GroupKind(), Namespace: live.GetNamespace(), Name: live.GetName()}]
		if s == nil {
			return
		}
		a.judgeWhole(s, live)
	}
	only := selectorFor(wanted)
	return a.client.Pages(ctx, func(ctx context.Context, options metav1.ListOptions) (metav1.ListInterface, error) {
		options.FieldSelector = only
		list, err := a.client.Objects(res.GroupVersionResource, namespace).List(ctx, options)
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

// observeOne observes the object of a step, if there is one. It may find that to apply it
// would change nothing, or that this is in doubt.
func (a *Applier) observeOne(ctx context.Context, s *Step) error {
	t := s.Object
	var live *metav1.PartialObjectMetadata
	err := a.client.Once(ctx, func(ctx context.Context) (err error) {
		live, err = a.metadata(t).Get(ctx, t.Key.Name)
		return err
	})
	switch {
	case apierrors.IsNotFound(err):
		return nil
	case err != nil:
		return errors.Wrap(err, "look at what is there")
	}
	s.seen = a.observe(live, live.ManagedFields)
	if !s.Delete {
		a.judge(s, live)
	}
	return nil
}

// judge decides by the metadata of a live object, which was observed, whether to apply the
// definition would change nothing.
func (a *Applier) judge(s *Step, meta metav1.Object) {
	v, ok := a.verified.Get(s.Object.Key)
	s.Unchanged = ok && v.holds(s.Object.Definition, s.seen, meta)
	s.doubt = ok && !s.Unchanged && v.digest == s.Object.digest && v.uid == s.seen.uid && !s.seen.foreign && !s.seen.goes
	if s.Unchanged {
		a.remember(s.Object, s.seen)
	}
}

// settleDoubt looks at an object as a whole that was as its definition says before: what was
// written since may be its status, say.
func (a *Applier) settleDoubt(ctx context.Context, s *Step) error {
	t := s.Object
	var live *unstructured.Unstructured
	err := a.client.Once(ctx, func(ctx context.Context) (err error) {
		live, err = a.objects(t).Get(ctx, t.Key.Name)
		return err
	})
	switch {
	case apierrors.IsNotFound(err), apierrors.IsForbidden(err):
		return nil
	case err != nil:
		return errors.Wrap(err, "look at what is there")
	}
	a.judgeWhole(s, live)
	return nil
}

// judgeWhole decides by a live object as a whole.
func (a *Applier) judgeWhole(s *Step, live *unstructured.Unstructured) {
	entries := live.GetManagedFields()
	s.seen = a.observe(live, entries)
	a.judge(s, live)
	if !s.Unchanged && !s.seen.foreign && !s.seen.goes && isNoOp(s.Object.Definition, live, a.ours(entries), s.Object.Resource.HasStatus) {
		s.Unchanged = true
		a.remember(s.Object, s.seen)
	}
	s.doubt = false
}
