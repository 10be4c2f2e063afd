package natsbus

import (
	"errors"
	"fmt"

	"github.com/go-kit/kit/metrics"
	"github.com/go-kit/kit/metrics/discard"
	"github.com/go-kit/kit/metrics/prometheus"
	stdprometheus "github.com/prometheus/client_golang/prometheus"

	"github.com/platformbus/platform"
	"github.com/platformbus/platform/internal/collector"
)

// Metrics counts what a bus does. The zero value counts nothing.
type Metrics struct {
	// BusMetrics counts the kicks.
	platform.BusMetrics
	// Subscriptions is how many instances are subscribed here.
	Subscriptions metrics.Gauge
	// Calls counts calls that have ended, by the labels "side" ("made" or "served"), "method"
	// and "outcome": "ok", "error", of those made "unavailable", and of those served
	// "refused", which were not begun.
	Calls metrics.Counter
	// InFlight is how many calls are under way, by the label "side".
	InFlight metrics.Gauge
	// Bytes counts the bytes of bodies, by the label "direction" ("sent" or "received").
	Bytes metrics.Counter
	// Resent counts the chunks of large bodies that were sent again.
	Resent metrics.Counter
	// Reconnects counts how often the NATS connection has come back.
	Reconnects metrics.Counter
}

// orNone returns m with what is nil replaced by what counts nothing.
func (m Metrics) orNone() Metrics {
	for _, counter := range []*metrics.Counter{&m.Calls, &m.Bytes, &m.Resent, &m.Reconnects} {
		if *counter == nil {
			*counter = discard.NewCounter()
		}
	}
	for _, gauge := range []*metrics.Gauge{&m.Subscriptions, &m.InFlight} {
		if *gauge == nil {
			*gauge = discard.NewGauge()
		}
	}
	return m
}

// NewMetrics returns metrics that are registered with r: flux_bus_kick_total, which
// other kinds of bus have too, and flux_natsbus_subscriptions, _calls_total,
// _calls_in_flight, _body_bytes_total, _chunks_resent_total and _reconnects_total. Buses
// that are given the same registry share their metrics. It fails if r holds another metric
// of one of those names. docs/metrics.md has what each of them says.
func NewMetrics(r stdprometheus.Registerer) (Metrics, error) {
	const namespace, subsystem = "flux", "natsbus"
	counter := func(name, help string, labels ...string) (*stdprometheus.CounterVec, error) {
		return collector.Shared(r, stdprometheus.NewCounterVec(stdprometheus.CounterOpts{
			Namespace: namespace, Subsystem: subsystem, Name: name, Help: help}, labels))
	}
	gauge := func(name, help string, labels ...string) (*stdprometheus.GaugeVec, error) {
		return collector.Shared(r, stdprometheus.NewGaugeVec(stdprometheus.GaugeOpts{
			Namespace: namespace, Subsystem: subsystem, Name: name, Help: help}, labels))
	}
	kicks, err0 := platform.NewBusMetrics(r)
	subscriptions, err1 := gauge("subscriptions", "Number of instances that are subscribed here.")
	calls, err2 := counter("calls_total", "Count of calls that have ended, by side, method and outcome.", "side", "method", "outcome")
	inFlight, err3 := gauge("calls_in_flight", "Number of calls that are under way, by side.", "side")
	bytes, err4 := counter("body_bytes_total", "Count of the bytes of bodies, by direction.", "direction")
	resent, err5 := counter("chunks_resent_total", "Count of chunks of large bodies that were sent again.")
	reconnects, err6 := counter("reconnects_total", "Count of how often the NATS connection has come back.")
	if err := errors.Join(err0, err1, err2, err3, err4, err5, err6); err != nil {
		return Metrics{}, fmt.Errorf("register the metrics of a bus: %w", err)
	}
	subscriptions.With(nil)
	resent.With(nil)
	reconnects.With(nil)
	for side, outcomes := range outcomes { // the first of each is an increase too
		for method := range methods {
			for _, outcome := range outcomes {
				calls.WithLabelValues(string(side), method, outcome)
			}
		}
		inFlight.WithLabelValues(string(side))
	}
	for _, direction := range []string{sent, received} {
		bytes.WithLabelValues(direction)
	}
	return Metrics{
		BusMetrics:    kicks,
		Subscriptions: prometheus.NewGauge(subscriptions),
		Calls:         prometheus.NewCounter(calls),
		InFlight:      prometheus.NewGauge(inFlight),
		Bytes:         prometheus.NewCounter(bytes),
		Resent:        prometheus.NewCounter(resent),
		Reconnects:    prometheus.NewCounter(reconnects),
	}, nil
}

// A side is an end of a call.
type side string

const (
	made   side = "made"
	served side = "served"
)

const (
	outcomeOK          = "ok"
	outcomeError       = "error"
	outcomeUnavailable = "unavailable"
	outcomeRefused     = "refused"
)

// outcomes has how calls can end, by side.
var outcomes = map[side][]string{
	made:   {outcomeOK, outcomeError, outcomeUnavailable},
	served: {outcomeOK, outcomeError, outcomeRefused},
}

const (
	sent     = "sent"
	received = "received"
)

// counters are the metrics with their labels, which take time to look up.
type counters struct {
	bytes    map[string]metrics.Counter
	inFlight map[side]metrics.Gauge
	calls    map[callLabels]metrics.Counter
}

type callLabels struct {
	side            side
	method, outcome string
}

func (m Metrics) counters() counters {
	c := counters{
		bytes:    map[string]metrics.Counter{},
		inFlight: map[side]metrics.Gauge{},
		calls:    map[callLabels]metrics.Counter{},
	}
	for _, direction := range []string{sent, received} {
		c.bytes[direction] = m.Bytes.With("direction", direction)
	}
	for s, outcomes := range outcomes {
		c.inFlight[s] = m.InFlight.With("side", string(s))
		for method := range methods {
			for _, outcome := range outcomes {
				c.calls[callLabels{s, method, outcome}] = m.Calls.With("side", string(s), "method", method, "outcome", outcome)
			}
		}
	}
	return c
}
