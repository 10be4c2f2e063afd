package natsbus_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/platformbus/platform"
	"github.com/platformbus/platform/internal/natstest"
	"github.com/platformbus/platform/natsbus"
	"github.com/platformbus/platform/natsbus/internal/wire"
)

// An origin is what a daemon's Platform gets to know of where a call comes from.
type origin struct {
	span   trace.SpanContext
	caller string
}

// observed returns a Platform, and a channel that has the origin of each call to it.
func observed() (platform.Platform, <-chan origin) {
	seen := make(chan origin, 1)
	return platform.Observe(&platform.MockPlatform{}, func(ctx context.Context, _ string) error {
		seen <- origin{trace.SpanContextFromContext(ctx), platform.CallerFrom(ctx)}
		return nil
	}), seen
}

// spanOf returns a context with a span of a trace, as it comes from another process.
func spanOf(t *testing.T, ctx context.Context, id byte, state string) (context.Context, trace.SpanContext) {
	t.Helper()
	parsed, err := trace.ParseTraceState(state)
	require.NoError(t, err)
	span := trace.NewSpanContext(trace.SpanContextConfig{
		TraceID: trace.TraceID{id}, SpanID: trace.SpanID{id}, TraceFlags: trace.FlagsSampled, TraceState: parsed, Remote: true,
	})
	return trace.ContextWithSpanContext(ctx, span), span
}

func TestCallerAndSpanReachTheDaemon(t *testing.T) {
	noLeaks(t)
	s := natstest.Start(t, nil)
	b := ends(t, s.ClientURL(), s.ClientURL(), natsbus.Options{})
	p, seen := observed()
	b.Subscribe("a", p, nil)
	handle := connect(t, b)
	one, oneSpan := spanOf(t, t.Context(), 1, "vendor=1,other=2")
	two, twoSpan := spanOf(t, platform.ContextWithCaller(t.Context(), "ann"), 2, "")
	long, longSpan := spanOf(t, t.Context(), 3, strings.Repeat("a", 200)+"="+strings.Repeat("b", 250)+","+strings.Repeat("c", 200)+"="+strings.Repeat("d", 250))
	for name, tt := range map[string]struct {
		ctxs []context.Context // the innermost view's first
		want origin
	}{
		"no context":             {nil, origin{}},
		"nothing in the context": {[]context.Context{t.Context()}, origin{}},
		"span":                   {[]context.Context{one}, origin{oneSpan, ""}},
		"caller":                 {[]context.Context{platform.ContextWithCaller(t.Context(), "größer\n")}, origin{caller: `größer\n`}},
		"both":                   {[]context.Context{two}, origin{twoSpan, "ann"}},
		"the last":               {[]context.Context{one, two}, origin{twoSpan, "ann"}},
		"the last that has it":   {[]context.Context{two, one, t.Context()}, origin{oneSpan, "ann"}},
		"a long trace state":     {[]context.Context{long}, origin{longSpan.WithTraceState(trace.TraceState{}), ""}},
		"a long caller": {
			[]context.Context{platform.ContextWithCaller(one, strings.Repeat("x", 1000))},
			origin{oneSpan, strings.Repeat("x", 253) + "…"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			view := handle
			for _, ctx := range tt.ctxs {
				view = platform.WithContext(ctx, view)
			}
			require.NoError(t, view.Ping()) // its request is in what opens the call
			assert.Equal(t, tt.want, within(t, seen, "the read"))
			require.NoError(t, view.Sync(platform.SyncDef{})) // its request follows
			assert.Equal(t, tt.want, within(t, seen, "the write"))
		})
	}
}

