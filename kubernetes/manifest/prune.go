package manifest

import (
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/platformbus/platform"
	"github.com/platformbus/platform/kubernetes/internal/kinds"
	"github.com/platformbus/platform/kubernetes/internal/redact"
)

// prune plans the deletion of what belongs to the set and is no longer desired.
func (p *planner) prune() error {
	var (
		owned    int
		toDelete = map[key]bool{}
		refused  = map[key]string{}
	)
	for _, d := range p.current {
		if d.set != p.options.SyncSet {
			continue
		}
		if d.markedForItself() {
			owned++
		}
		if p.wanted[d.key] != nil {
			continue
		}
		if why := p.protected(d); why != "" {
			p.report.Ignored = append(p.report.Ignored, Entry{ID: d.String(), Why: why})
			continue
		}
		if why := p.forbidden(d); why != "" {
			refused[d.key] = why
			continue
		}
		toDelete[d.key] = true
	}
	for k, why := range p.blocked(toDelete) {
		delete(toDelete, k)
		refused[k] = why
	}
	diffs, err := p.deletions(toDelete)
	if err != nil {
		return redact.Error(fmt.Errorf("plan: %w", err))
	}
	var ids []string
	for _, d := range p.current {
		entry := Entry{ID: d.String()}
		switch {
		case refused[d.key] != "":
			entry.Why = refused[d.key]
			p.report.Refused = append(p.report.Refused, entry)
		case toDelete[d.key]:
			entry.Diff = diffs[d.key]
			if d.GroupKind == kinds.Namespace {
				entry.Why = "with all that is in it, also what the export does not show"
			}
			p.report.Delete = append(p.report.Delete, entry)
			ids = append(ids, entry.ID)
		}
	}
	if budget := p.budget(owned); len(ids) > budget {
		return &DeleteBudgetError{SyncSet: p.options.SyncSet, Budget: budget, Owned: owned, IDs: ids}
	}
	for _, d := range slices.Backward(p.current) {
		if !toDelete[d.key] {
			continue
		}
		body, err := d.deletion()
		if err != nil {
			return fmt.Errorf("plan: %v: %w", d.key, err)
		}
		p.def.Actions = append(p.def.Actions, platform.SyncAction{ResourceID: d.String(), Delete: body})
	}
	return nil
}

// deletions shows what is deleted.
func (p *planner) deletions(toDelete map[key]bool) (map[key]string, error) {
	var objects []*liveObject
	for k := range toDelete {
		objects = append(objects, p.live[k])
	}
	diffs := make(map[key]string, len(objects))
	err := p.state.readAgain(objects, p.scopes, func(d *definition) error {
		diffs[d.key] = show(d.key, shown(d, d.set), nil, "")
		return nil
	})
	return diffs, err
}

func (p *planner) budget(owned int) int {
	switch {
	case p.options.DeleteBudget > 0:
		return p.options.DeleteBudget
	case p.options.DeleteBudget < 0 || len(p.desired) == 0:
		return 0
	default:
		return max(10, owned/4)
	}
}

// protected says why an object with the set's label is none of the plan's business.
func (p *planner) protected(d *liveObject) string {
	switch {
	case d.ignores("sync"), d.ignores("prune"):
		return "its annotation " + IgnoreAnnotation + " says so"
	case d.owned:
		return "another object owns it"
	case !d.markedForItself():
		return "it has the label of the sync set, but no plan made it; the label was copied"
	}
	return ""
}

// forbidden says which option an object's deletion lacks, or what is not known that would be
// deleted with it.
func (p *planner) forbidden(d *liveObject) string {
	switch {
	case d.GroupKind == kinds.Namespace && kinds.MayBeSystems(d.GroupKind, "", d.name):
		return "it is the system's"
	case d.GroupKind == kinds.Namespace && !p.options.AllowDeleteNamespaces:
		return "a namespace is not deleted without AllowDeleteNamespaces (--allow-delete-namespaces)"
	case d.GroupKind == kinds.CustomResourceDefinition && !p.options.AllowDeleteCRDs:
		return "a CustomResourceDefinition is not deleted without AllowDeleteCRDs (--allow-delete-crds)"
	case (d.GroupKind == kinds.PersistentVolumeClaim || d.GroupKind == kinds.PersistentVolume) && !p.options.AllowDeletePVCs:
		return "a volume or its claim is not deleted without AllowDeletePVCs (--allow-delete-pvcs)"
	case d.GroupKind == kinds.Namespace && len(p.omitted.groups) > 0:
		return p.omitted.groups[0].String() + ", and what is of that group may be in it"
	case d.GroupKind == kinds.CustomResourceDefinition:
		return p.omitted.ofGroup(d.defines.Group)
	}
	return p.omitted.ofGroup(d.Group)
}

// blocked returns those of the toDelete with which something would go that is not: what is in
// a namespace, or is of a kind.
func (p *planner) blocked(toDelete map[key]bool) map[key]string {
	var (
		inNamespace = map[string]key{}           // one that stays
		ofKind      = map[schema.GroupKind]key{} // likewise
	)
	note := func(k key) {
		if toDelete[k] {
			return
		}
		if _, ok := inNamespace[k.namespace]; !ok && k.namespace != "" {
			inNamespace[k.namespace] = k
		}
		if _, ok := ofKind[k.GroupKind]; !ok {
			ofKind[k.GroupKind] = k
		}
	}
	for _, d := range p.current {
		note(d.key)
	}
	for _, w := range p.desired {
		note(w.key)
	}
	stays := map[key]string{}
	for k := range toDelete {
		switch k.GroupKind {
		case kinds.Namespace:
			if other, ok := inNamespace[k.name]; ok {
				stays[k] = fmt.Sprintf("%v, which stays, is in it", other)
			}
		case kinds.CustomResourceDefinition:
			if other, ok := ofKind[p.live[k].defines]; ok {
				stays[k] = fmt.Sprintf("%v, which stays, is of that kind", other)
			}
		}
	}
	return stays
}
