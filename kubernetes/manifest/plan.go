package manifest

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/platformbus/platform"
	"github.com/platformbus/platform/kubernetes/internal/kinds"
	"github.com/platformbus/platform/kubernetes/internal/redact"
)

// PlanOptions adjust a Plan. The zero value plans no deletions.
type PlanOptions struct {
	// SyncSet is the name of the set that the desired objects form: a label value, the same
	// at each Plan of the set, and different for each set in the cluster. If it is empty,
	// objects get no label and nothing is deleted.
	SyncSet string
	// Namespace is that of definitions which are in one and do not say which. It is
	// "default" if empty, and has to be the one that the cluster's own options have.
	Namespace string
	// DeleteBudget is how many objects may be deleted. If it is 0, that is the larger of 10
	// and a quarter of the objects that the set has in the cluster, but none if nothing is
	// desired: an empty folder is more likely a mistake. If it is negative, none is.
	DeleteBudget int
	// AllowDeleteNamespaces lets namespaces be deleted, if all that the cluster has in
	// them is deleted by the same plan.
	AllowDeleteNamespaces bool
	// AllowDeleteCRDs lets definitions of kinds be deleted, if all objects of the kind are
	// deleted by the same plan.
	AllowDeleteCRDs bool
	// AllowDeletePVCs lets claims of volumes, and volumes, be deleted.
	AllowDeletePVCs bool
}

// A DeleteBudgetError says that a Plan would delete more than it may.
type DeleteBudgetError struct {
	// SyncSet is the set whose objects would be deleted.
	SyncSet string
	// Budget is how many of them might be, and Owned how many the cluster has.
	Budget, Owned int
	// IDs names what would be deleted.
	IDs []string
}

// Error names what would be deleted, or the first of it.
func (e *DeleteBudgetError) Error() string {
	names, more := e.IDs, ""
	if most := 20; len(names) > most {
		names, more = names[:most], fmt.Sprintf(" and %d more", len(names)-most)
	}
	return redact.Line(fmt.Sprintf("plan: %d of the %d objects of sync set %q would be deleted, and the budget is %d: %s%s; allow more with DeleteBudget (--delete-budget)",
		len(e.IDs), e.Owned, e.SyncSet, e.Budget, strings.Join(names, ", "), more))
}

// Plan returns what to Sync so that a cluster, of which current is the Export, becomes as
// desired: each desired object that the cluster lacks or has otherwise is applied, and
// what belongs to the sync set and is not desired is deleted; see the package comment for
// what belongs to a set, and for what counts as a change. An object that was in no set, or
// in another, is taken over if it is desired.
//
// A deletion that needs an option it does not have is left out, and reported as refused;
// the rest of the plan stands. So is that of a namespace or a definition of a kind with
// which something would go that the plan does not delete. A plan that deletes more than
// its budget is no plan: Plan returns a DeleteBudgetError, and beside it the report. Any
// other error comes without one: the options are wrong, current is malformed, or an object
// is defined twice.
//
// The SyncDef has one action for each object, with the entry's ID as its ResourceID: first
// what is applied, in the order of need, then what is deleted, in the reverse. It depends
// on nothing but the arguments, and not on the order of desired.
//
// What an Export may not show is applied and reported as unseen, and never deleted. Of what
// Kubernetes makes itself (the namespace default, what is in kube-system and the like) that
// is so until it was applied, from when on an Export shows it; of Secrets, unless it was told
// to show them, and of kinds that nobody defines, such as Node, it is so every time. What a
// cluster proves its own identity with, such as kube-root-ca.crt, is ignored. Where
// an Export says that it could not show a group, what is desired of that group and was not seen
// is applied and reported as unseen. Nothing of the group is deleted, nor is a definition of one
// of its kinds, nor a namespace, in which some of it may be. An Export that came beside an error shows even less; a Plan made from it may
// add what is there, which does no harm, and deletes nothing that was not seen.
func Plan(current []byte, desired []Object, options PlanOptions) (platform.SyncDef, Report, error) {
	p, err := newPlanner(current, desired, options)
	if err != nil {
		return platform.SyncDef{}, Report{}, redact.Error(fmt.Errorf("plan: %w", err))
	}
	for _, w := range p.desired {
		p.add(w)
	}
	if p.options.SyncSet != "" {
		if err := p.prune(); err != nil {
			return platform.SyncDef{}, p.report, err
		}
	}
	return p.def, p.report, nil
}