// A header that is malformed is left out, and the call is made.
func TestForgedOrigins(t *testing.T) {
	noLeaks(t)
	s := natstest.Start(t, nil)
	b := newBus(t, dial(t, s.ClientURL()), natsbus.Options{})
	p, seen := observed()
	b.Subscribe("a", p, nil)
	hostile := dial(t, s.ClientURL())
	_, valid := spanOf(t, t.Context(), 1, "vendor=1")
	parent := fmt.Sprintf("00-%s-%s-01", valid.TraceID(), valid.SpanID())
	for i, tt := range []struct {
		trace, state, identity string
		want                   origin
	}{
		{parent, "vendor=1", "ann", origin{valid, "ann"}},
		{"", "vendor=1", "", origin{}},
		{"00-" + strings.Repeat("0", 32) + "-" + strings.Repeat("0", 16) + "-01", "", "", origin{}},
		{strings.Replace(parent, "-01", "-0A", 1), "", "", origin{}},
		{parent + "-more", "vendor=1", "", origin{}},
		{"ff" + parent[2:], "", "", origin{}},
		{strings.Repeat("-", 500), "", "", origin{}},
		{"\x00\n", "\x00\n", "a\x1b[31m\nb", origin{caller: `a\x1b[31m\nb`}},
		{parent, "vendor = ;=;=", "", origin{valid.WithTraceState(trace.TraceState{}), ""}},
		{parent, strings.Repeat("a=b,", 100), "", origin{valid.WithTraceState(trace.TraceState{}), ""}},
		{"", "", strings.Repeat("\n", 700), origin{caller: strings.Repeat(`\n`, 126) + `\…`}},
	} {
		open := headed(t, map[int]any{
			1: "open", 2: 1, 3: fmt.Sprint("CALL", i), 4: "BUS", 16: "service", 8: true, 9: 1, 10: 1, 20: tt.trace, 21: tt.state, 22: tt.identity,
		})
		require.NoError(t, hostile.Publish("flux.v1.a.rpc.Ping", append(open, 0xa0))) // an empty map
		assert.Equal(t, tt.want, within(t, seen, fmt.Sprintf("call %d", i)))
	}
}

// The spans of a caller and of a daemon are one trace, and the daemon's is the child.
func TestTraceOverABus(t *testing.T) {
	noLeaks(t)
	s := natstest.Start(t, nil)
	b := ends(t, s.ClientURL(), s.ClientURL(), natsbus.Options{})
	spans := tracetest.NewSpanRecorder()
	here := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans))
	there := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans))
	b.Subscribe("a", platform.Trace(&platform.MockPlatform{SyncError: platform.SyncError{"web": platform.ErrNoMatching}}, there), nil)
	ctx, request := here.Tracer("test").Start(platform.ContextWithCaller(t.Context(), "ann"), "PATCH /sync")
	err := platform.WithContext(ctx, platform.Trace(connect(t, b), here)).Sync(platform.SyncDef{})
	require.ErrorIs(t, err, platform.ErrNoMatching)

	require.Len(t, spans.Ended(), 2)
	daemon, caller := spans.Ended()[0], spans.Ended()[1]
	assert.Equal(t, request.SpanContext(), caller.Parent())
	assert.Equal(t, caller.SpanContext().SpanID(), daemon.Parent().SpanID())
	assert.Equal(t, caller.SpanContext().TraceID(), daemon.SpanContext().TraceID())
	assert.Equal(t, trace.SpanKindInternal, caller.SpanKind())
	assert.Equal(t, trace.SpanKindServer, daemon.SpanKind())
	for _, span := range spans.Ended() {
		assert.Equal(t, "platform.Sync", span.Name())
		assert.Equal(t, "web: "+platform.ErrNoMatching.Error(), span.Status().Description)
		assert.Contains(t, fmt.Sprint(span.Attributes()), "ann")
	}
}

// A call without a span or a caller has nothing to look for, and puts nothing into its frames.
func TestOriginCostsNothing(t *testing.T) {
	plain := []context.Context{context.Background(), t.Context()}
	assert.Zero(t, testing.AllocsPerRun(100, func() {
		_ = natsbus.OriginOf(nil)
		_ = natsbus.OriginOf(plain)
		_ = natsbus.ContextOf(plain[0], wire.Origin{})
	}))
}

// BenchmarkPing measures a Ping over a server in this process, both of whose ends trace.
func BenchmarkPing(b *testing.B) {
	s := natstest.Start(b, nil)
	for _, bb := range []struct {
		name     string
		provider trace.TracerProvider
	}{
		{"untraced", nil},
		{"noop", noop.NewTracerProvider()},
		{"not-sampled", sdktrace.NewTracerProvider(sdktrace.WithSampler(sdktrace.NeverSample()))},
		{"traced", sdktrace.NewTracerProvider(sdktrace.WithSyncer(tracetest.NewNoopExporter()))},
	} {
		b.Run(bb.name, func(b *testing.B) {
			e := ends(b, s.ClientURL(), s.ClientURL(), natsbus.Options{})
			e.Subscribe("a", platform.Trace(&platform.MockPlatform{}, bb.provider), nil)
			p := platform.WithContext(b.Context(), platform.Trace(connect(b, e), bb.provider))
			b.ReportAllocs()
			for b.Loop() {
				if err := p.Ping(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
