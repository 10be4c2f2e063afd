package kubernetes_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/platformbus/platform"
	"github.com/platformbus/platform/flux"
	"github.com/platformbus/platform/internal/controlplane"
	"github.com/platformbus/platform/kubernetes"
)

// A traced is the trace of a call, and the headers traceparent that the API server was sent.
type traced struct {
	platform.Platform
	spans *tracetest.SpanRecorder

	mu      sync.Mutex
	parents map[string]string // by method and path; guarded by mu
}

// traced returns a Cluster whose calls are traced.
func (w env) traced(t *testing.T) *traced {
	t.Helper()
	tr := &traced{spans: tracetest.NewSpanRecorder(), parents: map[string]string{}}
	provider := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(tr.spans))
	cluster, _ := w.recorded(t, kubernetes.Options{TracerProvider: provider}, func(r *http.Request, next http.RoundTripper) (*http.Response, error) {
		tr.mu.Lock()
		tr.parents[r.Method+" "+r.URL.Path] = r.Header.Get("Traceparent")
		tr.mu.Unlock()
		return next.RoundTrip(r)
	})
	tr.Platform = platform.Trace(cluster, provider)
	return tr
}

// take returns all spans by their names, and forgets them.
func (tr *traced) take() map[string][]sdktrace.ReadOnlySpan {
	all := map[string][]sdktrace.ReadOnlySpan{}
	for _, span := range tr.spans.Ended() {
		all[span.Name()] = append(all[span.Name()], span)
	}
	tr.spans.Reset()
	return all
}

// attributes returns those of a span, by key.
func attributes(span sdktrace.ReadOnlySpan) map[string]any {
	all := map[string]any{}
	for _, a := range span.Attributes() {
		all[string(a.Key)] = a.Value.AsInterface()
	}
	return all
}

// only returns the span of that name, of which there must be one.
func only(t *testing.T, spans map[string][]sdktrace.ReadOnlySpan, name string) sdktrace.ReadOnlySpan {
	t.Helper()
	require.Len(t, spans[name], 1, name)
	return spans[name][0]
}

// below checks that spans are the children of another, and within its time.
func below(t *testing.T, parent sdktrace.ReadOnlySpan, children ...sdktrace.ReadOnlySpan) {
	t.Helper()
	for _, child := range children {
		assert.Equal(t, parent.SpanContext().SpanID(), child.Parent().SpanID(), child.Name())
		assert.Equal(t, parent.SpanContext().TraceID(), child.SpanContext().TraceID(), child.Name())
		assert.False(t, child.StartTime().Before(parent.StartTime()), child.Name())
		assert.False(t, child.EndTime().After(parent.EndTime()), child.Name())
		assert.False(t, child.EndTime().Before(child.StartTime()), child.Name())
	}
}

