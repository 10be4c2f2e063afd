package kubernetes

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

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
	if len(defs) == 0 {
		return nil
	}
	ctx, cancel := c.call()
	defer cancel()
	known, err := c.client.Kinds(ctx)
	if err != nil {
		return clusterError(fmt.Errorf("apply: %w", err))
	}
	a := &application{core: c.core, known: known, lists: map[string]func() *workloads{}, failed: map[flux.ServiceID][]error{}}
	a.match(ctx, defs)
	a.run(ctx, defs)
	a.await(ctx)

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

	mu     sync.Mutex
	lists  map[string]func() *workloads // of each namespace, listed once; guarded by mu
	failed map[flux.ServiceID][]error   // guarded by mu
}

func (a *application) fail(id flux.ServiceID, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.failed[id] = append(a.failed[id], err)
}

// match finds the pod controller of each service.
func (a *application) match(ctx context.Context, defs []platform.ServiceDefinition) {
	a.matched = map[flux.ServiceID]*workload{}
	for _, def := range defs {
		a.matched[def.ServiceID] = nil
	}
	var (
		ids   = slices.Collect(maps.Keys(a.matched))
		found = make([]*workload, len(ids))
		group sync.WaitGroup
	)
	for i, id := range ids {
		group.Go(func() {
			var err error
			if found[i], err = a.selectedBy(ctx, id); err != nil {
				a.fail(id, err)
			}
		})
	}
	group.Wait()
	for i, id := range ids {
		a.matched[id] = found[i]
	}
}

// selectedBy returns the one pod controller whose pods the service selects.
func (a *application) selectedBy(ctx context.Context, id flux.ServiceID) (*workload, error) {
	namespace, name, err := componentsOf(id)
	if err != nil {
		return nil, err
	}
	service := &corev1.Service{}
	err = a.client.Retry(ctx, func(ctx context.Context) error {
		return a.client.Get(ctx, api.Target{GroupVersionResource: serviceResource, Namespace: namespace, Name: name}, service)
	})
	switch {
	case apierrors.IsNotFound(err):
		return nil, platform.ErrNoMatchingService
	case err != nil:
		return nil, fmt.Errorf("get the service: %w", err)
	}
	found := newFoundService(service, time.Now())
	return found.selects(a.workloadsIn(ctx, namespace))
}

func (a *application) workloadsIn(ctx context.Context, namespace string) *workloads {
	a.mu.Lock()
	list := a.lists[namespace]
	if list == nil {
		list = sync.OnceValue(func() *workloads { return a.workloads(ctx, api.Scope{namespace}) })
		a.lists[namespace] = list
	}
	a.mu.Unlock()
	return list()
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
	namespace := d.Namespace
	orDefault(&namespace, there.namespace)
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
	for t, err := range a.waiter.Wait(ctx, slices.Collect(maps.Values(a.applied))) {
		a.options.emit(Event{ID: t.EntryID, Object: t.Key.String(), Result: Stalled, Err: err})
		a.fail(flux.ServiceID(t.EntryID), fmt.Errorf("roll out %v: %w", t.Key, err))
	}
}
