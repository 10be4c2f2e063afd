package kubernetes_test

import (
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/platformbus/platform"
	"github.com/platformbus/platform/kubernetes"
)

// quiet syncs until a Sync sends no request. Watches begin a moment after the lists that they go
// on from.
func quiet(t *testing.T, cluster *kubernetes.Cluster, requests *recordingTransport, def platform.SyncDef) {
	t.Helper()
	require.Eventually(t, func() bool {
		requests.take("")
		require.NoError(t, cluster.Sync(def))
		return len(requests.inOrder("")) == 0
	}, testLimit, testTick)
}

// What is watched costs nothing as long as it is quiet, and what happens to it is heard.
func TestWatchedSync(t *testing.T) {
	w := newEnv(t, kubernetes.Options{})
	before := goleak.IgnoreCurrent()
	var d recorder
	cluster, requests := w.recorded(t, kubernetes.Options{Watch: time.Hour, Events: d.note}, nil)
	all := manyKinds(t, w)
	all.Actions = append(all.Actions, apply("plain", configMap("plain-1", "1"), configMap("plain-2", "1"), secret("one", "hush")))
	require.NoError(t, cluster.Sync(all))
	quiet(t, cluster, requests, all)
	d.take()
	require.NoError(t, cluster.Sync(all))
	assert.Empty(t, requests.take(""))
	for object, result := range d.take() {
		assert.Equal(t, kubernetes.Unchanged, result, object)
	}

	maps := w.client.CoreV1().ConfigMaps(w.namespace)
	repaired := func(name, want string) {
		t.Helper()
		require.Eventually(t, func() bool {
			require.NoError(t, cluster.Sync(all))
			m, err := maps.Get(t.Context(), name, metav1.GetOptions{})
			return err == nil && m.Data["value"] == want && m.Labels["drifted"] == ""
		}, testLimit, testTick, name)
	}
	kind, patch := mergePatch(t, map[string]any{"data": map[string]any{"value": "drifted"}})
	for _, name := range []string{"app-1", "plain-1"} {
		_, err := maps.Patch(t.Context(), name, kind, patch, patchBy("someone"))
		require.NoError(t, err)
		repaired(name, "1")
		require.NoError(t, maps.Delete(t.Context(), name, metav1.DeleteOptions{}))
		repaired(name, "1")
	}
	kind, patch = mergePatch(t, map[string]any{"metadata": map[string]any{"labels": map[string]any{"part-of": nil}}})
	_, err := maps.Patch(t.Context(), "app-2", kind, patch, patchBy("someone"))
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		require.NoError(t, cluster.Sync(all))
		return live(t, maps.Get, "app-2").Labels["part-of"] == w.namespace
	}, testLimit, testTick, "what has lost the label that is watched for is found")
	quiet(t, cluster, requests, all)

	// What is ours to change is sent, once.
	all.Actions[0].Apply = []byte(strings.Replace(string(all.Actions[0].Apply), `value: "1"`, `value: "2"`, 1))
	requests.take("")
	require.NoError(t, cluster.Sync(all))
	assert.Equal(t, []string{"PATCH /api/v1/namespaces/" + w.namespace + "/configmaps/app-0"}, requests.take("PATCH"))
	require.NoError(t, cluster.Sync(all))
	assert.Empty(t, requests.take("PATCH"))
	quiet(t, cluster, requests, all)

	cluster.Close()
	require.NoError(t, checkLeaks(before))
	require.NoError(t, cluster.Sync(all))
	assert.NotEmpty(t, requests.take("GET metadata"), "without watches it looks")
	cluster.Close()
}

// While a watch is interrupted a Sync looks; the watch goes on where it ended, or, if that is too
// long ago, begins anew.
func TestInterruptedWatch(t *testing.T) {
	w := newEnv(t, kubernetes.Options{})
	var (
		mu      sync.Mutex
		cuts    []func()     // end the watches under way; guarded by mu
		refused atomic.Int32 // the code with which watches are refused; 0 if they are not
	)
	cluster, requests := w.recorded(t, kubernetes.Options{Watch: time.Hour}, func(r *http.Request, next http.RoundTripper) (*http.Response, error) {
		if !r.URL.Query().Has("watch") {
			return next.RoundTrip(r)
		}
		if code := int(refused.Load()); code != 0 {
			reason := metav1.StatusReasonServiceUnavailable
			if code == http.StatusGone {
				reason = metav1.StatusReasonExpired
			}
			return refusal(r, code, reason, "not now"), nil
		}
		response, err := next.RoundTrip(r)
		if err == nil {
			cut := &cutBody{ReadCloser: response.Body}
			response.Body = cut
			mu.Lock()
			defer mu.Unlock()
			cuts = append(cuts, func() { cut.Close() })
		}
		return response, err
	})
	defer cluster.Close()
	interrupt := func() {
		mu.Lock()
		defer mu.Unlock()
		for _, cut := range cuts {
			cut()
		}
		cuts = nil
	}
	all := def(apply("maps", configMap("a", "1"), configMap("b", "1")))
	quiet(t, cluster, requests, all)

	for name, code := range map[string]int32{"unavailable": http.StatusServiceUnavailable, "expired": http.StatusGone} {
		refused.Store(code)
		interrupt()
		require.Eventually(t, func() bool {
			requests.take("")
			require.NoError(t, cluster.Sync(all))
			return len(requests.take("GET metadata")) > 0
		}, testLimit, testTick, name)
		kind, patch := mergePatch(t, map[string]any{"data": map[string]any{"value": name}})
		_, err := w.client.CoreV1().ConfigMaps(w.namespace).Patch(t.Context(), "a", kind, patch, patchBy("someone"))
		require.NoError(t, err)
		require.NoError(t, cluster.Sync(all))
		assert.Equal(t, "1", live(t, w.client.CoreV1().ConfigMaps(w.namespace).Get, "a").Data["value"], name)
		refused.Store(0)
		quiet(t, cluster, requests, all)
	}
}

// A cutBody ends when it is closed.
type cutBody struct{ io.ReadCloser }

// A place that no Sync needs any more is watched no longer.
func TestWatchExpires(t *testing.T) {
	w := newEnv(t, kubernetes.Options{})
	before := goleak.IgnoreCurrent()
	cluster, requests := w.recorded(t, kubernetes.Options{Watch: 300 * time.Millisecond}, nil)
	quiet(t, cluster, requests, def(apply("maps", configMap("a", "1"), configMap("b", "1"))))
	require.Eventually(t, func() bool {
		return checkLeaks(before) == nil
	}, testLimit, testTick)
}
