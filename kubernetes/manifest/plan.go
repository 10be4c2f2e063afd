package manifest

import (
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
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
	return redact.Line(fmt.Sprintf("plan: %d of the %d objects of sync set %q would be deleted, and the budget is %d: %s%s",
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
	for _, d := range p.desired {
		if err := p.apply(d); err != nil {
			return platform.SyncDef{}, Report{}, redact.Error(fmt.Errorf("plan: %v: %w", d.key, err))
		}
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
	current []*definition // sorted by key
	desired []*definition // sorted by key
	live    map[key]*definition
	wanted  map[key]*definition
	omitted omissions

	def    platform.SyncDef
	report Report
}

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
	objects, err := Parse(current)
	if err != nil {
		return nil, fmt.Errorf("the state of the cluster: %w", err)
	}
	p := &planner{options: options, omitted: readComments(current), report: Report{SyncSet: options.SyncSet}}
	s := newScopes(options.Namespace, objects, desired)
	if p.current, p.live, err = define(objects, s); err != nil {
		return nil, fmt.Errorf("the state of the cluster: %w", err)
	}
	if p.desired, p.wanted, err = define(desired, s); err != nil {
		return nil, err
	}
	for _, d := range p.desired {
		if err := d.sign(); err != nil {
			return nil, fmt.Errorf("%v: %w", d.key, err)
		}
	}
	p.report.Notes = p.omitted.notes()
	return p, nil
}

// define returns the objects as definitions, sorted and by key, or an error about each
// that is wrong or is there twice.
func define(objects []Object, s scopes) ([]*definition, map[key]*definition, error) {
	var (
		list   = make([]*definition, 0, len(objects))
		byKey  = make(map[key]*definition, len(objects))
		failed []error
	)
	fail := func(o Object, err error) {
		if location := o.location(); location != "" {
			err = fmt.Errorf("%s: %w", location, err)
		}
		failed = append(failed, err)
	}
	for _, o := range objects {
		k := s.keyFor(o.Unstructured)
		if err := k.check(); err != nil {
			fail(o, err)
			continue
		}
		if first, twice := byKey[k]; twice {
			location := first.location()
			if location == "" {
				location = "another of the objects given"
			}
			fail(o, fmt.Errorf("%v is defined a second time, first at %s", k, location))
			continue
		}
		d, err := newDefinition(o, k, s)
		if err != nil {
			fail(o, fmt.Errorf("%v: %w", k, err))
			continue
		}
		list, byKey[k] = append(list, d), d
	}
	slices.SortFunc(list, func(a, b *definition) int { return a.compare(b.key) })
	return list, byKey, redact.Error(redact.Join(failed...))
}

// apply plans what becomes of one desired object.
func (p *planner) apply(d *definition) error {
	entry := Entry{ID: d.String(), Source: d.from.Source, Line: d.from.Line}
	target := d.marked(p.options.SyncSet)
	live, there := p.live[d.key]
	switch {
	case kinds.IsCertificate(d.GroupKind, d.namespace, d.name):
		entry.Why = "each cluster has its own"
		p.report.Ignored = append(p.report.Ignored, entry)
		return nil
	case there && live.ignores("sync"):
		entry.Why = "its annotation " + IgnoreAnnotation + " says so"
		p.report.Ignored = append(p.report.Ignored, entry)
		return nil
	case there:
		change, why := p.compare(d, live)
		if change == nil {
			p.report.Unchanged++
			return nil
		}
		entry.Why, entry.Diff = why, show(d.key, shown(live, live.syncSet()), change, d.location())
		p.report.Change = append(p.report.Change, entry)
	default:
		entry.Diff = show(d.key, nil, shown(d, p.options.SyncSet), d.location())
		if entry.Why = p.unseen(d); entry.Why != "" {
			entry.There = p.omitted.there[d.key]
			p.report.Unseen = append(p.report.Unseen, entry)
		} else {
			if kinds.Expires(d.GroupKind, d.content) {
				entry.Why = "a process that has applied it before does not make it again once it has finished and gone"
			}
			p.report.Add = append(p.report.Add, entry)
		}
	}
	body, err := encode(target)
	p.def.Actions = append(p.def.Actions, platform.SyncAction{ResourceID: entry.ID, Apply: body})
	return err
}

// compare returns what live becomes if d is applied to it, as it is shown, and why it is
// to be; or nil if it is as desired.
func (p *planner) compare(d, live *definition) (map[string]any, string) {
	var (
		root        = kinds.Field{Shape: kinds.ShapeOf(live.from.GroupVersionKind())}
		want        = d.comparable()
		modified    = d.mark != live.currentMark()
		known       = live.markedForItself()
		sameVersion = d.from.GetAPIVersion() == live.from.GetAPIVersion()
		reasons     []string
	)
	left := maxPairs
	m := merge{d.key, !sameVersion && root.Field("apiVersion").IsKnown(), &left}
	if !sameVersion {
		delete(want, "apiVersion")
	}
	merged, changed := m.apply(want, live.content, root, nil)
	switch set := live.syncSet(); {
	case p.options.SyncSet == "" || set == p.options.SyncSet && known:
	case set == "" && known:
		reasons = append(reasons, "it has lost the label of its sync set")
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
			reasons = append(reasons, "its definition has changed, and the object will hardly")
		}
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
	case d.isOwned():
		return "the export leaves out what other objects own"
	case kinds.MayBeSystems(d.GroupKind, d.namespace, d.name):
		return "the export leaves out what is the system's"
	}
	return ""
}
