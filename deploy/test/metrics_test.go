package deploytest

import (
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/platformbus/platform"
	"github.com/platformbus/platform/kubernetes"
	"github.com/platformbus/platform/natsbus"
)

// A metric is what is documented of a metric, or registered.
type metric struct {
	Type   string
	Help   string
	Labels map[string][]string // the values, sorted, by name
}

// A described is a registry that notes the names of the metrics that are registered.
type described struct {
	*prometheus.Registry
	names []string
}

var fqName = regexp.MustCompile(`fqName: "([^"]+)"`)

func (d *described) Register(c prometheus.Collector) error {
	descs := make(chan *prometheus.Desc, 16) // more than a vector has
	c.Describe(descs)
	close(descs)
	for desc := range descs {
		d.names = append(d.names, fqName.FindStringSubmatch(desc.String())[1])
	}
	return d.Registry.Register(c)
}

// registered returns the metrics of all packages, after a call of each method that succeeds and
// one that fails.
func registered(t *testing.T) map[string]metric {
	t.Helper()
	r := &described{Registry: prometheus.NewRegistry()}
	_, err := platform.NewBusMetrics(r)
	require.NoError(t, err)
	calls, err := platform.NewMetrics(r)
	require.NoError(t, err)
	_, err = kubernetes.NewMetrics(r)
	require.NoError(t, err)
	_, err = natsbus.NewMetrics(r)
	require.NoError(t, err)

	for _, e := range []error{nil, assert.AnError} {
		p := calls.Instrument(&platform.MockPlatform{
			AllServicesError: e, SomeServicesError: e, ApplyError: e, PingError: e, VersionError: e, ExportError: e, SyncError: e,
		})
		_, err := p.AllServices("", nil)
		require.ErrorIs(t, err, e)
		_, err = p.SomeServices(nil)
		require.ErrorIs(t, err, e)
		require.ErrorIs(t, p.Apply(nil), e)
		require.ErrorIs(t, p.Ping(), e)
		_, err = p.Version()
		require.ErrorIs(t, err, e)
		_, err = p.Export()
		require.ErrorIs(t, err, e)
		require.ErrorIs(t, p.Sync(platform.SyncDef{}), e)
	}
	all := gather(t, r)
	slices.Sort(r.names)
	require.Equal(t, slices.Compact(r.names), slices.Sorted(maps.Keys(all)), "every metric that is registered has a series")
	return all
}

func gather(t *testing.T, from prometheus.Gatherer) map[string]metric {
	t.Helper()
	families, err := from.Gather()
	require.NoError(t, err)
	all := map[string]metric{}
	for _, family := range families {
		m := metric{Type: strings.ToLower(family.GetType().String()), Help: family.GetHelp(), Labels: map[string][]string{}}
		for _, series := range family.GetMetric() {
			for _, label := range series.GetLabel() {
				m.Labels[label.GetName()] = append(m.Labels[label.GetName()], label.GetValue())
			}
		}
		for label, values := range m.Labels {
			slices.Sort(values)
			m.Labels[label] = slices.Compact(values)
		}
		all[family.GetName()] = m
	}
	return all
}

var quoted = regexp.MustCompile("`([^`]+)`")

// quotedIn returns what stands between backquotes.
func quotedIn(text string) (all []string) {
	for _, match := range quoted.FindAllStringSubmatch(text, -1) {
		all = append(all, match[1])
	}
	return all
}

// table returns the rows of the table in docs/metrics.md whose first columns have these headings.
func table(t *testing.T, headings ...string) (rows [][]string) {
	t.Helper()
	found := false
	for line := range strings.Lines(metricsPage(t)) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		switch {
		case !strings.HasPrefix(line, "|"):
			found = false
		case len(cells) >= len(headings) && slices.Equal(cells[:len(headings)], headings):
			found = true
		case found && !strings.HasPrefix(line, "|---"):
			rows = append(rows, cells)
		}
	}
	require.NotEmpty(t, rows, "docs/metrics.md has a table with the columns %v", headings)
	return rows
}

func metricsPage(t *testing.T) string {
	t.Helper()
	page, err := os.ReadFile("../../docs/metrics.md")
	require.NoError(t, err)
	return string(page)
}

