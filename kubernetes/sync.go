package kubernetes

import (
	"context"
	"fmt"
	"time"

	"github.com/pkg/errors"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/platformbus/platform"
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
	actions := c.readAll(def.Actions, failed)
	steps, err := c.plan(ctx, actions, def.Actions, failed)
	if err == nil {
		err = c.survey(ctx, steps)
	}
	if err != nil {
		return platform.ClusterError(fmt.Errorf("sync: nothing was attempted: %w", err))
	}
	steps = c.changed(steps)
	if err := load(steps, def.Actions); err != nil {
		return platform.ClusterError(fmt.Errorf("sync: %w", err))
	}
	run(ctx, link(steps), c.options.Concurrency, c.do)
	if err := unreachable(steps); err != nil {
		return platform.ClusterError(fmt.Errorf("sync: nothing was done: %w", err))
	}
	for _, s := range steps {
		c.tellSkipped(s)
		failed[s.action] = join(failed[s.action], s.err)
	}
	if err := syncError(def.Actions, failed); err != nil {
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
		if failed[a.index] = join(err1, err2); failed[a.index] == nil {
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
	known   *kinds
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
		res, fresh, err := p.find(d.gvk)
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
	return steps, join(errs...)
}

// find returns the resource of a kind, and whether it is one that this Sync will have
// defined first.
func (p *placer) find(gvk schema.GroupVersionKind) (res resource, fresh bool, err error) {
	res, err = p.known.find(gvk)
	if err == nil {
		return res, false, nil
	}
	if r, ok := p.defined[gvk]; ok {
		return r, true, nil
	}
	if p.asked {
		return res, false, err
	}
	p.asked = true
	latest, asking := p.catalog.after(p.ctx, p.known)
	if asking != nil {
		p.err = asking
		return res, false, err
	}
	p.known = latest
	res, err = p.known.find(gvk)
	return res, false, err
}
