package api

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"
)

// A request's span says how it went, and has nothing of where it went but the resource.
func TestSpansOfRequests(t *testing.T) {
	var header string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		header = r.Header.Get("Traceparent")
		w.WriteHeader(map[string]int{"GET": http.StatusNotFound, "DELETE": http.StatusConflict}[r.Method])
		w.Write([]byte(`{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1","metadata":{"name":"a"}}`)) //nolint:errcheck // a test
	}))
	defer server.Close()
	spans := tracetest.NewSpanRecorder()
	tracer := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans)).Tracer("test")
	c, err := NewClient(&rest.Config{Host: server.URL + "/prefix"}, time.Minute, tracer)
	require.NoError(t, err)
	maps := c.Metadata(schema.GroupVersionResource{Group: "example.com", Version: "v1", Resource: "things"}, "secret-place")
	ctx, call := tracer.Start(t.Context(), "call")
	ctx, requests := WithRequests(ctx)
	for _, tt := range []struct {
		ask    func() error
		name   string
		status codes.Code
		kind   string // of the error
	}{
		{func() error { _, err := maps.Get(ctx, "a"); return err }, "GET things", codes.Unset, ""},
		{func() error { return maps.Delete(ctx, "a", metav1.DeleteOptions{}) }, "DELETE things", codes.Error, "409"},
		{func() error { server.Close(); return maps.Delete(ctx, "a", metav1.DeleteOptions{}) }, "DELETE things", codes.Error, "*net.OpError"},
	} {
		spans.Reset()
		header = ""
		require.Error(t, tt.ask())
		require.NotEmpty(t, spans.Ended())
		span := spans.Ended()[0]
		assert.Equal(t, tt.name, span.Name())
		assert.Equal(t, tt.status, span.Status().Code)
		assert.Equal(t, call.SpanContext().SpanID(), span.Parent().SpanID())
		kind := ""
		for _, a := range span.Attributes() {
			if a.Key == "error.type" {
				kind = a.Value.AsString()
			}
			assert.NotContains(t, a.Value.String(), "secret-place")
		}
		assert.Equal(t, tt.kind, kind)
		if tt.kind != "*net.OpError" {
			assert.Contains(t, header, span.SpanContext().SpanID().String())
		}
	}
	all, untraced := requests.Sent()
	assert.GreaterOrEqual(t, all, 3)
	assert.Zero(t, untraced)

	call.End()
	spans.Reset()
	require.Error(t, maps.Delete(ctx, "a", metav1.DeleteOptions{}))
	assert.Empty(t, spans.Ended(), "the call is over")
}
