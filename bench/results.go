package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"slices"

	"github.com/platformbus/platform/bench/contender"
)

// results is what a run writes down.
type results struct {
	Machine machine `json:"machine"`
	Rows    []row   `json:"rows"`
}

// A row is what one contender took for one phase of a case. All figures are medians.
type row struct {
	Case      string  `json:"case"`
	Size      int     `json:"size"`
	Phase     string  `json:"phase"`
	Who       string  `json:"who"`
	MedianMS  float64 `json:"median_ms"`
	Requests  float64 `json:"requests"`
	CPUMS     float64 `json:"cpu_ms"`      // of the client, user and system
	PeakRSSMB float64 `json:"peak_rss_mb"` // of the client, within the phase
	Runs      int     `json:"runs"`
}

// A measurement is what one contender took once.
type measurement struct {
	contender.Measurement
	requests float64
}

// summary fills in the figures of a row.
func (r row) summary(taken []measurement) row {
	of := func(figure func(measurement) float64) float64 {
		values := make([]float64, len(taken))
		for i, m := range taken {
			values[i] = figure(m)
		}
		return median(values)
	}
	r.MedianMS = of(func(m measurement) float64 { return m.MS })
	r.Requests = of(func(m measurement) float64 { return m.requests })
	r.CPUMS = of(func(m measurement) float64 { return m.CPUMS })
	r.PeakRSSMB = of(func(m measurement) float64 { return m.PeakRSSMB })
	r.Runs = len(taken)
	return r
}

// median returns the value in the middle, or the mean of the two in the middle, rounded
// to hundredths: more than that is noise. There must be at least one value.
func median(values []float64) float64 {
	values = slices.Sorted(slices.Values(values))
	middle := len(values) / 2
	m := values[middle]
	if len(values)%2 == 0 {
		m = (m + values[middle-1]) / 2
	}
	return float64(int64(m*100+0.5)) / 100
}

// find returns the row of a phase and contender.
func (r results) find(name string, size int, phase, who string) (row, bool) {
	for _, row := range r.Rows {
		if row.Case == name && row.Size == size && row.Phase == phase && row.Who == who {
			return row, true
		}
	}
	return row{}, false
}

// write writes one row to a line, so that two runs can be compared line by line.
func (r results) write(file string) error {
	var b bytes.Buffer
	machine, err := json.Marshal(r.Machine)
	if err != nil {
		return err
	}
	fmt.Fprintf(&b, "{\"machine\": %s,\n \"rows\": [", machine)
	for i, row := range r.Rows {
		line, err := json.Marshal(row)
		if err != nil {
			return err
		}
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, "\n  %s", line)
	}
	b.WriteString("\n]}\n")
	return os.WriteFile(file, b.Bytes(), 0o644)
}

func readResults(file string) (results, error) {
	var r results
	text, err := os.ReadFile(file)
	if err != nil {
		return r, err
	}
	if err := json.Unmarshal(text, &r); err != nil {
		return r, fmt.Errorf("%s: %w", file, err)
	}
	return r, nil
}