// A planner is one Plan under way.
type planner struct {
	options PlanOptions
	scopes  scopes
	state   *state
	current []*liveObject    // sorted by key
	desired []*desiredObject // sorted by key
	live    map[key]*liveObject
	wanted  map[key]*desiredObject
	omitted omissions

	def    platform.SyncDef
	report Report
}

// A desiredObject is a desired object, and what becomes of it. Its definition is made when that is
// judged, and not kept.
type desiredObject struct {
	key
	object Object
	judged bool
	err    error // what is wrong with it

	outcome outcome
	entry   Entry
	apply   []byte // what is to be applied, if anything is
}

// An outcome is what becomes of a desired object.
type outcome int

const (
	unchanged outcome = iota
	ignored
	changed
	unseen
	added
)

func newPlanner(current []byte, desired []Object, options PlanOptions) (*planner, error) {
	if options.Namespace == "" {
		options.Namespace = metav1.NamespaceDefault
	}
	if wrong := validation.IsDNS1123Label(options.Namespace); len(wrong) > 0 {
		return nil, fmt.Errorf("the namespace %q: %s", options.Namespace, strings.Join(wrong, "; "))
	}
	if wrong := validation.IsValidLabelValue(options.SyncSet); len(wrong) > 0 {
		return nil, fmt.Errorf("the name of the sync set, %q: %s", options.SyncSet, strings.Join(wrong, "; "))
	}
	for i, o := range desired {
		if o.Unstructured == nil {
			return nil, fmt.Errorf("object %d of those desired is nil", i+1)
		}
	}
	p := &planner{
		options: options, scopes: newScopes(options.Namespace), omitted: readComments(current), report: Report{SyncSet: options.SyncSet},
		live: map[key]*liveObject{}, wanted: map[key]*desiredObject{},
	}
	if err := p.readCurrent(current, desired); err != nil {
		return nil, fmt.Errorf("the state of the cluster: %w", err)
	}
	if err := p.readDesired(desired); err != nil {
		return nil, err
	}
	p.report.Notes = p.omitted.notes()
	return p, nil
}

// readCurrent reads the state of the cluster, and judges what is desired of Kubernetes' own
// kinds and is there: as long as an object is at hand, it need not be read again.
func (p *planner) readCurrent(current []byte, desired []Object) error {
	for _, o := range desired {
		k := keyOf(o.Unstructured)
		if kinds.Lookup(k.GroupKind) == nil {
			continue
		}
		if k = p.scopes.keyFor(k); p.wanted[k] == nil { // the second of two is an error, later
			p.wanted[k] = &desiredObject{key: k, object: o}
		}
	}
	var err error
	p.state, err = readState(current, p.scopes, func(d *definition) {
		if w := p.wanted[d.key]; w != nil && !w.judged {
			p.judge(w, d)
		}
	})
	if err != nil {
		return err
	}
	p.scopes.finish(desired)
	var failed []error
	for _, o := range p.state.objects {
		o.key = p.scopes.keyFor(o.key)
		source := Object{Line: o.line}
		first, twice := p.live[o.key]
		switch err := o.check(); {
		case err != nil:
			failed = append(failed, source.at(err))
		case twice:
			failed = append(failed, twiceError(o.key, source, Object{Line: first.line}))
		case o.err != nil:
			failed = append(failed, source.at(fmt.Errorf("%v: %w", o.key, o.err)))
		default:
			p.live[o.key] = o
		}
	}
	p.current = slices.SortedFunc(maps.Values(p.live), func(a, b *liveObject) int { return a.compare(b.key) })
	return redact.Error(redact.Join(failed...))
}

