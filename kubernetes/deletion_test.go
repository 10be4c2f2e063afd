package kubernetes_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/platformbus/platform"
	"github.com/platformbus/platform/kubernetes"
)

// heldMap is a ConfigMap that a finalizer keeps from being deleted.
func heldMap(name string) string {
	return strings.Replace(configMap(name, "old"), "{name: "+name+"}", "{name: "+name+", finalizers: [example.com/hold]}", 1)
}

// letGo takes the finalizers off a ConfigMap. It may be called by any goroutine.
func (w env) letGo(t *testing.T, name string) {
	kind, patch := mergePatch(t, map[string]any{"metadata": map[string]any{"finalizers": nil}})
	_, err := w.client.CoreV1().ConfigMaps(w.namespace).Patch(context.Background(), name, kind, patch, metav1.PatchOptions{})
	assert.NoError(t, err)
}

func (w env) deleted(t *testing.T, name string) {
	t.Helper()
	require.NoError(t, w.client.CoreV1().ConfigMaps(w.namespace).Delete(t.Context(), name, metav1.DeleteOptions{}))
}

// refuseLists is an API server that lets nobody list.
func refuseLists(r *http.Request, next http.RoundTripper) (*http.Response, error) {
	if r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, "/configmaps") {
		return refusal(r, http.StatusForbidden, metav1.StatusReasonForbidden, "configmaps is forbidden"), nil
	}
	return next.RoundTrip(r)
}

// What is being deleted is waited for, and made again.
func TestSyncOfWhatIsBeingDeleted(t *testing.T) {
	for name, c := range map[string]struct {
		warm   bool
		answer answering
	}{"warm": {true, nil}, "cold": {false, nil}, "seen by applying it": {false, refuseLists}, "seen by applying it, warm": {true, refuseLists}} {
		t.Run(name, func(t *testing.T) {
			w := newEnv(t, kubernetes.Options{})
			var waits atomic.Int64
			note := func(e kubernetes.Event) {
				if e.Result == kubernetes.Waiting && waits.Add(1) == 1 {
					w.letGo(t, "a")
				}
			}
			cluster, requests := w.recorded(t, kubernetes.Options{Events: note}, c.answer)
			first := w.Cluster
			if c.warm {
				first = cluster
			}
			require.NoError(t, first.Sync(def(apply("a", configMap("a", "old")))))
			kind, patch := mergePatch(t, map[string]any{"metadata": map[string]any{"finalizers": []string{"example.com/hold"}}})
			_, err := w.client.CoreV1().ConfigMaps(w.namespace).Patch(t.Context(), "a", kind, patch, metav1.PatchOptions{FieldManager: "somebody"})
			require.NoError(t, err)
			uid := live(t, w.client.CoreV1().ConfigMaps(w.namespace).Get, "a").UID
			w.deleted(t, "a")
			require.NoError(t, cluster.Sync(def(apply("a", configMap("a", "new")))))
			again := live(t, w.client.CoreV1().ConfigMaps(w.namespace).Get, "a")
			assert.NotEqual(t, uid, again.UID)
			assert.Nil(t, again.DeletionTimestamp)
			assert.Equal(t, "new", again.Data["value"])
			assert.EqualValues(t, 1, waits.Load())
			if c.answer == nil {
				w.sameAgain(t, cluster, requests, configMap("a", "new"))
			}
		})
	}
}

func TestSyncOfWhatIsHeld(t *testing.T) {
	w := newEnv(t, kubernetes.Options{})
	require.NoError(t, w.Sync(def(apply("a", heldMap("a")))))
	w.deleted(t, "a")
	cluster := w.as(t, w.cp.Config(), kubernetes.Options{Namespace: w.namespace, WaitTimeout: 50 * time.Millisecond})
	for _, definition := range []string{heldMap("a"), configMap("a", "new")} {
		text := syncErrors(t, cluster.Sync(def(apply("a", definition))))["a"]
		assert.Contains(t, text, "apply ConfigMap "+w.namespace+"/a: wait until it is gone, for its finalizers example.com/hold: ")
	}
	w.letGo(t, "a")
}

