package main

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var example = results{
	Machine:  machine{CPU: "Abacus", Cores: 2, MemoryGB: 24, Kernel: "6.1", Go: "1.26", Kubernetes: "1.37"},
	Measured: map[string]string{"sync": "2026-01-02"},
	Rows: []row{
		{Case: "sync", Size: 1000, Phase: first, Who: "platform", MedianMS: 1234.5, Requests: 1009, CPUMS: 300, PeakRSSMB: 40.4, Runs: 5},
		{Case: "sync", Size: 1000, Phase: first, Who: "floor", MedianMS: 12_345.6, Requests: 1000, CPUMS: 200, PeakRSSMB: 30, Runs: 5},
		{Case: "sync", Size: 1000, Phase: warm, Who: "platform", MedianMS: 9.87, Requests: 1, CPUMS: 10, PeakRSSMB: 41.6, Runs: 5},
		{Case: "sync", Size: 10_000, Phase: first, Who: "platform", MedianMS: 98.7, Requests: 12_345, CPUMS: 3000, PeakRSSMB: 140, Runs: 1},
		{Case: "large-cluster", Size: 100, Phase: first, Who: "platform", Others: new(0), MedianMS: 20, Requests: 100, CPUMS: 30, PeakRSSMB: 40, ReadKB: 1234.5, Runs: 5},
		{Case: "large-cluster", Size: 100, Phase: first, Who: "platform", Others: new(20_000), MedianMS: 40, Requests: 100, CPUMS: 30, PeakRSSMB: 40, ReadKB: 1234.5, Runs: 5},
		{Case: "large-cluster", Size: 100, Phase: first, Who: "kubectl-ssa", Others: new(20_000), MedianMS: 1000, Requests: 100, CPUMS: 30, PeakRSSMB: 40, Runs: 5},
		{Case: "large-cluster", Size: 100, Phase: warm + sharedSuffix, Who: "platform", Others: new(2000), MedianMS: 40, Requests: 1, CPUMS: 30, PeakRSSMB: 40, ReadKB: 9, Runs: 5},
		{Case: "large-objects", Size: 973, Phase: planned, Who: "platform", MedianMS: 500, CPUMS: 30, PeakRSSMB: 140, AboveMB: 84, YAMLMB: 28, Runs: 3},
	},
}

func TestTable(t *testing.T) {
	assert.Equal(t, `| 1,000 objects | first apply | nothing changed, same process | client CPU | peak RSS |
|---|---|---|---|---|
| **this library** | 1.23 s, 1,009 requests | 9.9 ms, 1 request | 310 ms | 42 MB |
| bare server-side apply, 16 workers | 12.3 s, 1,000 requests | | 200 ms | 30 MB |

| 10,000 objects | first apply | client CPU | peak RSS |
|---|---|---|---|
| **this library** | 99 ms, 12,345 requests | 3.00 s | 140 MB |

| 100 objects, with 0 others in the cluster | first apply | client CPU | peak RSS |
|---|---|---|---|
| **this library** | 20 ms, 100 requests, 1,234 KB read | 30 ms | 40 MB |

| 100 objects, with 20,000 others in the cluster | first apply | client CPU | peak RSS |
|---|---|---|---|
| **this library** | 40 ms, 100 requests, 1,234 KB read | 30 ms | 40 MB |
| kubectl apply --server-side | 1.00 s, 100 requests | 30 ms | 40 MB |

| 100 objects, with 2,000 others in their namespaces | nothing changed, same process | client CPU | peak RSS |
|---|---|---|---|
| **this library** | 40 ms, 1 request, 9 KB read | 30 ms | 40 MB |

| 973 objects, some of them large definitions of kinds: time, and memory beyond that before, for how much YAML | a plan | client CPU | peak RSS |
|---|---|---|---|
| **this library** | 500 ms, 84 MB for 28 MB | 30 ms | 140 MB |

Medians of 1 to 5 runs, as bench/results.json says of each; client CPU is the sum of the columns, peak RSS their maximum.
Abacus, 2 cores, 24 GB, Linux 6.1; Go 1.26, Kubernetes 1.37; 2026-01-02.
`, table(example))
}

func TestInsertReplacesWhatIsBetweenTheMarks(t *testing.T) {
	text, err := insert([]byte("# A\n<!-- bench -->\nold\n<!-- /bench -->\nend\n"), "new\n")
	require.NoError(t, err)
	assert.Equal(t, "# A\n<!-- bench -->\nnew\n<!-- /bench -->\nend\n", string(text))
	again, err := insert(text, "new\n")
	require.NoError(t, err)
	assert.Equal(t, string(text), string(again))
}

func TestInsertNeedsBothMarksInOrder(t *testing.T) {
	for _, text := range []string{"", "<!-- bench -->", "<!-- /bench -->\n<!-- bench -->"} {
		_, err := insert([]byte(text), "new\n")
		assert.EqualError(t, err, "there is no <!-- bench --> with a <!-- /bench --> after it", "insert(%q)", text)
	}
}

func TestCheckTargets(t *testing.T) {
	text := checkTargets(example)
	assert.Contains(t, text, "reached         0.10, at most 1.15: first apply: we take how many times as long as bare server-side apply, 16 workers\n")
	assert.Contains(t, text, "reached        41.60, at most 60: peak RSS in MB at 1,000 objects\n")
	assert.Contains(t, text, "NOT REACHED     2.00, at most 1.5: with 20,000 others instead of 0, first apply: time\n")
	assert.Contains(t, text, "reached         1.00, at most 1.5: with 20,000 others instead of 0, first apply: KB read\n")
	assert.Contains(t, text, "reached         3.00, at most 4: large objects: a plan takes how many times the memory of its input\n")
	assert.Contains(t, text, "not measured    0.00, at least 60: nothing changed, same process: fluxcd/pkg/ssa, concurrency 10 takes how many times as long as we\n")
}
