package kubernetes_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/platformbus/platform"
	"github.com/platformbus/platform/kubernetes"
)

// deletionOf is a Sync that deletes all that another applies.
func deletionOf(all platform.SyncDef) (gone platform.SyncDef) {
	for _, a := range all.Actions {
		gone.Actions = append(gone.Actions, platform.SyncAction{ResourceID: a.ResourceID, Delete: a.Apply})
	}
	return gone
}

// What the API server refuses before what it needs is there comes after it, in whatever
// order the list is; deleted, before.
func TestOrderInAnyOrderOfTheList(t *testing.T) {
	w := newEnv(t, kubernetes.Options{})
	other := w.namespace + "-x"
	definition, object := crd(w.namespace, "Gear")
	_, version, _ := strings.Cut(definition, "  - name: v1\n")
	definition += "  - name: v2\n" + strings.Replace(version, "storage: true", "storage: false", 1)
	pod := "apiVersion: v1\nkind: Pod\nmetadata: {name: pod, namespace: " + other + "}\nspec: {serviceAccountName: robot, priorityClassName: " + other + ", runtimeClassName: " + other + ", containers: [{name: main, image: 'example.com/web:1'}]}"
	all := def(
		apply("pod", pod),
		apply("gear", object),
		apply("gear at v2", strings.NewReplacer("/v1", "/v2", "name: one", "name: two, namespace: "+other).Replace(object)),
		apply("kind of gears", definition),
		apply("binding", in(other, roleBinding("binding", "role"))),
		apply("role", in(other, role("role"))),
		apply("account", in(other, robot)),
		apply("priority", "apiVersion: scheduling.k8s.io/v1\nkind: PriorityClass\nmetadata: {name: "+other+"}\nvalue: 7"),
		apply("runtime", "apiVersion: node.k8s.io/v1\nkind: RuntimeClass\nmetadata: {name: "+other+"}\nhandler: fast"),
		apply("namespace", "apiVersion: v1\nkind: Namespace\nmetadata: {name: "+other+"}"),
	)
	gone := deletionOf(all)
	for seed := range uint64(3) {
		r := rand.New(rand.NewPCG(seed, 3))
		shuffled := platform.SyncDef{Actions: slices.Clone(all.Actions)}
		r.Shuffle(len(shuffled.Actions), func(i, j int) {
			shuffled.Actions[i], shuffled.Actions[j] = shuffled.Actions[j], shuffled.Actions[i]
		})
		cluster, requests := w.recorded(t, kubernetes.Options{}, nil)
		require.NoError(t, cluster.Sync(shuffled))
		order := requests.inOrder("PATCH")
		assert.Len(t, order, len(all.Actions), "each at the first attempt")
		assert.Less(t, at(order, "/roles/role"), at(order, "/rolebindings/binding"))

		deleted, requests := w.recorded(t, kubernetes.Options{}, nil)
		require.NoError(t, deleted.Sync(deletionOf(shuffled)))
		order = requests.inOrder("DELETE")
		assert.Less(t, at(order, "/rolebindings/binding"), at(order, "/roles/role"))
		assert.Less(t, at(order, "/pods/pod"), at(order, "/priorityclasses/"+other))
		assert.Less(t, at(order, "/gears/one"), at(order, "/customresourcedefinitions/"))
		assert.Less(t, at(order, "/gears/two"), at(order, "/namespaces/"+other+" "))
		require.Eventually(t, func() bool {
			_, err := w.client.CoreV1().Namespaces().Get(t.Context(), other, metav1.GetOptions{})
			return apierrors.IsNotFound(err)
		}, 3*testLimit, testTick, "the namespace goes")
		require.NoError(t, deleted.Sync(gone), "what is gone is gone")
	}
}

// at returns the place of the first request for a path, or of the one that ends with it
// if it ends with a space.
func at(requests []string, path string) int {
	return slices.IndexFunc(requests, func(r string) bool { return strings.Contains(r+" ", path) })
}

// A webhook that lets nothing through comes into force after all else, and is deleted
// before all else.
func TestOrderOfAWebhookThatIsDead(t *testing.T) {
	w := newEnv(t, kubernetes.Options{})
	dead := webhook(w.namespace, "https://127.0.0.1:1", nil)
	all := def(apply("hook", dead))
	for i := range 30 {
		all.Actions = append(all.Actions, apply(fmt.Sprint(i), configMap(fmt.Sprintf("c-%d", i), "1")))
	}
	w.removedAtEnd(t, dead)
	cluster, requests := w.recorded(t, kubernetes.Options{}, nil)
	require.NoError(t, cluster.Sync(all))
	order := requests.inOrder("PATCH")
	require.Len(t, order, len(all.Actions), "none was refused")
	assert.Contains(t, order[len(order)-1], "/validatingwebhookconfigurations/")
	require.Eventually(t, func() bool {
		probe := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "probe"}}
		_, err := w.client.CoreV1().ConfigMaps(w.namespace).Create(t.Context(), probe, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		return err != nil
	}, testLimit, testTick, "it is in force")

	gone := deletionOf(all)
	slices.Reverse(gone.Actions)
	requests.take("")
	require.NoError(t, cluster.Sync(gone))
	assert.Contains(t, requests.inOrder("DELETE")[0], "/validatingwebhookconfigurations/")
}

// Who needs what failed is told so, through however many.
func TestOrderSkipsDependants(t *testing.T) {
	w := newEnv(t, kubernetes.Options{})
	var d recorder
	cluster, requests := w.recorded(t, kubernetes.Options{Events: d.note}, nil)
	got := syncErrors(t, cluster.Sync(def(
		apply("web", strings.Replace(deployment("web", "example.com/web:1"), "    spec:\n", "    spec:\n      serviceAccountName: robot\n", 1)),
		apply("the account", strings.Replace(robot, "{name: robot}", "{name: robot, labels: {bad: 'not a value'}}", 1)),
		apply("good", configMap("good", "1")),
	)))
	assert.Len(t, got, 2, "%v", got)
	assert.Contains(t, got["the account"], "apply ServiceAccount "+w.namespace+"/robot: ")
	assert.Equal(t, "apply Deployment "+w.namespace+`/web: not attempted, since "the account" failed: apply ServiceAccount `+w.namespace+"/robot", got["web"])
	assert.Equal(t, map[string]kubernetes.Result{
		"Deployment " + w.namespace + "/web":       kubernetes.Skipped,
		"ServiceAccount " + w.namespace + "/robot": kubernetes.Failed,
		"ConfigMap " + w.namespace + "/good":       kubernetes.Applied,
	}, d.take())
	assert.Len(t, requests.take("PATCH"), 2)
}
