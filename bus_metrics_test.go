package platform_test

import (
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/platformbus/platform"
)

const (
	kickName = "flux_bus_kick_total"
	kickHelp = "Count of bus subscriptions kicked off by a newer subscription."
)

// kicks returns the count of kicks in the registry. The series exists from the start.
func kicks(t *testing.T, g prometheus.Gatherer) float64 {
	t.Helper()
	families, err := g.Gather()
	require.NoError(t, err)
	for _, family := range families {
		if family.GetName() == kickName {
			assert.Equal(t, kickHelp, family.GetHelp())
			require.Len(t, family.GetMetric(), 1, "one series, whatever the instance")
			require.Empty(t, family.GetMetric()[0].GetLabel())
			return family.GetMetric()[0].GetCounter().GetValue()
		}
	}
	require.Fail(t, "the registry has no "+kickName)
	return 0
}

func TestBusMetricsCountKicks(t *testing.T) {
	registry := prometheus.NewPedanticRegistry()
	m, err := platform.NewBusMetrics(registry)
	require.NoError(t, err)
	bus := platform.NewStandaloneMessageBus(m)
	bus.Subscribe("a", &platform.MockPlatform{}, nil)
	bus.Subscribe("b", &platform.MockPlatform{PingError: platform.FatalError{Err: errBoom}}, nil)
	require.Error(t, bus.Ping("b"))
	bus.Subscribe("b", &platform.MockPlatform{}, nil)
	bus.Subscribe("a", nil, nil)
	bus.Subscribe("", &platform.MockPlatform{}, nil)
	assert.Zero(t, kicks(t, registry), "neither a first subscription, nor one after a fatal error, nor a refused one, kicks")
	for range 3 {
		bus.Subscribe("a", &platform.MockPlatform{}, nil)
	}
	assert.Equal(t, 3.0, kicks(t, registry))
	assert.NotPanics(t, func() { m.IncrKicks("c") })
	assert.Equal(t, 4.0, kicks(t, registry))
}

func TestBusMetricsAreSharedByRegistry(t *testing.T) {
	registry := prometheus.NewPedanticRegistry()
	for range 2 {
		m, err := platform.NewBusMetrics(registry)
		require.NoError(t, err)
		m.IncrKicks("a")
	}
	assert.Equal(t, 2.0, kicks(t, registry))

	registry = prometheus.NewPedanticRegistry()
	for range 2 {
		m, err := platform.NewBusMetrics(prometheus.WrapRegistererWithPrefix("my_", registry))
		require.NoError(t, err, "a registerer that decorates can be shared too")
		m.IncrKicks("a")
	}
}

func TestNewBusMetricsFailsOnAConflict(t *testing.T) {
	for name, conflicting := range map[string]prometheus.Collector{
		"another help":  prometheus.NewCounter(prometheus.CounterOpts{Name: kickName, Help: "Something else."}),
		"another type":  prometheus.NewGauge(prometheus.GaugeOpts{Name: kickName, Help: kickHelp}),
		"another label": prometheus.NewCounterVec(prometheus.CounterOpts{Name: kickName, Help: kickHelp}, []string{"instance"}),
	} {
		t.Run(name, func(t *testing.T) {
			registry := prometheus.NewRegistry()
			require.NoError(t, registry.Register(conflicting))
			m, err := platform.NewBusMetrics(registry)
			assert.ErrorContains(t, err, kickName)
			assert.Zero(t, m)
		})
	}
}

func TestZeroBusMetrics(t *testing.T) {
	assert.NotPanics(t, func() { platform.BusMetrics{}.IncrKicks("a") })
}

func TestBusMetricsImplIsInTheDefaultRegistry(t *testing.T) {
	before := kicks(t, prometheus.DefaultGatherer)
	bus := platform.NewStandaloneMessageBus(platform.BusMetricsImpl)
	bus.Subscribe("a", &platform.MockPlatform{}, nil)
	bus.Subscribe("a", &platform.MockPlatform{}, nil)
	assert.Equal(t, before+1, kicks(t, prometheus.DefaultGatherer))
}
