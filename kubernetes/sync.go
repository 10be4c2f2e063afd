package kubernetes

import (
	"context"
	"fmt"
	"time"

	"github.com/pkg/errors"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/platformbus/platform"
	"github.com/platformbus/platform/kubernetes/internal/redact"
)

// Sync carries out every action, see platform.Platform and "Order of application" in the
// package comment. An action that cannot be understood as a whole, because a definition
// in it is malformed or of a kind that the cluster does not have, is not begun. An object
// of which it is certain that to apply its definition would change nothing costs no
// request of its own.
func (c *Cluster) Sync(def platform.SyncDef) error {
	if len(def.Actions) == 0 {
		return nil
	}
	ctx, cancel := c.call()
	defer cancel()

	failed := make([]error, len(def.Actions)) // by index of the action
	var steps []*step
	actions, err := c.readAll(ctx, def.Actions, failed)
	if err == nil {
		steps, err = c.plan(ctx, actions, def.Actions, failed)
	}
	if err == nil {
		err = c.survey(ctx, steps)
	}
	if err != nil {
		return clusterError(fmt.Errorf("sync: nothing was attempted: %w", err))
	}
	steps = c.changed(steps)
	if err := load(ctx, steps, def.Actions); err != nil {
		return clusterError(fmt.Errorf("sync: %w", err))
	}
	run(ctx, link(steps), c.options.Concurrency, c.do)
	if err := unreachable(steps); err != nil {
		return clusterError(fmt.Errorf("sync: nothing was done: %w", err))
	}
	causes := make([][]error, len(def.Actions)) // of each action, in the order of its steps
	for i, err := range failed {
		causes[i] = append(causes[i], err)
	}
	for _, s := range steps {
		c.tellSkipped(s)
		if s.err != nil {
			causes[s.action] = append(causes[s.action], s.err)
		}
	}
	if err := syncError(def.Actions, causes); err != nil {
		return err
	}
	c.options.Metrics.LastSync.Set(float64(time.Now().UnixNano()) / 1e9)
	return nil
}

// changed returns the steps that are to be taken, and tells of the others.
func (c *clients) changed(steps []*step) []*step {
	taken := make([]*step, 0, len(steps))
	for _, s := range steps {
		if s.unchanged {
			c.tell(Event{ID: s.object.label, Object: s.object.key.String(), Result: Unchanged})
			continue
		}
		taken = append(taken, s)
	}
	return taken
}

// do does one step.
func (c *clients) do(ctx context.Context, s *step) error {
	begin := time.Now()
	c.options.Metrics.InFlight.Add(1)
	defer c.options.Metrics.InFlight.Add(-1)
	if s.object.fresh {
		if err := c.resolve(ctx, s.object); err != nil {
			return err
		}
	}
	unlock, err := c.writing.lock(ctx, s.object.key)
	if err != nil {
		return err
	}
	defer unlock()
	result, err := c.write(ctx, s)
	c.tell(Event{ID: s.object.label, Object: s.object.key.String(), Result: result, Took: time.Since(begin), Err: err})
	return err
}

func (c *clients) write(ctx context.Context, s *step) (Result, error) {
	if s.seen == nil && (s.delete || s.follows()) {
		var err error
		s.seen, err = c.look(ctx, s.object)
		if err != nil && (s.delete || !apierrors.IsForbidden(err)) { // who may not look can still apply
			return Failed, err
		}
	}
	if s.seen != nil && s.seen.ignored {
		c.options.Logger.InfoContext(ctx, "left alone, as its annotation says", "object", s.object.key.String(), "annotation", ignoreAnnotation)
		return Ignored, nil
	}
	var err error
	result := Applied
	if s.delete {
		result, err = Deleted, c.delete(ctx, s.object, len(s.before) > 0)
	} else {
		err = c.apply(ctx, s.object, s.seen)
	}
	if err != nil {
		return Failed, err
	}
	return result, nil
}

// tellSkipped tells of a step that was not attempted.
func (c *clients) tellSkipped(s *step) {
	if s.err != nil && s.skipped {
		c.tell(Event{ID: s.object.label, Object: s.object.key.String(), Result: Skipped, Err: s.err})
	}
}

// unreachable returns why no step could be done, if that is for all of them that the API
// server was not there or refused our credentials: one error says it better than one for
// each.
func unreachable(steps []*step) error {
	var why error
	for _, s := range steps {
		switch {
		case s.err == nil:
			return nil
		case s.skipped:
		case isUnreachable(s.err):
			why = s.err
		default:
			return nil
		}
	}
	return why
}

