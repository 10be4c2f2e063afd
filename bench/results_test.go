package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
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
		{[]float64{1.0006}, 1.001},
	} {
		assert.Equal(t, test.want, median(test.values), "median(%v)", test.values)
	}
	values := []float64{3, 1, 2}
	median(values)
	assert.Equal(t, []float64{3, 1, 2}, values, "the argument is the caller's")
}

func TestWithMediansTakesTheMedianOfEachFigure(t *testing.T) {
	got := row{Case: "sync", Size: 10, Phase: first, Who: "platform"}.withMedians([]measurement{
		{contender.Measurement{MS: 1, CPUMS: 30, PeakRSSMB: 200, ReadKB: 5, RSSBeforeMB: 150, YAMLMB: 4}, 7},
		{contender.Measurement{MS: 3, CPUMS: 10, PeakRSSMB: 300, ReadKB: 6, RSSBeforeMB: 290, YAMLMB: 4}, 9},
		{contender.Measurement{MS: 2, CPUMS: 20, PeakRSSMB: 100, ReadKB: 7, RSSBeforeMB: 80, YAMLMB: 4}, 8},
	})
	want := row{Case: "sync", Size: 10, Phase: first, Who: "platform",
		MedianMS: 2, Requests: 8, CPUMS: 20, PeakRSSMB: 200, ReadKB: 6, AboveMB: 20, YAMLMB: 4, Runs: 3}
	assert.Equal(t, want, got)
}

func TestResultsAreReadAsTheyWereWritten(t *testing.T) {
	file := filepath.Join(t.TempDir(), "results.json")
	require.NoError(t, example.write(file))
	got, err := readResults(file)
	require.NoError(t, err)
	assert.Equal(t, example, got)
}

func TestOneCaseReplacesItsOwnRowsOnly(t *testing.T) {
	names := []string{"sync", "services", "export"}
	r := results{}
	r.put("export", "2026-01-02", []row{{Case: "export", Who: "platform"}}, names)
	r.put("sync", "2026-01-02", []row{{Case: "sync", Who: "platform"}, {Case: "sync", Who: "floor"}}, names)
	r.put("services", "2026-01-03", []row{{Case: "services", Who: "platform"}}, names)
	r.put("sync", "2026-01-04", []row{{Case: "sync", Who: "kubectl"}}, names)
	assert.Equal(t, []row{{Case: "sync", Who: "kubectl"}, {Case: "services", Who: "platform"}, {Case: "export", Who: "platform"}}, r.Rows)
	assert.Equal(t, "2026-01-02, 2026-01-03, 2026-01-04", r.days())
}

func TestResultsOfAnotherMachineAreNotAddedTo(t *testing.T) {
	file := filepath.Join(t.TempDir(), "results.json")
	none, err := resultsToAddTo(file, example.Machine)
	require.NoError(t, err)
	assert.Equal(t, results{Machine: example.Machine}, none)

	require.NoError(t, example.write(file))
	same, err := resultsToAddTo(file, example.Machine)
	require.NoError(t, err)
	assert.Equal(t, example, same)

	other := example.Machine
	other.Cores = 64
	_, err = resultsToAddTo(file, other)
	assert.ErrorContains(t, err, "results.json: its results are from another machine (Abacus, 2 cores, ")
	assert.ErrorContains(t, err, "than this one (Abacus, 64 cores, ")
}

// shortCase is a case that measures nothing, for tests of the file.
type shortCase struct {
	named string
	rows  []row
	err   error
}

func (c shortCase) name() string                                { return c.named }
func (c shortCase) run(context.Context, options) ([]row, error) { return c.rows, c.err }

func TestMeasureAllKeepsTheOtherCases(t *testing.T) {
	real := cases
	defer func() { cases = real }()
	one, two := row{Case: "one", Size: 1, Who: "platform", Runs: 1}, row{Case: "two", Size: 2, Who: "platform", Runs: 1}
	again := two
	again.MedianMS = 7
	file := filepath.Join(t.TempDir(), "results.json")
	rows := func() []row {
		r, err := readResults(file)
		require.NoError(t, err)
		return r.Rows
	}

	cases = []benchCase{shortCase{"one", []row{one}, nil}, shortCase{"two", []row{two}, nil}}
	require.NoError(t, measureAll(t.Context(), options{}, "", file))
	assert.Equal(t, []row{one, two}, rows())

	cases = []benchCase{shortCase{"one", nil, errors.New("not asked for")}, shortCase{"two", []row{again}, nil}}
	require.NoError(t, measureAll(t.Context(), options{}, "two", file))
	assert.Equal(t, []row{one, again}, rows())

	cases = []benchCase{shortCase{"one", []row{one}, nil}, shortCase{"two", nil, errors.New("broken")}}
	assert.EqualError(t, measureAll(t.Context(), options{}, "", file), "two: broken")
	assert.Equal(t, []row{one}, rows(), "what was measured before is written down")
}

// A name that no contender of a case has must not replace what was measured.
func TestWhoNamesContenders(t *testing.T) {
	file := filepath.Join(t.TempDir(), "results.json")
	here, err := describeMachine()
	require.NoError(t, err)
	before := results{Machine: here, Rows: []row{{Case: "sync", Size: 100, Who: "platform", Runs: 1}}}
	require.NoError(t, before.write(file))
	require.EqualError(t, measureAll(t.Context(), options{only: []string{"nobody"}}, "sync", file), `sync: -who: none of ["nobody"] takes part`)
	after, err := readResults(file)
	require.NoError(t, err)
	assert.Equal(t, before, after)
}

func TestOnlyRowsBesideOthersSayHowManyThereAre(t *testing.T) {
	for _, test := range []struct {
		others *neighbours
		want   string
	}{
		{nil, `"phase":"first","who":"floor","median_ms"`},
		{&neighbours{}, `"phase":"first","who":"floor","others":0,"median_ms"`},
		{&neighbours{number: 2000, shared: true}, `"phase":"first-shared","who":"floor","others":2000,"median_ms"`},
	} {
		text, err := json.Marshal(test.others.mark(row{Phase: first, Who: "floor"}))
		require.NoError(t, err)
		assert.Contains(t, string(text), test.want)
	}
}

func TestParseNeighbours(t *testing.T) {
	for _, text := range []string{"0", "5000", "2000-shared"} {
		n, err := parseNeighbours(text)
		require.NoError(t, err)
		assert.Equal(t, text, n.String())
	}
	for _, text := range []string{"", "-1", "many", "2-common"} {
		_, err := parseNeighbours(text)
		assert.EqualError(t, err, fmt.Sprintf("%q is not a number of objects", text))
	}
}
