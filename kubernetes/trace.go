package kubernetes

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/platformbus/platform/kubernetes/internal/api"
	"github.com/platformbus/platform/kubernetes/internal/apply"
	"github.com/platformbus/platform/kubernetes/internal/graph"
	"github.com/platformbus/platform/kubernetes/internal/redact"
	"github.com/platformbus/platform/kubernetes/internal/rollout"
)

// How many objects of a call have spans at most.
const (
	maxSlowSpans   = 5
	maxFailedSpans = 20
)

// A tracing makes the spans of calls; none if its tracer is nil.
type tracing struct{ tracer trace.Tracer }

// newTracing returns a tracing with the provider, which may be nil.
func newTracing(provider trace.TracerProvider) tracing {
	switch provider.(type) {
	case nil, noop.TracerProvider:
		return tracing{}
	}
	return tracing{provider.Tracer("github.com/platformbus/platform/kubernetes")}
}

// begin returns ctx with the span that a call is made in, which is that of the last of its outer
// contexts that has one, if it is recording. The function must be called at the call's end.
func (t tracing) begin(ctx context.Context, outer []context.Context) (context.Context, func()) {
	if t.tracer == nil {
		return ctx, func() {}
	}
	for _, from := range slices.Backward(outer) {
		span := trace.SpanFromContext(from)
		if !span.SpanContext().IsValid() {
			continue
		}
		if !span.IsRecording() {
			break
		}
		ctx, requests := api.WithRequests(trace.ContextWithSpan(ctx, span))
		return ctx, func() {
			all, untraced := requests.Sent()
			span.SetAttributes(attribute.Int("kubernetes.requests", all), attribute.Int("kubernetes.requests.untraced", untraced))
		}
	}
	return ctx, func() {}
}

// phase does a part of a call, in a span of its own if the call is traced.
func (t tracing) phase(ctx context.Context, name string, do func(context.Context) error) error {
	if !isTraced(ctx) {
		return do(ctx)
	}
	ctx, span := t.tracer.Start(ctx, name)
	defer span.End()
	err := do(ctx)
	if err != nil {
		span.SetStatus(codes.Error, redact.Line(err.Error()))
	}
	return err
}

// isTraced says whether spans are made below ctx. A call has a span only if begin has given it one.
func isTraced(ctx context.Context) bool { return trace.SpanFromContext(ctx).IsRecording() }

// count sets an attribute of the phase that is under way.
func count(ctx context.Context, key attribute.Key, n int) {
	if isTraced(ctx) {
		trace.SpanFromContext(ctx).SetAttributes(key.Int(n))
	}
}

// steps makes spans of the steps that failed and of those that took longest, with the times
// that they had, and counts all by their results.
func (t tracing) steps(ctx context.Context, nodes []*graph.Step[*apply.Step]) {
	if !isTraced(ctx) {
		return
	}
	counts, failures := map[string]int{}, 0
	var shown, others []*graph.Step[*apply.Step]
	for _, n := range nodes {
		counts[n.Value.Result]++
		switch {
		case n.Skipped:
		case n.Err == nil:
			others = append(others, n)
		default:
			if failures++; failures <= maxFailedSpans {
				shown = append(shown, n)
			}
		}
	}
	slices.SortStableFunc(others, func(a, b *graph.Step[*apply.Step]) int { return cmp.Compare(b.Value.Took, a.Value.Took) })
	for _, n := range append(shown, others[:min(len(others), maxSlowSpans)]...) {
		t.step(ctx, n.Value, n.Err)
	}
	for result, n := range counts {
		count(ctx, attribute.Key("kubernetes.objects."+result), n)
	}
	if failures > 0 {
		trace.SpanFromContext(ctx).SetStatus(codes.Error, fmt.Sprintf("%d objects failed", failures))
	}
}

// step makes the span of a step that is over.
func (t tracing) step(ctx context.Context, s *apply.Step, err error) {
	name := "apply "
	if s.Delete {
		name = "delete "
	}
	begun := s.Begun
	if begun.IsZero() { // it had failed before it could begin
		begun = time.Now()
	}
	attributes := append(objectAttributes(s.Object.Key), attribute.String("kubernetes.result", s.Result))
	_, span := t.tracer.Start(ctx, name+s.Object.Key.Kind, trace.WithTimestamp(begun), trace.WithAttributes(attributes...))
	if err != nil {
		span.SetStatus(codes.Error, redact.Line(err.Error()))
	}
	span.End(trace.WithTimestamp(begun.Add(s.Took)))
}

// objectAttributes names an object.
func objectAttributes(key api.Key) []attribute.KeyValue {
	attributes := []attribute.KeyValue{
		attribute.String("kubernetes.kind", key.Kind), attribute.String("kubernetes.name", key.ShownName()),
	}
	if key.Namespace != "" {
		attributes = append(attributes, attribute.String("kubernetes.namespace", key.Namespace))
	}
	return attributes
}

// noteStalled notes in the phase that is under way which rollouts failed.
func noteStalled(ctx context.Context, failed map[rollout.Target]error) {
	if len(failed) == 0 || !isTraced(ctx) {
		return
	}
	span := trace.SpanFromContext(ctx)
	span.SetStatus(codes.Error, fmt.Sprintf("%d rollouts failed", len(failed)))
	targets := slices.SortedFunc(maps.Keys(failed), func(a, b rollout.Target) int { return cmp.Compare(a.Key.String(), b.Key.String()) })
	for _, t := range targets[:min(len(targets), maxFailedSpans)] {
		attributes := append(objectAttributes(t.Key), attribute.String("kubernetes.reason", redact.Line(failed[t].Error())))
		span.AddEvent("stalled", trace.WithAttributes(attributes...))
	}
}
