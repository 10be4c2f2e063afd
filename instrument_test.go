package platform_test

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-kit/kit/metrics"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/platformbus/platform"
)

const durationName = "flux_platform_request_duration_seconds"

// discard is a histogram that keeps nothing.
type discard struct{}

func (discard) With(...string) metrics.Histogram { return discard{} }
func (discard) Observe(float64)                  {}

// counts returns the number of observations in the registry's request durations, by
// "method success".
func counts(t *testing.T, g prometheus.Gatherer) map[string]int {
	t.Helper()
	families, err := g.Gather()
	require.NoError(t, err)
	all := map[string]int{}
	for _, family := range families {
		if family.GetName() != durationName {
			continue
		}
		for _, m := range family.GetMetric() {
			labels := map[string]string{}
			for _, l := range m.GetLabel() {
				labels[l.GetName()] = l.GetValue()
			}
			require.Len(t, labels, 2)
			all[labels["method"]+" "+labels["success"]] = int(m.GetHistogram().GetSampleCount())
		}
	}
	return all
}

// newMetrics returns metrics in a registry of their own.
func newMetrics(t *testing.T) (platform.Metrics, *prometheus.Registry) {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	m, err := platform.NewMetrics(registry)
	require.NoError(t, err)
	return m, registry
}

func TestInstrumentObservesEachCallOnce(t *testing.T) {
	m, registry := newMetrics(t)
	callAll(m.Instrument(&platform.MockPlatform{}))
	callAll(m.Instrument(distinctMock(t))) // all its methods fail
	want := map[string]int{}
	for _, method := range methods {
		want[method+" true"], want[method+" false"] = 1, 1
	}
	assert.Equal(t, want, counts(t, registry))
}

func TestInstrumentPassesResultsThrough(t *testing.T) {
	m, _ := newMetrics(t)
	mock := distinctMock(t)
	assert.Equal(t, callAll(mock), callAll(m.Instrument(mock)))
	assert.Equal(t, callAll(mock), callAll(platform.Instrument(mock)))

	// Not only equal: the same slice and error.
	services, err := m.Instrument(mock).AllServices(callNamespace, callIgnored)
	assert.Same(t, &mock.AllServicesAnswer[0], &services[0])
	assert.Same(t, errBoom, err)
}

func TestInstrumentUsesTheDefaultRegistry(t *testing.T) {
	before := counts(t, prometheus.DefaultGatherer)
	require.NoError(t, platform.Instrument(&platform.MockPlatform{}).Ping())
	after := counts(t, prometheus.DefaultGatherer)
	assert.Equal(t, before["Ping true"]+1, after["Ping true"])
	assert.Equal(t, before["Ping false"], after["Ping false"])
}

func TestInstrumentMeasuresUpToHalfAnHour(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, registry := newMetrics(t)
		took := 29 * time.Minute
		p := m.Instrument(&platform.MockPlatform{ApplyArgTest: func([]platform.ServiceDefinition) error {
			<-time.After(took) // the bubble's clock: no time passes outside
			return nil
		}})
		require.NoError(t, p.Apply(nil))
		families, err := registry.Gather()
		require.NoError(t, err)
		require.Len(t, families, 1)
		h := families[0].GetMetric()[0].GetHistogram()
		assert.Equal(t, took.Seconds(), h.GetSampleSum(), "in seconds")
		within := map[float64]uint64{}
		for _, b := range h.GetBucket() {
			within[b.GetUpperBound()] = b.GetCumulativeCount()
		}
		assert.Contains(t, within, .001, "short enough for a Ping")
		assert.Equal(t, uint64(0), within[1200])
		assert.Equal(t, uint64(1), within[1800], "a slow rollout still falls within a bucket")
	})
}

func TestMetricsAreSharedByRegistry(t *testing.T) {
	one, registry := newMetrics(t)
	two, err := platform.NewMetrics(registry)
	require.NoError(t, err)
	require.NoError(t, one.Instrument(&platform.MockPlatform{}).Ping())
	require.NoError(t, two.Instrument(&platform.MockPlatform{}).Ping())
	assert.Equal(t, map[string]int{"Ping true": 2}, counts(t, registry))

	other, separate := newMetrics(t)
	require.NoError(t, other.Instrument(&platform.MockPlatform{}).Ping())
	assert.Equal(t, map[string]int{"Ping true": 1}, counts(t, separate))
}

func TestNewMetricsFailsOnAConflict(t *testing.T) {
	for name, conflicting := range map[string]prometheus.Collector{
		"another help":   prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: durationName, Help: "Something else."}, []string{"method", "success"}),
		"another label":  prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: durationName, Help: "Duration of calls to a platform, in seconds."}, []string{"route"}),
		"another type":   prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: durationName, Help: "Duration of calls to a platform, in seconds."}, []string{"method", "success"}),
		"without labels": prometheus.NewCounter(prometheus.CounterOpts{Name: durationName, Help: "Duration of calls to a platform, in seconds."}),
	} {
		t.Run(name, func(t *testing.T) {
			registry := prometheus.NewRegistry()
			require.NoError(t, registry.Register(conflicting))
			m, err := platform.NewMetrics(registry)
			assert.ErrorContains(t, err, durationName)
			assert.Zero(t, m, "metrics that are not registered are not returned")
		})
	}
}

func TestZeroMetricsMeasureNothing(t *testing.T) {
	mock := distinctMock(t)
	p := platform.Metrics{}.Instrument(mock)
	assert.Equal(t, callAll(mock), callAll(p))
}

func TestInstrumentKeepsContexts(t *testing.T) {
	m, registry := newMetrics(t)
	p := platform.WithContext(context.WithValue(t.Context(), contextKey{}, "mine"), m.Instrument(contextAware{}))
	version, err := p.Version()
	require.NoError(t, err)
	assert.Equal(t, "mine", version, "the inner Platform receives the context")

	p = platform.WithContext(cancelled(), m.Instrument(mustNotBeCalled{}))
	assert.Equal(t, errCause, p.Ping())
	assert.Equal(t, map[string]int{"Version true": 1, "Ping false": 1}, counts(t, registry), "views are measured too")
}

func TestInstrumentConcurrently(t *testing.T) {
	m, registry := newMetrics(t)
	p := m.Instrument(&platform.MockPlatform{})
	var callers sync.WaitGroup
	for range 20 {
		callers.Go(func() {
			for range 50 {
				assert.NoError(t, p.Ping())
			}
		})
	}
	callers.Wait()
	assert.Equal(t, map[string]int{"Ping true": 1000}, counts(t, registry))
}
