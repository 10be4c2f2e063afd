package kubernetes_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/platformbus/platform"
	"github.com/platformbus/platform/kubernetes"
)

func role(name string) string {
	return "apiVersion: rbac.authorization.k8s.io/v1\nkind: Role\nmetadata: {name: " + name + "}\n" +
		"rules: [{apiGroups: [''], resources: [configmaps], verbs: [get, list]}]"
}

func roleBinding(name, role string) string {
	return "apiVersion: rbac.authorization.k8s.io/v1\nkind: RoleBinding\nmetadata: {name: " + name + "}\n" +
		"roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: " + role + "}\n" +
		"subjects: [{kind: ServiceAccount, name: robot}]"
}

func secret(name, value string) string {
	return "apiVersion: v1\nkind: Secret\nmetadata: {name: " + name + "}\nstringData: {token: " + value + "}"
}

const robot = "apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: robot}"

// in puts a definition, whose metadata begins with its name, in a namespace.
func in(namespace, definition string) string {
	return strings.Replace(definition, "metadata: {name: ", "metadata: {namespace: "+namespace+", name: ", 1)
}

// manyKinds is a Sync of objects of several kinds in two namespaces, which have a label in common.
func manyKinds(t *testing.T, w env) platform.SyncDef {
	other := w.cp.Namespace(t)
	var all platform.SyncDef
	for i := range 4 {
		name := fmt.Sprintf("app-%d", i)
		for _, d := range []string{configMap(name, "1"), deployment(name, "example.com/web:1"), service(name, name), role(name), roleBinding(name, name)} {
			d = strings.Replace(d, "metadata: {name: "+name+"}", "metadata: {name: "+name+", labels: {part-of: "+w.namespace+"}}", 1)
			all.Actions = append(all.Actions, apply(name+" here", d), apply(name+" there", in(other, d)))
		}
	}
	all.Actions = append(all.Actions, apply("account", robot))
	return all
}

// oneList is what a Sync of manyKinds may ask of the API server at most.
func oneList(namespace, verb string) []string {
	return []string{
		verb + " /api/v1/configmaps",
		verb + " /api/v1/namespaces/" + namespace + "/serviceaccounts", // all of them are in one namespace
		verb + " /api/v1/services",
		verb + " /apis/apps/v1/deployments",
		verb + " /apis/rbac.authorization.k8s.io/v1/rolebindings",
		verb + " /apis/rbac.authorization.k8s.io/v1/roles",
	}
}

func TestUnchangedWarmTakesOneListForEachKind(t *testing.T) {
	w := newEnv(t, kubernetes.Options{})
	var d recorder
	registry := prometheus.NewRegistry()
	metrics, err := kubernetes.NewMetrics(registry)
	require.NoError(t, err)
	cluster, requests := w.recorded(t, kubernetes.Options{Events: d.note, Metrics: metrics}, nil)
	all := manyKinds(t, w)
	require.NoError(t, cluster.Sync(all))
	assert.Len(t, requests.take("PATCH"), len(all.Actions), "first all are applied")
	d.take()

	for range 3 {
		require.NoError(t, cluster.Sync(all))
		assert.Equal(t, oneList(w.namespace, "GET metadata"), requests.take(""))
		results := d.take()
		assert.Len(t, results, len(all.Actions))
		for object, result := range results {
			assert.Equal(t, kubernetes.Unchanged, result, object)
		}
	}
	assert.InDelta(t, 3*len(all.Actions), metric(t, registry, objectsTotal, "unchanged"), 0)
	assert.InDelta(t, len(all.Actions), metric(t, registry, objectsTotal, "applied"), 0)
}

func TestUnchangedColdTakesOneListForEachKind(t *testing.T) {
	w := newEnv(t, kubernetes.Options{})
	all := manyKinds(t, w)
	require.NoError(t, w.Sync(all))

	var d recorder
	cold, requests := w.recorded(t, kubernetes.Options{Events: d.note}, nil)
	require.NoError(t, cold.Sync(all))
	assert.Equal(t, append([]string{"GET /api"}, append(oneList(w.namespace, "GET")[:3:3], append([]string{"GET /apis"}, oneList(w.namespace, "GET")[3:]...)...)...), requests.take(""))
	for object, result := range d.take() {
		assert.Equal(t, kubernetes.Unchanged, result, object)
	}
	require.NoError(t, cold.Sync(all))
	assert.Equal(t, oneList(w.namespace, "GET metadata"), requests.take(""), "what was seen to be unchanged is remembered like what was applied")
}

