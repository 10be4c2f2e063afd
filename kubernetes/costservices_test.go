package kubernetes_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
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

// awaitReplicaSets waits until each Deployment has a ReplicaSet.
func (w env) awaitReplicaSets(t *testing.T, deployments ...string) {
	t.Helper()
	require.Eventually(t, func() bool {
		sets, err := w.client.AppsV1().ReplicaSets(w.namespace).List(t.Context(), metav1.ListOptions{})
		return err == nil && !slices.ContainsFunc(deployments, func(name string) bool {
			return !slices.ContainsFunc(sets.Items, func(set appsv1.ReplicaSet) bool {
				owner := metav1.GetControllerOf(&set)
				return owner != nil && owner.Name == name
			})
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
	)))
	w.awaitReplicaSets(t, "web", "bare", "twin-a", "twin-b")
	w.awaitRevision(t, "db")

	t.Run("three", func(t *testing.T) {
		cluster, m := w.metered(t, w.cp.Config(), kubernetes.Options{}, nil)
		for _, c := range []struct {
			age      string
			requests int
			bytes    int
		}{{"first", 16, 120_000}, {"second", 13, 30_000}} {
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
			t.Logf("%s: %d bytes in %d requests", c.age, es.size(), len(es))
			assert.LessOrEqual(t, len(es), c.requests, "%s: %s", c.age, es.whats())
			assert.Less(t, es.size(), c.bytes, "%s: %s", c.age, es.whats())
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
			assert.LessOrEqual(t, len(es), 14, es.whats())
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
			assert.LessOrEqual(t, len(es), 14, es.whats())
		}
	})
	t.Run("apply", func(t *testing.T) {
		cluster, m := w.metered(t, w.cp.Config(), kubernetes.Options{}, nil)
		for tag, limit := range map[string]int{"2": 120_000, "3": 120_000} {
			require.NoError(t, cluster.Apply([]platform.ServiceDefinition{{ServiceID: w.id("bare"), NewDefinition: []byte(idle(deployment("bare", "example.com/bare:"+tag)))}}))
			es := m.take()
			t.Logf("apply: %d bytes in %d requests", es.size(), len(es))
			assert.LessOrEqual(t, len(es), 16, es.whats())
			assert.Less(t, es.size(), limit, es.whats())
			assert.Equal(t, []string{"PATCH /apis/apps/v1/namespaces/" + w.namespace + "/deployments/bare"}, es.writes())
			assertOneOf(t, es, "bare")
			assert.Equal(t, "example.com/bare:"+tag, live(t, w.client.AppsV1().Deployments(w.namespace).Get, "bare").Spec.Template.Spec.Containers[0].Image)
		}
	})
	t.Run("wait", func(t *testing.T) {
		cluster, m := w.metered(t, w.cp.Config(), kubernetes.Options{}, nil)
		require.NoError(t, cluster.Apply([]platform.ServiceDefinition{{ServiceID: w.id("web"), NewDefinition: []byte(withOwnLabels("web", deployment("web", "example.com/web:2")))}}))
		es := m.take()
		assert.NotEmpty(t, es.of("WATCH"), "it has pods to wait for")
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
