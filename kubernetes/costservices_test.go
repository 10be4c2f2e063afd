package kubernetes_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/platformbus/platform"
	"github.com/platformbus/platform/flux"
	"github.com/platformbus/platform/kubernetes"
)

// idle scales a definition to zero.
func idle(definition string) string {
	return strings.Replace(definition, "replicas: 2", "replicas: 0", 1)
}

// crowded makes services with a Deployment each, crowd of both, and some StatefulSets. Those have
// no pods, and others' content in an annotation.
func (w env) crowded(t *testing.T) {
	t.Helper()
	var all []platform.SyncAction
	for i := range crowd {
		name := fmt.Sprintf("other-%d", i)
		content := "annotations: {content: \"" + strings.Repeat(alien, 500/len(alien)) + "\"}"
		all = append(all, apply(name, withMeta(idle(deployment(name, "example.com/other:1")), content), withMeta(service(name, name), content)))
		if i < crowd/4 {
			all = append(all, apply(name+" set", withMeta(idle(statefulSet(name+"-set", "example.com/other:1")), content)))
		}
	}
	require.NoError(t, w.Sync(def(all...)))
}

// awaitReplicaSets waits until Deployments have a ReplicaSet each, and a status.
func (w env) awaitReplicaSets(t *testing.T, deployments ...string) {
	t.Helper()
	require.Eventually(t, func() bool {
		sets, err := w.client.AppsV1().ReplicaSets(w.namespace).List(t.Context(), metav1.ListOptions{})
		if err != nil {
			return false
		}
		owners := map[string]bool{}
		for i := range sets.Items {
			if owner := metav1.GetControllerOf(&sets.Items[i]); owner != nil {
				owners[owner.Name] = true
			}
		}
		return !slices.ContainsFunc(deployments, func(name string) bool {
			d, err := w.client.AppsV1().Deployments(w.namespace).Get(t.Context(), name, metav1.GetOptions{})
			return err != nil || !owners[name] || d.Status.ObservedGeneration < d.Generation
		})
	}, testLimit, testTick, "the Deployments have ReplicaSets")
}

// awaitRevision waits until a StatefulSet has a ControllerRevision.
func (w env) awaitRevision(t *testing.T, name string) {
	t.Helper()
	require.Eventually(t, func() bool {
		set, err := w.client.AppsV1().StatefulSets(w.namespace).Get(t.Context(), name, metav1.GetOptions{})
		return err == nil && set.Status.UpdateRevision != ""
	}, testLimit, testTick, "the StatefulSet has a revision")
}

// withOwnLabels gives a pod controller the labels of its pods.
func withOwnLabels(name, definition string) string {
	return withMeta(definition, "labels: {app: "+name+"}")
}

