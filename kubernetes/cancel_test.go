package kubernetes_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
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

// A Sync that is cancelled stops, says of each object whether it was done, cut off or not
// attempted, and leaves nothing running.
func TestCancelInTheMiddle(t *testing.T) {
	const objects, done, width = 20, 5, 3
	w := newEnv(t, kubernetes.Options{})
	var writes atomic.Int64
	blocked := make(chan struct{}, width) // gets one for each write that hangs
	cluster, requests := w.recorded(t, kubernetes.Options{Concurrency: width}, func(r *http.Request, next http.RoundTripper) (*http.Response, error) {
		if r.Method == http.MethodPatch && writes.Add(1) > done {
			blocked <- struct{}{}
			<-r.Context().Done()
			return nil, r.Context().Err()
		}
		return next.RoundTrip(r)
	})
	require.NoError(t, cluster.Ping()) // what a connection needs is there before
	before := goleak.IgnoreCurrent()

	ctx, cancel := context.WithCancelCause(t.Context())
	var all platform.SyncDef
	for i := range objects {
		all.Actions = append(all.Actions, apply(fmt.Sprint(i), configMap(fmt.Sprintf("c-%d", i), "1")))
	}
	synced := make(chan error, 1)
	go func() { synced <- cluster.WithContext(ctx).Sync(all) }()
	for range width {
		<-blocked
	}
	superseded := errors.New("superseded by a newer commit")
	cancel(superseded)
	var err error
	select {
	case err = <-synced:
	case <-time.After(10 * time.Second): // a second is promised; a busy machine may be slow
		t.Fatal("it goes on")
	}
	require.ErrorIs(t, err, superseded)
	var cutOff, notAttempted int
	for id, text := range syncErrors(t, err) {
		switch object := "apply ConfigMap " + w.namespace + "/c-" + id; text {
		case object + ": superseded by a newer commit":
			cutOff++
		case object + ": not attempted: superseded by a newer commit":
			notAttempted++
		default:
			t.Errorf("%s: %s", id, text)
		}
	}
	assert.Equal(t, width, cutOff)
	assert.Equal(t, objects-done-width, notAttempted)
	maps, err := w.client.CoreV1().ConfigMaps(w.namespace).List(t.Context(), metav1.ListOptions{LabelSelector: "!x"})
	require.NoError(t, err)
	there := 0
	for _, m := range maps.Items {
		if strings.HasPrefix(m.Name, "c-") {
			there++
		}
	}
	assert.Equal(t, done, there, "what no error is about is there")
	assert.Len(t, requests.take("PATCH"), done+width)
	require.NoError(t, checkLeaks(before))
}

// A Sync that looks at what is there stops too, and says that nothing was attempted.
func TestCancelWhileLooking(t *testing.T) {
	w := newEnv(t, kubernetes.Options{})
	ctx, cancel := context.WithCancelCause(t.Context())
	cluster, requests := w.recorded(t, kubernetes.Options{}, func(r *http.Request, next http.RoundTripper) (*http.Response, error) {
		if strings.HasSuffix(r.URL.Path, "/configmaps") {
			cancel(errors.New("superseded"))
			<-r.Context().Done()
			return nil, r.Context().Err()
		}
		return next.RoundTrip(r)
	})
	err := cluster.WithContext(ctx).Sync(def(apply("a", configMap("a", "1"))))
	require.ErrorContains(t, err, "nothing was attempted: ")
	require.ErrorContains(t, err, "superseded")
	assert.Empty(t, requests.take("PATCH"))
}

// Each limit is named in the error, and what was waited for.
func TestLimitsAreNamed(t *testing.T) {
	for name, c := range map[string]struct {
		options kubernetes.Options
		want    string
	}{
		"wait": {kubernetes.Options{WaitTimeout: 300 * time.Millisecond}, "the wait took longer than 300ms"},
		"call": {kubernetes.Options{Timeout: 700 * time.Millisecond}, "the call took longer than 700ms"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newEnv(t, kubernetes.Options{})
			require.NoError(t, w.Sync(def(apply("held", heldMap("held")))))
			c.options.Namespace = w.namespace
			cluster := w.as(t, w.cp.Config(), c.options)
			got := syncErrors(t, cluster.Sync(def(
				platform.SyncAction{ResourceID: "held", Delete: []byte(configMap("held", "1")), Apply: []byte(configMap("held", "2"))},
				apply("other", configMap("other", "1")),
			)))
			assert.Len(t, got, 1, "%v", got)
			assert.Contains(t, got["held"], "delete ConfigMap "+w.namespace+"/held: wait until it is gone, for its finalizers example.com/hold: "+c.want)
			assert.Contains(t, got["held"], "apply ConfigMap "+w.namespace+"/held: not attempted")
			live(t, w.client.CoreV1().ConfigMaps(w.namespace).Get, "other")
			w.letGo(t, "held")
		})
	}
}

// A limit says nothing of the API server: what was waited for is told, even if there was
// nothing else.
func TestLimitOfTheOnlyStep(t *testing.T) {
	w := newEnv(t, kubernetes.Options{})
	require.NoError(t, w.Sync(def(apply("held", heldMap("held")))))
	for want, options := range map[string]kubernetes.Options{
		"the call took longer than 700ms: context deadline exceeded": {Namespace: w.namespace, Timeout: 700 * time.Millisecond},
		"the wait took longer than 300ms: context deadline exceeded": {Namespace: w.namespace, WaitTimeout: 300 * time.Millisecond},
	} {
		err := w.as(t, w.cp.Config(), options).Sync(def(platform.SyncAction{ResourceID: "held", Delete: []byte(configMap("held", "1")), Apply: []byte(configMap("held", "2"))}))
		require.ErrorIs(t, err, context.DeadlineExceeded)
		text := syncErrors(t, err)["held"]
		assert.Contains(t, text, "delete ConfigMap "+w.namespace+"/held: wait until it is gone, for its finalizers example.com/hold: "+want+"; apply ")
	}
	w.letGo(t, "held")
}

// A definition that is never established is not waited for longer than that.
func TestWaitForEstablishedEnds(t *testing.T) {
	w := newEnv(t, kubernetes.Options{WaitTimeout: 500 * time.Millisecond})
	definition, object := crd(w.namespace, "Rival")
	require.NoError(t, w.Sync(def(apply("crd", definition))))
	rival := strings.NewReplacer("name: rivals.", "name: others.", "plural: rivals", "plural: others").Replace(definition) // of the same kind
	w.removedAtEnd(t, definition, rival)
	got := syncErrors(t, w.Sync(def(apply("rival", rival), apply("object", object))))
	assert.Contains(t, got["rival"], "apply CustomResourceDefinition others."+w.namespace+".example.com: wait until it is established: names not accepted: ")
}
