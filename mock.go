package platform

import (
	"context"

	"github.com/platformbus/platform/flux"
)

// MockPlatform is a Platform for tests that returns the values of its fields. If an
// ArgTest is set, it is called with the arguments, and its error, if any, is returned in
// place of the answer. The zero value returns zero values from every method.
//
// It may be used by many goroutines at once as long as its fields do not change and its
// ArgTests allow it. To observe calls that have no ArgTest, or to have them wait, see Observe.
type MockPlatform struct {
	AllServicesArgTest func(string, flux.ServiceIDSet) error
	AllServicesAnswer  []Service
	AllServicesError   error

	SomeServicesArgTest func([]flux.ServiceID) error
	SomeServicesAnswer  []Service
	SomeServicesError   error

	ApplyArgTest func([]ServiceDefinition) error
	ApplyError   error

	PingError error

	VersionAnswer string
	VersionError  error

	ExportAnswer []byte
	ExportError  error

	SyncArgTest func(SyncDef) error
	SyncError   error
}

var _ Platform = (*MockPlatform)(nil)

// AllServices calls AllServicesArgTest, then returns AllServicesAnswer and AllServicesError.
func (p *MockPlatform) AllServices(ns string, ss flux.ServiceIDSet) ([]Service, error) {
	if p.AllServicesArgTest != nil {
		if err := p.AllServicesArgTest(ns, ss); err != nil {
			return nil, err
		}
	}
	return p.AllServicesAnswer, p.AllServicesError
}

// SomeServices calls SomeServicesArgTest, then returns SomeServicesAnswer and
// SomeServicesError.
func (p *MockPlatform) SomeServices(ss []flux.ServiceID) ([]Service, error) {
	if p.SomeServicesArgTest != nil {
		if err := p.SomeServicesArgTest(ss); err != nil {
			return nil, err
		}
	}
	return p.SomeServicesAnswer, p.SomeServicesError
}

// Apply calls ApplyArgTest, then returns ApplyError.
func (p *MockPlatform) Apply(defs []ServiceDefinition) error {
	if p.ApplyArgTest != nil {
		if err := p.ApplyArgTest(defs); err != nil {
			return err
		}
	}
	return p.ApplyError
}

// Ping returns PingError.
func (p *MockPlatform) Ping() error { return p.PingError }

// Version returns VersionAnswer and VersionError.
func (p *MockPlatform) Version() (string, error) { return p.VersionAnswer, p.VersionError }

// Export returns ExportAnswer and ExportError.
func (p *MockPlatform) Export() ([]byte, error) { return p.ExportAnswer, p.ExportError }

// Sync calls SyncArgTest, then returns SyncError.
func (p *MockPlatform) Sync(def SyncDef) error {
	if p.SyncArgTest != nil {
		if err := p.SyncArgTest(def); err != nil {
			return err
		}
	}
	return p.SyncError
}

// Observe returns a Platform that calls before with the name of the method, such as "Ping",
// and then passes the call on to p, unless before returned an error, which the call then
// returns. The context is that of the view that was called, see WithContext, so that a test
// can have a call wait until its context ends:
//
//	p := platform.Observe(&platform.MockPlatform{}, func(ctx context.Context, method string) error {
//		<-ctx.Done()
//		return context.Cause(ctx)
//	})
func Observe(p Platform, before func(ctx context.Context, method string) error) Platform {
	return &observed{next: p, before: before, ctx: context.Background()}
}

// observed does not embed Platform: a method added to the interface must fail to compile
// here rather than go unobserved.
type observed struct {
	next   Platform
	before func(context.Context, string) error
	ctx    context.Context
}

var _ Platform = (*observed)(nil)

// WithContext returns a view that obeys ctx and the context of o.
func (o *observed) WithContext(ctx context.Context) Platform {
	return &observed{next: WithContext(ctx, o.next), before: o.before, ctx: either(o.ctx, ctx)}
}

func (o *observed) see(method string) error {
	if err := context.Cause(o.ctx); err != nil {
		return err
	}
	return o.before(o.ctx, method)
}

func (o *observed) AllServices(namespace string, ignored flux.ServiceIDSet) ([]Service, error) {
	if err := o.see("AllServices"); err != nil {
		return nil, err
	}
	return o.next.AllServices(namespace, ignored)
}

func (o *observed) SomeServices(ids []flux.ServiceID) ([]Service, error) {
	if err := o.see("SomeServices"); err != nil {
		return nil, err
	}
	return o.next.SomeServices(ids)
}

func (o *observed) Apply(defs []ServiceDefinition) error {
	if err := o.see("Apply"); err != nil {
		return err
	}
	return o.next.Apply(defs)
}

func (o *observed) Ping() error {
	if err := o.see("Ping"); err != nil {
		return err
	}
	return o.next.Ping()
}

func (o *observed) Version() (string, error) {
	if err := o.see("Version"); err != nil {
		return "", err
	}
	return o.next.Version()
}

func (o *observed) Export() ([]byte, error) {
	if err := o.see("Export"); err != nil {
		return nil, err
	}
	return o.next.Export()
}

func (o *observed) Sync(def SyncDef) error {
	if err := o.see("Sync"); err != nil {
		return err
	}
	return o.next.Sync(def)
}
