package natsbus_test

import (
	"testing"

	stdprometheus "github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/platformbus/platform"
	"github.com/platformbus/platform/internal/natstest"
	"github.com/platformbus/platform/natsbus"
)

func TestMetrics(t *testing.T) {
	noLeaks(t)
	s := natstest.Start(t, nil)
	registry := stdprometheus.NewRegistry()
	metrics, err := natsbus.NewMetrics(registry)
	require.NoError(t, err)
	again, err := natsbus.NewMetrics(registry)
	require.NoError(t, err, "buses may share a registry")
	assert.Equal(t, metrics, again)

	b := ends(t, s.ClientURL(), s.ClientURL(), natsbus.Options{Metrics: metrics})
	b.Subscribe("a", &platform.MockPlatform{}, nil)
	b.Subscribe("a", &platform.MockPlatform{}, nil)
	require.NoError(t, b.Ping("a"))
	require.Error(t, b.Ping("b"))
	value := func(name string, labels map[string]string) float64 { return gathered(t, registry, name, labels) }
	assert.InDelta(t, 1, value("flux_bus_kick_total", nil), 0)
	assert.InDelta(t, 1, value("flux_natsbus_subscriptions", nil), 0)
	assert.InDelta(t, 1, value("flux_natsbus_calls_total", map[string]string{"side": "made", "method": "Ping", "outcome": "ok"}), 0)
	assert.InDelta(t, 1, value("flux_natsbus_calls_total", map[string]string{"side": "made", "outcome": "unavailable"}), 0)
	assert.InDelta(t, 1, value("flux_natsbus_calls_total", map[string]string{"side": "served"}), 0)
}

// gathered returns the sum of the metrics of a name that have the labels given.
func gathered(t *testing.T, from stdprometheus.Gatherer, name string, labels map[string]string) (v float64) {
	t.Helper()
	families, err := from.Gather()
	require.NoError(t, err)
	for _, family := range families {
		if family.GetName() != name {
			continue
		}
	next:
		for _, m := range family.GetMetric() {
			for _, label := range m.GetLabel() {
				if want, ok := labels[label.GetName()]; ok && want != label.GetValue() {
					continue next
				}
			}
			v += m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	return v
}
