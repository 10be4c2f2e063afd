package kubernetes_test

import (
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/platformbus/platform"
	"github.com/platformbus/platform/kubernetes"
)

// answers are of a network or an API server that is not well.
type answers func(r *http.Request) (*http.Response, error)

func refuses(code int, reason metav1.StatusReason, message string) answers {
	return func(r *http.Request) (*http.Response, error) { return refusal(r, code, reason, message), nil }
}

func breaks(err error) answers {
	return func(*http.Request) (*http.Response, error) { return nil, err }
}

func connection(err error) error {
	return &net.OpError{Op: "read", Net: "tcp", Err: os.NewSyscallError("read", err)}
}

// firstWrites answers the first n writes in the API server's stead.
func firstWrites(n int64, answer answers) answering {
	var writes atomic.Int64
	return func(r *http.Request, next http.RoundTripper) (*http.Response, error) {
		if r.Method != http.MethodGet && writes.Add(1) <= n {
			return answer(r)
		}
		return next.RoundTrip(r)
	}
}

func TestTransientFaultsAreRetried(t *testing.T) {
	for name, fault := range map[string]answers{
		"429":                 refuses(http.StatusTooManyRequests, metav1.StatusReasonTooManyRequests, "too many requests"),
		"500":                 refuses(http.StatusInternalServerError, metav1.StatusReasonInternalError, `failed calling webhook "a.example.com"`),
		"502":                 refuses(http.StatusBadGateway, "", "bad gateway"),
		"503":                 refuses(http.StatusServiceUnavailable, metav1.StatusReasonServiceUnavailable, "apiserver is shutting down"),
		"504":                 refuses(http.StatusGatewayTimeout, metav1.StatusReasonTimeout, "request did not complete within the allotted timeout"),
		"connection reset":    breaks(connection(syscall.ECONNRESET)),
		"connection refused":  breaks(connection(syscall.ECONNREFUSED)),
		"connection lost":     breaks(io.ErrUnexpectedEOF),
		"an answer cut short": breaks(io.EOF),
		"HTTP/2 lost":         breaks(errors.New("http2: client connection lost")),
		"a network's timeout": breaks(connection(os.ErrDeadlineExceeded)),
		"etcd":                refuses(http.StatusInternalServerError, "", "etcdserver: request timed out"),
	} {
		t.Run(name, func(t *testing.T) {
			w := newEnv(t, kubernetes.Options{})
			cluster, requests := w.recorded(t, kubernetes.Options{}, firstWrites(2, fault))
			require.NoError(t, cluster.Sync(def(apply("a", configMap("a", "1")))))
			assert.Len(t, requests.take("PATCH"), 3)
			assert.Equal(t, "1", live(t, w.client.CoreV1().ConfigMaps(w.namespace).Get, "a").Data["value"])

			cluster, requests = w.recorded(t, kubernetes.Options{}, firstWrites(2, fault))
			require.NoError(t, cluster.Sync(def(remove("a", configMap("a", "1")))))
			assert.Len(t, requests.take("DELETE"), 3)
		})
	}
}

// Looking at what is there is tried again like everything else.
func TestTransientFaultsOfReading(t *testing.T) {
	w := newEnv(t, kubernetes.Options{})
	var reads atomic.Int64
	cluster, _ := w.recorded(t, kubernetes.Options{}, func(r *http.Request, next http.RoundTripper) (*http.Response, error) {
		if strings.HasSuffix(r.URL.Path, "/configmaps") && reads.Add(1) <= 2 {
			return refusal(r, http.StatusTooManyRequests, metav1.StatusReasonTooManyRequests, "too many requests"), nil
		}
		return next.RoundTrip(r)
	})
	require.NoError(t, cluster.Sync(def(apply("a", configMap("a", "1")))))
	assert.EqualValues(t, 3, reads.Load())
}