// What has changed is sent, and nothing else, whether it is the definition that has or
// the object.
func TestOnlyWhatHasChangedIsSent(t *testing.T) {
	w := newEnv(t, kubernetes.Options{})
	all := manyKinds(t, w)
	cluster, requests := w.recorded(t, kubernetes.Options{}, nil)
	require.NoError(t, cluster.Sync(all))
	all.Actions[0].Apply = []byte(configMap("app-0", "changed"))
	requests.take("")
	require.NoError(t, cluster.Sync(all))
	assert.Equal(t, []string{"PATCH /api/v1/namespaces/" + w.namespace + "/configmaps/app-0"}, requests.take("PATCH"))
	assert.Equal(t, "changed", live(t, w.client.CoreV1().ConfigMaps(w.namespace).Get, "app-0").Data["value"])

	kind, patch := mergePatch(t, map[string]any{"data": map[string]any{"value": "drifted"}})
	_, err := w.client.CoreV1().ConfigMaps(w.namespace).Patch(t.Context(), "app-1", kind, patch, patchBy("someone"))
	require.NoError(t, err)
	require.NoError(t, cluster.Sync(all))
	assert.Equal(t, []string{"PATCH /api/v1/namespaces/" + w.namespace + "/configmaps/app-1"}, requests.take("PATCH"))

	cold, requests := w.recorded(t, kubernetes.Options{}, nil)
	all.Actions[0].Apply = []byte(configMap("app-0", "changed again"))
	require.NoError(t, cold.Sync(all))
	assert.Equal(t, []string{"PATCH /api/v1/namespaces/" + w.namespace + "/configmaps/app-0"}, requests.take("PATCH"))

	require.NoError(t, cold.Sync(all))
	assert.Empty(t, requests.take("PATCH"), "and then it is unchanged too")
}

// A few new objects of a kind are no reason to look at all others as a whole, and many
// are none to send those that are known.
func TestNewObjectsBesideKnownOnes(t *testing.T) {
	for _, c := range []struct {
		known, fresh int
		look         string
	}{{20, 1, "GET metadata"}, {4, 4, "GET"}} {
		t.Run(fmt.Sprintf("%d beside %d", c.fresh, c.known), func(t *testing.T) {
			w := newEnv(t, kubernetes.Options{})
			path := "/api/v1/namespaces/" + w.namespace + "/configmaps"
			cluster, requests := w.recorded(t, kubernetes.Options{}, nil)
			var all platform.SyncDef
			for i := range c.known {
				all.Actions = append(all.Actions, apply(fmt.Sprint(i), configMap(fmt.Sprintf("c-%d", i), "1")))
			}
			require.NoError(t, cluster.Sync(all))
			requests.take("")
			want := []string{c.look + " " + path}
			for i := range c.fresh {
				all.Actions = append(all.Actions, apply(fmt.Sprint("new ", i), configMap(fmt.Sprintf("new-%d", i), "1")))
				want = append(want, fmt.Sprintf("PATCH %s/new-%d", path, i))
			}
			require.NoError(t, cluster.Sync(all))
			assert.Equal(t, want, requests.take(""))
		})
	}
}

// What the server does not keep as it was written is a doubt, and applied; it is right all
// the same, and a second time it is known.
func TestDoubtIsSettledByApplying(t *testing.T) {
	for name, definition := range map[string]string{
		"a quantity in another form": strings.Replace(deployment("web", "example.com/web:1"), "containers: [{", "containers: [{resources: {limits: {cpu: 1000m}}, ", 1),
		"a secret's stringData":      secret("web", "hush"),
		"a null":                     "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: web, labels: null}\ndata: {value: '1'}",
		"an empty map":               "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: web, labels: {}}\ndata: {}",
	} {
		t.Run(name, func(t *testing.T) {
			w := newEnv(t, kubernetes.Options{})
			sync := def(apply("a", definition))
			require.NoError(t, w.Sync(sync))
			cold, requests := w.recorded(t, kubernetes.Options{}, nil)
			require.NoError(t, cold.Sync(sync))
			requests.take("")
			require.NoError(t, cold.Sync(sync))
			assert.Empty(t, requests.take("PATCH"))
		})
	}
}
