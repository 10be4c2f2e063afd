package kubernetes

import (
	"context"
	"fmt"

	"github.com/pkg/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/platformbus/platform"
	"github.com/platformbus/platform/kubernetes/manifest"
)

// Sync carries out every action, see platform.Platform and "Order of application" in the
// package comment. An action that cannot be understood as a whole, because a definition
// in it is malformed or of a kind that the cluster does not have, is not begun.
func (c *Cluster) Sync(def platform.SyncDef) error {
	if len(def.Actions) == 0 {
		return nil
	}
	ctx, cancel := c.call()
	defer cancel()

	failed := make([]error, len(def.Actions)) // by index of the action
	parsed := parse(def.Actions, failed)
	steps, err := c.plan(ctx, parsed, failed)
	if err != nil {
		return platform.ClusterError(fmt.Errorf("sync: %w", err))
	}
	run(ctx, steps, c.options.Concurrency, c.do)
	for _, s := range steps {
		if s.object != nil {
			failed[s.action] = join(failed[s.action], s.err)
		}
	}
	return syncError(def.Actions, failed)
}

// do does one step.
func (c *clients) do(ctx context.Context, s *step) error {
	unlock, err := c.writing.lock(ctx, s.object.key)
	if err != nil {
		return err
	}
	defer unlock()
	if s.delete {
		return c.delete(ctx, s.object, len(s.before) > 0)
	}
	return c.apply(ctx, s.object)
}

// syncError tells of each action that failed under its ResourceID, all of those that
// share one.
func syncError(actions []platform.SyncAction, failed []error) error {
	errs := platform.SyncError{}
	for i, err := range failed {
		if err != nil {
			id := actions[i].ResourceID
			errs[id] = join(errs[id], err)
		}
	}
	if len(errs) == 0 {
		return nil
	}
	return errs
}

// A parsedAction is an action whose definitions could be read.
type parsedAction struct {
	index         int
	label         string
	delete, apply []manifest.Object
}

// parse reads the definitions of all actions. Of those that it cannot read it says why in
// failed.
func parse(actions []platform.SyncAction, failed []error) []parsedAction {
	parsed := make([]parsedAction, 0, len(actions))
	for i, action := range actions {
		p := parsedAction{index: i, label: action.ResourceID}
		var errs [2]error
		if p.delete, errs[0] = manifest.Parse(action.Delete); errs[0] != nil {
			errs[0] = fmt.Errorf("read the definition to delete: %w", errs[0])
		}
		if p.apply, errs[1] = manifest.Parse(action.Apply); errs[1] != nil {
			errs[1] = fmt.Errorf("read the definition to apply: %w", errs[1])
		}
		if failed[i] = join(errs[:]...); failed[i] == nil {
			parsed = append(parsed, p)
		}
	}
	return parsed
}

// plan finds out where the API server has what the actions name, and what must come
// before what. Of actions that it cannot place it says why in failed. It fails as a whole
// only if the API server cannot be asked.
func (c *clients) plan(ctx context.Context, actions []parsedAction, failed []error) ([]*step, error) {
	known, err := c.catalog.kinds(ctx)
	if err != nil {
		return nil, err
	}
	place := placer{clients: c, ctx: ctx, known: known, defined: definedIn(actions)}
	var steps []*step
	for _, action := range actions {
		var own []*step
		deletes, err1 := place.all(action.delete, action.label, true)
		applies, err2 := place.all(action.apply, action.label, false)
		if failed[action.index] = join(err1, err2); failed[action.index] != nil {
			continue
		}
		for _, t := range deletes {
			own = append(own, &step{action: action.index, object: t, delete: true})
		}
		for _, t := range applies {
			own = append(own, &step{action: action.index, object: t})
		}
		steps = append(steps, own...)
	}
	if place.err != nil {
		return nil, place.err
	}
	return link(steps), nil
}

// definedIn returns the kinds that the actions' own CustomResourceDefinitions will add.
func definedIn(actions []parsedAction) map[schema.GroupVersionKind]resource {
	defined := map[schema.GroupVersionKind]resource{}
	for _, action := range actions {
		for _, object := range action.apply {
			if object.GroupVersionKind().GroupKind() == crdKind {
				for _, r := range definedBy(object.Unstructured) {
					defined[r.gvk()] = r
				}
			}
		}
	}
	return defined
}

