package platform

import (
	"fmt"

	"github.com/go-kit/kit/metrics"
	"github.com/go-kit/kit/metrics/prometheus"
	stdprometheus "github.com/prometheus/client_golang/prometheus"

	"github.com/platformbus/platform/flux"
	"github.com/platformbus/platform/internal/collector"
)

// BusMetrics has metrics for messages buses. The zero value counts nothing.
type BusMetrics struct {
	// KickCount counts subscriptions that were ended by a newer one.
	KickCount metrics.Counter
}

// BusMetricsImpl has its metrics in Prometheus' default registry. Use NewBusMetrics for
// a registry of your own.
var BusMetricsImpl = BusMetrics{
	KickCount: prometheus.NewCounterFrom(kickCountOpts, []string{}),
}

var kickCountOpts = stdprometheus.CounterOpts{
	Namespace: "flux",
	Subsystem: "bus",
	Name:      "kick_total",
	Help:      "Count of bus subscriptions kicked off by a newer subscription.",
}

// NewBusMetrics returns metrics that are registered with r. Buses that are given the
// same registry share their metrics. It fails if r holds another metric of that name.
func NewBusMetrics(r stdprometheus.Registerer) (BusMetrics, error) {
	kicks, err := collector.Shared(r, stdprometheus.NewCounterVec(kickCountOpts, []string{}))
	if err != nil {
		return BusMetrics{}, fmt.Errorf("register flux_bus_kick_total: %w", err)
	}
	kicks.With(nil) // the first kick is an increase too
	return BusMetrics{KickCount: prometheus.NewCounter(kicks)}, nil
}

// IncrKicks counts a subscription of inst that was ended by a newer one. The instance
// is no label, since there may be more of them than a time series database can bear.
func (m BusMetrics) IncrKicks(inst flux.InstanceID) {
	if m.KickCount != nil {
		m.KickCount.Add(1)
	}
}
