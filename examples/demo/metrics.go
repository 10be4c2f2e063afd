package main

import (
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/platformbus/platform"
	"github.com/platformbus/platform/kubernetes"
)

// metrics are those of the bus, of the daemons and of their clusters, on a registry of our
// own.
type metrics struct {
	registry *prometheus.Registry
	bus      platform.BusMetrics
	platform platform.Metrics
	cluster  kubernetes.Metrics
}

func newMetrics() (m metrics, err error) {
	m.registry = prometheus.NewRegistry()
	if m.bus, err = platform.NewBusMetrics(m.registry); err != nil {
		return m, err
	}
	if m.platform, err = platform.NewMetrics(m.registry); err != nil {
		return m, err
	}
	m.cluster, err = kubernetes.NewMetrics(m.registry)
	return m, err
}

// measured shows the metrics as a server of them would, in short, and checks what the
// story must have left in them. The second Sync found that many objects unchanged.
func (s *story) measured(m metrics, unchanged int) error {
	families, err := m.registry.Gather()
	if err != nil {
		return fmt.Errorf("gather the metrics: %w", err)
	}
	var text strings.Builder
	table := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	counts := map[string]float64{}
	for _, family := range families {
		for _, metric := range family.GetMetric() {
			var labels []string
			for _, label := range metric.GetLabel() {
				labels = append(labels, fmt.Sprintf("%s=%q", label.GetName(), label.GetValue()))
			}
			name := family.GetName()
			if len(labels) > 0 {
				name += "{" + strings.Join(labels, ",") + "}"
			}
			if h := metric.GetHistogram(); h != nil {
				counts[name] = float64(h.GetSampleCount())
				fmt.Fprintf(table, "%s\t%d\t%.3f s\n", name, h.GetSampleCount(), h.GetSampleSum())
			} else if counts[name] = metric.GetCounter().GetValue(); counts[name] != 0 { // nor the gauges, which are of now
				fmt.Fprintf(table, "%s\t%v\t\n", name, counts[name])
			}
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
		took + `{method="Ping",success="true"}`:     1, // the one before the daemon reached nobody
		took + `{method="Version",success="true"}`:  2,
		took + `{method="Sync",success="true"}`:     2,
		took + `{method="Apply",success="true"}`:    2,
		took + `{method="Apply",success="false"}`:   1,
		took + `{method="Ping",success="false"}`:    0,
		took + `{method="Version",success="false"}`: 0,
		took + `{method="Sync",success="false"}`:    0,
	}
	if !s.cluster.foreign { // elsewhere others may have a hand in what is ours
		wanted[`flux_kubernetes_objects_total{result="unchanged"}`] = float64(unchanged)
	}
	for name, want := range wanted {
		if counts[name] != want {
			return fmt.Errorf("the metric %s is %v, want %v", name, counts[name], want)
		}
	}
	return nil
}