// A placer finds the resources of definitions. It asks the API server anew, once, when a
// kind is not known: it may have come since.
type placer struct {
	*clients
	ctx     context.Context
	known   *kinds
	defined map[schema.GroupVersionKind]resource
	asked   bool
	err     error // why the API server could not be asked
}

// all returns the targets that the objects are. What is to be deleted and of a kind that
// the cluster does not have is gone already, and left out.
func (p *placer) all(objects []manifest.Object, label string, deleting bool) ([]*target, error) {
	var (
		targets []*target
		errs    []error
	)
	for _, object := range objects {
		res, err := p.find(object.GroupVersionKind())
		var unknown *unknownKindError
		switch {
		case err == nil:
			targets = append(targets, newTarget(object.Unstructured, res, p.options.Namespace, label))
		case deleting && errors.As(err, &unknown) && unknown.broken == nil && len(unknown.others) == 0:
		default:
			errs = append(errs, fmt.Errorf("%s %s: %w", object.GetKind(), object.GetName(), err))
		}
	}
	return targets, join(errs...)
}

func (p *placer) find(gvk schema.GroupVersionKind) (resource, error) {
	if r, ok := p.defined[gvk]; ok {
		return r, nil
	}
	r, err := p.known.find(gvk)
	if err == nil || p.asked {
		return r, err
	}
	p.asked = true
	fresh, asking := p.catalog.after(p.ctx, p.known)
	if asking != nil {
		p.err = asking
		return r, err
	}
	p.known = fresh
	return p.known.find(gvk)
}

// link numbers the steps, adds the barriers, and makes each step need what must come
// before it. The steps are in the order of the actions.
func link(steps []*step) []*step {
	applied := map[objectKey]*step{}         // the last step that applies the object
	deleted := map[objectKey]*step{}         // the last step that deletes the object
	last := map[objectKey]*step{}            // the last step so far that touches the object
	defining := map[schema.GroupKind]*step{} // the step that applies the definition of the kind
	for _, s := range steps {
		key := s.object.key
		if earlier := last[key]; earlier != nil {
			// Within an action Apply is pointless where Delete has failed; another
			// action speaks for itself.
			s.need(earlier, earlier.action == s.action && earlier.delete && !s.delete)
		}
		last[key] = s
		if s.delete {
			deleted[key] = s
			continue
		}
		applied[key] = s
		if key.GroupKind == crdKind {
			for _, r := range definedBy(s.object.content) {
				defining[r.gvk().GroupKind()] = s
			}
		}
	}
	deletedCRDs := map[string]*step{} // by group and plural, as they are named
	for key, s := range deleted {
		if key.GroupKind == crdKind {
			deletedCRDs[key.name] = s
		}
	}
	for _, s := range steps {
		needed := append(references(s.object.content, s.object.key.namespace),
			objectKey{GroupKind: namespaceKind, name: s.object.key.namespace})
		if s.delete {
			// What others need goes after them.
			for _, key := range needed {
				if d := deleted[key]; d != nil && last[key] == d {
					d.need(s, true)
				}
			}
			if d := deletedCRDs[s.object.resource.Resource+"."+s.object.resource.Group]; d != nil && last[d.object.key] == d {
				d.need(s, true)
			}
			continue
		}
		for _, key := range needed {
			if a := applied[key]; a != nil {
				s.need(a, true)
			}
		}
		if a := defining[s.object.key.GroupKind]; a != nil {
			s.need(a, true)
		}
	}
	return addBarriers(steps)
}

// addBarriers makes gates come into force after all else is applied, and go before
// anything else is deleted, and numbers the steps.
func addBarriers(steps []*step) []*step {
	opened, closed := &step{action: -1}, &step{action: -1}
	for _, s := range steps {
		switch gate := isGate(s.object.key.GroupKind); {
		case gate && s.delete:
			opened.need(s, false)
		case gate:
			s.need(closed, false)
		case s.delete:
			s.need(opened, false)
		default:
			closed.need(s, false)
		}
	}
	all := append(append([]*step{opened}, steps...), closed)
	for i, s := range all {
		s.index = i
	}
	return all
}
