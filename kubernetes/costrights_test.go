package kubernetes_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"github.com/platformbus/platform"
	"github.com/platformbus/platform/kubernetes"
)

// configMaps is a Sync of ConfigMaps called c-0 to c-(n-1), in each of the namespaces.
func configMaps(labels labelsOf, n int, value string, namespaces ...string) platform.SyncDef {
	var all platform.SyncDef
	for _, namespace := range namespaces {
		fields := append([]string{"namespace: " + namespace}, labels(namespaces[0])...)
		for i := range n {
			all.Actions = append(all.Actions, apply(fmt.Sprint(namespace, i), withMeta(configMap(fmt.Sprintf("c-%d", i), value), fields...)))
		}
	}
	return all
}

// touch changes the metadata of a ConfigMap as somebody else.
func (w env) touch(t *testing.T, namespace, name string, metadata map[string]any) {
	t.Helper()
	kind, patch := mergePatch(t, map[string]any{"metadata": metadata})
	_, err := w.client.CoreV1().ConfigMaps(namespace).Patch(t.Context(), name, kind, patch, patchBy("someone"))
	require.NoError(t, err)
}

// ignored is the metadata of what is to be left alone.
func ignored() map[string]any {
	return map[string]any{"annotations": map[string]any{"platform/ignore": "sync"}}
}

// patchOf is a write of a ConfigMap.
func patchOf(namespace, name string) string {
	return "PATCH /api/v1/namespaces/" + namespace + "/configmaps/" + name
}

// userConfig returns a configuration for one who may do so much with ConfigMaps in the env's
// namespace, once that is in force.
func (w env) userConfig(t *testing.T, name string, verbs ...string) *rest.Config {
	t.Helper()
	user := w.userWith(t, name, kubernetes.Options{Namespace: w.namespace}, mayDo(append(verbs, "create"), "configmaps"), w.namespace)
	require.Eventually(t, func() bool { return user.Sync(def(apply("probe", configMap("probe", "1")))) == nil }, testLimit, testTick, "the rights come into force")
	config, err := w.cp.ConfigFor(name + "-" + w.namespace)
	require.NoError(t, err)
	return config
}

// Who may look at objects in one way only sees all the same what to leave alone, and what is
// unchanged.
func TestCostWithHalfTheRightToLook(t *testing.T) {
	for _, verb := range []string{"get", "list"} {
		for name, labels := range labelsOrNone {
			t.Run(verb+" "+name, func(t *testing.T) {
				w := newEnv(t, kubernetes.Options{})
				w.fill(t, nil, w.namespace)
				config := w.userConfig(t, "half", "patch", verb)
				all := configMaps(labels, 5, "1", w.namespace)
				var d recorder
				warm, m := w.metered(t, config, kubernetes.Options{Events: d.note}, nil)
				require.NoError(t, warm.Sync(all))
				assert.Equal(t, 5, len(m.take().writes()), "all are made")
				w.touch(t, w.namespace, "c-1", ignored())
				changed := configMaps(labels, 5, "1", w.namespace)
				for i, value := range []string{1: "2", 2: "2"} {
					if value != "" {
						changed.Actions[i] = configMaps(labels, 5, value, w.namespace).Actions[i]
					}
				}

				d.take()
				cold, n := w.metered(t, config, kubernetes.Options{Events: d.note}, nil)
				require.NoError(t, cold.Sync(all))
				es := n.take()
				assert.Empty(t, es.writes())
				t.Logf("cold: %d bytes in %d requests", es.size(), len(es))
				assert.LessOrEqual(t, len(es), 3*5+3, es.whats())
				assert.Equal(t, kubernetes.Unchanged, d.take()["ConfigMap "+w.namespace+"/c-2"])

				require.NoError(t, warm.Sync(changed))
				es = m.take()
				assert.Equal(t, []string{patchOf(w.namespace, "c-2")}, es.writes())
				t.Logf("warm: %d bytes in %d requests", es.size(), len(es))
				assert.Equal(t, kubernetes.Ignored, d.take()["ConfigMap "+w.namespace+"/c-1"])
				require.NoError(t, warm.Sync(changed))
				assert.Empty(t, m.take().writes())
				assert.Equal(t, "1", live(t, w.client.CoreV1().ConfigMaps(w.namespace).Get, "c-1").Data["value"])
			})
		}
	}
}

