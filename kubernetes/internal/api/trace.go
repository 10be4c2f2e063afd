package api

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/platformbus/platform/kubernetes/internal/redact"
)

// maxRequestSpans is how many reads of a call, and how many writes, have a span at most: the first
// ones.
const maxRequestSpans = 50

// Requests counts the requests of a call whose requests have spans.
type Requests struct{ reads, writes atomic.Int64 }

type requestsKey struct{}

// WithRequests returns a context for a call. Each of its requests has a span, if the span in its
// context is recording, but no more than the first 50 reads and the first 50 writes have one.
func WithRequests(ctx context.Context) (context.Context, *Requests) {
	r := &Requests{}
	return context.WithValue(ctx, requestsKey{}, r), r
}

// Sent returns how many requests were sent, and how many of them have no span.
func (r *Requests) Sent() (all, untraced int) {
	reads, writes := int(r.reads.Load()), int(r.writes.Load())
	return reads + writes, max(0, reads-maxRequestSpans) + max(0, writes-maxRequestSpans)
}

// admit counts a request, and says whether it may have a span.
func (r *Requests) admit(method string) bool {
	if method == http.MethodGet {
		return r.reads.Add(1) <= maxRequestSpans
	}
	return r.writes.Add(1) <= maxRequestSpans
}

// tracing makes spans of requests, and tells the API server of them by the header traceparent,
// so that its own spans are part of the trace. A span ends when the head of the answer has come.
// It has the method, the resource and the status code, and no path, query or body.
type tracing struct {
	tracer trace.Tracer
	prefix string // of all paths, see transport
	next   http.RoundTripper
}

func (t tracing) RoundTrip(r *http.Request) (*http.Response, error) {
	requests, ok := r.Context().Value(requestsKey{}).(*Requests)
	if !ok || !requests.admit(r.Method) || !trace.SpanFromContext(r.Context()).IsRecording() {
		return t.next.RoundTrip(r)
	}
	resource := resourceOf(strings.TrimPrefix(r.URL.Path, t.prefix))
	attributes := []attribute.KeyValue{attribute.String("http.request.method", r.Method)}
	name := r.Method
	if _, known := r.Context().Value(pathKey{}).(string); known { // it is no discovery
		name += " " + resource
		attributes = append(attributes, attribute.String("kubernetes.resource", resource))
	}
	ctx, span := t.tracer.Start(r.Context(), name, trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(attributes...))
	defer span.End()
	r = r.Clone(ctx) // a RoundTripper does not change a request
	propagation.TraceContext{}.Inject(ctx, propagation.HeaderCarrier(r.Header))
	response, err := t.next.RoundTrip(r)
	if err != nil {
		span.SetAttributes(attribute.String("error.type", fmt.Sprintf("%T", err)))
		span.SetStatus(codes.Error, redact.Line(err.Error()))
		return response, err
	}
	span.SetAttributes(attribute.Int("http.response.status_code", response.StatusCode))
	absent := r.Method == http.MethodGet && response.StatusCode == http.StatusNotFound // which is an answer
	if response.StatusCode >= http.StatusBadRequest && !absent {
		span.SetAttributes(attribute.String("error.type", strconv.Itoa(response.StatusCode)))
		span.SetStatus(codes.Error, "")
	}
	return response, nil
}
