package main_test

import (
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	v1 "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/platformbus/platform/internal/controlplane"
)

// A traceReceiver receives spans by OTLP over HTTP.
type traceReceiver struct {
	url string

	mu    sync.Mutex
	spans []receivedSpan // guarded by mu
}

type receivedSpan struct {
	program string
	*v1.Span
}

func startTraceReceiver(t *testing.T) *traceReceiver {
	r := new(traceReceiver)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		body := io.Reader(request.Body)
		if request.Header.Get("Content-Encoding") == "gzip" {
			var err error
			if body, err = gzip.NewReader(body); !assert.NoError(t, err) {
				return
			}
		}
		text, err := io.ReadAll(body)
		var all collector.ExportTraceServiceRequest
		if !assert.NoError(t, err) || !assert.NoError(t, proto.Unmarshal(text, &all)) {
			return
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		for _, ofResource := range all.ResourceSpans {
			program := ""
			for _, a := range ofResource.Resource.Attributes {
				if a.Key == "service.name" {
					program = a.Value.GetStringValue()
				}
			}
			for _, ofScope := range ofResource.ScopeSpans {
				for _, span := range ofScope.Spans {
					r.spans = append(r.spans, receivedSpan{program, span})
				}
			}
		}
	}))
	t.Cleanup(s.Close)
	r.url = s.URL
	return r
}

// named returns the first span of a program whose name begins so.
func (r *traceReceiver) named(t *testing.T, program, name string) receivedSpan {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	i := slices.IndexFunc(r.spans, func(s receivedSpan) bool { return s.program == program && strings.HasPrefix(s.Name, name) })
	if i < 0 {
		var all []string
		for _, s := range r.spans {
			all = append(all, s.program+": "+s.Name)
		}
		require.FailNow(t, "no span "+name+" of "+program, "%q", all)
	}
	return r.spans[i]
}

// An HTTP request is one trace, from its headers to the PATCH of the API server: over the
// service, a NATS server and the daemon.
func TestTraceOfARequest(t *testing.T) {
	cp := controlplane.Require(t)
	namespace := cp.Namespace(t)
	receiver := startTraceReceiver(t)
	b := startEnvTraced(t, cp, receiver.url)
	const secret = "not-to-be-traced"
	manifest := fmt.Sprintf("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: traced, namespace: %s}\ndata: {a: %s}\n", namespace, secret)
	const traceID, parentID = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
	a, err := b.service.ask(t.Context(), "POST", shop+"/sync", manifest, "Traceparent", "00-"+traceID+"-"+parentID+"-01")
	require.NoError(t, err)
	require.Equal(t, 200, a.code, a.text)
	for _, p := range []*testProcess{b.service, b.daemon} { // sends what is left
		require.NoError(t, p.Signal(syscall.SIGTERM))
		assert.Equal(t, 0, p.exitCode())
	}

	chain := []receivedSpan{
		receiver.named(t, "platform-service", "POST /v1/instances/{instance}/sync"),
		receiver.named(t, "platform-service", "platform.Sync"),
		receiver.named(t, "platform-daemon", "platform.Sync"),
		receiver.named(t, "platform-daemon", "kubernetes.apply"),
		receiver.named(t, "platform-daemon", "PATCH"),
	}
	log, err := b.daemon.Log()
	require.NoError(t, err)
	assert.Regexp(t, `msg=audit method=Sync caller="platform, service, on .* for 127\.0\.0\.1" .*outcome=done actions=1 ids=\[request\] applied=1`, log, "the audit log says who asked")
	assert.NotContains(t, log, secret)
	parent := parentID
	for _, span := range chain {
		assert.Equal(t, traceID, fmt.Sprintf("%x", span.TraceId), span.Name)
		assert.Equal(t, parent, fmt.Sprintf("%x", span.ParentSpanId), span.Name)
		parent = fmt.Sprintf("%x", span.SpanId)
	}
	receiver.mu.Lock()
	defer receiver.mu.Unlock()
	for _, span := range receiver.spans {
		assert.NotContains(t, span.String(), secret)
	}
}

// That traces cannot be sent is in the log, in its format, and is no reason to fail.
func TestTracesThatCannotBeSent(t *testing.T) {
	receiver := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(receiver.Close)
	service := startUnready(t, "service", nil, "--embedded-nats=127.0.0.1:0", "--log-format=json", "--trace-endpoint", receiver.URL)
	service.url = "http://" + service.await(`"msg":"serving HTTP","addr":"([^"]+)"`)
	assert.Equal(t, 503, service.get(shop).code)
	require.NoError(t, service.Signal(syscall.SIGTERM))
	assert.Equal(t, 0, service.exitCode())
	log, err := service.Log()
	require.NoError(t, err)
	assert.Contains(t, log, "404")
	for line := range strings.Lines(log) {
		assert.True(t, json.Valid([]byte(line)), line)
	}
}

// A client without the token makes no spans, whatever its headers say; nor do health and metrics.
func TestTracesNeedTheToken(t *testing.T) {
	receiver := startTraceReceiver(t)
	const token = "not-a-secret-of-clients"
	service := start(t, "service", []string{"PLATFORM_TOKEN=" + token}, "--embedded-nats=127.0.0.1:0", "--trace-endpoint", receiver.url, "--trace-ratio=0")
	sampled := []string{"Traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
	for _, path := range []string{"/v1/instances", "/healthz", "/nothing"} {
		_, err := service.ask(t.Context(), "GET", path, "", sampled...)
		require.NoError(t, err)
	}
	trusted := slices.Concat(sampled, []string{"Authorization", "Bearer " + token})
	for _, path := range []string{"/metrics", "/openapi.json"} {
		a, err := service.ask(t.Context(), "GET", path, "", trusted...)
		require.NoError(t, err)
		assert.Equal(t, 200, a.code, path)
	}
	require.NoError(t, service.Signal(syscall.SIGTERM))
	assert.Equal(t, 0, service.exitCode())
	receiver.mu.Lock()
	defer receiver.mu.Unlock()
	require.Len(t, receiver.spans, 1)
	assert.Equal(t, "GET /openapi.json", receiver.spans[0].Name)
}
