package program

import (
	"context"
	"fmt"
	"log/slog"
	"net/url"

	"github.com/spf13/pflag"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"
)

// Trace configures traces.
type Trace struct {
	Endpoint string
	Ratio    float64
}

// AddFlags adds the flags of traces.
func (t *Trace) AddFlags(flags *pflag.FlagSet) {
	flags.StringVar(&t.Endpoint, "trace-endpoint", "", "`URL` to send OpenTelemetry traces to, by OTLP over HTTP, such as http://127.0.0.1:4318 (default none)")
	flags.Float64Var(&t.Ratio, "trace-ratio", 1, "`share` of the traces that begin here to send, from 0 to 1; of others the caller has decided")
}

// Provider returns a provider of tracers, and a function that sends the spans that are left and
// shuts it down. Spans have the attribute service.name and the attributes given. A failure to
// send spans is logged.
func (t *Trace) Provider(ctx context.Context, log *slog.Logger, name string, attributes ...attribute.KeyValue) (trace.TracerProvider, func(context.Context) error, error) {
	if t.Endpoint == "" {
		return noop.NewTracerProvider(), func(context.Context) error { return nil }, nil
	}
	u, err := url.Parse(t.Endpoint)
	switch {
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
		return nil, nil, Usage("--trace-endpoint: want a URL such as http://127.0.0.1:4318")
	case u.User != nil:
		return nil, nil, Usage("--trace-endpoint holds credentials, which others can read: use OTEL_EXPORTER_OTLP_HEADERS")
	case t.Ratio < 0 || t.Ratio > 1:
		return nil, nil, Usage("--trace-ratio is %v; want a number from 0 to 1", t.Ratio)
	}
	if u.Path == "" || u.Path == "/" {
		u.Path = "/v1/traces"
	}
	exporter, err := otlptracehttp.New(ctx, otlptracehttp.WithEndpointURL(u.String()))
	if err != nil {
		return nil, nil, fmt.Errorf("trace: %w", err)
	}
	// The default handler writes lines to standard error that are not in the log's format.
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { log.Warn("traces", "err", err) }))
	provider := sdktrace.NewTracerProvider(
		sdktrace.WithBatcher(exporter),
		sdktrace.WithSampler(sdktrace.ParentBased(sdktrace.TraceIDRatioBased(t.Ratio))),
		sdktrace.WithResource(resource.NewSchemaless(append(attributes, attribute.String("service.name", name), attribute.String("service.version", Version()))...)))
	return provider, provider.Shutdown, nil
}
