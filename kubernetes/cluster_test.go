package kubernetes_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	clientgo "k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/platformbus/platform"
	"github.com/platformbus/platform/flux"
	"github.com/platformbus/platform/internal/controlplane"
	"github.com/platformbus/platform/kubernetes"
)

func TestMain(m *testing.M) { os.Exit(controlplane.Main(m)) }

// An env is a cluster to try things on, and a namespace of the test's own in it.
type env struct {
	*kubernetes.Cluster
	cp        *controlplane.ControlPlane
	client    clientgo.Interface
	namespace string
}

func newEnv(t *testing.T, options kubernetes.Options) env {
	t.Helper()
	cp := controlplane.Require(t)
	w := env{cp: cp, client: clientFor(t, cp.Config()), namespace: cp.Namespace(t)}
	if options.Namespace == "" {
		options.Namespace = w.namespace
	}
	w.Cluster = w.as(t, cp.Config(), options)
	return w
}

func (w env) as(t *testing.T, config *rest.Config, options kubernetes.Options) *kubernetes.Cluster {
	t.Helper()
	if options.Timeout == 0 {
		options.Timeout = time.Minute
	}
	c, err := kubernetes.NewCluster(config, options)
	require.NoError(t, err)
	return c
}

func apply(id string, definitions ...string) platform.SyncAction {
	return platform.SyncAction{ResourceID: id, Apply: []byte(strings.Join(definitions, "\n---\n"))}
}

func remove(id string, definitions ...string) platform.SyncAction {
	return platform.SyncAction{ResourceID: id, Delete: []byte(strings.Join(definitions, "\n---\n"))}
}

func def(actions ...platform.SyncAction) platform.SyncDef { return platform.SyncDef{Actions: actions} }

// syncErrors returns the entries of a SyncError as text, and fails the test if err is
// anything else.
func syncErrors(t *testing.T, err error) map[string]string {
	t.Helper()
	var failed platform.SyncError
	require.ErrorAs(t, err, &failed)
	texts := map[string]string{}
	for id, err := range failed {
		texts[id] = err.Error()
	}
	return texts
}

func configMap(name, value string) string {
	return fmt.Sprintf("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: %s}\ndata: {value: %q}", name, value)
}

func deployment(name, image string) string {
	return fmt.Sprintf(`
apiVersion: apps/v1
kind: Deployment
metadata: {name: %[1]s}
spec:
  replicas: 2
  progressDeadlineSeconds: 3
  selector: {matchLabels: {app: %[1]s}}
  template:
    metadata: {labels: {app: %[1]s}}
    spec:
      containers: [{name: main, image: %[2]q}]
`, name, image)
}

func service(name, app string) string {
	return fmt.Sprintf(`
apiVersion: v1
kind: Service
metadata: {name: %s}
spec:
  selector: {app: %s}
  ports: [{port: 80}]
`, name, app)
}

func TestNewClusterRefusesWhatMakesNoSense(t *testing.T) {
	for _, c := range []struct {
		name    string
		config  *rest.Config
		options kubernetes.Options
		want    string
	}{
		{"no config", nil, kubernetes.Options{}, "rest.Config is nil"},
		{"bad host", &rest.Config{Host: "http://[::1"}, kubernetes.Options{}, "[::1"},
		{"missing CA", &rest.Config{Host: "https://localhost", TLSClientConfig: rest.TLSClientConfig{CAFile: "/nowhere/ca.crt"}}, kubernetes.Options{}, "/nowhere/ca.crt"},
		{"concurrency", &rest.Config{}, kubernetes.Options{Concurrency: -1}, "Options.Concurrency"},
		{"timeout", &rest.Config{}, kubernetes.Options{Timeout: -1}, "Options.Timeout"},
		{"request timeout", &rest.Config{}, kubernetes.Options{RequestTimeout: -1}, "Options.RequestTimeout"},
		{"namespace", &rest.Config{}, kubernetes.Options{Namespace: "Not A Name"}, `Options.Namespace "Not A Name"`},
		{"field manager", &rest.Config{}, kubernetes.Options{FieldManager: strings.Repeat("x", 129)}, "Options.FieldManager"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := kubernetes.NewCluster(c.config, c.options)
			require.Error(t, err)
			assert.Contains(t, err.Error(), c.want)
		})
	}
}

func TestVersionContactsNothing(t *testing.T) {
	c, err := kubernetes.NewCluster(&rest.Config{Host: "https://127.0.0.1:1"}, kubernetes.Options{Version: "1.2.3"})
	require.NoError(t, err)
	version, err := c.Version()
	require.NoError(t, err)
	assert.Equal(t, "1.2.3", version)
}

func TestPing(t *testing.T) {
	w := newEnv(t, kubernetes.Options{})
	require.NoError(t, w.Ping())

	stranger := w.cp.Config()
	stranger.CertData, stranger.KeyData, stranger.BearerToken = nil, nil, "not-a-token"
	err := w.as(t, stranger, kubernetes.Options{}).Ping()
	require.Error(t, err)
	assert.Contains(t, err.Error(), "provide credentials")
	assert.NotContains(t, err.Error(), "not-a-token")
}

// What becomes of the caller's Options does not matter to a Cluster.
func TestNewClusterKeepsNoOptions(t *testing.T) {
	namespaces, excluded := []string{"shop"}, []string{"other"}
	c, err := kubernetes.NewCluster(&rest.Config{Host: "https://127.0.0.1:1"}, kubernetes.Options{Namespaces: namespaces, ExcludeNamespaces: excluded, Timeout: time.Second})
	require.NoError(t, err)
	namespaces[0], excluded[0] = "other", "shop"
	_, err = c.AllServices("other", nil)
	require.ErrorContains(t, err, "not one of those that are offered")
}