func TestTraceOfASync(t *testing.T) {
	w := newEnv(t, kubernetes.Options{})
	tr := w.traced(t)
	actions := def(
		apply("good", configMap("good", "the-value")),
		apply("bad", strings.Replace(configMap("bad", "the-value"), "name: bad", "name: bad, labels: {a: 'no label!'}", 1)),
		apply("unknown", "apiVersion: example.com/v1\nkind: Unknown\nmetadata: {name: u}\nspec: the-value"),
	)
	require.Len(t, syncErrors(t, tr.Sync(actions)), 2)
	spans := tr.take()
	call, read, look := only(t, spans, "platform.Sync"), only(t, spans, "kubernetes.read"), only(t, spans, "kubernetes.look")
	applying := only(t, spans, "kubernetes.apply")
	below(t, call, read, look, applying)
	assert.Equal(t, map[string]any{"kubernetes.objects": int64(3), "kubernetes.objects.unchanged": int64(0)}, attributes(look))
	assert.Equal(t, map[string]any{"kubernetes.objects.applied": int64(1), "kubernetes.objects.failed": int64(2)}, attributes(applying))
	assert.Equal(t, codes.Error, applying.Status().Code)
	assert.Equal(t, "2 objects failed", applying.Status().Description)

	objects := slices.Concat(spans["apply ConfigMap"], spans["apply Unknown"])
	require.Len(t, objects, 3)
	below(t, applying, objects...)
	for _, object := range objects {
		switch a := attributes(object); a["kubernetes.name"] {
		case "good":
			assert.Equal(t, map[string]any{"kubernetes.kind": "ConfigMap", "kubernetes.namespace": w.namespace, "kubernetes.name": "good", "kubernetes.result": "applied"}, a)
			assert.Equal(t, codes.Unset, object.Status().Code)
			assert.True(t, object.EndTime().After(object.StartTime()))
		case "bad":
			assert.Equal(t, "failed", a["kubernetes.result"])
			assert.Contains(t, object.Status().Description, "apply ConfigMap "+w.namespace+"/bad: ")
		case "u":
			assert.Equal(t, "failed", a["kubernetes.result"])
			assert.Equal(t, object.StartTime(), object.EndTime(), "it had failed before it could begin")
		default:
			assert.Fail(t, "an object that is none", "%v", a)
		}
	}

	patches := spans["PATCH configmaps"]
	require.Len(t, patches, 2)
	below(t, applying, patches...)
	for _, patch := range patches {
		assert.Equal(t, trace.SpanKindClient, patch.SpanKind())
		want := map[string]any{"http.request.method": "PATCH", "kubernetes.resource": "configmaps", "http.response.status_code": int64(200)}
		if patch.Status().Code == codes.Error {
			want["http.response.status_code"], want["error.type"] = int64(422), "422"
		} else {
			want["http.response.status_code"] = int64(201)
			header := tr.parents["PATCH /api/v1/namespaces/"+w.namespace+"/configmaps/good"]
			assert.Contains(t, header, fmt.Sprintf("00-%s-%s-0", patch.SpanContext().TraceID(), patch.SpanContext().SpanID()))
		}
		assert.Equal(t, want, attributes(patch))
	}
	requests := 0
	for _, some := range spans {
		for _, span := range some {
			if span.SpanKind() == trace.SpanKindClient {
				requests++
			}
			assert.NotContains(t, fmt.Sprint(span.Attributes(), span.Status(), span.Events()), "the-value", span.Name())
		}
	}
	assert.Equal(t, int64(requests), attributes(call)["kubernetes.requests"])
	assert.Equal(t, int64(0), attributes(call)["kubernetes.requests.untraced"])

	require.NoError(t, tr.Sync(def(apply("good", configMap("good", "the-value")))))
	spans = tr.take()
	assert.Equal(t, map[string]any{"kubernetes.objects": int64(1), "kubernetes.objects.unchanged": int64(1)}, attributes(only(t, spans, "kubernetes.look")))
	assert.Empty(t, spans["PATCH configmaps"])
	assert.Equal(t, codes.Unset, only(t, spans, "kubernetes.apply").Status().Code)
}

// However large a Sync is, its trace is small; what has no span is counted.
func TestTraceIsBounded(t *testing.T) {
	w := newEnv(t, kubernetes.Options{})
	tr := w.traced(t)
	var actions []platform.SyncAction
	for i := range 80 {
		actions = append(actions, apply(fmt.Sprint("good-", i), configMap(fmt.Sprint("good-", i), "x")))
	}
	for i := range 25 {
		bad := strings.Replace(configMap(fmt.Sprint("bad-", i), "x"), "data: {", "data: {'no key': x, ", 1)
		actions = append(actions, apply(fmt.Sprint("bad-", i), bad))
	}
	require.Len(t, syncErrors(t, tr.Sync(def(actions...))), 25)
	spans := tr.take()
	assert.Len(t, spans["PATCH configmaps"], 50)
	call := attributes(only(t, spans, "platform.Sync"))
	assert.Equal(t, int64(105-50), call["kubernetes.requests.untraced"])
	assert.Greater(t, call["kubernetes.requests"], int64(105))

	byResult := map[any][]sdktrace.ReadOnlySpan{}
	for _, object := range spans["apply ConfigMap"] {
		result := attributes(object)["kubernetes.result"]
		byResult[result] = append(byResult[result], object)
	}
	assert.Len(t, byResult["failed"], 20)
	assert.Len(t, byResult["applied"], 5)
	applying := only(t, spans, "kubernetes.apply")
	below(t, applying, spans["apply ConfigMap"]...)
	assert.Equal(t, map[string]any{"kubernetes.objects.applied": int64(80), "kubernetes.objects.failed": int64(25)}, attributes(applying))
}

