package kubernetes_test

import (
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/platformbus/platform"
	"github.com/platformbus/platform/kubernetes"
)

// metric returns the value of a metric, or of the one with the label result.
func metric(t *testing.T, registry *prometheus.Registry, name, result string) float64 {
	t.Helper()
	families, err := registry.Gather()
	require.NoError(t, err)
	for _, family := range families {
		if family.GetName() != name {
			continue
		}
		for _, m := range family.GetMetric() {
			if result == "" || m.GetLabel()[0].GetValue() == result {
				return m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	t.Fatalf("no metric %s{result=%q}", name, result)
	return 0
}

const (
	objectsTotal = "flux_kubernetes_objects_total"
	lastSync     = "flux_kubernetes_last_sync_timestamp_seconds"
	inFlight     = "flux_kubernetes_objects_in_flight"
)

// Each object has one event and one count, whatever becomes of it.
func TestEventsAndMetrics(t *testing.T) {
	w := newEnv(t, kubernetes.Options{})
	ignored := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "ignored", Annotations: map[string]string{"platform/ignore": "sync"}}}
	_, err := w.client.CoreV1().ConfigMaps(w.namespace).Create(t.Context(), ignored, metav1.CreateOptions{})
	require.NoError(t, err)

	registry := prometheus.NewRegistry()
	metrics, err := kubernetes.NewMetrics(registry)
	require.NoError(t, err)
	for _, result := range []string{"applied", "unchanged", "deleted", "ignored", "skipped", "failed"} {
		assert.Zero(t, metric(t, registry, objectsTotal, result), "%s is there from the beginning", result)
	}
	var (
		d    recorder
		once sync.Once
	)
	cluster, _ := w.recorded(t, kubernetes.Options{Events: d.note, Metrics: metrics}, func(r *http.Request, next http.RoundTripper) (*http.Response, error) {
		if r.Method == http.MethodPatch {
			once.Do(func() { assert.Positive(t, metric(t, registry, inFlight, ""), "while one is under way") })
		}
		return next.RoundTrip(r)
	})
	require.NoError(t, cluster.Sync(def(apply("same", configMap("same", "1")), apply("gone", configMap("gone", "1")))))
	first := metric(t, registry, lastSync, "")
	assert.InDelta(t, float64(time.Now().Unix()), first, 600)
	d.takeAll()

	begin := time.Now()
	err = cluster.Sync(def(
		apply("new", configMap("new", "1")), apply("same", configMap("same", "1")), remove("gone", configMap("gone", "1")), apply("ignored", configMap("ignored", "1")),
		apply("bad", strings.Replace(robot, "{name: robot}", "{name: robot, labels: {bad: 'not a value'}}", 1)),
		apply("dependant", strings.Replace(deployment("web", "example.com/web:1"), "    spec:\n", "    spec:\n      serviceAccountName: robot\n", 1)),
	))
	limit := time.Since(begin)
	require.Error(t, err)
	failures := map[string]error{}
	require.ErrorAs(t, err, (*platform.SyncError)(&failures))
	assert.Len(t, failures, 2)
	events := map[string]kubernetes.Event{}
	for _, e := range d.takeAll() {
		assert.NotContains(t, events, e.ID, "one for each")
		events[e.ID] = e
	}
	for id, want := range map[string]kubernetes.Event{
		"new":       {Object: "ConfigMap " + w.namespace + "/new", Result: kubernetes.Applied},
		"same":      {Object: "ConfigMap " + w.namespace + "/same", Result: kubernetes.Unchanged},
		"gone":      {Object: "ConfigMap " + w.namespace + "/gone", Result: kubernetes.Deleted},
		"ignored":   {Object: "ConfigMap " + w.namespace + "/ignored", Result: kubernetes.Ignored},
		"bad":       {Object: "ServiceAccount " + w.namespace + "/robot", Result: kubernetes.Failed},
		"dependant": {Object: "Deployment " + w.namespace + "/web", Result: kubernetes.Skipped},
	} {
		got := events[id]
		assert.Equal(t, want.Object, got.Object)
		assert.Equal(t, want.Result, got.Result, id)
		requested := want.Result == kubernetes.Applied || want.Result == kubernetes.Deleted || want.Result == kubernetes.Failed
		assert.Equal(t, requested, got.Took > 0 && got.Result != kubernetes.Ignored, "%s took %v", id, got.Took)
		assert.LessOrEqual(t, got.Took, limit)
		assert.Equal(t, failures[id] != nil, got.Err != nil, "%s: %v", id, got.Err)
	}
	for result, want := range map[string]int{"applied": 3, "unchanged": 1, "deleted": 1, "ignored": 1, "skipped": 1, "failed": 1} {
		assert.InDelta(t, want, metric(t, registry, objectsTotal, result), 0, result)
	}
	assert.Zero(t, metric(t, registry, inFlight, ""))
	assert.InDelta(t, first, metric(t, registry, lastSync, ""), 0, "it did not succeed")
	require.NoError(t, cluster.Sync(def(apply("same", configMap("same", "1")))))
	assert.Greater(t, metric(t, registry, lastSync, ""), first, "this one did, though it had nothing to do")
}

// Clusters that are given one registry share their metrics; a stranger's of the same name
// is an error.
func TestMetricsAreShared(t *testing.T) {
	registry := prometheus.NewRegistry()
	one, err := kubernetes.NewMetrics(registry)
	require.NoError(t, err)
	two, err := kubernetes.NewMetrics(registry)
	require.NoError(t, err)
	one.Objects.With("result", "applied").Add(1)
	two.Objects.With("result", "applied").Add(1)
	assert.InDelta(t, 2, metric(t, registry, objectsTotal, "applied"), 0)

	taken := prometheus.NewRegistry()
	require.NoError(t, taken.Register(prometheus.NewGauge(prometheus.GaugeOpts{Name: lastSync, Help: "Something else."})))
	_, err = kubernetes.NewMetrics(taken)
	require.ErrorContains(t, err, lastSync)
}

// An Apply tells of what it waits for, and how far that is.
func TestApplyTellsWhatItWaitsFor(t *testing.T) {
	w := newEnv(t, kubernetes.Options{})
	require.NoError(t, w.Sync(def(apply("web", deployment("web", "example.com/web:1"), service("web", "web")))))
	var d recorder
	cluster, _ := w.recorded(t, kubernetes.Options{Events: d.note}, nil)
	require.NoError(t, cluster.Apply([]platform.ServiceDefinition{{ServiceID: w.id("web"), NewDefinition: []byte(deployment("web", "example.com/web:2"))}}))
	events := d.takeAll()
	require.NotEmpty(t, events)
	var applied, waiting int
	for _, e := range events {
		assert.Equal(t, string(w.id("web")), e.ID)
		assert.Equal(t, "Deployment "+w.namespace+"/web", e.Object)
		switch e.Result {
		case kubernetes.Applied:
			applied++
		case kubernetes.Waiting:
			waiting++
			assert.NotEmpty(t, e.Progress)
		default:
			t.Errorf("%+v", e)
		}
	}
	assert.GreaterOrEqual(t, applied, 1)
	assert.Positive(t, waiting)
}