// What Options exclude is not looked for, not even in a list of all.
func TestNothingIsOffered(t *testing.T) {
	c, err := kubernetes.NewCluster(&rest.Config{Host: "https://127.0.0.1:1"}, kubernetes.Options{Namespaces: []string{"shop"}, ExcludeNamespaces: []string{"sh*"}, Timeout: time.Second})
	require.NoError(t, err)
	found, err := c.AllServices("", nil)
	require.NoError(t, err, "it contacts nothing")
	assert.Empty(t, found)
}

// Every method says in one error, not in one for each entry, that the API server cannot
// be reached.
func TestUnreachableServer(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	address := listener.Addr().String()
	require.NoError(t, listener.Close())
	c, err := kubernetes.NewCluster(&rest.Config{Host: "http://" + address}, kubernetes.Options{Timeout: 500 * time.Millisecond})
	require.NoError(t, err)

	_, all := c.AllServices("", nil)
	_, some := c.SomeServices([]flux.ServiceID{"default/web"})
	_, export := c.Export()
	for method, err := range map[string]error{
		"Ping":         c.Ping(),
		"AllServices":  all,
		"SomeServices": some,
		"Export":       export,
		"Apply":        c.Apply([]platform.ServiceDefinition{{ServiceID: "default/a"}, {ServiceID: "default/b"}}),
		"Sync":         c.Sync(def(apply("a", configMap("a", "1")), apply("b", configMap("b", "1")))),
	} {
		require.Error(t, err, method)
		assert.Contains(t, err.Error(), "connection refused", method)
		var helpful flux.HelpfulError
		require.ErrorAs(t, err, &helpful, method)
		assert.NotEmpty(t, helpful.Base().Help, method)
		var each platform.SyncError
		assert.False(t, errors.As(err, &each), "%s: one error, not one for each", method)
	}
}

// A server that accepts and never answers costs no more than the time limit.
func TestSilentServer(t *testing.T) {
	released := make(chan struct{})
	server := &http.Server{Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-released:
		case <-r.Context().Done():
		}
	})}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	t.Cleanup(func() { close(released); server.Close(); <-served })

	c, err := kubernetes.NewCluster(&rest.Config{Host: "http://" + listener.Addr().String()}, kubernetes.Options{RequestTimeout: 100 * time.Millisecond})
	require.NoError(t, err)
	err = c.Ping()
	require.Error(t, err)
	assert.Contains(t, err.Error(), "the API server took longer than 100ms")
}

func TestContextEndsACall(t *testing.T) {
	w := newEnv(t, kubernetes.Options{})
	cluster, requests := w.recorded(t, kubernetes.Options{}, nil)
	ctx, cancel := context.WithCancelCause(context.Background())
	outer := platform.WithContext(ctx, cluster)
	view := platform.WithContext(context.Background(), outer)
	require.NoError(t, view.Ping())
	cause := errors.New("the daemon stops")
	cancel(cause)
	requests.take("")
	for _, p := range []platform.Platform{outer, view} {
		for name, call := range map[string]func() error{
			"Ping":                     p.Ping,
			"Version":                  func() error { _, err := p.Version(); return err },
			"AllServices":              func() error { _, err := p.AllServices("", nil); return err },
			"AllServices, of no name":  func() error { _, err := p.AllServices("a/b", nil); return err },
			"SomeServices":             func() error { _, err := p.SomeServices([]flux.ServiceID{w.id("web")}); return err },
			"SomeServices, of nothing": func() error { _, err := p.SomeServices(nil); return err },
			"Export":                   func() error { _, err := p.Export(); return err },
			"Apply":                    func() error { return p.Apply([]platform.ServiceDefinition{{ServiceID: w.id("web")}}) },
			"Apply, of nothing":        func() error { return p.Apply(nil) },
			"Sync":                     func() error { return p.Sync(def(apply("a", configMap("a", "1")))) },
			"Sync, of nothing":         func() error { return p.Sync(def()) },
		} {
			require.ErrorIs(t, call(), cause, name)
		}
	}
	assert.Empty(t, requests.take(""), "the calls are not made")
	require.NoError(t, cluster.Ping(), "the Cluster itself is not affected")
}

func live[T any](t *testing.T, get func(context.Context, string, metav1.GetOptions) (T, error), name string) T {
	t.Helper()
	object, err := get(t.Context(), name, metav1.GetOptions{})
	require.NoError(t, err)
	return object
}

func mergePatch(t *testing.T, patch any) (types.PatchType, []byte) {
	t.Helper()
	data, err := json.Marshal(patch)
	require.NoError(t, err)
	return types.MergePatchType, data
}

// checkLeaks checks that no goroutine runs which did not when before was taken, but those that read
// from connections, which stay open.
func checkLeaks(before goleak.Option) error {
	return goleak.Find(before, goleak.IgnoreAnyFunction("golang.org/x/net/http2.(*clientConnReadLoop).run"),
		goleak.IgnoreAnyFunction("net/http.(*http2clientConnReadLoop).run"))
}

// How long, and how often, a test waits for what the control plane does by itself.
const (
	testLimit = 20 * time.Second
	testTick  = 20 * time.Millisecond
)
