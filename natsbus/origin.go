package natsbus

import (
	"context"

	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/platformbus/platform"
	"github.com/platformbus/platform/natsbus/internal/wire"
)

// originOf returns where a call with these contexts comes from: the span and the caller of the
// last context that has one. It is zero, and costs nothing, if none has.
func originOf(ctxs []context.Context) (o wire.Origin) {
	for i := len(ctxs) - 1; i >= 0; i-- {
		if o.Trace == "" && trace.SpanContextFromContext(ctxs[i]).IsValid() {
			var traced originCarrier // not o itself, which would then be in the heap
			propagation.TraceContext{}.Inject(ctxs[i], &traced)
			o.Trace, o.TraceState = traced.Trace, traced.TraceState
		}
		if o.Identity == "" {
			o.Identity = platform.CallerFrom(ctxs[i])
		}
	}
	return o
}

// contextOf returns ctx with what a caller has said of itself, all of which may be forged. What
// is malformed is left out.
func contextOf(ctx context.Context, o wire.Origin) context.Context {
	if o.Trace != "" {
		ctx = propagation.TraceContext{}.Extract(ctx, &originCarrier{Trace: o.Trace, TraceState: o.TraceState})
	}
	if o.Identity != "" {
		ctx = platform.ContextWithCaller(ctx, o.Identity)
	}
	return ctx
}

// An originCarrier is an origin as the headers of W3C Trace Context.
type originCarrier wire.Origin

var _ propagation.TextMapCarrier = (*originCarrier)(nil)

func (c *originCarrier) field(key string) *string {
	switch key {
	case "traceparent":
		return &c.Trace
	case "tracestate":
		return &c.TraceState
	}
	return nil
}

// Get returns a header, or "".
func (c *originCarrier) Get(key string) string {
	if field := c.field(key); field != nil {
		return *field
	}
	return ""
}

// Set sets a header. Others than those of a trace are left out.
func (c *originCarrier) Set(key, value string) {
	if field := c.field(key); field != nil {
		*field = value
	}
}

// Keys returns the names of the headers.
func (*originCarrier) Keys() []string { return propagation.TraceContext{}.Fields() }
