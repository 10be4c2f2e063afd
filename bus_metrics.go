package platform

import (
	"fmt"

	"github.com/go-kit/kit/metrics"
	"github.com/go-kit/kit/metrics/prometheus"
	stdprometheus "github.com/prometheus/client_golang/prometheus"

	"github.com/platformbus/platform/flux"
	"github.com/platformbus/platform/internal/collector"
)

// BusMetrics holds metrics for message buses. The zero value counts nothing.
type BusMetrics struct {
	// KickCount counts the subscriptions that a newer one ended.
	KickCount metrics.Counter
}

// BusMetricsImpl registers its metrics with Prometheus' default registry. NewBusMetrics
// takes another registry.
var BusMetricsImpl = BusMetrics{
	KickCount: prometheus.NewCounterFrom(kickCountOpts, []string{}),
}

func init() { BusMetricsImpl.KickCount.Add(0) } // creates the series, as NewBusMetrics does

var kickCountOpts = stdprometheus.CounterOpts{
	Namespace: "flux",
	Subsystem: "bus",
	Name:      "kick_total",
	Help:      "Count of bus subscriptions kicked off by a newer subscription.",
}

// NewBusMetrics returns metrics that are registered with r. Buses with the same registry
// share their metrics. NewBusMetrics fails if r holds another metric of that name.
func NewBusMetrics(r stdprometheus.Registerer) (BusMetrics, error) {
	kicks, err := collector.Shared(r, stdprometheus.NewCounterVec(kickCountOpts, []string{}))
	if err != nil {
		return BusMetrics{}, fmt.Errorf("register flux_bus_kick_total: %w", err)
	}
	kicks.With(nil) // creates the series, so that the first kick is an increase
	return BusMetrics{KickCount: prometheus.NewCounter(kicks)}, nil
}

// IncrKicks counts a subscription of inst that a newer one ended. The instance is not a
// label, since there may be more instances than a time series database can handle.
func (m BusMetrics) IncrKicks(inst flux.InstanceID) {
	if m.KickCount != nil {
		m.KickCount.Add(1)
	}
}
