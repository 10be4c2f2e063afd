package platform_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/platformbus/platform"
	"github.com/platformbus/platform/flux"
)

// recorder returns a provider whose spans all end up in the recorder.
func recorder(t *testing.T) (*sdktrace.TracerProvider, *tracetest.SpanRecorder) {
	spans := tracetest.NewSpanRecorder()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans))
	t.Cleanup(func() { assert.NoError(t, provider.Shutdown(context.Background())) })
	return provider, spans
}

func spanContext(ctx context.Context) trace.SpanContext { return trace.SpanContextFromContext(ctx) }

// attributes returns the attributes of a span, by key.
func attributes(span sdktrace.ReadOnlySpan) map[string]any {
	all := map[string]any{}
	for _, a := range span.Attributes() {
		all[string(a.Key)] = a.Value.AsInterface()
	}
	return all
}

func TestTraceBattery(t *testing.T) {
	provider, _ := recorder(t)
	platform.PlatformTestBattery(t, func(mock platform.Platform) platform.Platform { return platform.Trace(mock, provider) })
}

func TestTraceMakesASpanOfEachCall(t *testing.T) {
	provider, spans := recorder(t)
	callAll(platform.Trace(&platform.MockPlatform{}, provider))
	var names []string
	for _, span := range spans.Ended() {
		names = append(names, strings.TrimPrefix(span.Name(), "platform."))
		assert.Equal(t, trace.SpanKindInternal, span.SpanKind())
		assert.Equal(t, codes.Unset, span.Status().Code)
		assert.Equal(t, "github.com/platformbus/platform", span.InstrumentationScope().Name)
	}
	assert.ElementsMatch(t, methods, names)
	assert.Len(t, spans.Started(), len(methods))
}

func TestTracePassesResultsThrough(t *testing.T) {
	provider, _ := recorder(t)
	mock := distinctMock(t)
	assert.Equal(t, callAll(mock), callAll(platform.Trace(mock, provider)))
	services, err := platform.Trace(mock, provider).AllServices(callNamespace, callIgnored)
	assert.Same(t, &mock.AllServicesAnswer[0], &services[0], "the same slice")
	assert.Same(t, errBoom, err)
}

func TestTraceCountsAndQuotesNothing(t *testing.T) {
	provider, spans := recorder(t)
	callAll(platform.Trace(distinctMock(t), provider)) // all its methods fail
	want := map[string]map[string]any{
		"AllServices":  {"platform.services": int64(1), "error.type": "*errors.errorString"},
		"SomeServices": {"platform.asked": int64(2), "platform.services": int64(1), "error.type": fmt.Sprintf("%T", platform.ClusterError(errBoom))},
		"Apply":        {"platform.definitions": int64(1), "platform.failures": int64(1), "error.type": "platform.ApplyError"},
		"Ping":         {"error.type": fmt.Sprintf("%T", errOther)},
		"Version":      {"error.type": "platform.UpgradeNeededError"},
		"Export":       {"platform.bytes": int64(10), "error.type": "platform.UnavailableError"},
		"Sync":         {"platform.actions": int64(1), "platform.failures": int64(1), "error.type": "platform.SyncError"},
	}
	got := map[string]map[string]any{}
	for _, span := range spans.Ended() {
		got[strings.TrimPrefix(span.Name(), "platform.")] = attributes(span)
		assert.Equal(t, codes.Error, span.Status().Code)
		assert.NotEmpty(t, span.Status().Description)
		assert.Empty(t, span.Events())
	}
	assert.Equal(t, want, got)
}

func TestTraceDescribesErrors(t *testing.T) {
	long := errors.New(strings.Repeat("x", 1<<20))
	var nilFatal *platform.FatalError
	for _, tt := range []struct {
		err        error
		kind, text string
	}{
		{errors.New("two\nlines\x1b"), "*errors.errorString", `two\nlines\x1b`},
		{long, "*errors.errorString", strings.Repeat("x", 4000)},
		{platform.FatalError{Err: errBoom}, "platform.FatalError", errBoom.Error()},
		{nilFatal, "platform.FatalError", "no cause"},
		{fmt.Errorf("ping: %w", nilFatal), "platform.FatalError", "ping: "},
		{platform.SyncError{"a": platform.FatalError{Err: errBoom}}, "platform.FatalError", "a: " + errBoom.Error()},
		{platform.SyncError{"a": platform.UnavailableError(errBoom)}, "platform.SyncError", "a: " + errBoom.Error()},
		{fmt.Errorf("read: %w", platform.ApplyError{"a/b": errBoom}), "platform.ApplyError", "read: a/b"},
		{platform.ClusterError(fmt.Errorf("ping: %w", context.Canceled)), "context.Canceled", "ping: context canceled"},
		{fmt.Errorf("ping: %w", context.DeadlineExceeded), "context.DeadlineExceeded", "ping"},
		{platform.UnavailableError(context.Canceled), "platform.UnavailableError", "context canceled"},
	} {
		provider, spans := recorder(t)
		_ = platform.Trace(&platform.MockPlatform{PingError: tt.err}, provider).Ping()
		require.Len(t, spans.Ended(), 1)
		span := spans.Ended()[0]
		assert.Equal(t, tt.kind, attributes(span)["error.type"])
		assert.Equal(t, codes.Error, span.Status().Code)
		assert.Contains(t, span.Status().Description, tt.text)
		assert.LessOrEqual(t, len(span.Status().Description), 4<<10)
	}
}