// readDesired judges what has not been judged. It returns an error about each desired object
// that is wrong or is there twice.
func (p *planner) readDesired(desired []Object) error {
	var (
		early   = p.wanted
		errs    = make([]error, len(desired)) // by the object
		indexes = map[*desiredObject]int{}
		again   []*liveObject
	)
	p.wanted = make(map[key]*desiredObject, len(desired))
	for i, o := range desired {
		k := p.scopes.keyFor(keyOf(o.Unstructured))
		if err := k.check(); err != nil {
			errs[i] = o.at(err)
			continue
		}
		if first, twice := p.wanted[k]; twice {
			errs[i] = twiceError(k, o, first.object)
			continue
		}
		w := early[k]
		if w == nil {
			w = &desiredObject{key: k, object: o}
		}
		p.wanted[k], indexes[w] = w, i
		p.desired = append(p.desired, w)
		if live := p.live[k]; live != nil && !w.judged {
			again = append(again, live)
		}
	}
	err := p.state.readAgain(again, p.scopes, func(d *definition) error {
		p.judge(p.wanted[d.key], d)
		return nil
	})
	if err != nil {
		return err
	}
	for _, w := range p.desired {
		if !w.judged {
			p.judge(w, nil)
		}
		if w.err != nil {
			errs[indexes[w]] = w.object.at(fmt.Errorf("%v: %w", w.key, w.err))
		}
	}
	slices.SortFunc(p.desired, func(a, b *desiredObject) int { return a.compare(b.key) })
	return redact.Error(redact.Join(errs...))
}

// twiceError says of an object, by its key, that there are two.
func twiceError(k key, second, first Object) error {
	return second.at(fmt.Errorf("%v is defined a second time, first at %s", k, cmp.Or(first.location(), "another of the objects given")))
}

// judge finds out what becomes of a desired object. Its live definition is nil if the cluster
// does not have it.
func (p *planner) judge(w *desiredObject, live *definition) {
	w.judged = true
	var content map[string]any
	var d *definition
	if content, w.err = copied(w.object.Object); w.err != nil {
		return
	}
	if d, w.err = newDefinition(content, w.key, w.object.GroupVersionKind(), p.scopes); w.err != nil {
		return
	}
	if w.err = d.sign(); w.err != nil {
		return
	}
	d.source = w.object.location()
	w.entry = Entry{ID: w.String(), Source: w.object.Source, Line: w.object.Line}
	switch {
	case kinds.IsCertificate(d.GroupKind, d.namespace, d.name):
		w.outcome, w.entry.Why = ignored, "each cluster has its own"
		return
	case live != nil && live.ignores("sync"):
		w.outcome, w.entry.Why = ignored, "its annotation "+IgnoreAnnotation+" says so"
		return
	case live != nil:
		change, why := p.compare(d, live)
		if change == nil {
			w.outcome = unchanged
			return
		}
		w.outcome, w.entry.Why = changed, why
		w.entry.Diff = show(d.key, shown(live, live.set), change, d.source)
	default:
		w.entry.Diff = show(d.key, nil, shown(d, p.options.SyncSet), d.source)
		if w.entry.Why = p.unseen(d); w.entry.Why != "" {
			w.outcome, w.entry.There = unseen, p.omitted.there[d.key]
			break
		}
		w.outcome = added
		if kinds.Expires(d.GroupKind, d.content) {
			w.entry.Why = "a process that has applied it before does not make it again once it has finished and gone"
		}
	}
	w.apply, w.err = encode(d.marked(p.options.SyncSet))
}

