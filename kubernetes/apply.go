package kubernetes

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/platformbus/platform"
	"github.com/platformbus/platform/flux"
	"github.com/platformbus/platform/kubernetes/internal/api"
	"github.com/platformbus/platform/kubernetes/internal/apply"
	"github.com/platformbus/platform/kubernetes/internal/parse"
	"github.com/platformbus/platform/kubernetes/internal/redact"
	"github.com/platformbus/platform/kubernetes/internal/rollout"
)

// Apply gives each service's pod controller its new definition, and waits until it is
// rolled out unless Async is set, see platform.Platform. The service must exist and
// select the pods of exactly one pod controller, and the definition must be of its kind
// and name; the errors for that are ErrNoMatchingService, ErrServiceHasNoSelector,
// ErrEmptySelector, ErrNoMatching, ErrMultipleMatching and ErrWrongResourceKind.
// Definitions of one service are applied in their order, different services at once.
func (c *Cluster) Apply(defs []platform.ServiceDefinition) error {
	ctx, cancel, err := c.call()
	if err != nil {
		return clusterError(fmt.Errorf("apply: nothing was attempted: %w", err))
	}
	defer cancel()
	if len(defs) == 0 {
		return nil
	}
	a := &application{core: c.core, matched: map[flux.ServiceID]*workload{}, failed: map[flux.ServiceID][]error{}}
	err = c.tracing.phase(ctx, "kubernetes.look", func(ctx context.Context) (err error) {
		if a.known, err = c.client.Kinds(ctx); err != nil {
			return err
		}
		return a.match(ctx, defs)
	})
	if err != nil {
		return clusterError(fmt.Errorf("apply: nothing was attempted: %w", err))
	}
	_ = c.tracing.phase(ctx, "kubernetes.apply", func(ctx context.Context) error { a.run(ctx, defs); return nil })
	if len(a.applied) > 0 {
		_ = c.tracing.phase(ctx, "kubernetes.rollout", func(ctx context.Context) error { a.await(ctx); return nil })
	}

	failed := platform.ApplyError{}
	for id, errs := range a.failed {
		failed[id] = redact.Error(redact.Join(errs...))
	}
	if len(failed) == 0 {
		return nil
	}
	return failed
}

// An application is one call of Apply.
type application struct {
	*core
	known   *api.Catalog
	matched map[flux.ServiceID]*workload      // the pod controllers that services select
	applied map[flux.ServiceID]rollout.Target // what is to be waited for
	failed  map[flux.ServiceID][]error
}

func (a *application) fail(id flux.ServiceID, err error) { a.failed[id] = append(a.failed[id], err) }

// match finds the pod controller of each service.
func (a *application) match(ctx context.Context, defs []platform.ServiceDefinition) error {
	wanted := flux.ServiceIDSet{}
	for _, def := range defs {
		if _, err := namespaceOf(def.ServiceID); err == nil {
			wanted.Add([]flux.ServiceID{def.ServiceID})
		} else if a.failed[def.ServiceID] == nil {
			a.fail(def.ServiceID, err)
		}
	}
	ids := slices.Sorted(maps.Keys(wanted))
	found, failed, err := a.servicesByID(ctx, ids, false)
	if err != nil {
		return err
	}
	all := a.selectedBy(ctx, slices.Collect(maps.Values(found)))
	for _, id := range ids {
		service, err := found[id], failed[id]
		switch {
		case err != nil:
		case service == nil:
			err = platform.ErrNoMatchingService
		default:
			a.matched[id], err = service.selects(all)
		}
		if err != nil {
			a.fail(id, err)
		}
	}
	return nil
}

// run applies the definitions of the services that have a pod controller.
func (a *application) run(ctx context.Context, defs []platform.ServiceDefinition) {
	a.applied = map[flux.ServiceID]rollout.Target{}
	var steps []*apply.Step
	for i, def := range defs {
		there := a.matched[def.ServiceID]
		if there == nil {
			continue
		}
		t, err := a.target(ctx, def, there)
		if err != nil {
			a.fail(def.ServiceID, err)
			continue
		}
		steps = append(steps, &apply.Step{Action: i, Object: t, Explicit: true})
	}
	for _, n := range a.core.run(ctx, steps) {
		def, t := defs[n.Value.Action], n.Value.Object
		switch {
		case n.Err != nil:
			a.fail(def.ServiceID, n.Err)
		case !def.Async:
			a.applied[def.ServiceID] = rollout.Target{Key: t.Key, Resource: t.Resource, EntryID: t.EntryID}
		}
	}
}

// target returns the object that a definition is of, which has to be the pod controller that
// is there.
func (a *application) target(ctx context.Context, def platform.ServiceDefinition, there *workload) (*apply.Target, error) {
	defs, err := parseDefinitions(ctx, def.NewDefinition, parse.NewLimits(len(def.NewDefinition), parse.AnyNumber))
	if err != nil {
		return nil, fmt.Errorf("read the definition: %w", err)
	}
	if len(defs) != 1 {
		return nil, fmt.Errorf("read the definition: want one object, got %d", len(defs))
	}
	d := defs[0]
	namespace := cmp.Or(d.Namespace, there.namespace)
	if d.GVK.Kind != there.kind || d.Name != there.name || namespace != there.namespace {
		return nil, fmt.Errorf("%w: the service selects the pods of %s %s/%s, the definition is of %s %s/%s", platform.ErrWrongResourceKind,
			there.kind, there.namespace, there.name, d.GVK.Kind, namespace, d.Name)
	}
	res, err := a.known.Find(d.GVK)
	if err != nil {
		return nil, err
	}
	return apply.NewTarget(d, res, there.namespace, string(def.ServiceID)), nil
}

// await waits for the rollouts of what was applied.
func (a *application) await(ctx context.Context) {
	failed := a.waiter.Wait(ctx, slices.Collect(maps.Values(a.applied)))
	count(ctx, "kubernetes.rollouts", len(a.applied))
	noteStalled(ctx, failed)
	for t, err := range failed {
		a.options.emit(ctx, Event{ID: t.EntryID, Object: t.Key.String(), Result: Stalled, Err: err})
		a.fail(flux.ServiceID(t.EntryID), fmt.Errorf("roll out %v: %w", t.Key, err))
	}
}