// The parent of a span is in the context of the view, and the inner Platform gets the span.
func TestTraceKeepsContexts(t *testing.T) {
	provider, spans := recorder(t)
	var inner context.Context
	p := platform.Trace(platform.Observe(&platform.MockPlatform{}, func(ctx context.Context, _ string) error {
		inner = ctx
		return nil
	}), provider)
	outer, parent := provider.Tracer("test").Start(t.Context(), "request")
	outer = platform.ContextWithCaller(context.WithValue(outer, contextKey{}, "mine"), "ann")
	for name, view := range map[string]platform.Platform{
		"a view":                        platform.WithContext(outer, p),
		"a view of a view":              platform.WithContext(outer, platform.WithContext(t.Context(), p)),
		"a view without a span of this": platform.WithContext(t.Context(), platform.WithContext(outer, p)),
	} {
		t.Run(name, func(t *testing.T) {
			spans.Reset()
			require.NoError(t, view.Ping())
			require.Len(t, spans.Ended(), 1)
			span := spans.Ended()[0]
			assert.Equal(t, parent.SpanContext(), span.Parent())
			assert.Equal(t, span.SpanContext(), spanContext(inner))
			assert.Equal(t, "ann", platform.CallerFrom(inner))
			assert.Equal(t, map[string]any{"platform.caller": "ann"}, attributes(span))
		})
	}
	require.NoError(t, platform.WithContext(outer, p).Ping())
	assert.Equal(t, "mine", inner.Value(contextKey{}))

	spans.Reset()
	require.NoError(t, p.Ping())
	assert.False(t, spans.Ended()[0].Parent().IsValid(), "without a context a span is the first of its trace")
	assert.Equal(t, errCause, platform.WithContext(cancelled(), platform.Trace(mustNotBeCalled{}, provider)).Ping())
}

// A call that comes from another process is served.
func TestTraceOfARemoteParent(t *testing.T) {
	provider, spans := recorder(t)
	_, parent := provider.Tracer("test").Start(t.Context(), "far away")
	ctx := trace.ContextWithRemoteSpanContext(t.Context(), parent.SpanContext())
	require.NoError(t, platform.WithContext(ctx, platform.Trace(platform.Trace(&platform.MockPlatform{}, provider), provider)).Ping())
	require.Len(t, spans.Ended(), 2)
	inner, outer := spans.Ended()[0], spans.Ended()[1]
	assert.Equal(t, trace.SpanKindServer, outer.SpanKind())
	assert.Equal(t, trace.SpanKindInternal, inner.SpanKind())
	assert.Equal(t, parent.SpanContext().TraceID(), inner.SpanContext().TraceID())
}

func TestTraceWithoutAProvider(t *testing.T) {
	mock := &platform.MockPlatform{}
	for name, provider := range map[string]trace.TracerProvider{"nil": nil, "noop": noop.NewTracerProvider()} {
		p := platform.Trace(mock, provider)
		assert.Same(t, mock, p, name)
		assert.Zero(t, testing.AllocsPerRun(100, func() { _ = p.Ping() }), name)
	}
}

// A provider that takes no samples costs a call a little, and records nothing.
func TestTraceOfWhatIsNotSampled(t *testing.T) {
	spans := tracetest.NewSpanRecorder()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans), sdktrace.WithSampler(sdktrace.NeverSample()))
	mock := distinctMock(t)
	assert.Equal(t, callAll(mock), callAll(platform.Trace(mock, provider)))
	assert.Empty(t, spans.Ended())
}

func TestTraceSpansOfManyServices(t *testing.T) {
	provider, spans := recorder(t)
	p := platform.Trace(&platform.MockPlatform{SomeServicesAnswer: make([]platform.Service, 7)}, provider)
	_, err := p.SomeServices(make([]flux.ServiceID, 9))
	require.NoError(t, err)
	assert.Equal(t, []attribute.KeyValue{attribute.Int("platform.asked", 9), attribute.Int("platform.services", 7)}, spans.Ended()[0].Attributes())
}

// BenchmarkTrace measures a Ping of a Platform that does nothing.
func BenchmarkTrace(b *testing.B) {
	for _, bb := range []struct {
		name     string
		provider trace.TracerProvider
	}{
		{"nil", nil},
		{"noop", noop.NewTracerProvider()},
		{"not-sampled", sdktrace.NewTracerProvider(sdktrace.WithSampler(sdktrace.NeverSample()))},
		{"sampled", sdktrace.NewTracerProvider(sdktrace.WithSyncer(tracetest.NewNoopExporter()))},
	} {
		p := platform.Trace(&platform.MockPlatform{}, bb.provider)
		b.Run(bb.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := p.Ping(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