// Who may not look at all finds out by a dry run what to leave alone and what is unchanged.
func TestCostWithoutTheRightToLook(t *testing.T) {
	w := newEnv(t, kubernetes.Options{})
	config := w.userConfig(t, "blind", "patch")
	all := configMaps(labelsOrNone["labelled"], 5, "1", w.namespace)
	var d recorder
	cluster, m := w.metered(t, config, kubernetes.Options{Events: d.note}, nil)
	require.NoError(t, w.Sync(def(all.Actions[:3]...)))
	w.touch(t, w.namespace, "c-1", ignored())

	require.NoError(t, cluster.Sync(all))
	first := m.take()
	assert.Equal(t, []string{patchOf(w.namespace, "c-0"), patchOf(w.namespace, "c-2"), patchOf(w.namespace, "c-3"), patchOf(w.namespace, "c-4")}, first.writes())
	assert.Equal(t, kubernetes.Ignored, d.take()["ConfigMap "+w.namespace+"/c-1"])
	for _, name := range []string{"c-3", "c-4"} {
		assert.Equal(t, "1", live(t, w.client.CoreV1().ConfigMaps(w.namespace).Get, name).Data["value"])
	}

	require.NoError(t, cluster.Sync(all))
	second := m.take()
	assert.Empty(t, second.writes())
	assert.Equal(t, 5, len(second.of("PATCH")), second.whats())
	t.Logf("first: %d requests; second: %d", len(first), len(second))

	changed := configMaps(labelsOrNone["labelled"], 5, "2", w.namespace)
	require.NoError(t, cluster.Sync(changed))
	assert.Equal(t, first.writes(), m.take().writes(), "all but the one to leave alone")
	assert.Equal(t, "1", live(t, w.client.CoreV1().ConfigMaps(w.namespace).Get, "c-1").Data["value"])
}

// Objects are found by the labels that they should have, and found without these too.
func TestObjectWithoutItsLabelsIsFound(t *testing.T) {
	for age, others := range map[string]bool{"warm": false, "cold": false, "warm beside others": true, "cold beside others": true} {
		t.Run(age, func(t *testing.T) {
			w := newEnv(t, kubernetes.Options{})
			if others {
				w.fill(t, nil, w.namespace)
			}
			other := w.cp.Namespace(t)
			all := configMaps(labelsOrNone["labelled"], 5, "1", w.namespace, other)
			cluster, m := w.metered(t, w.cp.Config(), kubernetes.Options{}, nil)
			require.NoError(t, cluster.Sync(all))
			label := func(value any) map[string]any { return map[string]any{"labels": map[string]any{"part-of": value}} }
			w.touch(t, w.namespace, "c-0", label(nil))
			w.touch(t, w.namespace, "c-1", label("another"))
			alone := label(nil)
			alone["annotations"] = ignored()["annotations"]
			w.touch(t, w.namespace, "c-2", alone)
			w.touch(t, other, "c-0", alone)
			if strings.HasPrefix(age, "cold") {
				cluster, m = w.metered(t, w.cp.Config(), kubernetes.Options{}, nil)
			}
			m.take()
			require.NoError(t, cluster.Sync(all))
			es := m.take()
			assert.Equal(t, []string{patchOf(w.namespace, "c-0"), patchOf(w.namespace, "c-1")}, es.writes())
			es.assertNoAlien(t, age)
			t.Logf("%d bytes in %d requests", es.size(), len(es))
			for _, name := range []string{"c-0", "c-1"} {
				assert.Equal(t, w.namespace, live(t, w.client.CoreV1().ConfigMaps(w.namespace).Get, name).Labels["part-of"], name)
			}
			assert.Empty(t, live(t, w.client.CoreV1().ConfigMaps(w.namespace).Get, "c-2").Labels)
			assert.Empty(t, live(t, w.client.CoreV1().ConfigMaps(other).Get, "c-0").Labels)
		})
	}
}

// once answers the first request that is meant.
func once(isMeant func(*http.Request) bool, answer answers) (answering, *atomic.Int64) {
	var meant atomic.Int64
	return func(r *http.Request, next http.RoundTripper) (*http.Response, error) {
		if isMeant(r) && meant.Add(1) == 1 {
			return answer(r)
		}
		return next.RoundTrip(r)
	}, &meant
}