// add adds what becomes of a desired object to the plan.
func (p *planner) add(w *desiredObject) {
	switch w.outcome {
	case unchanged:
		p.report.Unchanged++
		return
	case ignored:
		p.report.Ignored = append(p.report.Ignored, w.entry)
		return
	case changed:
		p.report.Change = append(p.report.Change, w.entry)
	case unseen:
		p.report.Unseen = append(p.report.Unseen, w.entry)
	case added:
		p.report.Add = append(p.report.Add, w.entry)
	}
	p.def.Actions = append(p.def.Actions, platform.SyncAction{ResourceID: w.entry.ID, Apply: w.apply})
}

// compare returns what live becomes if d is applied to it, as it is shown, and why it is
// to be; or nil if it is as desired.
func (p *planner) compare(d, live *definition) (map[string]any, string) {
	var (
		root        = kinds.Field{Shape: kinds.ShapeOf(schema.FromAPIVersionAndKind(live.apiVersion, live.Kind))}
		want        = d.comparable()
		modified    = d.wants != live.mark
		known       = live.markedForItself()
		sameVersion = d.apiVersion == live.apiVersion
		reasons     []string
	)
	left := maxPairs
	m := merge{d.key, !sameVersion && root.Field("apiVersion").IsKnown(), &left}
	if !sameVersion {
		delete(want, "apiVersion")
	}
	merged, changed := m.apply(want, live.content, root, nil)
	switch set := live.set; {
	case p.options.SyncSet == "" || set == p.options.SyncSet && known:
	case set == "" && known:
		reasons = append(reasons, "it is in no sync set: no plan has put it in one, or its label was removed")
	case set == "" || set == p.options.SyncSet:
		reasons = append(reasons, "it is taken over: no plan for this sync set has made it")
	default:
		reasons = append(reasons, fmt.Sprintf("it is taken over from sync set %q", redact.Name(set)))
	}
	switch {
	case modified && known && !sameVersion:
		reasons = append(reasons, "its definition has changed, and has another apiVersion than the export")
	case changed && !sameVersion:
		reasons = append(reasons, "its definition has another apiVersion than the export, and may say something else")
	case modified && known:
		if lost := m.lost(want, live.content, root, nil, ""); len(lost) > 0 {
			reasons = append(reasons, "its definition has changed, and may take away "+sample(lost, 10))
		} else if !changed {
			reasons = append(reasons, "its definition has changed, and the object will hardly change")
		}
	case modified && p.options.SyncSet == "" && !changed:
		reasons = append(reasons, "nothing differs; it gets the mark of a plan")
	case modified && p.options.SyncSet == "":
		reasons = append(reasons, "no plan has made it")
	}
	if !changed && !modified && len(reasons) == 0 {
		return nil, ""
	}
	after := *d
	after.content = merged.(map[string]any)
	return shown(&after, p.options.SyncSet), strings.Join(reasons, "; ")
}

// sample lists a few of the names.
func sample(names []string, most int) string {
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
}

// shown returns the content to show of an object in a sync set: with the set's label, and
// without the hash.
func shown(d *definition, syncSet string) map[string]any {
	content := d.marked(syncSet)
	meta := content["metadata"].(map[string]any)
	annotations := meta["annotations"].(map[string]any)
	if delete(annotations, DefinitionHashAnnotation); len(annotations) == 0 {
		delete(meta, "annotations")
	}
	return content
}

// unseen says why an Export would not have the object even if the cluster does, or
// nothing if it would.
func (p *planner) unseen(d *definition) string {
	switch {
	case d.GroupKind == kinds.Secret && p.omitted.secrets != "":
		return "the export leaves out Secrets"
	case p.omitted.ofGroup(d.Group) != "":
		return p.omitted.ofGroup(d.Group)
	case d.owned:
		return "the export leaves out what other objects own"
	case kinds.MayBeSystems(d.GroupKind, d.namespace, d.name):
		return "the export leaves out what is the system's"
	}
	return ""
}
