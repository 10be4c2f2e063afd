package kubernetes

import (
	"context"
	"fmt"
	"time"

	"github.com/pkg/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/platformbus/platform"
	"github.com/platformbus/platform/kubernetes/internal/api"
	"github.com/platformbus/platform/kubernetes/internal/apply"
	"github.com/platformbus/platform/kubernetes/internal/graph"
	"github.com/platformbus/platform/kubernetes/internal/kinds"
	"github.com/platformbus/platform/kubernetes/internal/redact"
)

// Sync executes every action, see platform.Platform and "Order of application" in the package
// comment. It does not wait for rollouts.
//
// An action with a malformed definition is not begun. Neither is one that deletes something and
// has a definition of a kind that the cluster does not have; if it only applies, such a definition
// fails alone, with those that depend on it. An unchanged object costs no request of its own, see
// "Unchanged objects".
func (c *Cluster) Sync(def platform.SyncDef) error {
	ctx, cancel, err := c.call()
	if err != nil {
		return clusterError(fmt.Errorf("sync: nothing was attempted: %w", err))
	}
	defer cancel()
	if len(def.Actions) == 0 {
		return nil
	}

	failed := make([]error, len(def.Actions)) // by index of the action
	steps, err := c.steps(ctx, def.Actions, failed)
	if err != nil {
		return clusterError(fmt.Errorf("sync: nothing was attempted: %w", err))
	}
	var nodes []*graph.Step[*apply.Step]
	if err := c.tracing.phase(ctx, "kubernetes.apply", func(ctx context.Context) error {
		steps, err := load(ctx, steps, def.Actions, failed)
		if err != nil {
			return err
		}
		c.applier.SettleNulls(ctx, steps)
		nodes = c.run(ctx, steps)
		return nil
	}); err != nil {
		return clusterError(fmt.Errorf("sync: nothing was attempted: %w", err))
	}
	if err := unreachable(nodes); err != nil {
		return clusterError(fmt.Errorf("sync: the outcome is not known: %w", err)) // a connection may be lost after a request was sent
	}
	causes := make([][]error, len(def.Actions)) // of each action, in the order of its steps
	for i, err := range failed {
		causes[i] = append(causes[i], err)
	}
	for _, n := range nodes {
		if n.Err != nil {
			causes[n.Value.Action] = append(causes[n.Value.Action], n.Err)
		}
	}
	if err := syncError(def.Actions, causes); err != nil {
		return err
	}
	c.options.Metrics.LastSync.Set(float64(time.Now().UnixNano()) / 1e9)
	return nil
}

// steps reads the actions and looks at the cluster, and returns the steps that are to be taken.
// Where an action cannot be carried out it sets the action's error in failed.
func (c *core) steps(ctx context.Context, given []platform.SyncAction, failed []error) (steps []*apply.Step, err error) {
	var actions []action
	err = c.tracing.phase(ctx, "kubernetes.read", func(ctx context.Context) (err error) {
		actions, err = c.readAll(ctx, given, failed)
		return err
	})
	if err != nil {
		return nil, err
	}
	err = c.tracing.phase(ctx, "kubernetes.look", func(ctx context.Context) error {
		all, err := c.plan(ctx, actions, given, failed)
		if err == nil {
			err = c.applier.DetectUnchanged(ctx, all)
		}
		if err != nil {
			return err
		}
		steps = c.changed(ctx, all)
		count(ctx, "kubernetes.objects", len(all))
		count(ctx, "kubernetes.objects.unchanged", len(all)-len(steps))
		return nil
	})
	return steps, err
}

// changed returns the steps that are to be taken, and reports the others.
func (c *core) changed(ctx context.Context, steps []*apply.Step) []*apply.Step {
	taken := make([]*apply.Step, 0, len(steps))
	for _, s := range steps {
		if s.Unchanged {
			c.report(ctx, s, Unchanged, 0, nil)
			continue
		}
		taken = append(taken, s)
	}
	return taken
}

