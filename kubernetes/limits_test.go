package kubernetes_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/platformbus/platform"
	"github.com/platformbus/platform/kubernetes"
	"github.com/platformbus/platform/kubernetes/manifest"
)

// However many kinds, namespaces and objects a call is about, it has no more requests for
// objects under way than Options.Concurrency.
func TestConcurrency(t *testing.T) {
	const width = 2
	w := newEnv(t, kubernetes.Options{})
	var (
		mu      sync.Mutex
		under   int           // guarded by mu
		most    int           // guarded by mu
		crowded chan struct{} // closed when width are under way; guarded by mu
	)
	namespaces := []string{w.namespace}
	for i := range 5 {
		namespaces = append(namespaces, fmt.Sprintf("none-%d", i))
	}
	cluster, _ := w.recorded(t, kubernetes.Options{Concurrency: width, Namespaces: namespaces}, func(r *http.Request, next http.RoundTripper) (*http.Response, error) {
		isDiscovery := strings.Count(r.URL.Path, "/") < 4 || r.URL.Path == "/openapi/v3"
		if isDiscovery || r.URL.Query().Has("watch") {
			return next.RoundTrip(r)
		}
		mu.Lock()
		under++
		if most = max(most, under); under == width {
			select {
			case <-crowded:
			default:
				close(crowded)
			}
		}
		wait := crowded
		mu.Unlock()
		defer func() {
			mu.Lock()
			under--
			mu.Unlock()
		}()
		select { // so that each call does come to have as many as it may
		case <-wait:
		case <-r.Context().Done():
		}
		return next.RoundTrip(r)
	})
	services := def(apply("a", deployment("a", "example.com/a:1"), service("a", "a")), apply("b", deployment("b", "example.com/b:1"), service("b", "b")))
	for name, call := range map[string]func() error{
		"Sync":        func() error { return cluster.Sync(services) },
		"AllServices": func() error { _, err := cluster.AllServices("", nil); return err },
		"Export":      func() error { _, err := cluster.Export(); return err },
		"Apply": func() error {
			return cluster.Apply([]platform.ServiceDefinition{
				{ServiceID: w.id("a"), NewDefinition: []byte(deployment("a", "example.com/a:2"))},
				{ServiceID: w.id("b"), NewDefinition: []byte(deployment("b", "example.com/b:2"))},
			})
		},
	} {
		mu.Lock()
		most, crowded = 0, make(chan struct{})
		mu.Unlock()
		if name == "Apply" {
			require.NoError(t, w.Sync(services))
		}
		require.NoError(t, call(), name)
		assert.Equal(t, width, most, name)
	}
}

// A kind that takes several pages is exported in one order, whether it is listed as a
// whole or namespace by namespace.
func TestExportOfPages(t *testing.T) {
	w := newEnv(t, kubernetes.Options{})
	other := w.cp.Namespace(t)
	const n = 560 // a small page, a large one, and more
	var all platform.SyncDef
	for i := range n {
		all.Actions = append(all.Actions, apply(fmt.Sprint(i), configMap(fmt.Sprintf("map-%03d", i), "1")))
	}
	require.NoError(t, w.Sync(all))
	require.NoError(t, w.as(t, w.cp.Config(), kubernetes.Options{Namespace: other}).Sync(def(apply("other", configMap("map", "1")))))

	cluster, requests := w.recorded(t, kubernetes.Options{Namespaces: []string{w.namespace, other}}, nil)
	data, err := cluster.Export()
	require.NoError(t, err)
	pages := requests.take("GET /api/v1/namespaces/" + w.namespace + "/configmaps")
	assert.Len(t, pages, 3)
	// As patterns they are looked for in all namespaces.
	whole, err := w.as(t, w.cp.Config(), kubernetes.Options{Namespaces: []string{w.namespace + "*", other + "*"}}).Export()
	require.NoError(t, err)
	assert.Equal(t, string(whole), string(data))

	objects, err := manifest.Parse(data)
	require.NoError(t, err)
	var names []string
	for _, o := range objects {
		if o.GetKind() == "ConfigMap" {
			names = append(names, o.GetNamespace()+"/"+o.GetName())
		}
	}
	assert.Len(t, names, n+1)
	assert.IsIncreasing(t, names)
}
