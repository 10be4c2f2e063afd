package natsbus

import (
	"context"
	"slices"

	"github.com/platformbus/platform"
	"github.com/platformbus/platform/flux"
	"github.com/platformbus/platform/natsbus/internal/wire"
)

// A method is one of Platform's, as the daemon calls it.
type method struct {
	name  string
	write bool // it changes the cluster, so it must not be made twice
	call  func(platform.Platform, *wire.Request) (wire.Answer, error)
}

var methods = map[string]*method{}

// A method that is added to Platform needs a line here.
func init() {
	for _, m := range []*method{
		{"AllServices", false, func(p platform.Platform, r *wire.Request) (a wire.Answer, err error) {
			a.Services, err = p.AllServices(r.Namespace, r.Ignored)
			return a, err
		}},
		{"SomeServices", false, func(p platform.Platform, r *wire.Request) (a wire.Answer, err error) {
			a.Services, err = p.SomeServices(r.IDs)
			return a, err
		}},
		{"Apply", true, func(p platform.Platform, r *wire.Request) (wire.Answer, error) { return wire.Answer{}, p.Apply(r.Defs) }},
		{"Ping", false, func(p platform.Platform, _ *wire.Request) (wire.Answer, error) { return wire.Answer{}, p.Ping() }},
		{"Version", false, func(p platform.Platform, _ *wire.Request) (a wire.Answer, err error) {
			a.Version, err = p.Version()
			return a, err
		}},
		{"Export", false, func(p platform.Platform, _ *wire.Request) (a wire.Answer, err error) {
			a.Export, err = p.Export()
			return a, err
		}},
		{"Sync", true, func(p platform.Platform, r *wire.Request) (wire.Answer, error) {
			return wire.Answer{}, p.Sync(platform.SyncDef{Actions: r.Actions})
		}},
	} {
		methods[m.name] = m
	}
}

// A handle is an instance seen through the bus. It does not embed Platform: a method
// added to the interface must fail to compile here.
type handle struct {
	bus  *outbound
	inst flux.InstanceID
	ctxs []context.Context // what calls obey
}

var _ platform.Platform = (*handle)(nil)

func (o *outbound) handle(inst flux.InstanceID) *handle {
	return &handle{bus: o, inst: inst}
}

// WithContext returns a handle whose calls obey ctx, and what h's obey. The daemon's
// Platform is told when one of them ends.
func (h *handle) WithContext(ctx context.Context) platform.Platform {
	v := *h
	v.ctxs = append(slices.Clip(h.ctxs), ctx)
	return &v
}

// context returns a context that ends with the first of h's.
func (h *handle) context() (context.Context, context.CancelFunc) {
	switch len(h.ctxs) {
	case 0:
		return context.Background(), func() {}
	case 1:
		return h.ctxs[0], func() {}
	}
	ctx, cancel := context.WithCancelCause(h.ctxs[0])
	for _, other := range h.ctxs[1:] {
		stop := context.AfterFunc(other, func() { cancel(context.Cause(other)) })
		context.AfterFunc(ctx, func() { stop() })
		if err := context.Cause(other); err != nil {
			cancel(err)
		}
	}
	return ctx, func() { cancel(nil) }
}

func (h *handle) do(name string, req wire.Request, sizeHint int) (wire.Answer, error) {
	ctx, cancel := h.context()
	defer cancel()
	a, err := h.bus.exchange(ctx, h.inst, methods[name], &req, originOf(h.ctxs), sizeHint)
	h.bus.countCall(made, name, err)
	return a, err
}

func (h *handle) AllServices(namespace string, ignored flux.ServiceIDSet) ([]platform.Service, error) {
	a, err := h.do("AllServices", wire.Request{Namespace: namespace, Ignored: ignored}, 0)
	return a.Services, err
}

func (h *handle) SomeServices(ids []flux.ServiceID) ([]platform.Service, error) {
	a, err := h.do("SomeServices", wire.Request{IDs: ids}, 0)
	return a.Services, err
}

func (h *handle) Apply(defs []platform.ServiceDefinition) error {
	size := 0
	for _, def := range defs {
		size += len(def.ServiceID) + len(def.NewDefinition) + 64
	}
	_, err := h.do("Apply", wire.Request{Defs: defs}, size)
	return err
}

func (h *handle) Ping() error {
	_, err := h.do("Ping", wire.Request{}, 0)
	return err
}

func (h *handle) Version() (string, error) {
	a, err := h.do("Version", wire.Request{}, 0)
	return a.Version, err
}

func (h *handle) Export() ([]byte, error) {
	a, err := h.do("Export", wire.Request{}, 0)
	return a.Export, err
}

func (h *handle) Sync(def platform.SyncDef) error {
	size := 0
	for _, action := range def.Actions {
		size += len(action.ResourceID) + len(action.Delete) + len(action.Apply) + 64
	}
	_, err := h.do("Sync", wire.Request{Actions: def.Actions}, size)
	return err
}