func TestTraceOfAnApply(t *testing.T) {
	w := newEnv(t, kubernetes.Options{})
	tr := w.traced(t)
	for _, name := range []string{"good", "bad"} {
		require.NoError(t, w.Sync(def(apply(name, deployment(name, "example.com/web:1"), service(name, name)))))
	}
	require.Len(t, applyErrors(t, tr.Apply([]platform.ServiceDefinition{
		{ServiceID: w.id("good"), NewDefinition: []byte(deployment("good", "example.com/web:2"))},
		{ServiceID: w.id("bad"), NewDefinition: []byte(deployment("bad", "example.com/web:"+controlplane.MissingTag))},
	})), 1)
	spans := tr.take()
	call, applying, rollout := only(t, spans, "platform.Apply"), only(t, spans, "kubernetes.apply"), only(t, spans, "kubernetes.rollout")
	below(t, call, only(t, spans, "kubernetes.look"), applying, rollout)
	below(t, applying, spans["apply Deployment"]...)
	below(t, applying, spans["PATCH deployments"]...)
	assert.Len(t, spans["apply Deployment"], 2)
	assert.Len(t, spans["PATCH deployments"], 2)
	assert.Equal(t, int64(2), attributes(rollout)["kubernetes.rollouts"])
	assert.Equal(t, "1 rollouts failed", rollout.Status().Description)
	require.Len(t, rollout.Events(), 1)
	assert.Contains(t, fmt.Sprint(rollout.Events()[0].Attributes), "ProgressDeadlineExceeded")

	require.NoError(t, tr.Apply([]platform.ServiceDefinition{
		{ServiceID: w.id("good"), NewDefinition: []byte(deployment("good", "example.com/web:3")), Async: true},
	}))
	spans = tr.take()
	only(t, spans, "kubernetes.apply")
	assert.Empty(t, spans["kubernetes.rollout"], "nothing is waited for")
}

// Reads have the spans of their requests.
func TestTraceOfReads(t *testing.T) {
	w := newEnv(t, kubernetes.Options{})
	tr := w.traced(t)
	_, err := tr.SomeServices([]flux.ServiceID{w.id("absent")})
	require.NoError(t, err)
	spans := tr.take()
	call := only(t, spans, "platform.SomeServices")
	assert.NotEmpty(t, spans["GET services"])
	below(t, call, spans["GET services"]...)
	for _, get := range spans["GET services"] {
		assert.Equal(t, codes.Unset, get.Status().Code, "that it does not exist is an answer")
	}
	require.NoError(t, tr.Ping())
	spans = tr.take()
	below(t, only(t, spans, "platform.Ping"), only(t, spans, "GET"))
}

// Without a span that is recorded, or without a provider, nothing is traced and no header is sent.
func TestNoTrace(t *testing.T) {
	w := newEnv(t, kubernetes.Options{})
	spans := tracetest.NewSpanRecorder()
	recording := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans))
	never := sdktrace.NewTracerProvider(sdktrace.WithSampler(sdktrace.NeverSample()))
	sampled, span := recording.Tracer("test").Start(t.Context(), "test")
	defer span.End()
	unsampled, unsampledSpan := never.Tracer("test").Start(t.Context(), "test")
	defer unsampledSpan.End()
	for name, tt := range map[string]struct {
		provider trace.TracerProvider
		ctx      context.Context
	}{
		"no span":        {recording, t.Context()},
		"not sampled":    {recording, unsampled},
		"remote":         {recording, trace.ContextWithRemoteSpanContext(t.Context(), span.SpanContext())},
		"no provider":    {nil, sampled},
		"noop":           {noop.NewTracerProvider(), sampled},
		"never sampling": {never, unsampled},
	} {
		t.Run(name, func(t *testing.T) {
			cluster, _ := w.recorded(t, kubernetes.Options{TracerProvider: tt.provider}, func(r *http.Request, next http.RoundTripper) (*http.Response, error) {
				assert.Empty(t, r.Header.Get("Traceparent"))
				return next.RoundTrip(r)
			})
			require.NoError(t, platform.WithContext(tt.ctx, cluster).Sync(def(apply("a", configMap("a", name)))))
			assert.Empty(t, spans.Ended())
		})
	}
}

// A callers notes who is named in the context of what is logged.
type callers struct {
	slog.Handler
	mu    sync.Mutex
	named []string // guarded by mu
}

// Handle notes the caller of a record.
func (c *callers) Handle(ctx context.Context, _ slog.Record) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.named = append(c.named, platform.CallerFrom(ctx))
	return nil
}

// Enabled returns true.
func (c *callers) Enabled(context.Context, slog.Level) bool { return true }

// The log can tell who has asked for what it is about, and which trace it belongs to.
func TestLogHasTheCaller(t *testing.T) {
	w := newEnv(t, kubernetes.Options{})
	log := &callers{}
	cluster := w.as(t, w.cp.Config(), kubernetes.Options{Namespace: w.namespace, Logger: slog.New(log)})
	ignored := strings.Replace(configMap("a", "1"), "{name: a}", "{name: a, annotations: {platform/ignore: sync}}", 1)
	require.NoError(t, w.Sync(def(apply("a", ignored))))
	ann := platform.WithContext(platform.ContextWithCaller(t.Context(), "ann"), cluster)
	require.NoError(t, platform.WithContext(t.Context(), ann).Sync(def(apply("a", configMap("a", "2")))))
	assert.Equal(t, []string{"ann"}, log.named)
	log.named = nil
	require.NoError(t, cluster.Sync(def(apply("a", configMap("a", "3")))))
	assert.Equal(t, []string{""}, log.named)
}