// run takes the steps and returns their nodes, in the same order.
func (c *core) run(ctx context.Context, steps []*apply.Step) []*graph.Step[*apply.Step] {
	g, nodes := apply.Graph(steps)
	g.Run(ctx, c.options.Concurrency, func(ctx context.Context, n *graph.Step[*apply.Step]) error {
		c.options.Metrics.InFlight.Add(1)
		defer c.options.Metrics.InFlight.Add(-1)
		outcome, took, err := c.applier.Do(ctx, n)
		var again *graph.Again
		if !errors.As(err, &again) {
			c.report(ctx, n.Value, resultOf(outcome, err), took, err)
		}
		return err
	})
	for _, n := range nodes {
		s := n.Value
		switch {
		case n.Err == nil:
		case n.Skipped:
			n.Err = skippedError(n)
			c.report(ctx, s, Skipped, 0, n.Err)
		default:
			if s.Result == "" { // it waited when the call ended, or had failed before it could begin
				took := time.Duration(0)
				if !s.Begun.IsZero() {
					took = time.Since(s.Begun)
				}
				c.report(ctx, s, Failed, took, n.Err)
			}
			if s.Failed == nil { // which says what of
				n.Err = fmt.Errorf("%v: %w", s, redact.Error(n.Err))
			}
		}
	}
	c.tracing.steps(ctx, nodes)
	return nodes
}

func (c *core) report(ctx context.Context, s *apply.Step, result Result, took time.Duration, err error) {
	s.Result, s.Took = string(result), took
	c.options.emit(ctx, Event{ID: s.Object.EntryID, Object: s.Object.Key.String(), Result: result, Took: took, Err: err})
}

func resultOf(outcome apply.Outcome, err error) Result {
	if err != nil {
		return Failed
	}
	switch outcome {
	case apply.Unchanged:
		return Unchanged
	case apply.Deleted:
		return Deleted
	case apply.Ignored:
		return Ignored
	default:
		return Applied
	}
}

// skippedError says why a step was not attempted: another that it needs has failed, or the
// call was over.
func skippedError(n *graph.Step[*apply.Step]) error {
	if n.Blocker == nil {
		return fmt.Errorf("%v: not attempted: %w", n.Value, n.Err)
	}
	return &blockedError{n.Value, n.Blocker.Value}
}

// A blockedError says that a step was not attempted, since it needs another that failed.
type blockedError struct{ step, blocker *apply.Step }

func (e *blockedError) Error() string {
	return fmt.Sprintf("%v: not attempted, since %q failed: %v", e.step, cut(e.blocker.Object.EntryID), e.blocker)
}

// cut shortens an ID, which may be of any length.
func cut(id string) string {
	if most := 200; len(id) > most {
		return id[:most] + "…"
	}
	return id
}

// unreachable returns the cause if all steps failed because the API server could not be
// reached, or refused our credentials: one error is clearer than one for each.
func unreachable(nodes []*graph.Step[*apply.Step]) error {
	var why error
	for _, n := range nodes {
		switch {
		case n.Err == nil:
			return nil
		case n.Skipped:
		case api.IsUnreachable(n.Err):
			why = n.Err
		default:
			return nil
		}
	}
	return why
}

// syncError returns a SyncError with the errors of each action under its ResourceID, together
// with those of other actions that have the same one, or nil if there are none.
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

// plan returns a step for each definition, with the resource that the API server has for its
// kind. Where an action cannot be carried out it sets the action's error in failed. It fails as a
// whole only if the API server cannot be asked.
func (c *core) plan(ctx context.Context, actions []action, given []platform.SyncAction, failed []error) ([]*apply.Step, error) {
	known, err := c.client.Kinds(ctx)
	if err != nil {
		return nil, err
	}
	resolver := kindResolver{core: c, ctx: ctx, known: known, defined: definedIn(actions)}
	var steps []*apply.Step
	for _, a := range actions {
		entryID := given[a.index].ResourceID
		deletes, err1 := resolver.steps(a.delete, a.index, entryID, true)
		applies, err2 := resolver.steps(a.apply, a.index, entryID, false)
		if len(a.delete) == 0 {
			err2 = nil // each of them fails alone
		}
		if failed[a.index] = redact.Join(err1, err2); failed[a.index] == nil {
			steps = append(append(steps, deletes...), applies...)
		}
	}
	return steps, resolver.err
}

