package kubernetes_test

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"github.com/platformbus/platform"
	"github.com/platformbus/platform/kubernetes"
)

// An exchange is a request, and what the API server answered to it.
type exchange struct {
	what string // as in "GET metadata /api/v1/configmaps"
	url.Values
	body []byte // not of a watch
}

// isDryRun says whether the request changes nothing.
func (e exchange) isDryRun() bool { return e.Has("dryRun") }

// A meter sits between a Cluster and the API server, and notes what is asked and answered.
type meter struct {
	mu    sync.Mutex
	noted []exchange // guarded by mu
}

// metered returns a Cluster with its own connection, and the meter of that. With a nil answer all
// requests are passed on.
func (w env) metered(t *testing.T, config *rest.Config, options kubernetes.Options, answer answering) (*kubernetes.Cluster, *meter) {
	t.Helper()
	if answer == nil {
		answer = passOn
	}
	if options.Namespace == "" {
		options.Namespace = w.namespace
	}
	m := &meter{}
	config = rest.CopyConfig(config)
	config.WrapTransport = func(next http.RoundTripper) http.RoundTripper {
		return roundTripper(func(r *http.Request) (*http.Response, error) { return m.pass(r, next, answer) })
	}
	return w.as(t, config, options), m
}

func (m *meter) pass(r *http.Request, next http.RoundTripper, answer answering) (*http.Response, error) {
	query := r.URL.Query()
	e := exchange{what: r.Method, Values: query}
	switch {
	case query.Has("watch"):
		e.what = "WATCH"
	case r.Method == http.MethodGet && strings.Contains(r.Header.Get("Accept"), "as=PartialObjectMetadata"):
		e.what = "GET metadata"
	}
	e.what += " " + r.URL.Path
	response, err := answer(r, next)
	if err == nil && !query.Has("watch") {
		if e.body, err = io.ReadAll(response.Body); err == nil {
			err = response.Body.Close()
		}
		response.Body = io.NopCloser(bytes.NewReader(e.body))
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.noted = append(m.noted, e)
	return response, err
}

// take returns what was exchanged since, without what the API server serves at all, which is
// asked for once.
func (m *meter) take() exchanges {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := m.noted
	m.noted = nil
	return slices.DeleteFunc(all, func(e exchange) bool {
		return strings.HasSuffix(e.what, " /api") || strings.HasSuffix(e.what, " /apis")
	})
}

type exchanges []exchange

// of returns those whose description begins with prefix.
func (es exchanges) of(prefix string) exchanges {
	return slices.DeleteFunc(slices.Clone(es), func(e exchange) bool { return !strings.HasPrefix(e.what, prefix) })
}

// writes returns the objects that were written, each as often as it was, sorted.
func (es exchanges) writes() []string {
	written := []string{}
	for _, e := range es {
		if !e.isDryRun() && !strings.HasPrefix(e.what, "GET") && !strings.HasPrefix(e.what, "WATCH") {
			written = append(written, e.what)
		}
	}
	slices.Sort(written)
	return written
}

// size returns how many bytes were read.
func (es exchanges) size() int {
	n := 0
	for _, e := range es {
		n += len(e.body)
	}
	return n
}

// whats returns the requests, for messages.
func (es exchanges) whats() string {
	var b strings.Builder
	for _, e := range es {
		fmt.Fprintf(&b, "\n%s?%s: %d bytes", e.what, e.Encode(), len(e.body))
	}
	return b.String()
}

// alien is in the content of others' objects. Its length is a multiple of 3, so that what is
// made of it only looks alike everywhere in base64.
const alien = "somebody else's content "

// assertNoAlien fails the test if others' content was read.
func (es exchanges) assertNoAlien(t *testing.T, msg string) {
	t.Helper()
	for _, e := range es {
		for _, form := range []string{alien, base64.StdEncoding.EncodeToString([]byte(alien))} {
			assert.Zero(t, bytes.Count(e.body, []byte(form)), "%s: %s?%s has others' content", msg, e.what, e.Encode())
		}
	}
}

// crowd is how many objects of a kind others have.
const crowd = 60

// parallel calls do with each number below n, several at once, and waits.
func parallel(t *testing.T, n int, do func(i int) error) {
	t.Helper()
	var (
		group sync.WaitGroup
		slots = make(chan struct{}, 8)
		errs  = make([]error, n)
	)
	for i := range n {
		group.Go(func() {
			slots <- struct{}{}
			errs[i] = do(i)
			<-slots
		})
	}
	group.Wait()
	for _, err := range errs {
		require.NoError(t, err)
	}
}

// fill makes ConfigMaps of 4 KB and Secrets of 40 KB, crowd of each, among the namespaces.
func (w env) fill(t *testing.T, labels map[string]string, namespaces ...string) {
	t.Helper()
	parallel(t, crowd, func(i int) error {
		namespace := namespaces[i%len(namespaces)]
		meta := metav1.ObjectMeta{Name: fmt.Sprintf("other-%d", i), Namespace: namespace, Labels: labels}
		_, err := w.client.CoreV1().ConfigMaps(namespace).Create(t.Context(), &corev1.ConfigMap{
			ObjectMeta: meta, Data: map[string]string{"value": strings.Repeat(alien, 4_000/len(alien))},
		}, metav1.CreateOptions{})
		if err != nil {
			return err
		}
		_, err = w.client.CoreV1().Secrets(namespace).Create(t.Context(), &corev1.Secret{
			ObjectMeta: meta, Data: map[string][]byte{"value": []byte(strings.Repeat(alien, 40_000/len(alien)))},
		}, metav1.CreateOptions{})
		return err
	})
}

// withMeta adds fields to the metadata of a definition.
func withMeta(definition string, fields ...string) string {
	return strings.Replace(definition, "metadata: {", "metadata: {"+strings.Join(fields, ", ")+", ", 1)
}

// labelsOf are the fields of the metadata that give a definition a label, or none.
type labelsOf func(namespace string) []string

var labelsOrNone = map[string]labelsOf{
	"labelled":   func(namespace string) []string { return []string{"labels: {part-of: " + namespace + "}"} },
	"unlabelled": func(string) []string { return nil },
}

// smallSystem is a Sync of 10 objects of 4 kinds in each namespace, with the label of the first.
func smallSystem(labels labelsOf, namespaces ...string) platform.SyncDef {
	var all platform.SyncDef
	for _, namespace := range namespaces {
		fields := append([]string{"namespace: " + namespace}, labels(namespaces[0])...)
		for i := range 4 {
			name := fmt.Sprintf("app-%d", i)
			some := []string{configMap(name, "1")}
			if i < 3 {
				some = append(some, secret(name, "hush"))
			}
			if i < 2 {
				some = append(some, role(name))
			}
			if i < 1 {
				some = append(some, service(name, name))
			}
			for _, d := range some {
				all.Actions = append(all.Actions, apply(fmt.Sprintf("%s %d", namespace, len(all.Actions)), withMeta(d, fields...)))
			}
		}
	}
	return all
}

// spent is what the first Sync, a second by the same Cluster, and one by a new Cluster exchange.
type spent struct{ first, warm, cold exchanges }

func (s spent) each(do func(age string, es exchanges)) {
	do("first", s.first)
	do("warm", s.warm)
	do("cold", s.cold)
}

// spend does a Sync three times, and checks that it is right each time.
func (w env) spend(t *testing.T, all platform.SyncDef) spent {
	t.Helper()
	var (
		s spent
		d recorder
	)
	sync := func(c *kubernetes.Cluster, m *meter, want kubernetes.Result) exchanges {
		require.NoError(t, c.Sync(all))
		results := d.take()
		assert.Len(t, results, len(all.Actions))
		for object, result := range results {
			assert.Equal(t, want, result, object)
		}
		return m.take()
	}
	options := kubernetes.Options{Events: d.note}
	one, m := w.metered(t, w.cp.Config(), options, nil)
	s.first = sync(one, m, kubernetes.Applied)
	s.warm = sync(one, m, kubernetes.Unchanged)
	two, m := w.metered(t, w.cp.Config(), options, nil)
	s.cold = sync(two, m, kubernetes.Unchanged)
	assert.Len(t, s.first.writes(), len(all.Actions))
	assert.Empty(t, s.warm.writes())
	assert.Empty(t, s.cold.writes())
	return s
}

// What others have in other namespaces costs a Sync next to nothing, and is not read.
func TestCostIsNotOfOtherNamespaces(t *testing.T) {
	for name, labels := range labelsOrNone {
		t.Run(name, func(t *testing.T) {
			w := newEnv(t, kubernetes.Options{})
			alone := w.spend(t, smallSystem(labels, w.cp.Namespace(t), w.cp.Namespace(t), w.cp.Namespace(t)))
			w.fill(t, nil, w.cp.Namespace(t), w.cp.Namespace(t))
			beside := w.spend(t, smallSystem(labels, w.cp.Namespace(t), w.cp.Namespace(t), w.cp.Namespace(t)))
			sizes := map[string]int{}
			alone.each(func(age string, es exchanges) { sizes[age] = es.size() })
			beside.each(func(age string, es exchanges) {
				t.Logf("%s: %d bytes alone, %d bytes in %d requests beside others", age, sizes[age], es.size(), len(es))
				// What other tests have left may be listed, by its metadata, the one time and not the other.
				assert.LessOrEqual(t, es.size(), 3*sizes[age]/2+10_000, "%s: %s", age, es.whats())
				es.assertNoAlien(t, age)
			})
		})
	}
}

// What others have in the same namespaces is not read but for its metadata.
func TestCostIsNotOfOthersInTheNamespaces(t *testing.T) {
	for name, labels := range labelsOrNone {
		t.Run(name, func(t *testing.T) {
			w := newEnv(t, kubernetes.Options{})
			w.fill(t, nil, w.namespace)
			s := w.spend(t, smallSystem(labels, w.namespace))
			s.each(func(age string, es exchanges) {
				t.Logf("%s: %d bytes in %d requests", age, es.size(), len(es))
				es.assertNoAlien(t, age)
				assert.Less(t, es.size(), 100_000, "%s: of %d KB that others have: %s", age, crowd*44, es.whats())
			})
		})
	}
}

// Once objects are known, one list of what has their label in common is enough.
func TestWarmCostsOneListForEachKind(t *testing.T) {
	w := newEnv(t, kubernetes.Options{})
	other := w.cp.Namespace(t)
	w.fill(t, nil, w.namespace)
	s := w.spend(t, smallSystem(labelsOrNone["labelled"], w.namespace, other))
	lists := map[string]int{}
	for _, e := range s.warm {
		lists[e.what]++
		assert.True(t, strings.HasPrefix(e.what, "GET metadata "), e.what)
	}
	assert.LessOrEqual(t, len(s.warm), 4*2, s.warm.whats())
	for what, n := range lists {
		assert.Equal(t, 1, n, what)
	}
	s.warm.assertNoAlien(t, "warm")
}

// Where others have the same labels, as many of them are read as are looked for, and some.
func TestCostBesideOthersOfTheSameLabel(t *testing.T) {
	w := newEnv(t, kubernetes.Options{})
	w.fill(t, map[string]string{"part-of": w.namespace}, w.namespace)
	s := w.spend(t, smallSystem(labelsOrNone["labelled"], w.namespace))
	s.each(func(age string, es exchanges) {
		t.Logf("%s: %d bytes in %d requests", age, es.size(), len(es))
		for _, e := range es.of("GET /api/v1/namespaces/" + w.namespace + "/secrets") {
			assert.NotContains(t, string(e.body), base64.StdEncoding.EncodeToString([]byte(alien)), "no Secret of others is read: %s", e.what)
		}
		assert.Less(t, es.size(), 200_000, "%s: of %d KB that others have: %s", age, crowd*44, es.whats())
	})
}

// How much a namespace holds is remembered for a look at any number of objects in it.
func TestCostAfterALookAtFewer(t *testing.T) {
	w := newEnv(t, kubernetes.Options{})
	var all platform.SyncDef
	for i := range crowd {
		all.Actions = append(all.Actions, apply(fmt.Sprint(i), configMap(fmt.Sprintf("c-%d", i), "1")))
	}
	few, many := def(all.Actions[:3]...), def(all.Actions[:2*crowd/3]...)
	cluster, m := w.metered(t, w.cp.Config(), kubernetes.Options{}, nil)
	require.NoError(t, cluster.Sync(all))
	for range 2 {
		require.NoError(t, cluster.Sync(few))
		m.take()
		require.NoError(t, cluster.Sync(many))
		es := m.take()
		assert.Equal(t, 1, len(es), "what is not looked for is few beside what is: %s", es.whats())
	}
}