// isList says whether a request is for a list of ConfigMaps.
func isList(r *http.Request) bool {
	return r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, "/configmaps")
}

// Where a list fails, a Sync is right all the same: it writes what has changed, and nothing else.
func TestListThatFails(t *testing.T) {
	isContinued := func(r *http.Request) bool { return isList(r) && r.URL.Query().Has("continue") }
	hasLabels := func(r *http.Request) bool { return isList(r) && r.URL.Query().Has("labelSelector") }
	busy := refuses(http.StatusTooManyRequests, metav1.StatusReasonTooManyRequests, "too many requests")
	for _, c := range []struct {
		name, labels string
		isMeant      func(*http.Request) bool
		answer       answers
	}{
		{"the continue token has expired", "unlabelled", isContinued, refuses(http.StatusGone, metav1.StatusReasonExpired, "the provided continue parameter is too old")},
		{"busy", "unlabelled", isList, busy},
		{"busy with a list by labels", "labelled", hasLabels, busy},
		{"busy with a next page", "unlabelled", isContinued, busy},
		{"a list by labels is forbidden", "labelled", hasLabels, refuses(http.StatusForbidden, metav1.StatusReasonForbidden, "no list for you")},
		{"a next page is forbidden", "unlabelled", isContinued, refuses(http.StatusForbidden, metav1.StatusReasonForbidden, "no list for you")},
		{"a list fails", "unlabelled", isList, refuses(http.StatusInternalServerError, "", "for no reason")},
		{"a list by labels fails", "labelled", hasLabels, refuses(http.StatusInternalServerError, "", "for no reason")},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newEnv(t, kubernetes.Options{})
			all := configMaps(labelsOrNone[c.labels], 12, "1", w.namespace)
			require.NoError(t, w.Sync(all))
			for i := range 12 { // as many others, so that lists have several pages, and are not left
				require.NoError(t, w.Sync(def(apply("other", configMap(fmt.Sprintf("other-%d", i), "1")))))
			}
			w.touch(t, w.namespace, "c-3", ignored())
			all.Actions[3] = configMaps(labelsOrNone[c.labels], 12, "2", w.namespace).Actions[3]
			all.Actions[7] = configMaps(labelsOrNone[c.labels], 12, "2", w.namespace).Actions[7]
			answer, meant := once(c.isMeant, c.answer)
			cold, m := w.metered(t, w.cp.Config(), kubernetes.Options{}, answer)
			require.NoError(t, cold.Sync(all))
			assert.NotZero(t, meant.Load(), "the fault came")
			es := m.take()
			written := map[string]bool{}
			for _, what := range es.writes() {
				written[what] = true
			}
			assert.True(t, written[patchOf(w.namespace, "c-7")])
			assert.False(t, written[patchOf(w.namespace, "c-3")], "it is left alone")
			if !strings.HasSuffix(c.name, "fails") {
				assert.Equal(t, 1, len(written), es.whats())
			}
			require.NoError(t, cold.Sync(all))
			assert.Empty(t, m.take().writes())
		})
	}
}

