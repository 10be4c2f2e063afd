package platform

import (
	"context"

	"go.opentelemetry.io/otel/trace"

	"github.com/platformbus/platform/flux"
)

// WithContext returns a view of p whose calls obey ctx. A call of the view whose context has
// ended is not made, and its error matches the context's cause, as in
// errors.Is(err, context.Cause(ctx)). All other calls, and their results, are those of p. A
// call may take as long as its contexts allow.
//
// Where p has use for them, the calls have the values of ctx too: its OpenTelemetry span, see
// Trace, and its caller, see ContextWithCaller. Of a view of a view, the last that has one counts.
//
// The contexts that p obeys already stay in effect: a view of a view obeys both contexts.
// Neither p nor another view of it is affected by ctx, nor are their calls in progress.
//
// A Platform supports contexts if it has a method WithContext(context.Context) Platform,
// as kubernetes.Cluster, the buses' handles and this package's decorators do. When the
// context of a call in progress ends, such a Platform stops the call if it can, as far as
// the far end if it can do that: the error of a call that was stopped matches the cause,
// and what the call had done by then is not known. For other Platforms ctx is checked
// before each call, and a call in progress returns its own result.
func WithContext(ctx context.Context, p Platform) Platform {
	if c, ok := p.(contextual); ok {
		return c.WithContext(ctx)
	}
	return &checked{ctx: ctx, next: p}
}

// either returns a context that ends as soon as a or b does. It has the values of b, and the span
// and the caller of a where b has none.
func either(a, b context.Context) context.Context {
	b = inherit(b, a)
	if a.Done() == nil {
		return b
	}
	ctx, cancel := context.WithCancelCause(b)
	if err := context.Cause(a); err != nil {
		cancel(err)
	}
	stop := context.AfterFunc(a, func() { cancel(context.Cause(a)) })
	context.AfterFunc(ctx, func() { stop() }) // a, which may live on, forgets ctx
	return ctx
}

// inherit returns ctx with the span and the caller of from, if it has none of its own.
func inherit(ctx, from context.Context) context.Context {
	if !trace.SpanContextFromContext(ctx).IsValid() {
		if span := trace.SpanFromContext(from); span.SpanContext().IsValid() {
			ctx = trace.ContextWithSpan(ctx, span)
		}
	}
	if CallerFrom(ctx) == "" {
		if caller := CallerFrom(from); caller != "" {
			ctx = ContextWithCaller(ctx, caller)
		}
	}
	return ctx
}

type contextual interface {
	WithContext(ctx context.Context) Platform
}

// checked checks a context before each call to a Platform that does not support contexts.
// It does not embed Platform: a method added to the interface must fail to compile here
// rather than go unchecked.
type checked struct {
	ctx  context.Context
	next Platform
}

var _ Platform = (*checked)(nil)

// err returns the cause for which ctx has ended, or nil while it has not.
func (c *checked) err() error { return context.Cause(c.ctx) }

func (c *checked) AllServices(namespace string, ignored flux.ServiceIDSet) ([]Service, error) {
	if err := c.err(); err != nil {
		return nil, err
	}
	return c.next.AllServices(namespace, ignored)
}

func (c *checked) SomeServices(ids []flux.ServiceID) ([]Service, error) {
	if err := c.err(); err != nil {
		return nil, err
	}
	return c.next.SomeServices(ids)
}

func (c *checked) Apply(defs []ServiceDefinition) error {
	if err := c.err(); err != nil {
		return err
	}
	return c.next.Apply(defs)
}

func (c *checked) Ping() error {
	if err := c.err(); err != nil {
		return err
	}
	return c.next.Ping()
}

func (c *checked) Version() (string, error) {
	if err := c.err(); err != nil {
		return "", err
	}
	return c.next.Version()
}

func (c *checked) Export() ([]byte, error) {
	if err := c.err(); err != nil {
		return nil, err
	}
	return c.next.Export()
}

func (c *checked) Sync(def SyncDef) error {
	if err := c.err(); err != nil {
		return err
	}
	return c.next.Sync(def)
}
