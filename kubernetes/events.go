package kubernetes

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/go-kit/kit/metrics"
	"github.com/go-kit/kit/metrics/discard"
	"github.com/go-kit/kit/metrics/prometheus"
	stdprometheus "github.com/prometheus/client_golang/prometheus"

	"github.com/platformbus/platform/internal/collector"
	"github.com/platformbus/platform/kubernetes/internal/redact"
)

// A Result is the result for one object.
type Result string

// The results for an object.
const (
	Applied   Result = "applied"   // the definition was sent, and is in force
	Unchanged Result = "unchanged" // nothing was sent: it would certainly have changed nothing
	Deleted   Result = "deleted"   // it was deleted, or was gone already
	Ignored   Result = "ignored"   // left alone, as its annotation platform/ignore says
	Skipped   Result = "skipped"   // not attempted: what it depends on has failed, or the call was over
	Failed    Result = "failed"    // attempted, with an error
	Waiting   Result = "waiting"   // it is waited for; not a result yet, and not counted
	Stalled   Result = "stalled"   // it was applied, and its rollout failed or took too long
)

// An Event reports the result for one object of a Sync or an Apply, or its progress.
type Event struct {
	// ID is the ResourceID of the action, or the ServiceID of the definition.
	ID string
	// Object names the object, as in "Deployment default/web".
	Object string
	// Result is the result.
	Result Result
	// Took is how long that took.
	Took time.Duration
	// Progress is how far it has come, if it is waited for.
	Progress string
	// Err is why, if it was skipped or failed.
	Err error
}

// Metrics counts what Sync and Apply do. The zero value counts nothing.
type Metrics struct {
	// Objects counts objects by their result, the label "result".
	Objects metrics.Counter
	// LastSync is when a Sync last succeeded, in seconds since 1970; 0 if none has.
	LastSync metrics.Gauge
	// InFlight is how many objects are being processed; those that wait do not count.
	InFlight metrics.Gauge
}

// orNone returns m with what is nil replaced by what counts nothing.
func (m Metrics) orNone() Metrics {
	if m.Objects == nil {
		m.Objects = discard.NewCounter()
	}
	if m.LastSync == nil {
		m.LastSync = discard.NewGauge()
	}
	if m.InFlight == nil {
		m.InFlight = discard.NewGauge()
	}
	return m
}

// NewMetrics returns metrics that are registered with r: flux_kubernetes_objects_total,
// flux_kubernetes_last_sync_timestamp_seconds and flux_kubernetes_objects_in_flight.
// Clusters that are given the same registry share their metrics. It fails if r holds
// another metric of one of those names. docs/metrics.md has what each of them says.
func NewMetrics(r stdprometheus.Registerer) (Metrics, error) {
	const namespace, subsystem = "flux", "kubernetes"
	objects, err1 := collector.Shared(r, stdprometheus.NewCounterVec(stdprometheus.CounterOpts{
		Namespace: namespace, Subsystem: subsystem, Name: "objects_total",
		Help: "Count of objects that were processed, by result; a rollout that failed counts as applied and as stalled.",
	}, []string{"result"}))
	last, err2 := collector.Shared(r, stdprometheus.NewGaugeVec(stdprometheus.GaugeOpts{
		Namespace: namespace, Subsystem: subsystem, Name: "last_sync_timestamp_seconds",
		Help: "When a Sync last succeeded, in seconds since 1970.",
	}, nil))
	inFlight, err3 := collector.Shared(r, stdprometheus.NewGaugeVec(stdprometheus.GaugeOpts{
		Namespace: namespace, Subsystem: subsystem, Name: "objects_in_flight",
		Help: "Number of objects that are being processed.",
	}, nil))
	if err := redact.Join(err1, err2, err3); err != nil {
		return Metrics{}, fmt.Errorf("register the metrics of a cluster: %w", err)
	}
	for _, result := range []Result{Applied, Unchanged, Deleted, Ignored, Skipped, Failed, Stalled} {
		objects.WithLabelValues(string(result)) // the first is an increase too
	}
	last.With(nil) // 0 until a Sync has succeeded
	inFlight.With(nil)
	return Metrics{Objects: prometheus.NewCounter(objects), LastSync: prometheus.NewGauge(last), InFlight: prometheus.NewGauge(inFlight)}, nil
}

type observersKey struct{}

// ContextWithEvents returns a context for calls, see platform.WithContext, whose events go to
// observe too: each thing that one Sync or Apply does to an object. The contexts that it is made
// from have their observers called as well. An observer may be called by several goroutines at
// once, and should return soon.
func ContextWithEvents(ctx context.Context, observe func(Event)) context.Context {
	observers, _ := ctx.Value(observersKey{}).([]func(Event))
	return context.WithValue(ctx, observersKey{}, append(slices.Clone(observers), observe))
}

// withObservers returns ctx with the observers of the last of the contexts that a call obeys.
func withObservers(ctx context.Context, outer []context.Context) context.Context {
	for _, from := range slices.Backward(outer) {
		if observers := from.Value(observersKey{}); observers != nil {
			return context.WithValue(ctx, observersKey{}, observers)
		}
	}
	return ctx
}

// emit counts a result, and passes it on to Options.Events and the observers of the call.
func (o *Options) emit(ctx context.Context, e Event) {
	if e.Result != Waiting { // Stalled comes beside Applied: it counts rollouts
		o.Metrics.Objects.With("result", string(e.Result)).Add(1)
	}
	observers, _ := ctx.Value(observersKey{}).([]func(Event))
	if o.Events == nil && len(observers) == 0 {
		return
	}
	e.Progress, e.Err = redact.Line(e.Progress), redact.Error(e.Err)
	if o.Events != nil {
		o.Events(e)
	}
	for _, observe := range observers {
		observe(e)
	}
}