// syncError tells of each action that failed under its ResourceID, all of those that
// share one.
func syncError(actions []platform.SyncAction, causes [][]error) error {
	byID := map[string][]error{}
	for i, some := range causes {
		if redact.Join(some...) != nil {
			id := actions[i].ResourceID
			byID[id] = append(byID[id], some...)
		}
	}
	if len(byID) == 0 {
		return nil
	}
	errs := make(platform.SyncError, len(byID))
	for id, some := range byID {
		errs[id] = redact.Error(redact.Join(some...))
	}
	return errs
}

// plan finds out where the API server has what the actions name. Of actions that it cannot
// place it says why in failed. It fails as a whole only if the API server cannot be asked.
func (c *clients) plan(ctx context.Context, actions []action, given []platform.SyncAction, failed []error) ([]*step, error) {
	known, err := c.catalog.kinds(ctx)
	if err != nil {
		return nil, err
	}
	place := placer{clients: c, ctx: ctx, known: known, defined: definedIn(actions)}
	var steps []*step
	for _, a := range actions {
		label := given[a.index].ResourceID
		deletes, err1 := place.all(a.delete, a.index, label, true)
		applies, err2 := place.all(a.apply, a.index, label, false)
		if failed[a.index] = redact.Join(err1, err2); failed[a.index] == nil {
			steps = append(append(steps, deletes...), applies...)
		}
	}
	return steps, place.err
}

// definedIn returns the kinds that the actions' own CustomResourceDefinitions define.
func definedIn(actions []action) map[schema.GroupVersionKind]resource {
	defined := map[schema.GroupVersionKind]resource{}
	for _, a := range actions {
		for _, d := range a.apply {
			for _, r := range d.defines {
				defined[r.gvk()] = r
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
	known   *served
	defined map[schema.GroupVersionKind]resource
	asked   bool
	err     error // why the API server could not be asked
}

// all returns the steps for the definitions of one half of an action. What is to be
// deleted and of a kind that the cluster does not have is gone already, and left out.
func (p *placer) all(defs []*definition, index int, label string, deleting bool) ([]*step, error) {
	var (
		steps []*step
		errs  []error
	)
	for i, d := range defs {
		res, fresh, err := p.find(d.gvk, deleting)
		var unknown *unknownKindError
		switch {
		case err == nil:
			t := newTarget(d, res, p.options.Namespace, label)
			t.fresh = fresh
			_, t.defined = p.defined[d.gvk]
			steps = append(steps, &step{action: index, place: i, object: t, delete: deleting})
		case deleting && errors.As(err, &unknown) && unknown.broken == nil && len(unknown.others) == 0:
		default:
			errs = append(errs, fmt.Errorf("%s %s: %w", d.gvk.Kind, d.name, err))
		}
	}
	return steps, redact.Join(errs...)
}

// find returns the resource of a kind, and whether it is one that this Sync will have
// defined first. What a definition in the same Sync says of a kind, the API server may
// refuse: it orders what is applied, see resolve, and decides no deletion.
func (p *placer) find(gvk schema.GroupVersionKind, deleting bool) (res resource, fresh bool, err error) {
	res, err = p.known.find(gvk)
	if err != nil && !p.asked {
		p.asked = true
		latest, asking := p.catalog.after(p.ctx, p.known)
		if asking != nil {
			p.err = asking
			return res, false, err
		}
		p.known = latest
		res, err = p.known.find(gvk)
	}
	defined, ok := p.defined[gvk]
	switch {
	case err == nil || !ok:
		return res, false, err
	case deleting:
		// The object is there, if it is, at a version that the server has already.
		for _, other := range p.known.preferred {
			if other.gvk().GroupKind() == gvk.GroupKind() {
				return other, false, nil
			}
		}
		return res, false, err
	default:
		return defined, true, nil
	}
}

// resolve replaces what the definition of t's kind says of it, which this Sync has applied
// meanwhile, by what the API server says: no path is made of the former.
func (c *clients) resolve(ctx context.Context, t *target) error {
	ctx, cancel := c.wait(ctx)
	defer cancel()
	return retry(ctx, func(ctx context.Context) error {
		known, err := c.catalog.kinds(ctx)
		if err != nil {
			return err
		}
		res, err := known.find(t.gvk)
		if err != nil { // what is known may be older than the definition
			if known, err = c.catalog.after(ctx, known); err != nil {
				return err
			}
			if res, err = known.find(t.gvk); err != nil {
				return notServedYet{err}
			}
		}
		if res.namespaced != t.resource.namespaced {
			return fmt.Errorf("the cluster does not serve the kind %s as its definition says", t.gvk.Kind)
		}
		t.resource, t.fresh = res, false
		return nil
	})
}