func TestRefusalsAreNotRetried(t *testing.T) {
	w := newEnv(t, kubernetes.Options{})
	for code, reason := range map[int]metav1.StatusReason{
		http.StatusBadRequest: metav1.StatusReasonBadRequest, http.StatusForbidden: metav1.StatusReasonForbidden,
		http.StatusNotFound: metav1.StatusReasonNotFound, http.StatusMethodNotAllowed: metav1.StatusReasonMethodNotAllowed,
		http.StatusConflict: metav1.StatusReasonConflict, http.StatusRequestEntityTooLarge: metav1.StatusReasonRequestEntityTooLarge,
		http.StatusUnprocessableEntity: metav1.StatusReasonInvalid, http.StatusInternalServerError: "",
	} {
		t.Run(fmt.Sprint(code), func(t *testing.T) {
			cluster, requests := w.recorded(t, kubernetes.Options{}, firstWrites(99, refuses(code, reason, "no, for this reason")))
			err := cluster.Sync(def(apply("a", configMap("a", "1"))))
			assert.Equal(t, "apply ConfigMap "+w.namespace+"/a: no, for this reason", syncErrors(t, err)["a"])
			assert.Equal(t, code, int(statusOf(t, err).Code), "the server's own error is in the chain")
			assert.Len(t, requests.take("PATCH"), 1)
		})
	}
}

func statusOf(t *testing.T, err error) metav1.Status {
	t.Helper()
	var status apierrors.APIStatus
	require.ErrorAs(t, err, &status)
	return status.Status()
}

// What does not pass is given up when the call's time is over, and the last answer told.
func TestRetryEndsWithTheCall(t *testing.T) {
	w := newEnv(t, kubernetes.Options{})
	cluster, _ := w.recorded(t, kubernetes.Options{Timeout: 600 * time.Millisecond}, firstWrites(1e6, refuses(http.StatusServiceUnavailable, metav1.StatusReasonServiceUnavailable, "not today")))
	text := syncErrors(t, cluster.Sync(def(apply("a", configMap("a", "1")))))["a"]
	assert.Contains(t, text, "apply ConfigMap "+w.namespace+"/a: the call took longer than 600ms")
	assert.Contains(t, text, "not today")
	assert.NotContains(t, text, "\n")
}

// Trouble that is everybody's is one error, if nothing is known to be done; otherwise each that
// failed is told.
func TestServerLostMidway(t *testing.T) {
	w := newEnv(t, kubernetes.Options{})
	all := def(apply("a", configMap("a", "1")), apply("b", configMap("b", "1")), apply("c", configMap("c", "1")))
	for name, c := range map[string]struct {
		fault answers
		want  string
	}{
		"unreachable":         {breaks(connection(syscall.ECONNREFUSED)), "connection refused"},
		"connection lost":     {breaks(connection(syscall.ECONNRESET)), "connection reset by peer"},
		"credentials refused": {refuses(http.StatusUnauthorized, metav1.StatusReasonUnauthorized, "Unauthorized"), "Unauthorized"},
	} {
		t.Run(name, func(t *testing.T) {
			cluster, requests := w.recorded(t, kubernetes.Options{Timeout: 500 * time.Millisecond}, firstWrites(1e6, c.fault))
			err := cluster.Sync(all)
			require.ErrorContains(t, err, c.want)
			require.ErrorContains(t, err, "sync: the outcome is not known: ")
			var each platform.SyncError
			assert.False(t, errors.As(err, &each), "one error: %v", err)
			requests.take("")

			var writes atomic.Int64
			cluster, _ = w.recorded(t, kubernetes.Options{Timeout: 500 * time.Millisecond, Concurrency: 1}, func(r *http.Request, next http.RoundTripper) (*http.Response, error) {
				if r.Method != http.MethodGet && writes.Add(1) > 1 {
					return c.fault(r)
				}
				return next.RoundTrip(r)
			})
			got := syncErrors(t, cluster.Sync(all))
			assert.Len(t, got, 2, "a was applied: %v", got)
			assert.Contains(t, got["b"], c.want)
			live(t, w.client.CoreV1().ConfigMaps(w.namespace).Get, "a")
			require.NoError(t, w.client.CoreV1().ConfigMaps(w.namespace).Delete(t.Context(), "a", metav1.DeleteOptions{}))
		})
	}
}

// A kind that came after the Cluster last asked is found.
func TestKindOfSomeoneElse(t *testing.T) {
	w := newEnv(t, kubernetes.Options{})
	require.NoError(t, w.Sync(def(apply("a", configMap("a", "1"))))) // now it knows all kinds
	definition, object := crd(w.namespace, "Novelty")
	someone := w.as(t, w.cp.Config(), kubernetes.Options{})
	require.NoError(t, someone.Sync(def(apply("crd", definition))))
	w.removedAtEnd(t, definition)
	require.NoError(t, w.Sync(def(apply("object", object))))
	w.object(t, w.own("noveltys"), "one")
}

