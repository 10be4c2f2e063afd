package kubernetes_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/yaml"

	"github.com/platformbus/platform/kubernetes"
)

func TestFieldManager(t *testing.T) {
	w := newEnv(t, kubernetes.Options{})
	maps := w.client.CoreV1().ConfigMaps(w.namespace)
	require.NoError(t, w.Sync(def(apply("a", configMap("a", "1")))))
	assert.Equal(t, []string{"platform Apply"}, managersOf(live(t, maps.Get, "a")))

	boss, _ := w.recorded(t, kubernetes.Options{FieldManager: "boss"}, nil)
	require.NoError(t, boss.Sync(def(apply("b", configMap("b", "1")))))
	assert.Equal(t, []string{"boss Apply"}, managersOf(live(t, maps.Get, "b")))

	// Each of two removes only what it alone has said.
	require.NoError(t, boss.Sync(def(apply("a", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {value: '1', more: '2'}"))))
	require.NoError(t, w.Sync(def(apply("a", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {other: '3'}"))))
	assert.Equal(t, map[string]string{"value": "1", "more": "2", "other": "3"}, live(t, maps.Get, "a").Data)
	require.NoError(t, boss.Sync(def(apply("a", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}"))))
	assert.Equal(t, map[string]string{"other": "3"}, live(t, maps.Get, "a").Data)
}

func TestConflictIsForcedByDefault(t *testing.T) {
	w := newEnv(t, kubernetes.Options{})
	another, _ := w.recorded(t, kubernetes.Options{FieldManager: "another"}, nil)
	require.NoError(t, another.Sync(def(apply("a", configMap("a", "theirs")))))
	require.NoError(t, w.Sync(def(apply("a", configMap("a", "ours")))))
	a := live(t, w.client.CoreV1().ConfigMaps(w.namespace).Get, "a")
	assert.Equal(t, "ours", a.Data["value"])
	assert.Equal(t, []string{"platform Apply"}, managersOf(a), "it has nothing left")
}

func TestConflictAsAnError(t *testing.T) {
	w := newEnv(t, kubernetes.Options{})
	polite, requests := w.recorded(t, kubernetes.Options{FailOnConflict: true}, nil)
	another, _ := w.recorded(t, kubernetes.Options{FieldManager: "another"}, nil)
	require.NoError(t, another.Sync(def(apply("web", labelled("web")))))
	before := live(t, w.client.AppsV1().Deployments(w.namespace).Get, "web")
	requests.take("")
	got := syncErrors(t, polite.Sync(def(
		apply("web", strings.NewReplacer("web:1", "web:2", "tier: front", "tier: back").Replace(labelled("web"))),
		apply("good", configMap("good", "1")),
	)))
	text := got["web"]
	assert.Contains(t, text, "apply Deployment "+w.namespace+"/web: ")
	assert.Contains(t, text, `"another"`, "it names the other manager")
	assert.Contains(t, text, `.spec.template.spec.containers[name="main"].image`, "and each field")
	assert.Contains(t, text, ".metadata.labels.tier")
	assert.NotContains(t, text, "replicas", "but none of which both say the same")
	assert.NotContains(t, text, "\n", "one line")
	assert.Len(t, got, 1)
	assert.Len(t, requests.take("PATCH"), 2, "a conflict does not pass by itself: it is not tried again")
	after := live(t, w.client.AppsV1().Deployments(w.namespace).Get, "web")
	assert.Equal(t, before.Spec, after.Spec)
	assert.Equal(t, before.Labels, after.Labels)

	require.NoError(t, polite.Sync(def(apply("web", labelled("web")))), "to say the same is no conflict")
}

// Whatever has made an object, it becomes ours at the first Sync: what the definition
// leaves out is removed, nothing is doubled, and at no time is anything lost that both
// have said.
func TestAdoption(t *testing.T) {
	old := strings.Replace(labelled("web"), "labels: {tier: front}", "labels: {tier: front, old: label}", 1)
	old = strings.Replace(old, "env: [", "ports: [{containerPort: 80}], args: [first], env: [{name: OLD, value: o}, ", 1)
	old = strings.Replace(old, "    spec:\n", "    spec:\n      nodeSelector: {kubernetes.io/os: linux}\n", 1)
	wanted := strings.Replace(labelled("web"), "env: [", "ports: [{containerPort: 80}], env: [", 1)
	byUpdate := func(manager string) func(*testing.T, env) {
		return func(t *testing.T, w env) {
			var d appsv1.Deployment
			require.NoError(t, yaml.Unmarshal([]byte(old), &d))
			_, err := w.client.AppsV1().Deployments(w.namespace).Create(t.Context(), &d, metav1.CreateOptions{FieldManager: manager})
			require.NoError(t, err)
		}
	}
	for name, made := range map[string]func(*testing.T, env){
		"kubectl apply":  func(t *testing.T, w env) { w.kubectl(t, old, "apply", "-f", "-") },
		"kubectl create": func(t *testing.T, w env) { w.kubectl(t, old, "create", "-f", "-") },
		"kubectl create and then apply": func(t *testing.T, w env) {
			w.kubectl(t, deployment("web", "example.com/web:0"), "create", "--save-config", "-f", "-")
			w.kubectl(t, old, "apply", "-f", "-")
		},
		"kubectl create and then replace": func(t *testing.T, w env) {
			w.kubectl(t, deployment("web", "example.com/web:0"), "create", "-f", "-")
			w.kubectl(t, old, "replace", "-f", "-")
		},
		"helm": byUpdate("helm"),
		"us, with kubectl apply in between": func(t *testing.T, w env) {
			require.NoError(t, w.Sync(def(apply("web", wanted))))
			w.kubectl(t, old, "apply", "-f", "-")
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newEnv(t, kubernetes.Options{})
			made(t, w)
			deployments := w.client.AppsV1().Deployments(w.namespace)
			before := live(t, deployments.Get, "web")
			require.Equal(t, "label", before.Labels["old"], "there is something to adopt")
			ctx, cancel := context.WithTimeout(t.Context(), testLimit)
			defer cancel()
			history, err := deployments.Watch(ctx, metav1.ListOptions{ResourceVersion: before.ResourceVersion})
			require.NoError(t, err)
			defer history.Stop()

			require.NoError(t, w.Sync(def(apply("web", wanted))))
			after := live(t, deployments.Get, "web")
			assert.Equal(t, asDefined{2, "example.com/web:1", "A=a B=b", "front", "us"}, readDeployment(after))
			pod := after.Spec.Template.Spec
			assert.NotContains(t, after.Labels, "old")
			assert.NotContains(t, after.Annotations, "kubectl.kubernetes.io/last-applied-configuration")
			assert.Empty(t, pod.NodeSelector)
			assert.Len(t, pod.Containers, 1)
			assert.Empty(t, pod.Containers[0].Args)
			assert.Len(t, pod.Containers[0].Ports, 1)
			for _, manager := range managersOf(after) {
				assert.NotRegexp(t, "^(kubectl-.*|helm|before-first-apply) Update$", manager)
			}
			for event := range history.ResultChan() {
				require.Equal(t, watch.Modified, event.Type)
				d := event.Object.(*appsv1.Deployment)
				got := readDeployment(d)
				got.env = strings.TrimPrefix(got.env, "OLD=o ")
				assert.Equal(t, asDefined{2, "example.com/web:1", "A=a B=b", "front", "us"}, got, "at version %s", d.ResourceVersion)
				if d.Labels["old"] == "" {
					break
				}
			}
			require.NoError(t, ctx.Err(), "the whole history was seen")

			cold, requests := w.recorded(t, kubernetes.Options{}, nil)
			require.NoError(t, cold.Sync(def(apply("web", wanted))))
			assert.Empty(t, requests.take("PATCH"), "it is as if it had always been ours")
		})
	}
}

// What a manager has added whose fields we do not adopt stays; what kubectl has goes.
func TestWhatOthersAddStays(t *testing.T) {
	w := newEnv(t, kubernetes.Options{})
	all := def(apply("web", labelled("web")))
	require.NoError(t, w.Sync(all))
	w.kubectl(t, "", "label", "deployment/web", "added=by-a-controller", "--field-manager=a-controller")
	w.kubectl(t, "", "label", "deployment/web", "labelled=by-hand")
	w.kubectl(t, "", "annotate", "deployment/web", "example.com/owner=them", "--overwrite")
	require.NoError(t, w.Sync(all))
	web := live(t, w.client.AppsV1().Deployments(w.namespace).Get, "web")
	assert.Equal(t, "by-a-controller", web.Labels["added"])
	assert.NotContains(t, web.Labels, "labelled")
	assert.Equal(t, "us", web.Annotations["example.com/owner"])
}

// No copy of the definition is kept in an annotation, so that only the object itself
// limits its size.
func TestLargeObject(t *testing.T) {
	w := newEnv(t, kubernetes.Options{})
	large := func(fill string) []byte {
		data, err := json.Marshal(map[string]any{
			"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"name": "large"},
			"data": map[string]string{"value": strings.Repeat(fill, 300<<10)},
		})
		require.NoError(t, err)
		return data
	}
	for _, fill := range []string{"x", "y"} {
		all := def(apply("large", string(large(fill))))
		require.NoError(t, w.Sync(all))
		there := live(t, w.client.CoreV1().ConfigMaps(w.namespace).Get, "large")
		assert.True(t, there.Data["value"] == strings.Repeat(fill, 300<<10), "the whole of it is there")
		assert.Empty(t, there.Annotations)
		cold, requests := w.recorded(t, kubernetes.Options{}, nil)
		require.NoError(t, cold.Sync(all))
		assert.Empty(t, requests.take("PATCH"), fmt.Sprint(fill))
	}
}
