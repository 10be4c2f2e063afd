package platform

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/go-kit/kit/metrics"
	"github.com/go-kit/kit/metrics/prometheus"
	stdprometheus "github.com/prometheus/client_golang/prometheus"

	"github.com/platformbus/platform/flux"
	"github.com/platformbus/platform/internal/collector"
)

// Metrics holds the metrics of Instrument. The zero value measures nothing.
type Metrics struct {
	// RequestDuration observes the duration of each call to a Platform, in seconds. Its
	// labels are "method", the name of the method, and "success", "true" or "false".
	RequestDuration metrics.Histogram
}

// MetricsImpl holds the metrics that Instrument uses, in Prometheus' default registry.
// NewMetrics takes another registry.
var MetricsImpl = Metrics{
	RequestDuration: prometheus.NewHistogramFrom(requestDurationOpts, requestLabels),
}

var (
	requestDurationOpts = stdprometheus.HistogramOpts{
		Namespace: "flux",
		Subsystem: "platform",
		Name:      "request_duration_seconds",
		Help:      "Duration of calls to a platform, in seconds.",
		// From a Ping to an Apply that waits for a slow rollout.
		Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1200, 1800},
	}
	requestLabels = []string{"method", "success"}
)

// NewMetrics returns metrics that are registered with r. Platforms instrumented with the
// same registry share their metrics. NewMetrics fails if r holds another metric of that
// name.
func NewMetrics(r stdprometheus.Registerer) (Metrics, error) {
	took, err := collector.Shared(r, stdprometheus.NewHistogramVec(requestDurationOpts, requestLabels))
	if err != nil {
		return Metrics{}, fmt.Errorf("register flux_platform_request_duration_seconds: %w", err)
	}
	return Metrics{RequestDuration: prometheus.NewHistogram(took)}, nil
}

// Instrument returns a Platform that measures every call to p in Prometheus' default
// registry, as flux_platform_request_duration_seconds{method, success}.
func Instrument(p Platform) Platform { return MetricsImpl.Instrument(p) }

// Instrument returns a Platform that measures every call to p with m.
func (m Metrics) Instrument(p Platform) Platform {
	if m.RequestDuration == nil {
		return p
	}
	return &instrumented{next: p, took: m.RequestDuration}
}

// instrumented does not embed Platform: a method added to the interface must fail to
// compile here rather than go unmeasured.
type instrumented struct {
	next Platform
	took metrics.Histogram
}

var _ Platform = (*instrumented)(nil)

func (i *instrumented) observe(method string, begin time.Time, err *error) {
	i.took.With("method", method, "success", strconv.FormatBool(*err == nil)).Observe(time.Since(begin).Seconds())
}

// WithContext returns a view that measures too. The context applies to the inner Platform.
func (i *instrumented) WithContext(ctx context.Context) Platform {
	return &instrumented{next: WithContext(ctx, i.next), took: i.took}
}

func (i *instrumented) AllServices(namespace string, ignored flux.ServiceIDSet) (_ []Service, err error) {
	defer i.observe("AllServices", time.Now(), &err)
	return i.next.AllServices(namespace, ignored)
}

func (i *instrumented) SomeServices(ids []flux.ServiceID) (_ []Service, err error) {
	defer i.observe("SomeServices", time.Now(), &err)
	return i.next.SomeServices(ids)
}

func (i *instrumented) Apply(defs []ServiceDefinition) (err error) {
	defer i.observe("Apply", time.Now(), &err)
	return i.next.Apply(defs)
}

func (i *instrumented) Ping() (err error) {
	defer i.observe("Ping", time.Now(), &err)
	return i.next.Ping()
}

func (i *instrumented) Version() (_ string, err error) {
	defer i.observe("Version", time.Now(), &err)
	return i.next.Version()
}

func (i *instrumented) Export() (_ []byte, err error) {
	defer i.observe("Export", time.Now(), &err)
	return i.next.Export()
}

func (i *instrumented) Sync(def SyncDef) (err error) {
	defer i.observe("Sync", time.Now(), &err)
	return i.next.Sync(def)
}
