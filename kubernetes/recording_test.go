package kubernetes_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	clientgo "k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/platformbus/platform/internal/controlplane"
	"github.com/platformbus/platform/kubernetes"
)

// A recordingTransport sits between a Cluster and the API server. It notes each request, and may answer
// it in the server's stead.
type recordingTransport struct {
	answer answering

	mu    sync.Mutex
	noted []string // guarded by mu
}

// answering is how a recordingTransport answers a request, which next would pass on.
type answering func(r *http.Request, next http.RoundTripper) (*http.Response, error)

// passOn leaves every answer to the API server.
func passOn(r *http.Request, next http.RoundTripper) (*http.Response, error) {
	return next.RoundTrip(r)
}

// recorded returns a Cluster of the env's, and a recordingTransport for its requests. With a nil answer it
// only notes them.
func (w env) recorded(t *testing.T, options kubernetes.Options, answer answering) (*kubernetes.Cluster, *recordingTransport) {
	t.Helper()
	if answer == nil {
		answer = passOn
	}
	if options.Namespace == "" {
		options.Namespace = w.namespace
	}
	p := &recordingTransport{answer: answer}
	config := w.cp.Config()
	config.WrapTransport = func(next http.RoundTripper) http.RoundTripper {
		return roundTripper(func(r *http.Request) (*http.Response, error) {
			p.note(r)
			return p.answer(r, next)
		})
	}
	return w.as(t, config, options), p
}

func (p *recordingTransport) note(r *http.Request) {
	what := r.Method
	if metadata := strings.Contains(r.Header.Get("Accept"), "as=PartialObjectMetadataList"); metadata && r.Method == http.MethodGet {
		what = "GET metadata"
	}
	if r.URL.Query().Has("watch") {
		what = "WATCH"
	}
	what += " " + r.URL.Path
	if r.URL.Query().Get("continue") != "" {
		what += " (next page)"
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.noted = append(p.noted, what)
}

// take returns the requests that begin with prefix, sorted, and forgets all.
func (p *recordingTransport) take(prefix string) []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	found := []string{}
	for _, request := range p.noted {
		if strings.HasPrefix(request, prefix) {
			found = append(found, request)
		}
	}
	p.noted = nil
	slices.Sort(found)
	return found
}

// inOrder returns the requests that begin with prefix in the order in which they were
// sent.
func (p *recordingTransport) inOrder(prefix string) []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(p.noted), func(s string) bool { return !strings.HasPrefix(s, prefix) })
}

// refusal is an answer of the API server's that says no.
func refusal(r *http.Request, code int, reason metav1.StatusReason, message string) *http.Response {
	body, err := json.Marshal(metav1.Status{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Status"},
		Status:   metav1.StatusFailure, Code: int32(code), Reason: reason, Message: message,
	})
	if err != nil {
		panic(err) // it has only strings
	}
	return &http.Response{
		StatusCode: code, Status: http.StatusText(code), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: http.Header{"Content-Type": {"application/json"}},
		Body:   io.NopCloser(bytes.NewReader(body)), ContentLength: int64(len(body)), Request: r,
	}
}

// A recorder keeps the events of a Cluster.
type recorder struct {
	mu     sync.Mutex
	events []kubernetes.Event // guarded by mu
}

func (d *recorder) note(e kubernetes.Event) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.events = append(d.events, e)
}

// take returns what became of each object, and forgets it.
func (d *recorder) take() map[string]kubernetes.Result {
	results := map[string]kubernetes.Result{}
	for _, e := range d.takeAll() {
		if e.Result != kubernetes.Waiting {
			results[e.Object] = e.Result
		}
	}
	return results
}

func (d *recorder) takeAll() []kubernetes.Event {
	d.mu.Lock()
	defer d.mu.Unlock()
	events := d.events
	d.events = nil
	return events
}

func (w env) dynamic(t *testing.T) dynamic.Interface {
	t.Helper()
	client, err := dynamic.NewForConfig(w.cp.Config())
	require.NoError(t, err)
	return client
}

func clientFor(t *testing.T, config *rest.Config) clientgo.Interface {
	t.Helper()
	client, err := clientgo.NewForConfig(config)
	require.NoError(t, err)
	return client
}

// own is a resource of the group that crd makes.
func (w env) own(plural string) schema.GroupVersionResource {
	return schema.GroupVersionResource{Group: w.namespace + ".example.com", Version: "v1", Resource: plural}
}

// object returns a live object in the env's namespace.
func (w env) object(t *testing.T, resource schema.GroupVersionResource, name string) *unstructured.Unstructured {
	t.Helper()
	object, err := w.dynamic(t).Resource(resource).Namespace(w.namespace).Get(t.Context(), name, metav1.GetOptions{})
	require.NoError(t, err)
	return object
}

// removedAtEnd has objects deleted at the test's end, which those need that are in no
// namespace.
func (w env) removedAtEnd(t *testing.T, definitions ...string) {
	t.Helper()
	t.Cleanup(func() { assert.NoError(t, w.Sync(def(remove("at the end", definitions...)))) })
}

// kubectl runs kubectl in the env's namespace. As a person would, it tries again where
// a controller has written the object meanwhile.
func (w env) kubectl(t *testing.T, stdin string, args ...string) {
	t.Helper()
	path, err := controlplane.Program("kubectl")
	require.NoError(t, err)
	args = append([]string{"--kubeconfig=" + w.cp.Kubeconfig(), "--namespace=" + w.namespace, "--cache-dir=" + t.TempDir()}, args...)
	for attempt := 1; ; attempt++ {
		cmd := exec.CommandContext(t.Context(), path, args...)
		cmd.Stdin = strings.NewReader(stdin)
		out, err := cmd.CombinedOutput()
		if attempt < 10 && bytes.Contains(out, []byte("the object has been modified")) {
			continue
		}
		require.NoError(t, err, "kubectl %s: %s", strings.Join(args, " "), out)
		return
	}
}

// managersOf returns the field managers of an object, as in "kubectl-edit Update".
func managersOf(object metav1.Object) []string {
	var names []string
	for _, entry := range object.GetManagedFields() {
		name := entry.Manager + " " + string(entry.Operation)
		if entry.Subresource != "" {
			name += " " + entry.Subresource
		}
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// ownedBy returns what a manager has applied of an object, as JSON.
func ownedBy(object metav1.Object, manager string) string {
	for _, entry := range object.GetManagedFields() {
		if entry.Manager == manager && entry.Operation == metav1.ManagedFieldsOperationApply && entry.Subresource == "" {
			return string(entry.FieldsV1.GetRawBytes())
		}
	}
	return ""
}