// A namespace that is being deleted takes nothing: that is said at once.
func TestSyncIntoANamespaceThatIsBeingDeleted(t *testing.T) {
	w := newEnv(t, kubernetes.Options{})
	namespace := w.namespace + "-going"
	definition := "apiVersion: v1\nkind: Namespace\nmetadata: {name: " + namespace + "}"
	inside := in(namespace, configMap("inside", "1"))
	going := env{w.Cluster, w.cp, w.client, namespace}
	warm, requests := w.recorded(t, kubernetes.Options{}, nil)
	require.NoError(t, warm.Sync(def(apply("namespace", definition), apply("held", in(namespace, heldMap("held"))))))
	require.NoError(t, w.client.CoreV1().Namespaces().Delete(t.Context(), namespace, metav1.DeleteOptions{}))
	cold, coldRequests := w.recorded(t, kubernetes.Options{}, nil)
	for cluster, requests := range map[*kubernetes.Cluster]*recordingTransport{warm: requests, cold: coldRequests} {
		requests.take("")
		texts := syncErrors(t, cluster.Sync(def(apply("inside", inside))))
		assert.Contains(t, texts["inside"], "being terminated")
		assert.Len(t, requests.take("PATCH"), 1, "it is not tried again")
		texts = syncErrors(t, cluster.Sync(def(apply("namespace", definition), apply("inside", inside))))
		assert.Contains(t, texts["namespace"], "apply Namespace "+namespace+": the namespace is being deleted")
		assert.Contains(t, texts["inside"], "not attempted")
		assert.LessOrEqual(t, len(requests.take("PATCH")), 1)
	}
	going.letGo(t, "held")
}

// More objects than there are workers are waited for, and hold up no other.
func TestWaitsHoldUpNothing(t *testing.T) {
	w := newEnv(t, kubernetes.Options{})
	const concurrency, waiting, free = 2, 6, 8
	var all, before platform.SyncDef
	for i := range waiting {
		name := fmt.Sprintf("held-%d", i)
		before.Actions = append(before.Actions, apply(name, heldMap(name)))
		all.Actions = append(all.Actions, platform.SyncAction{ResourceID: name, Delete: []byte(configMap(name, "")), Apply: []byte(configMap(name, "new"))})
	}
	for i := range free {
		name := fmt.Sprintf("free-%d", i)
		all.Actions = append(all.Actions, apply(name, configMap(name, "1")))
	}
	require.NoError(t, w.Sync(before))
	var applied atomic.Int64
	cluster, _ := w.recorded(t, kubernetes.Options{Concurrency: concurrency, Events: func(e kubernetes.Event) {
		if e.Result == kubernetes.Applied && strings.HasPrefix(e.ID, "free-") && applied.Add(1) == free {
			for i := range waiting {
				w.letGo(t, fmt.Sprintf("held-%d", i))
			}
		}
	}}, nil)
	require.NoError(t, cluster.Sync(all), "those that are free are what the others wait for")
	for i := range waiting {
		assert.Equal(t, "new", live(t, w.client.CoreV1().ConfigMaps(w.namespace).Get, fmt.Sprintf("held-%d", i)).Data["value"])
	}
}

// What etcd finds too large stays so: it is not tried again, and its size is told.
func TestTooLargeForEtcd(t *testing.T) {
	w := newEnv(t, kubernetes.Options{})
	cluster, requests := w.recorded(t, kubernetes.Options{}, firstWrites(99, refuses(http.StatusInternalServerError, "", "etcdserver: request is too large")))
	text := syncErrors(t, cluster.Sync(def(apply("a", configMap("a", strings.Repeat("x", 5000))))))["a"]
	assert.Regexp(t, `the definition has 5\d\d\d bytes`, text)
	assert.Contains(t, text, "etcdserver: request is too large")
	assert.Len(t, requests.take("PATCH"), 1)
}
