package main

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/platformbus/platform/bench/contender"
)

func TestMedian(t *testing.T) {
	for _, test := range []struct {
		values []float64
		want   float64
	}{
		{[]float64{3}, 3},
		{[]float64{9, 1, 5}, 5},
		{[]float64{4, 1, 100, 2}, 3},
		{[]float64{1.006}, 1.01},
	} {
		assert.Equal(t, test.want, median(test.values), "median(%v)", test.values)
	}
	values := []float64{3, 1, 2}
	median(values)
	assert.Equal(t, []float64{3, 1, 2}, values, "the argument is the caller's")
}

func TestSummaryTakesTheMedianOfEachFigure(t *testing.T) {
	got := row{Case: "sync", Size: 10, Phase: first, Who: "platform"}.summary([]measurement{
		{contender.Measurement{MS: 1, CPUMS: 30, PeakRSSMB: 200}, 7},
		{contender.Measurement{MS: 3, CPUMS: 10, PeakRSSMB: 300}, 9},
		{contender.Measurement{MS: 2, CPUMS: 20, PeakRSSMB: 100}, 8},
	})
	want := row{Case: "sync", Size: 10, Phase: first, Who: "platform",
		MedianMS: 2, Requests: 8, CPUMS: 20, PeakRSSMB: 200, Runs: 3}
	assert.Equal(t, want, got)
}

func TestResultsAreReadAsTheyWereWritten(t *testing.T) {
	file := filepath.Join(t.TempDir(), "results.json")
	require.NoError(t, example.write(file))
	got, err := readResults(file)
	require.NoError(t, err)
	assert.Equal(t, example, got)
}
