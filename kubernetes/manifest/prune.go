package manifest

import (
	"fmt"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/platformbus/platform"
)

// prune plans the deletion of what belongs to the set and is no longer desired.
func (p *planner) prune() error {
	var (
		owned   int
		doomed  = map[key]bool{}
		refused = map[key]string{}
	)
	for _, d := range p.current {
		if d.syncSet() != p.options.SyncSet {
			continue
		}
		if d.markedForItself() {
			owned++
		}
		if p.wanted[d.key] != nil {
			continue
		}
		if why := p.spared(d); why != "" {
			p.report.Ignored = append(p.report.Ignored, Entry{ID: d.String(), Why: why})
			continue
		}
		if why := p.forbidden(d); why != "" {
			refused[d.key] = why
			continue
		}
		doomed[d.key] = true
	}
	for k, why := range p.bereft(doomed) {
		delete(doomed, k)
		refused[k] = why
	}
	var ids []string
	for _, d := range p.current {
		entry := Entry{ID: d.String()}
		switch {
		case refused[d.key] != "":
			entry.Why = refused[d.key]
			p.report.Refused = append(p.report.Refused, entry)
		case doomed[d.key]:
			entry.Diff = show(d.key, shown(d, d.syncSet()), nil, "")
			if d.GroupKind == namespaceKind {
				entry.Why = "with all that is in it, also what the export does not show"
			}
			p.report.Delete = append(p.report.Delete, entry)
			ids = append(ids, entry.ID)
		}
	}
	if budget := p.budget(owned); len(ids) > budget {
		return &DeleteBudgetError{SyncSet: p.options.SyncSet, Budget: budget, Owned: owned, IDs: ids}
	}
	for i := len(p.current) - 1; i >= 0; i-- {
		d := p.current[i]
		if !doomed[d.key] {
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

// spared says why an object with the set's label is none of the plan's business.
func (p *planner) spared(d *definition) string {
	switch {
	case d.ignores("sync"), d.ignores("prune"):
		return "its annotation " + IgnoreAnnotation + " says so"
	case d.isOwned():
		return "another object owns it"
	case !d.markedForItself():
		return "it has the label of the sync set, but no plan made it; the label was copied"
	}
	return ""
}

// forbidden says which option an object's deletion lacks.
func (p *planner) forbidden(d *definition) string {
	switch {
	case d.GroupKind == namespaceKind && isSystems(d.key):
		return "it is the system's"
	case d.GroupKind == namespaceKind && !p.options.AllowDeleteNamespaces:
		return "a namespace is not deleted without AllowDeleteNamespaces"
	case d.GroupKind == crdKind && !p.options.AllowDeleteCRDs:
		return "a CustomResourceDefinition is not deleted without AllowDeleteCRDs"
	case (d.GroupKind == pvcKind || d.GroupKind == pvKind) && !p.options.AllowDeletePVCs:
		return "a volume or its claim is not deleted without AllowDeletePVCs"
	}
	return ""
}

// bereft returns those of the doomed with which something would go that is not: what is in
// a namespace, or is of a kind.
func (p *planner) bereft(doomed map[key]bool) map[key]string {
	var (
		inNamespace = map[string]*definition{}           // one that stays
		ofKind      = map[schema.GroupKind]*definition{} // likewise
	)
	for _, list := range [][]*definition{p.current, p.desired} {
		for _, d := range list {
			if doomed[d.key] {
				continue
			}
			if d.namespace != "" && inNamespace[d.namespace] == nil {
				inNamespace[d.namespace] = d
			}
			if ofKind[d.GroupKind] == nil {
				ofKind[d.GroupKind] = d
			}
		}
	}
	spared := map[key]string{}
	for k := range doomed {
		switch k.GroupKind {
		case namespaceKind:
			if d := inNamespace[k.name]; d != nil {
				spared[k] = fmt.Sprintf("%v, which stays, is in it", d.key)
			}
		case crdKind:
			kind, _, _ := defines(p.live[k].from.Unstructured)
			if d := ofKind[kind]; d != nil {
				spared[k] = fmt.Sprintf("%v, which stays, is of that kind", d.key)
			}
		}
	}
	return spared
}
