package apply

import (
	"bytes"
	"context"
	"crypto/sha256"
	"slices"
	"sync"

	"github.com/pkg/errors"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"github.com/platformbus/platform/kubernetes/internal/api"
	"github.com/platformbus/platform/kubernetes/internal/kinds"
	"github.com/platformbus/platform/kubernetes/internal/look"
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
	if ours != nil {
		fields := ours.FieldsV1.GetRawBytes()
		o.ours = sha256.Sum256(append([]byte(ours.APIVersion+"\n"), fields...))
		o.managedAs = ours.APIVersion
		o.hostNetwork = o.hostNetwork || setsHostNetwork(ours)
	}
	return o
}

// setsHostNetwork says whether an entry, which has fields, has a pod's field of that name.
func setsHostNetwork(entry *metav1.ManagedFieldsEntry) bool {
	return bytes.Contains(entry.FieldsV1.GetRawBytes(), []byte(`"f:hostNetwork"`))
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
// change nothing. It looks at metadata alone where this process has verified the objects before,
// at whole objects otherwise. What it cannot see it leaves to Do; it fails only if the API
// server cannot be reached at all.
func (a *Applier) DetectUnchanged(ctx context.Context, steps []*Step) error {
	unsettled := map[*Definition][]byte{} // the bodies of those whose kind the same Sync defines, perhaps anew
	for _, s := range steps {
		if s.Object.DefinedHere && s.Object.hasNulls {
			unsettled[s.Object.Definition] = s.Object.body
		}
	}
	a.settleAll(ctx, steps, func(s *Step) bool { return !s.Object.Fresh })
	wanted := map[api.Resource][]*Step{}
	touched := map[api.Key]bool{}
	for _, s := range steps {
		if first := !touched[s.Object.Key]; first && !s.Delete && s.Failed == nil && s.Object.Resource.Listable && !s.Object.Fresh {
			wanted[s.Object.Resource] = append(wanted[s.Object.Resource], s)
		}
		s.follows = touched[s.Object.Key] // what is seen before it is not what it finds
		touched[s.Object.Key] = true
	}
	var (
		mu    sync.Mutex
		errs  []error // guarded by mu
		group sync.WaitGroup
	)
	for _, first := range []bool{true, false} {
		for res, some := range wanted {
			if a.looker.IsFirst(res, len(some)) == first {
				delete(wanted, res)
				group.Go(func() {
					if err := a.detectKind(ctx, res, some); err != nil {
						mu.Lock()
						defer mu.Unlock()
						errs = append(errs, err)
					}
				})
			}
		}
		group.Wait()
		// In a small cluster empty lists cost little, and make the next ones faster; watches begin
		// with one.
		if first && a.looker.IsLarge() && !a.looker.Watches() {
			a.passEmpty(wanted, steps)
		}
	}
	redact.Sort(errs)
	if len(errs) > 0 {
		return errs[0]
	}
	if len(touched) < len(steps) {
		repeatUnchanged(steps)
	}
	doubtWhatGoes(steps)
	for _, s := range steps {
		if d := s.Object.Definition; unsettled[d] != nil && !s.Unchanged { // a Summary has no body
			d.body, d.hasNulls = unsettled[d], true
		}
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
func (a *Applier) detectKind(ctx context.Context, res api.Resource, wanted []*Step) error {
	query := look.Query{Resource: res, Objects: make([]look.Object, len(wanted))}
	unknown := 0
	for i, s := range wanted {
		query.Objects[i] = look.Object{Namespace: s.Object.Key.Namespace, Name: s.Object.Key.Name, Labels: s.Object.labels, Size: s.Object.size}
		if _, ok := a.verified.Get(s.Object.Key); !ok {
			unknown++
		}
	}
	query.Whole = 10*unknown > len(wanted) // for a few, applying them costs less than seeing all
	query.Seen = func(i int, meta *metav1.PartialObjectMetadata) { a.judge(wanted[i], meta, meta.ManagedFields) }
	query.SeenWhole = func(i int, live *unstructured.Unstructured) { a.judgeWhole(wanted[i], live) }
	query.Same = func(i int) bool { return a.judgeSame(wanted[i]) }
	found, err := a.looker.Look(ctx, query)
	for i, finding := range found {
		if finding == look.Absent {
			a.passExpired(wanted[i])
		}
		wanted[i].hidden, wanted[i].absent = finding == look.Unknown, finding == look.Absent
	}
	return err
}

// passEmpty takes out of wanted what would be in namespaces that are not there: nor is it.
func (a *Applier) passEmpty(wanted map[api.Resource][]*Step, steps []*Step) {
	empty := map[string]bool{}
	for _, s := range steps {
		if s.absent && s.Object.Key.GroupKind == kinds.Namespace {
			empty[s.Object.Key.Name] = true
		}
	}
	for res, some := range wanted {
		wanted[res] = slices.DeleteFunc(some, func(s *Step) bool {
			if empty[s.Object.Key.Namespace] {
				a.passExpired(s)
			}
			return empty[s.Object.Key.Namespace]
		})
		if len(wanted[res]) == 0 {
			delete(wanted, res)
		}
	}
}

// passExpired marks as unchanged a Job that was applied as it is defined, and has gone by itself
// since.
func (a *Applier) passExpired(s *Step) {
	if !s.Object.expires {
		return
	}
	wipes, _ := a.wipes.Get(s.Object.Key.Namespace)
	if v, ok := a.verified.Get(s.Object.Key); ok && v.digest == s.Object.digest && v.wipes == wipes {
		s.Unchanged = true
	}
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
	if s.Delete {
		s.seen = a.observe(live, live.ManagedFields)
	} else {
		a.judge(s, live, live.ManagedFields)
	}
	return nil
}

// observeByDryRun observes an object that may be applied and not looked at by what an apply would
// make of it. If the API server refuses that, it observes nothing: the apply will show why.
func (a *Applier) observeByDryRun(ctx context.Context, s *Step) error {
	t := s.Object
	var after *metav1.PartialObjectMetadata
	err := a.client.Once(ctx, func(ctx context.Context) (err error) {
		after, err = a.metadata(t).Patch(ctx, t.Key.Name, types.ApplyPatchType, t.body,
			metav1.PatchOptions{FieldManager: a.options.FieldManager, Force: new(true), DryRun: []string{metav1.DryRunAll}})
		return err
	})
	if err != nil {
		if api.IsTransient(err) || ctx.Err() != nil {
			return err
		}
		return nil
	}
	s.hidden = false
	o := a.observe(after, after.ManagedFields)
	// All else that is seen is what would be, not what is.
	s.seen = &observation{ignored: o.ignored, goes: o.goes}
	v, ok := a.verified.Get(t.Key)
	s.Unchanged = ok && v.digest == t.digest && v.uid == o.uid && v.version == o.version
	return nil
}

// judge observes the metadata of a live object, whose managed fields are given, and decides by
// that whether to apply the definition would change nothing.
func (a *Applier) judge(s *Step, meta metav1.Object, entries []metav1.ManagedFieldsEntry) {
	v, ok := a.verified.Get(s.Object.Key)
	isKnown := ok && v.uid == meta.GetUID() && v.version == meta.GetResourceVersion()
	if isKnown {
		s.seen = &v.observation
	} else {
		s.seen = a.observe(meta, entries)
	}
	s.Unchanged = ok && v.holds(s.Object.Definition, s.seen, meta)
	s.doubt = ok && !s.Unchanged && v.digest == s.Object.digest && v.uid == s.seen.uid && !s.seen.foreign && !s.seen.goes
	if s.Unchanged && !isKnown {
		a.remember(s.Object, s.seen)
	}
}

// judgeSame marks a step as unchanged if its object was as its definition says when it was last
// seen. It says whether it was.
func (a *Applier) judgeSame(s *Step) bool {
	v, ok := a.verified.Get(s.Object.Key)
	if !ok || v.digest != s.Object.digest || v.foreign || v.goes || v.ignored {
		return false
	}
	s.seen, s.Unchanged = &v.observation, true
	return true
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
	a.judge(s, live, entries)
	if !s.Unchanged && !s.seen.foreign && !s.seen.goes && isNoOp(s.Object.Definition, live, a.ours(entries), s.Object.Resource.HasStatus) {
		s.Unchanged = true
		a.remember(s.Object, s.seen)
	}
	s.doubt = false
}