// What is asked for services among many is bounded by how many are asked for.
func TestCostOfServicesAmongMany(t *testing.T) {
	w := newEnv(t, kubernetes.Options{})
	w.crowded(t)
	require.NoError(t, w.Sync(def(
		apply("web", withOwnLabels("web", idle(deployment("web", "example.com/web:1"))), service("web", "web")),
		apply("bare", idle(deployment("bare", "example.com/bare:1")), service("bare", "bare")),
		apply("db", idle(statefulSet("db", "example.com/db:1")), service("db", "db")),
		// Two whose pods one service selects, and which have no labels themselves.
		apply("twins", twin("twin-a"), twin("twin-b"), service("twins", "twins")),
		apply("lonely", service("lonely", "nobody")),
		// One that has no labels itself, and no record, since it is paused.
		apply("paused", strings.Replace(idle(deployment("paused", "example.com/paused:1")), "replicas: 0", "paused: true", 1), service("paused", "paused")),
	)))
	w.awaitReplicaSets(t, "web", "bare", "twin-a", "twin-b")
	w.awaitRevision(t, "db")

	t.Run("three", func(t *testing.T) {
		cluster, m := w.metered(t, w.cp.Config(), kubernetes.Options{}, nil)
		for _, age := range []string{"first", "second"} {
			found, err := cluster.SomeServices([]flux.ServiceID{w.id("web"), w.id("bare"), w.id("db")})
			require.NoError(t, err)
			got := map[flux.ServiceID]string{}
			for _, s := range found {
				require.Len(t, s.Containers.Containers, 1, "%s: %s", s.ID, s.Containers.Excuse)
				got[s.ID] = s.Containers.Containers[0].Image + ", " + s.Status
			}
			assert.Equal(t, map[flux.ServiceID]string{
				w.id("web"): "example.com/web:1, scaled to zero", w.id("bare"): "example.com/bare:1, scaled to zero", w.id("db"): "example.com/db:1, scaled to zero",
			}, got)
			es := m.take()
			t.Logf("%s: %d bytes in %d requests", age, es.size(), len(es))
			// Three services; a list of each of five kinds; for the three kinds of which there are
			// many, and the two of their records, a list by labels; two owners; the pods.
			assert.LessOrEqual(t, len(es), 3+5+3+2+2+1, "%s: %s", age, es.whats())
			assert.Less(t, es.size(), 120_000, "%s: %s", age, es.whats())
		}
	})
	t.Run("two controllers without labels", func(t *testing.T) {
		cluster, m := w.metered(t, w.cp.Config(), kubernetes.Options{}, nil)
		for range 2 {
			found, err := cluster.SomeServices([]flux.ServiceID{w.id("twins")})
			require.NoError(t, err)
			require.Len(t, found, 1)
			assert.Equal(t, platform.ErrMultipleMatching.Error()+": Deployment twin-a, Deployment twin-b", found[0].Containers.Excuse)
			es := m.take()
			t.Logf("%d bytes in %d requests", es.size(), len(es))
			assert.LessOrEqual(t, len(es), 1+5+3+2+2+1, es.whats())
		}
	})
	t.Run("none", func(t *testing.T) {
		cluster, m := w.metered(t, w.cp.Config(), kubernetes.Options{}, nil)
		for range 2 {
			found, err := cluster.SomeServices([]flux.ServiceID{w.id("lonely")})
			require.NoError(t, err)
			require.Len(t, found, 1)
			assert.Equal(t, platform.ErrNoMatching.Error(), found[0].Containers.Excuse)
			es := m.take()
			t.Logf("%d bytes in %d requests", es.size(), len(es))
			assert.LessOrEqual(t, len(es), 1+5+3+2+3, es.whats())
			assert.Empty(t, es.of("GET /api/v1/namespaces/"+w.namespace+"/pods"), "those that are not ready are others'")
		}
	})
	t.Run("none, where records may not be listed", func(t *testing.T) {
		cluster, _ := w.recorded(t, kubernetes.Options{}, func(r *http.Request, next http.RoundTripper) (*http.Response, error) {
			if strings.HasSuffix(r.URL.Path, "/controllerrevisions") {
				return refusal(r, http.StatusForbidden, metav1.StatusReasonForbidden, "not for you"), nil
			}
			return next.RoundTrip(r)
		})
		hidden := "list controllerrevisions in namespace " + w.namespace + ": not for you"
		found, err := cluster.SomeServices([]flux.ServiceID{w.id("lonely")})
		require.ErrorContains(t, err, hidden)
		require.Len(t, found, 1)
		assert.Equal(t, platform.ErrNoMatching.Error()+" among those that could be seen: "+hidden, found[0].Containers.Excuse)
		_, err = cluster.SomeServices([]flux.ServiceID{w.id("web")})
		require.NoError(t, err, "nothing is missing")
	})
	t.Run("one without labels or a record", func(t *testing.T) {
		for range 2 {
			found, err := w.SomeServices([]flux.ServiceID{w.id("paused"), w.id("web")})
			require.NoError(t, err)
			require.Len(t, found, 2)
			for _, s := range found {
				assert.Empty(t, s.Containers.Excuse, s.ID)
			}
		}
	})
	t.Run("apply", func(t *testing.T) {
		cluster, m := w.metered(t, w.cp.Config(), kubernetes.Options{}, nil)
		for _, tag := range []string{"2", "3"} {
			require.NoError(t, cluster.Apply([]platform.ServiceDefinition{{ServiceID: w.id("bare"), NewDefinition: []byte(idle(deployment("bare", "example.com/bare:"+tag)))}}))
			es := m.take()
			t.Logf("apply: %d bytes in %d requests", es.size(), len(es))
			assert.LessOrEqual(t, len(es), 18, es.whats())
			assert.Less(t, es.size(), 120_000, es.whats())
			assert.Equal(t, []string{"PATCH /apis/apps/v1/namespaces/" + w.namespace + "/deployments/bare"}, es.writes())
			assertOneOf(t, es, "bare")
			assert.Equal(t, "example.com/bare:"+tag, live(t, w.client.AppsV1().Deployments(w.namespace).Get, "bare").Spec.Template.Spec.Containers[0].Image)
		}
	})
	t.Run("wait", func(t *testing.T) {
		cluster, m := w.metered(t, w.cp.Config(), kubernetes.Options{}, nil)
		require.NoError(t, cluster.Apply([]platform.ServiceDefinition{{ServiceID: w.id("web"), NewDefinition: []byte(withOwnLabels("web", deployment("web", "example.com/web:2")))}}))
		es := m.take()
		assertOneOf(t, es, "web")
		assert.EqualValues(t, 2, live(t, w.client.AppsV1().Deployments(w.namespace).Get, "web").Status.AvailableReplicas)
	})
}

// twin is a Deployment whose pods are called twins, and which has no labels itself.
func twin(name string) string {
	return strings.Replace(idle(deployment("twins", "example.com/twin:1")), "metadata: {name: twins}", "metadata: {name: "+name+"}", 1)
}

// assertOneOf fails the test if a list or watch of all is among the requests: each is of one
// object, of what has certain labels, or of a few only.
func assertOneOf(t *testing.T, es exchanges, name string) {
	t.Helper()
	for _, e := range es {
		isOne := e.Get("fieldSelector") == "metadata.name="+name || strings.HasSuffix(e.what, "/"+name)
		switch {
		case strings.HasPrefix(e.what, "WATCH"):
			assert.True(t, isOne, "%s?%s", e.what, e.Encode())
		case strings.HasPrefix(e.what, "GET"):
			assert.True(t, isOne || e.Has("labelSelector") || e.Get("limit") == "10", "%s?%s", e.what, e.Encode())
		}
	}
}