// A list that is forbidden in one namespace, and so in all at once, does not matter to others.
func TestListForbiddenInOneNamespace(t *testing.T) {
	for name, labels := range labelsOrNone {
		t.Run(name, func(t *testing.T) {
			w := newEnv(t, kubernetes.Options{})
			closed, open := w.cp.Namespace(t), w.cp.Namespace(t)
			all := configMaps(labels, 5, "1", w.namespace, closed, open)
			require.NoError(t, w.Sync(all))
			for _, namespace := range []string{w.namespace, closed, open} {
				w.touch(t, namespace, "c-1", ignored())
				w.touch(t, namespace, "c-2", map[string]any{"labels": map[string]any{"part-of": "another"}})
			}
			changed := configMaps(labels, 5, "2", w.namespace, closed, open)
			for i := range all.Actions {
				if i%5 == 1 || i%5 == 3 {
					all.Actions[i] = changed.Actions[i]
				}
			}
			cold, m := w.metered(t, w.cp.Config(), kubernetes.Options{}, func(r *http.Request, next http.RoundTripper) (*http.Response, error) {
				if isList(r) && (r.URL.Path == "/api/v1/configmaps" || strings.Contains(r.URL.Path, "/"+closed+"/")) {
					return refusal(r, http.StatusForbidden, metav1.StatusReasonForbidden, "not here"), nil
				}
				return next.RoundTrip(r)
			})
			require.NoError(t, cold.Sync(all))
			es := m.take()
			want := map[string]int{"labelled": 2, "unlabelled": 1}[name] // whose label is not ours is as it should be
			for _, namespace := range []string{w.namespace, closed, open} {
				var here []string
				for _, what := range es.writes() {
					if strings.Contains(what, "/"+namespace+"/") {
						here = append(here, what)
					}
				}
				assert.Equal(t, want, len(here), "%v", here)
				assert.Contains(t, here, patchOf(namespace, "c-3"))
				assert.NotContains(t, here, patchOf(namespace, "c-1"))
			}
			t.Logf("cold: %d requests", len(es))
			require.NoError(t, cold.Sync(all))
			es = m.take()
			assert.Empty(t, es.writes())
			t.Logf("warm: %d requests", len(es))
			assert.LessOrEqual(t, len(es), 5+2*3, es.whats())
		})
	}
}

// An object that is listed, and that the API server cannot show, is not taken for one that is not
// there: a dry run tells whether to leave it alone.
func TestObjectThatCannotBeShown(t *testing.T) {
	w := newEnv(t, kubernetes.Options{})
	all := configMaps(labelsOrNone["unlabelled"], 3, "1", w.namespace)
	require.NoError(t, w.Sync(all))
	for i := range 5 { // few, so that the list of all is complete, and more than are read beside three
		require.NoError(t, w.Sync(def(apply("other", configMap(fmt.Sprintf("other-%d", i), "1")))))
	}
	w.touch(t, w.namespace, "c-1", ignored())
	cold, m := w.metered(t, w.cp.Config(), kubernetes.Options{}, func(r *http.Request, next http.RoundTripper) (*http.Response, error) {
		if r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/configmaps/c-") {
			return refusal(r, http.StatusInternalServerError, "", "unable to transform the object"), nil
		}
		return next.RoundTrip(r)
	})
	require.NoError(t, cold.Sync(configMaps(labelsOrNone["unlabelled"], 3, "2", w.namespace)))
	assert.Equal(t, []string{patchOf(w.namespace, "c-0"), patchOf(w.namespace, "c-2")}, m.take().writes())
	assert.Equal(t, "1", live(t, w.client.CoreV1().ConfigMaps(w.namespace).Get, "c-1").Data["value"])
}

// A Cluster that watches knows of an object that it has seen by its metadata, and then as a whole,
// that it is there.
func TestWatchedObjectAmongOthers(t *testing.T) {
	w := newEnv(t, kubernetes.Options{})
	for i := range 3 { // likewise
		require.NoError(t, w.Sync(def(apply("other", secret(fmt.Sprintf("other-%d", i), "x"), configMap(fmt.Sprintf("other-%d", i), "x")))))
	}
	all := def(apply("a", secret("a", "hush"), configMap("a", "1")), apply("b", secret("b", "hush"), configMap("b", "1")))
	require.NoError(t, w.Sync(all))
	w.touch(t, w.namespace, "a", ignored())
	cold, m := w.metered(t, w.cp.Config(), kubernetes.Options{Watch: time.Hour}, nil)
	t.Cleanup(cold.Close)
	require.NoError(t, cold.Sync(all))
	assert.NotEmpty(t, m.take())
	all.Actions[0].Apply = []byte(secret("a", "hush") + "\n---\n" + configMap("a", "2"))
	require.Eventually(t, func() bool {
		require.NoError(t, cold.Sync(all))
		es := m.take()
		assert.Empty(t, es.writes(), "the one is left alone, and the others are unchanged")
		return t.Failed() || len(es.of("GET metadata /api/v1/namespaces/"+w.namespace+"/secrets")) == 0
	}, testLimit, testTick, "what is watched is not listed")
	assert.Equal(t, "1", live(t, w.client.CoreV1().ConfigMaps(w.namespace).Get, "a").Data["value"])
}
