package kubernetes_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/platformbus/platform/kubernetes"
	"github.com/platformbus/platform/kubernetes/manifest"
)

// A kind that the cluster does not have stops its own document and what depends on it, not the
// others of an action that only applies.
func TestUnknownKindStopsItsDocument(t *testing.T) {
	w := newEnv(t, kubernetes.Options{})
	const unheard = "apiVersion: example.com/v1\nkind: Unheard\nmetadata: {name: x}"
	var d recorder
	cluster, requests := w.recorded(t, kubernetes.Options{Events: d.note}, nil)
	got := syncErrors(t, cluster.Sync(def(apply("file", configMap("a", "1"), unheard, configMap("b", "1")), apply("other", configMap("c", "1")))))
	assert.Len(t, got, 1)
	assert.Equal(t, "Unheard x: the cluster has no kind Unheard in example.com/v1 (is its CustomResourceDefinition installed?)", got["file"])
	assert.Len(t, requests.take("PATCH"), 3)
	assert.Equal(t, map[string]kubernetes.Result{
		"ConfigMap " + w.namespace + "/a": kubernetes.Applied, "ConfigMap " + w.namespace + "/b": kubernetes.Applied,
		"ConfigMap " + w.namespace + "/c": kubernetes.Applied, "Unheard " + w.namespace + "/x": kubernetes.Failed,
	}, d.take())

	// One that deletes something is not begun: what would be deleted may be needed.
	mixed := apply("file", configMap("d", "1"), unheard)
	mixed.Delete = []byte(configMap("a", "1"))
	got = syncErrors(t, cluster.Sync(def(mixed)))
	assert.Contains(t, got["file"], "Unheard x: the cluster has no kind")
	assert.Empty(t, slices.DeleteFunc(requests.take(""), func(r string) bool { return strings.HasPrefix(r, "GET ") }))
}

// What needs an object of a kind that is not known is skipped.
func TestUnknownKindBlocksWhatNeedsIt(t *testing.T) {
	w := newEnv(t, kubernetes.Options{})
	class := "apiVersion: node.k8s.io/v9\nkind: RuntimeClass\nmetadata: {name: fast-" + w.namespace + "}"
	pod := "apiVersion: v1\nkind: Pod\nmetadata: {name: pod}\nspec: {runtimeClassName: fast-" + w.namespace + ", containers: [{name: main, image: 'example.com/web:1'}]}"
	got := syncErrors(t, w.Sync(def(apply("pod", pod), apply("class", class))))
	assert.Contains(t, got["class"], "it has one in node.k8s.io/v1")
	assert.Contains(t, got["pod"], `not attempted, since "class" failed`)
}

// A Job that goes by itself once it has finished is made again by a new process only.
func TestJobThatExpires(t *testing.T) {
	w := newEnv(t, kubernetes.Options{})
	job := "apiVersion: batch/v1\nkind: Job\nmetadata: {name: once}\nspec: {ttlSecondsAfterFinished: 0, template: {spec: {restartPolicy: Never, containers: [{name: main, image: 'example.com/job:1'}]}}}"
	gone := func() {
		t.Helper()
		jobs := w.client.BatchV1().Jobs(w.namespace)
		background := metav1.DeletePropagationBackground // as the controller does
		require.NoError(t, jobs.Delete(t.Context(), "once", metav1.DeleteOptions{PropagationPolicy: &background}))
		require.Eventually(t, func() bool {
			list, err := jobs.List(t.Context(), metav1.ListOptions{})
			return err == nil && len(list.Items) == 0
		}, testLimit, testTick)
	}
	cluster, requests := w.recorded(t, kubernetes.Options{}, nil)
	all := def(apply("job", job), apply("map", configMap("a", "1")))
	require.NoError(t, cluster.Sync(all))
	gone()
	requests.take("")
	require.NoError(t, cluster.Sync(all))
	assert.Empty(t, requests.take("PATCH"))

	// Another definition is another Job.
	all.Actions[0] = apply("job", strings.Replace(job, "job:1", "job:2", 1))
	require.NoError(t, cluster.Sync(all))
	assert.Len(t, requests.take("PATCH"), 1)
	gone()
	cold, coldRequests := w.recorded(t, kubernetes.Options{}, nil)
	require.NoError(t, cold.Sync(all))
	assert.Len(t, coldRequests.take("PATCH"), 1)

	_, report, err := manifest.Plan(nil, parsed(t, job), manifest.PlanOptions{})
	require.NoError(t, err)
	require.Len(t, report.Add, 1)
	assert.Contains(t, report.Add[0].Why, "does not make it again")
}
