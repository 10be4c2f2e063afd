package examples_test

import (
	"context"
	"net/http"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/platformbus/platform"
	"github.com/platformbus/platform/internal/controlplane"
	"github.com/platformbus/platform/internal/natstest"
	"github.com/platformbus/platform/kubernetes"
	"github.com/platformbus/platform/natsbus"
)

// A request to a service, the service's call, the daemon's, and what the API server is sent are one
// trace, over a real NATS server and a real API server.
func TestOneTraceFromTheServiceToTheAPIServer(t *testing.T) {
	cp := controlplane.Require(t)
	s := natstest.Start(t, nil)
	// Each end has a provider of its own, as the two processes have.
	service, daemon := tracetest.NewSpanRecorder(), tracetest.NewSpanRecorder()
	atService := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(service))
	atDaemon := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(daemon))

	var header string // of the PATCH
	config := cp.Config()
	config.WrapTransport = func(next http.RoundTripper) http.RoundTripper {
		return roundTripper(func(r *http.Request) (*http.Response, error) {
			if r.Method == http.MethodPatch {
				header = r.Header.Get("Traceparent")
			}
			return next.RoundTrip(r)
		})
	}
	cluster, err := kubernetes.NewCluster(config, kubernetes.Options{Namespace: cp.Namespace(t), Timeout: limit, TracerProvider: atDaemon})
	require.NoError(t, err)
	busAt(t, s.ClientURL()).Subscribe("my-cluster", platform.Trace(cluster, atDaemon), nil)
	remote, err := busAt(t, s.ClientURL()).Connect("my-cluster")
	require.NoError(t, err)

	ctx, request := atService.Tracer("service").Start(platform.ContextWithCaller(t.Context(), "ann"), "POST /sync")
	require.NoError(t, platform.WithContext(ctx, platform.Trace(remote, atService)).Sync(platform.SyncDef{Actions: []platform.SyncAction{
		{ResourceID: "a", Apply: []byte("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {word: x}\n")},
	}}))
	request.End()

	// From the PATCH up to the request, each span is the child of the next.
	all := append(service.Ended(), daemon.Ended()...)
	byID := map[trace.SpanID]sdktrace.ReadOnlySpan{}
	var at sdktrace.ReadOnlySpan
	for _, span := range all {
		assert.Equal(t, request.SpanContext().TraceID(), span.SpanContext().TraceID(), span.Name())
		byID[span.SpanContext().SpanID()] = span
		if span.Name() == "PATCH configmaps" {
			at = span
		}
	}
	require.NotNil(t, at)
	assert.Contains(t, header, at.SpanContext().TraceID().String()+"-"+at.SpanContext().SpanID().String())
	var names []string
	for ; at != nil; at = byID[at.Parent().SpanID()] {
		names = append(names, at.Name())
	}
	assert.Equal(t, []string{"PATCH configmaps", "kubernetes.apply", "platform.Sync", "platform.Sync", "POST /sync"}, names)
	assert.Len(t, service.Ended(), 2)
}

// busAt returns a bus on a connection of its own.
func busAt(t *testing.T, url string) *natsbus.Bus {
	t.Helper()
	conn, err := nats.Connect(url, natsbus.ConnectOptions()...)
	require.NoError(t, err)
	t.Cleanup(conn.Close)
	b, err := natsbus.New(conn, natsbus.Options{})
	require.NoError(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), limit)
		defer cancel()
		assert.NoError(t, b.Close(ctx))
	})
	return b
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
