package collector_test

import (
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/platformbus/platform/internal/collector"
)

func counter(name string) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: "Things."}, []string{"kind"})
}

func TestShared(t *testing.T) {
	r := prometheus.NewRegistry()
	first, other := counter("a"), counter("b")
	got, err := collector.Shared(r, first)
	require.NoError(t, err)
	assert.Same(t, first, got)
	got, err = collector.Shared(r, other)
	require.NoError(t, err)
	assert.Same(t, other, got, "another name is another collector")
	got, err = collector.Shared(r, counter("a"))
	require.NoError(t, err)
	assert.Same(t, first, got, "collectors with the same description are shared")
	got, err = collector.Shared(prometheus.WrapRegistererWithPrefix("", r), counter("a"))
	require.NoError(t, err)
	assert.Same(t, first, got, "also through a decorated registry")
}

func TestSharedRefusesConflicts(t *testing.T) {
	r := prometheus.NewRegistry()
	_, err := collector.Shared(r, counter("a"))
	require.NoError(t, err)
	_, err = collector.Shared(r, prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "a", Help: "Things."}, []string{"kind"}))
	require.Error(t, err, "a gauge is no counter")
	_, err = collector.Shared(r, prometheus.NewCounterVec(prometheus.CounterOpts{Name: "a", Help: "Things."}, []string{"other"}))
	require.Error(t, err, "other labels are another description")
}
