package kubernetes_test

import (
	"context"
	"errors"
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
	"github.com/platformbus/platform/internal/controlplane"
	"github.com/platformbus/platform/kubernetes"
)

// waiting has an Apply wait for a rollout that nobody ever says has failed. When it waits,
// then is called, once. It returns what the Apply returned.
func waiting(t *testing.T, w env, view func(*kubernetes.Cluster) platform.Platform, answer answering, then func()) error {
	t.Helper()
	require.NoError(t, w.Sync(def(apply("db", statefulSet("db", "example.com/db:1"), service("db", "db")))))
	var once sync.Once
	note := func(e kubernetes.Event) {
		if e.Result == kubernetes.Waiting {
			once.Do(then)
		}
	}
	cluster, _ := w.recorded(t, kubernetes.Options{Events: note}, answer)
	applied := make(chan error, 1)
	go func() {
		applied <- view(cluster).Apply([]platform.ServiceDefinition{
			{ServiceID: w.id("db"), NewDefinition: []byte(statefulSet("db", "example.com/db:"+controlplane.MissingTag))},
		})
	}()
	select {
	case err := <-applied:
		return err
	case <-time.After(testLimit): // less than the Apply's own time
		require.FailNow(t, "it goes on")
		return nil
	}
}

func itself(c *kubernetes.Cluster) platform.Platform { return c }

// An Apply that is cancelled while it waits ends, says how far it was, and leaves nothing
// running.
func TestCancelAnApplyThatWaits(t *testing.T) {
	w := newEnv(t, kubernetes.Options{})
	require.NoError(t, w.Ping())
	before := goleak.IgnoreCurrent()
	ctx, cancel := context.WithCancelCause(t.Context())
	superseded := errors.New("superseded by a newer release")
	err := waiting(t, w, func(c *kubernetes.Cluster) platform.Platform { return c.WithContext(ctx) }, nil, func() { cancel(superseded) })
	require.ErrorIs(t, err, superseded)
	text := applyErrors(t, err)[w.id("db")]
	assert.Contains(t, text, "roll out StatefulSet "+w.namespace+"/db: superseded by a newer release; it was at: ")
	assert.NotContains(t, text, "pods:", "who has cancelled does not wait for what they say")
	require.NoError(t, checkLeaks(before))
}

// What is deleted while it is waited for will not come, however the watch goes.
func TestDeletedWhileAnApplyWaits(t *testing.T) {
	for name, watches := range map[string][]answers{
		"watch goes on": {},
		"watch is refused, then says that it is too late, then ends": {
			refuses(http.StatusServiceUnavailable, metav1.StatusReasonServiceUnavailable, "not now"),
			streams(`{"type":"ERROR","object":{"apiVersion":"v1","kind":"Status","status":"Failure","code":410,"reason":"Expired","message":"too old resource version"}}`),
			streams(`{"type":"ERROR","object":{"apiVersion":"v1","kind":"Status","status":"Failure","code":410,"reason":"Gone","message":"gone"}}`),
			streams(""),
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newEnv(t, kubernetes.Options{})
			var begun atomic.Int64
			remove := func() {
				err := w.client.AppsV1().StatefulSets(w.namespace).Delete(context.Background(), "db", metav1.DeleteOptions{})
				assert.NoError(t, err)
			}
			then := remove
			if len(watches) > 0 {
				then = func() {} // when all those watches have been tried
			}
			err := waiting(t, w, itself, func(r *http.Request, next http.RoundTripper) (*http.Response, error) {
				if r.URL.Query().Has("watch") {
					n := int(begun.Add(1))
					if n <= len(watches) {
						return watches[n-1](r)
					}
					if n == len(watches)+1 && n > 1 {
						defer remove() // the watch has begun
					}
				}
				return next.RoundTrip(r)
			}, then)
			assert.Equal(t, "roll out StatefulSet "+w.namespace+"/db: it was deleted meanwhile", applyErrors(t, err)[w.id("db")])
			assert.GreaterOrEqual(t, int(begun.Load()), len(watches))
		})
	}
}

// streams is a watch that has some events, and ends.
func streams(events string) answers {
	return func(r *http.Request) (*http.Response, error) {
		response := refusal(r, http.StatusOK, "", "")
		response.Body, response.ContentLength = io.NopCloser(strings.NewReader(events)), -1
		return response, nil
	}
}

// What is deleted between its application and the first look will not come either.
func TestDeletedBeforeAnApplyWaits(t *testing.T) {
	w := newEnv(t, kubernetes.Options{})
	err := waiting(t, w, itself, func(r *http.Request, next http.RoundTripper) (*http.Response, error) {
		response, err := next.RoundTrip(r)
		if r.Method == http.MethodPatch && err == nil {
			assert.NoError(t, w.client.AppsV1().StatefulSets(w.namespace).Delete(context.Background(), "db", metav1.DeleteOptions{}))
		}
		return response, err
	}, func() {})
	assert.Equal(t, "roll out StatefulSet "+w.namespace+"/db: it was deleted meanwhile", applyErrors(t, err)[w.id("db")])
}

// A watch that is refused for good is an error, told at once.
func TestApplyThatMayNotWatch(t *testing.T) {
	w := newEnv(t, kubernetes.Options{})
	err := waiting(t, w, itself, func(r *http.Request, next http.RoundTripper) (*http.Response, error) {
		if r.URL.Query().Has("watch") {
			return refusal(r, http.StatusForbidden, metav1.StatusReasonForbidden, "statefulsets is forbidden: cannot watch"), nil
		}
		return next.RoundTrip(r)
	}, func() {})
	assert.Contains(t, applyErrors(t, err)[w.id("db")], "roll out StatefulSet "+w.namespace+"/db: statefulsets is forbidden: cannot watch")
}
