package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"

	dto "github.com/prometheus/client_model/go"
)

// samples are metrics by name and labels, in the text form of Prometheus.
type samples map[string]sample

// A sample is the value of a counter, or the count and sum of a histogram.
type sample struct {
	count, seconds float64
	timed          bool
}

func samplesOf(families []*dto.MetricFamily) samples {
	s := samples{}
	for _, family := range families {
		s.add(family)
	}
	return s
}

// add adds the samples of a family with the prefix flux_. Gauges are not added up, and read
// as zero.
func (s samples) add(family *dto.MetricFamily) {
	if !strings.HasPrefix(family.GetName(), "flux_") {
		return
	}
	for _, metric := range family.GetMetric() {
		var labels []string
		for _, label := range metric.GetLabel() {
			labels = append(labels, fmt.Sprintf("%s=%q", label.GetName(), label.GetValue()))
		}
		name := family.GetName()
		if len(labels) > 0 {
			name += "{" + strings.Join(labels, ",") + "}"
		}
		one := s[name]
		if h := metric.GetHistogram(); h != nil {
			one.timed = true
			one.count += float64(h.GetSampleCount())
			one.seconds += h.GetSampleSum()
		} else {
			one.count += metric.GetCounter().GetValue()
		}
		s[name] = one
	}
}

// checkMetrics shows the metrics, and checks the values that the story must have produced.
// unchanged is the number of objects that Syncs found unchanged.
func (s *story) checkMetrics(m samples, unchanged int) error {
	var text strings.Builder
	table := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	for _, name := range slices.Sorted(maps.Keys(m)) {
		switch one := m[name]; {
		case strings.HasPrefix(name, "flux_natsbus_"): // they are many
		case one.timed:
			fmt.Fprintf(table, "%s\t%v\t%.3f s\n", name, one.count, one.seconds)
		case one.count != 0:
			fmt.Fprintf(table, "%s\t%v\t\n", name, one.count)
		}
	}
	if err := table.Flush(); err != nil {
		return err
	}
	for line := range strings.Lines(text.String()) {
		s.say("%s", line)
	}
	const took = "flux_platform_request_duration_seconds"
	wanted := map[string]float64{
		"flux_bus_kick_total":                       1,
		took + `{method="Version",success="true"}`:  3,
		took + `{method="Sync",success="true"}`:     6,
		took + `{method="Apply",success="true"}`:    1,
		took + `{method="Apply",success="false"}`:   2, // the image that is not there, and the cancelled one
		took + `{method="Ping",success="false"}`:    0, // the one before the daemon was connected reached no Platform
		took + `{method="Version",success="false"}`: 0,
		took + `{method="Sync",success="false"}`:    0,
	}
	if !s.cluster.foreign { // in a foreign cluster others may change our objects
		wanted[`flux_kubernetes_objects_total{result="unchanged"}`] = float64(unchanged)
	}
	for name, want := range wanted {
		if m[name].count != want {
			return fmt.Errorf("the metric %s is %v, want %v", name, m[name].count, want)
		}
	}
	return nil
}