// A kind that is gone since the Cluster last asked is defined anew, and its objects wait
// until every API server serves it.
func TestKindThatSomeoneElseRemoved(t *testing.T) {
	w := newEnv(t, kubernetes.Options{})
	definition, object := crd(w.namespace, "Phoenix")
	all := def(apply("object", object), apply("crd", definition))
	var early atomic.Int64 // how many writes are answered by a server that does not know yet
	cluster, _ := w.recorded(t, kubernetes.Options{}, func(r *http.Request, next http.RoundTripper) (*http.Response, error) {
		if r.Method == http.MethodPatch && strings.HasSuffix(r.URL.Path, "/phoenixs/one") && early.Add(-1) >= 0 {
			const text = "404 page not found\n"
			answer := refusal(r, http.StatusNotFound, "", "")
			answer.Header.Set("Content-Type", "text/plain; charset=utf-8")
			answer.Body, answer.ContentLength = io.NopCloser(strings.NewReader(text)), int64(len(text))
			return answer, nil
		}
		return next.RoundTrip(r)
	})
	w.removedAtEnd(t, definition)
	for round := range 3 {
		early.Store(2)
		require.NoError(t, cluster.Sync(all), "round %d", round)
		w.object(t, w.own("phoenixs"), "one")
		require.NoError(t, cluster.Sync(def(apply("object", object)))) // now it knows the kind as the cluster's own
		w.kubectl(t, "", "delete", "crd", "phoenixs."+w.namespace+".example.com")
	}
}

// A webhook that is not up yet is waited for.
func TestWebhookNotReady(t *testing.T) {
	w := newEnv(t, kubernetes.Options{})
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	address := listener.Addr().String()
	require.NoError(t, listener.Close())
	server := httptest.NewUnstartedServer(http.HandlerFunc(admit))
	server.StartTLS() // for its certificate
	certificate := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	config := server.TLS
	server.Close()

	hook := webhook(w.namespace, "https://"+address, certificate)
	w.removedAtEnd(t, hook)
	require.NoError(t, w.Sync(def(apply("hook", hook))))
	require.Eventually(t, func() bool {
		_, err := w.client.CoreV1().ConfigMaps(w.namespace).Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "probe"}}, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		return err != nil && strings.Contains(err.Error(), "failed calling webhook")
	}, testLimit, testTick, "it is in force")

	var attempts atomic.Int64
	cluster, _ := w.recorded(t, kubernetes.Options{}, func(r *http.Request, next http.RoundTripper) (*http.Response, error) {
		response, err := next.RoundTrip(r)
		if r.Method == http.MethodPatch && attempts.Add(1) == 2 {
			late, listening := net.Listen("tcp", address)
			if assert.NoError(t, listening) {
				up := httptest.NewUnstartedServer(http.HandlerFunc(admit))
				assert.NoError(t, up.Listener.Close())
				up.Listener, up.TLS = late, config
				up.StartTLS()
				t.Cleanup(up.Close)
			}
		}
		return response, err
	})
	require.NoError(t, cluster.Sync(def(apply("a", configMap("a", "1")))))
	assert.GreaterOrEqual(t, attempts.Load(), int64(3))
	live(t, w.client.CoreV1().ConfigMaps(w.namespace).Get, "a")
}

// webhook is a definition of one that decides about the ConfigMaps of a namespace.
func webhook(namespace, url string, ca []byte) string {
	return fmt.Sprintf(`
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
metadata: {name: %[1]s}
webhooks:
- name: all.example.com
  clientConfig: {url: %[2]q, caBundle: %[3]q}
  admissionReviewVersions: [v1]
  sideEffects: None
  failurePolicy: Fail
  timeoutSeconds: 5
  namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: %[1]s}}
  rules: [{apiGroups: [''], apiVersions: ['*'], operations: ['*'], resources: [configmaps], scope: Namespaced}]
`, namespace, url, base64.StdEncoding.EncodeToString(ca))
}

// admit admits everything.
func admit(w http.ResponseWriter, r *http.Request) {
	var review struct {
		Request struct {
			UID string `json:"uid"`
		} `json:"request"`
	}
	if err := json.NewDecoder(r.Body).Decode(&review); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	fmt.Fprintf(w, `{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","response":{"uid":%q,"allowed":true}}`, review.Request.UID)
}
