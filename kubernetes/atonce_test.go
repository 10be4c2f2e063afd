package kubernetes_test

import (
	"fmt"
	"net/http"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/platformbus/platform"
	"github.com/platformbus/platform/kubernetes"
)

// However many calls are under way, an object is written by one at a time.
func TestCallsAtOnceWriteAnObjectInTurn(t *testing.T) {
	w := newEnv(t, kubernetes.Options{})
	var (
		mu       sync.Mutex
		writing  = map[string]int{} // guarded by mu
		together = map[string]int{} // guarded by mu: the most at a time
		others   int                // guarded by mu: the most at a time, of all paths
	)
	count := func(path string, by int) {
		mu.Lock()
		defer mu.Unlock()
		writing[path] += by
		together[path] = max(together[path], writing[path])
		sum := 0
		for _, n := range writing {
			sum += n
		}
		others = max(others, sum)
	}
	cluster, _ := w.recorded(t, kubernetes.Options{}, func(r *http.Request, next http.RoundTripper) (*http.Response, error) {
		if r.Method != http.MethodGet {
			count(r.URL.Path, 1)
			defer count(r.URL.Path, -1)
		}
		return next.RoundTrip(r)
	})
	require.NoError(t, cluster.Sync(def(apply("web", deployment("web", "example.com/web:0"), service("web", "web")))))

	var group sync.WaitGroup
	for caller := range 4 {
		group.Go(func() {
			for round := range 5 {
				value := fmt.Sprintf("%d.%d", caller, round)
				all := def(apply("web", deployment("web", "example.com/web:"+value)))
				for i := range 5 {
					all.Actions = append(all.Actions, apply(fmt.Sprint(i), configMap(fmt.Sprintf("c-%d", i), value)))
				}
				if caller == 0 { // one that deletes, too
					all.Actions = append(all.Actions, platform.SyncAction{ResourceID: "anew", Delete: []byte(configMap("c-0", "")), Apply: []byte(configMap("c-0", value))})
				}
				assert.NoError(t, cluster.Sync(all))
			}
		})
		group.Go(func() {
			for round := range 5 {
				assert.NoError(t, cluster.Apply([]platform.ServiceDefinition{
					{ServiceID: w.id("web"), NewDefinition: []byte(deployment("web", fmt.Sprintf("example.com/web:apply-%d.%d", caller, round))), Async: true},
				}))
			}
		})
	}
	group.Wait()
	assert.Len(t, together, 7)
	for path, n := range together {
		assert.Equal(t, 1, n, path)
	}
	assert.Greater(t, others, 1, "different objects are written at once")

	// What was verified under way is not taken for what is there now.
	last := def()
	for i := range 5 {
		last.Actions = append(last.Actions, apply(fmt.Sprint(i), configMap(fmt.Sprintf("c-%d", i), "last")))
	}
	require.NoError(t, cluster.Sync(last))
	for i := range 5 {
		assert.Equal(t, "last", live(t, w.client.CoreV1().ConfigMaps(w.namespace).Get, fmt.Sprintf("c-%d", i)).Data["value"])
	}
}