// definedIn returns the kinds that the actions' own CustomResourceDefinitions define.
func definedIn(actions []action) map[schema.GroupVersionKind]api.Resource {
	defined := map[schema.GroupVersionKind]api.Resource{}
	for _, a := range actions {
		for _, d := range a.apply {
			for _, k := range d.Defines {
				defined[k.GroupVersionKind] = api.Resource{GroupVersionResource: k.GroupVersion().WithResource(k.Plural), Kind: k.Kind, Namespaced: k.Namespaced, Listable: true}
			}
		}
	}
	return defined
}

// A kindResolver finds the resources of definitions. It asks the API server anew, once, when a
// kind is not known: it may have come since.
type kindResolver struct {
	*core
	ctx     context.Context
	known   *api.Catalog
	defined map[schema.GroupVersionKind]api.Resource
	asked   bool
	err     error // why the API server could not be asked
}

// steps returns the steps for the definitions of one half of an action, also for those that
// fail since their kind is not known, and the errors of these. What is to be deleted and of a
// kind that the cluster does not have is gone already, and left out.
func (r *kindResolver) steps(defs []*apply.Definition, index int, entryID string, deleting bool) ([]*apply.Step, error) {
	var (
		steps []*apply.Step
		errs  []error
	)
	for i, d := range defs {
		res, fresh, err := r.find(d.GVK, deleting)
		var unknown *api.UnknownKindError
		switch {
		case err == nil:
			t := apply.NewTarget(d, res, r.options.Namespace, entryID)
			t.Fresh = fresh
			_, t.DefinedHere = r.defined[d.GVK]
			steps = append(steps, &apply.Step{Action: index, Index: i, Object: t, Delete: deleting})
		case deleting && errors.As(err, &unknown) && unknown.Broken == nil && len(unknown.Others) == 0:
		default:
			err = fmt.Errorf("%s %s: %w", d.GVK.Kind, d.Name, err)
			errs = append(errs, err)
			nowhere := api.Resource{GroupVersionResource: d.GVK.GroupVersion().WithResource(""), Kind: d.GVK.Kind, Namespaced: kinds.Of(d.GVK.GroupKind()).Scope != kinds.ClusterScoped}
			steps = append(steps, &apply.Step{Action: index, Index: i, Object: apply.NewTarget(d, nowhere, r.options.Namespace, entryID), Failed: err})
		}
	}
	return steps, redact.Join(errs...)
}

// find returns the resource of a kind, and whether it is one that this Sync will have
// defined first. What a definition in the same Sync says of a kind, the API server may
// refuse: it orders what is applied, see resolve, and decides no deletion.
func (r *kindResolver) find(gvk schema.GroupVersionKind, deleting bool) (res api.Resource, fresh bool, err error) {
	res, err = r.known.Find(gvk)
	if err != nil && !r.asked {
		r.asked = true
		latest, asking := r.client.KindsAfter(r.ctx, r.known)
		if asking != nil {
			r.err = asking
			return res, false, err
		}
		r.known = latest
		res, err = r.known.Find(gvk)
	}
	defined, ok := r.defined[gvk]
	switch {
	case err == nil || !ok:
		return res, false, err
	case deleting:
		// The object is there, if it is, at a version that the server has already.
		for _, other := range r.known.Preferred {
			if other.GVK().GroupKind() == gvk.GroupKind() {
				return other, false, nil
			}
		}
		return res, false, err
	default:
		return defined, true, nil
	}
}
