package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/platformbus/platform/bench/contender"
)

// results holds the results of one machine.
type results struct {
	Machine machine `json:"machine"`
	// Measured maps each case to its day. All rows of a case come from one run.
	Measured map[string]string `json:"measured"`
	Rows     []row             `json:"rows"`
}

// A row is the result of one contender for one phase of a case. All figures are medians.
type row struct {
	Case      string  `json:"case"`
	Size      int     `json:"size"`
	Phase     string  `json:"phase"`
	Who       string  `json:"who"`
	Others    *int    `json:"others,omitempty"` // objects beside those that are applied, in the cases that have some
	MedianMS  float64 `json:"median_ms"`
	Requests  float64 `json:"requests"`
	CPUMS     float64 `json:"cpu_ms"`               // of the client, user and system
	PeakRSSMB float64 `json:"peak_rss_mb"`          // of the client, within the phase
	PerSecond float64 `json:"per_second,omitempty"` // operations in a second, if measured
	ReadKB    float64 `json:"read_kb,omitempty"`    // by the client from the network, if measured
	AboveMB   float64 `json:"above_mb,omitempty"`   // peak RSS above that before the phase, if measured
	YAMLMB    float64 `json:"yaml_mb,omitempty"`    // of the definitions; with the Export, for a plan; or of what an Export returned
	Runs      int     `json:"runs"`
}

// A measurement is one measurement of a contender.
type measurement struct {
	contender.Measurement
	requests float64
}

// withMedians returns the row with the medians of the measurements.
func (r row) withMedians(taken []measurement) row {
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
	r.PerSecond = of(func(m measurement) float64 { return m.PerSecond })
	r.ReadKB = of(func(m measurement) float64 { return m.ReadKB })
	if taken[0].RSSBeforeMB > 0 {
		r.AboveMB = of(func(m measurement) float64 { return m.PeakRSSMB - m.RSSBeforeMB })
	}
	r.YAMLMB = of(func(m measurement) float64 { return m.YAMLMB })
	r.Runs = len(taken)
	return r
}

// median returns the median, rounded to thousandths: further digits are noise. There must be
// at least one value.
func median(values []float64) float64 {
	values = slices.Sorted(slices.Values(values))
	middle := len(values) / 2
	m := values[middle]
	if len(values)%2 == 0 {
		m = (m + values[middle-1]) / 2
	}
	return float64(int64(m*1000+0.5)) / 1000
}

// beside returns the results of a number of others' objects.
func (r results) beside(others int) results {
	r.Rows = slices.DeleteFunc(slices.Clone(r.Rows), func(row row) bool { return row.Others == nil || *row.Others != others })
	return r
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

// put replaces the rows of a case, and keeps those of other cases. The cases are in the order
// of names.
func (r *results) put(name, day string, rows []row, names []string) {
	r.Rows = append(slices.DeleteFunc(r.Rows, func(old row) bool { return old.Case == name }), rows...)
	slices.SortStableFunc(r.Rows, func(a, b row) int {
		return cmp.Compare(slices.Index(names, a.Case), slices.Index(names, b.Case))
	})
	if r.Measured == nil {
		r.Measured = map[string]string{}
	}
	r.Measured[name] = day
}

// days lists the days of the measurements.
func (r results) days() string {
	days := slices.Compact(slices.Sorted(maps.Values(r.Measured)))
	return strings.Join(days, ", ")
}

// write writes one row per line, so that two runs can be compared line by line.
func (r results) write(file string) error {
	var b bytes.Buffer
	machine, err1 := json.Marshal(r.Machine)
	measured, err2 := json.Marshal(r.Measured)
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	fmt.Fprintf(&b, "{\"machine\": %s,\n \"measured\": %s,\n \"rows\": [", machine, measured)
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

// resultsToAddTo returns the results in a file, to which those of another case are added, or
// no results if there is no such file. It fails if they are from another machine.
func resultsToAddTo(file string, here machine) (results, error) {
	r, err := readResults(file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return results{Machine: here}, nil
	case err == nil && r.Machine != here:
		err = fmt.Errorf("%s: its results are from another machine (%v) than this one (%v): measure all cases, or remove it", file, r.Machine, here)
	}
	return r, err
}
