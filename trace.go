package platform

import (
	"context"
	"errors"
	"fmt"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/platformbus/platform/flux"
	"github.com/platformbus/platform/internal/oneline"
)

// tracerName is the instrumentation scope of the spans of Trace.
const tracerName = "github.com/platformbus/platform"

// The attributes of the spans of Trace.
const (
	attrActions     = attribute.Key("platform.actions")     // how many actions a Sync has
	attrDefinitions = attribute.Key("platform.definitions") // how many definitions an Apply has
	attrAsked       = attribute.Key("platform.asked")       // how many services SomeServices names
	attrServices    = attribute.Key("platform.services")    // how many services were returned
	attrBytes       = attribute.Key("platform.bytes")       // the size of an Export
	attrFailures    = attribute.Key("platform.failures")    // how many entries an ApplyError or SyncError has
	attrCaller      = attribute.Key("platform.caller")      // see ContextWithCaller
	attrErrorType   = attribute.Key("error.type")
)

// Trace returns a Platform that makes an OpenTelemetry span of each call to p, named after
// the method, as in "platform.Sync". With a nil provider, or that of package noop, it returns
// p itself.
//
// A span is a child of the span in the context of the view that is called, see WithContext,
// and p gets a context that holds it: a bus carries it to the daemon, and the spans of
// kubernetes.Cluster are below it. Its kind is server if its parent came from another
// process, and internal otherwise.
//
// A span has the number of actions, definitions or services, and the caller's name if there is
// one, see CallerFrom. If the call failed it also has the error's type, the number of its
// entries and, as the description of its status, its text as one line of at most 4 KiB. Beside
// what that text says, it has nothing of a definition or of an Export.
func Trace(p Platform, provider trace.TracerProvider) Platform {
	switch provider.(type) {
	case nil, noop.TracerProvider:
		return p
	}
	return &traced{next: p, tracer: provider.Tracer(tracerName), ctx: context.Background()}
}

// traced does not embed Platform: a method added to the interface must fail to compile here
// rather than go untraced.
type traced struct {
	next   Platform
	tracer trace.Tracer
	ctx    context.Context // of the last view; next gets it at each call, with the span
}

var _ Platform = (*traced)(nil)

// WithContext returns a view that traces too. The contexts apply to the inner Platform. If ctx
// holds no span, spans stay below that of t.
func (t *traced) WithContext(ctx context.Context) Platform {
	next := t.next
	if t.ctx != context.Background() {
		next = WithContext(t.ctx, next)
	}
	return &traced{next: next, tracer: t.tracer, ctx: inherit(ctx, t.ctx)}
}

// start begins the span of a call, and returns the Platform to call.
func (t *traced) start(name string) (Platform, trace.Span) {
	kind := trace.SpanKindInternal
	if trace.SpanContextFromContext(t.ctx).IsRemote() {
		kind = trace.SpanKindServer
	}
	ctx, span := t.tracer.Start(t.ctx, name, trace.WithSpanKind(kind))
	if caller := CallerFrom(ctx); caller != "" {
		span.SetAttributes(attrCaller.String(caller))
	}
	return WithContext(ctx, t.next), span
}

// end ends the span of a call that has returned err.
func end(span trace.Span, returned *error) {
	defer span.End()
	// The description of an error that panics when it is unwrapped, as one that wraps a nil
	// *FatalError does, is enough.
	defer func() { _ = recover() }()
	err := *returned
	if err == nil || !span.IsRecording() {
		return
	}
	span.SetStatus(codes.Error, oneline.Line(textOf(err)))
	span.SetAttributes(attrErrorType.String(errorType(err)))
	if e, ok := errors.AsType[SyncError](err); ok {
		span.SetAttributes(attrFailures.Int(len(e)))
	} else if e, ok := errors.AsType[ApplyError](err); ok {
		span.SetAttributes(attrFailures.Int(len(e)))
	}
}

// errorType names the error that a caller would test for, or else the error's own type.
func errorType(err error) string {
	if _, ok := AsFatal(err); ok {
		return "platform.FatalError"
	}
	switch {
	case isA[SyncError](err): // before what may be in an entry
		return "platform.SyncError"
	case isA[ApplyError](err):
		return "platform.ApplyError"
	case errors.Is(err, ErrPlatformNotAvailable):
		return "platform.UnavailableError"
	case errors.Is(err, ErrUpgradeNeeded):
		return "platform.UpgradeNeededError"
	case errors.Is(err, context.Canceled):
		return "context.Canceled"
	case errors.Is(err, context.DeadlineExceeded):
		return "context.DeadlineExceeded"
	}
	return fmt.Sprintf("%T", err)
}

func isA[E error](err error) bool {
	_, ok := errors.AsType[E](err)
	return ok
}

func (t *traced) AllServices(namespace string, ignored flux.ServiceIDSet) (services []Service, err error) {
	p, span := t.start("platform.AllServices")
	defer end(span, &err)
	services, err = p.AllServices(namespace, ignored)
	span.SetAttributes(attrServices.Int(len(services)))
	return services, err
}

func (t *traced) SomeServices(ids []flux.ServiceID) (services []Service, err error) {
	p, span := t.start("platform.SomeServices")
	defer end(span, &err)
	span.SetAttributes(attrAsked.Int(len(ids)))
	services, err = p.SomeServices(ids)
	span.SetAttributes(attrServices.Int(len(services)))
	return services, err
}

func (t *traced) Apply(defs []ServiceDefinition) (err error) {
	p, span := t.start("platform.Apply")
	defer end(span, &err)
	span.SetAttributes(attrDefinitions.Int(len(defs)))
	return p.Apply(defs)
}

func (t *traced) Ping() (err error) {
	p, span := t.start("platform.Ping")
	defer end(span, &err)
	return p.Ping()
}

func (t *traced) Version() (_ string, err error) {
	p, span := t.start("platform.Version")
	defer end(span, &err)
	return p.Version()
}

func (t *traced) Export() (exported []byte, err error) {
	p, span := t.start("platform.Export")
	defer end(span, &err)
	exported, err = p.Export()
	span.SetAttributes(attrBytes.Int(len(exported)))
	return exported, err
}

func (t *traced) Sync(def SyncDef) (err error) {
	p, span := t.start("platform.Sync")
	defer end(span, &err)
	span.SetAttributes(attrActions.Int(len(def.Actions)))
	return p.Sync(def)
}
