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
		{"sync", 1000, first, "platform", 1234.5, 1009, 300, 40.4, 0, 5},
		{"sync", 1000, first, "floor", 12_345.6, 1000, 200, 30, 0, 5},
		{"sync", 1000, warm, "platform", 9.87, 1, 10, 41.6, 0, 5},
		{"sync", 10_000, first, "platform", 98.7, 12_345, 3000, 140, 0, 1},
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

Medians of 5 runs, of 1 where it is for memory alone; client CPU is the sum of the columns, peak RSS their maximum.
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
	assert.Contains(t, text, "not measured    0.00, at least 60: nothing changed, same process: fluxcd/pkg/ssa, concurrency 10 takes how many times as long as we\n")
}
