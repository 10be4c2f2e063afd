package kubernetes

import (
	"context"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/platformbus/platform"
	"github.com/platformbus/platform/flux"
	"github.com/platformbus/platform/kubernetes/internal/api"
	"github.com/platformbus/platform/kubernetes/internal/parse"
	"github.com/platformbus/platform/kubernetes/internal/redact"
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
	known, err := c.catalog.kinds(ctx)
	if err != nil {
		return clusterError(fmt.Errorf("apply: %w", err))
	}
	a := &application{clients: c.clients, known: known, lists: map[string]func() *workloads{}}

	var order []flux.ServiceID
	byService := map[flux.ServiceID][]platform.ServiceDefinition{}
	for _, def := range defs {
		if byService[def.ServiceID] == nil {
			order = append(order, def.ServiceID)
		}
		byService[def.ServiceID] = append(byService[def.ServiceID], def)
	}
	var (
		mu      sync.Mutex
		failed  = platform.ApplyError{} // guarded by mu
		awaited []*target               // guarded by mu
		group   sync.WaitGroup
		slots   = make(chan struct{}, c.options.Concurrency)
	)
	for _, id := range order {
		group.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			await, err := a.service(ctx, id, byService[id])
			mu.Lock()
			defer mu.Unlock()
			if await != nil {
				awaited = append(awaited, await)
			}
			if err != nil {
				failed[id] = redact.Error(err)
			}
		})
	}
	group.Wait()
	for t, err := range c.awaitRollouts(ctx, awaited) {
		c.tell(Event{ID: t.label, Object: t.key.String(), Result: Stalled, Err: err})
		id := flux.ServiceID(t.label)
		failed[id] = redact.Error(redact.Join(failed[id], fmt.Errorf("roll out %v: %w", t.key, err)))
	}
	if len(failed) == 0 {
		return nil
	}
	return failed
}

// An application is one call of Apply.
type application struct {
	*clients
	known *served

	mu    sync.Mutex
	lists map[string]func() *workloads // of each namespace, listed once; guarded by mu
}

// service applies the definitions of one service. It returns the target to wait for, if
// there is one.
func (a *application) service(ctx context.Context, id flux.ServiceID, defs []platform.ServiceDefinition) (*target, error) {
	matched, err := a.match(ctx, id)
	if err != nil {
		return nil, err
	}
	var (
		await *target
		errs  []error
	)
	for _, def := range defs {
		t, err := a.definition(ctx, id, matched, def.NewDefinition)
		if err != nil {
			errs = append(errs, err)
		} else if !def.Async {
			await = t
		}
	}
	return await, redact.Join(errs...)
}

// match returns the one pod controller that the service selects.
func (a *application) match(ctx context.Context, id flux.ServiceID) (*workload, error) {
	namespace, name, err := componentsOf(id)
	if err != nil {
		return nil, err
	}
	service := &corev1.Service{}
	err = retry(ctx, func(ctx context.Context) error {
		ctx, cancel := a.request(ctx)
		defer cancel()
		return causeOf(ctx, a.api.Get(ctx, api.Target{GroupVersionResource: serviceResource, Namespace: namespace, Name: name}, service))
	})
	switch {
	case apierrors.IsNotFound(err):
		return nil, platform.ErrNoMatchingService
	case err != nil:
		return nil, fmt.Errorf("get the service: %w", err)
	}
	found := newFoundService(service, time.Now())
	return found.selects(a.workloadsOf(ctx, namespace))
}

func (a *application) workloadsOf(ctx context.Context, namespace string) *workloads {
	a.mu.Lock()
	list := a.lists[namespace]
	if list == nil {
		list = sync.OnceValue(func() *workloads { return a.workloads(ctx, scope{namespace}) })
		a.lists[namespace] = list
	}
	a.mu.Unlock()
	return list()
}

// definition applies one definition in place of the workload that is there.
func (a *application) definition(ctx context.Context, id flux.ServiceID, there *workload, definition []byte) (*target, error) {
	begin := time.Now()
	defs, err := parseDefinitions(ctx, definition, parse.NewLimits(len(definition), parse.AnyNumber))
	if err != nil {
		return nil, fmt.Errorf("read the definition: %w", err)
	}
	if len(defs) != 1 {
		return nil, fmt.Errorf("read the definition: want one object, got %d", len(defs))
	}
	d := defs[0]
	namespace := d.namespace
	orDefault(&namespace, there.namespace)
	if d.gvk.Kind != there.kind || d.name != there.name || namespace != there.namespace {
		return nil, fmt.Errorf("%w: the service selects the pods of %s %s/%s, the definition is of %s %s/%s", platform.ErrWrongResourceKind,
			there.kind, there.namespace, there.name, d.gvk.Kind, namespace, d.name)
	}
	res, err := a.known.find(d.gvk)
	if err != nil {
		return nil, err
	}
	t := newTarget(d, res, there.namespace, string(id))
	unlock, err := a.writing.lock(ctx, t.key)
	if err != nil {
		return nil, err
	}
	defer unlock()
	seen, err := a.look(ctx, t)
	if err == nil || apierrors.IsForbidden(err) { // who may not look can still apply, but adopt nothing
		err = a.apply(ctx, t, seen)
	}
	event := Event{ID: t.label, Object: t.key.String(), Result: Applied, Took: time.Since(begin)}
	if err != nil {
		event.Result, event.Err = Failed, err
		err = fmt.Errorf("apply %v: %w", t.key, redact.Error(err))
		t = nil
	}
	a.tell(event)
	return t, err
}