// TestMetricsPage compares the tables of docs/metrics.md with what is registered.
func TestMetricsPage(t *testing.T) {
	values := map[string][]string{} // of each label
	for _, row := range table(t, "label", "value", "meaning") {
		require.Len(t, row, 3)
		assert.NotEmpty(t, row[2], "what %s says", row[1])
		label := quotedIn(row[0])[0]
		values[label] = append(values[label], quotedIn(row[1])...)
	}
	documented, used := map[string]metric{}, map[string]bool{}
	for _, row := range table(t, "name", "type", "labels", "unit", "what it says", "what to do about it") {
		require.Len(t, row, 6)
		name := quotedIn(row[0])[0]
		m := metric{Type: row[1], Help: row[4], Labels: map[string][]string{}}
		for _, label := range quotedIn(row[2]) {
			m.Labels[label], used[label] = slices.Sorted(slices.Values(values[label])), true
		}
		require.NotContains(t, documented, name)
		documented[name] = m
		assert.Equal(t, unitOf(name), baseUnit(row[3]), "the unit of %s", name)
		assert.NotEmpty(t, row[5], "what to do about %s", name)
	}
	assert.Equal(t, registered(t), documented)
	assert.Equal(t, slices.Sorted(maps.Keys(values)), slices.Sorted(maps.Keys(used)), "every label belongs to a metric")
}

// unitOf returns the base unit in a metric's name; none for a count.
func unitOf(name string) string {
	for _, unit := range []string{"seconds", "bytes"} {
		if strings.HasSuffix(strings.TrimSuffix(name, "_total"), "_"+unit) {
			return unit
		}
	}
	return ""
}

// baseUnit returns a unit as unitOf does.
func baseUnit(documented string) string { return strings.TrimPrefix(unitOf("_"+documented), "_") }

// TestNamingScheme holds every metric to the sentence at the top of docs/metrics.md.
func TestNamingScheme(t *testing.T) {
	name := regexp.MustCompile(`^flux_(bus|platform|kubernetes|natsbus)_[a-z]+(_[a-z]+)*$`)
	other := regexp.MustCompile(`_(milliseconds|ms|minutes|hours|kb|kib|mb|mib|kilobytes|megabytes|percent|count|sum|bucket)(_|$)`)
	for metric, m := range registered(t) {
		assert.Regexp(t, name, metric)
		assert.NotRegexp(t, other, metric, "base units, and no suffix of Prometheus' own")
		assert.Equal(t, m.Type == "counter", strings.HasSuffix(metric, "_total"), "%s is a %s", metric, m.Type)
		for label := range m.Labels {
			assert.NotContains(t, []string{"instance", "image", "job", "le"}, label, metric)
		}
	}
}

// TestSeriesExistFromTheStart: alerts on an increase would miss the first count of a series that
// begins with it.
func TestSeriesExistFromTheStart(t *testing.T) {
	r := prometheus.NewRegistry()
	_, err := kubernetes.NewMetrics(r)
	require.NoError(t, err)
	_, err = natsbus.NewMetrics(r)
	require.NoError(t, err)
	later := registered(t)
	delete(later, "flux_platform_request_duration_seconds")
	assert.Equal(t, later, gather(t, r))
}

// existing returns the labels of every series that Prometheus can have, by name: those of the
// programs, of the process collectors, and Prometheus' own.
func existing(t *testing.T) series {
	t.Helper()
	all := registered(t)
	r := prometheus.NewRegistry()
	r.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	maps.Copy(all, gather(t, r))
	all["up"] = metric{}
	s := series{"ALERTS": {"alertname": nil, "alertstate": {"pending", "firing"}, "severity": {"warning", "critical"}}}
	for name, m := range all {
		labels := labelValues{"job": nil, "instance": nil} // of the scrape target
		maps.Copy(labels, m.Labels)
		if m.Type != "histogram" {
			s[name] = labels
			continue
		}
		s[name+"_count"], s[name+"_sum"] = labels, labels
		s[name+"_bucket"] = maps.Clone(labels)
		s[name+"_bucket"]["le"] = nil
	}
	return s
}
