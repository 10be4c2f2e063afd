package platform

import (
	"context"

	"github.com/platformbus/platform/flux"
)

// WithContext returns a view of p whose calls obey ctx: they stop when ctx ends, and
// their error then matches ctx's cause. What p's calls obey already, they obey still: a
// view of a view obeys both contexts.
//
// A Platform takes part by having a method WithContext(context.Context) Platform, as
// kubernetes.Cluster, the buses' handles and this package's decorators do. For one that
// does not, ctx is checked before each call, and a call under way is not stopped.
func WithContext(ctx context.Context, p Platform) Platform {
	if own, ok := p.(contextual); ok {
		return own.WithContext(ctx)
	}
	return &checked{ctx: ctx, next: p}
}

type contextual interface {
	WithContext(ctx context.Context) Platform
}

// checked stands in for a Platform that knows nothing of contexts. It does not embed
// Platform: a method added to the interface must fail to compile here rather than go
// unchecked.
type checked struct {
	ctx  context.Context
	next Platform
}

var _ Platform = (*checked)(nil)

// done returns the cause for which ctx has ended, or nil while it has not.
func (c *checked) done() error { return context.Cause(c.ctx) }

func (c *checked) AllServices(namespace string, ignored flux.ServiceIDSet) ([]Service, error) {
	if err := c.done(); err != nil {
		return nil, err
	}
	return c.next.AllServices(namespace, ignored)
}

func (c *checked) SomeServices(ids []flux.ServiceID) ([]Service, error) {
	if err := c.done(); err != nil {
		return nil, err
	}
	return c.next.SomeServices(ids)
}

func (c *checked) Apply(defs []ServiceDefinition) error {
	if err := c.done(); err != nil {
		return err
	}
	return c.next.Apply(defs)
}

func (c *checked) Ping() error {
	if err := c.done(); err != nil {
		return err
	}
	return c.next.Ping()
}

func (c *checked) Version() (string, error) {
	if err := c.done(); err != nil {
		return "", err
	}
	return c.next.Version()
}

func (c *checked) Export() ([]byte, error) {
	if err := c.done(); err != nil {
		return nil, err
	}
	return c.next.Export()
}

func (c *checked) Sync(def SyncDef) error {
	if err := c.done(); err != nil {
		return err
	}
	return c.next.Sync(def)
}
