package kubernetes_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/platformbus/platform/internal/controlplane"
	"github.com/platformbus/platform/kubernetes"
)

// bomb is a few hundred bytes of YAML that say a billion values.
func bomb() string {
	var b strings.Builder
	b.WriteString("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: bomb}\na: &a [x, x, x, x, x, x, x, x, x]\n")
	for c := 'b'; c <= 'j'; c++ {
		fmt.Fprintf(&b, "%c: &%c [*%c, *%[3]c, *%[3]c, *%[3]c, *%[3]c, *%[3]c, *%[3]c, *%[3]c, *%[3]c]\n", c, c, c-1)
	}
	return b.String()
}

// What is wrong with one entry is told of that entry alone; all else is applied.
func TestBadInput(t *testing.T) {
	w := newEnv(t, kubernetes.Options{})
	huge, err := json.Marshal(map[string]any{"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"name": "huge"}, "data": map[string]string{"value": strings.Repeat("x", 20<<20)}})
	require.NoError(t, err)
	wrong := map[string]struct{ definition, says string }{
		"20 MB":                {string(huge), "apply ConfigMap " + w.namespace + "/huge: "},
		"bomb":                 {bomb(), "read the definition to apply: document at line 1: "},
		"nested too deep":      {"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\na: " + strings.Repeat("[", 20_000) + strings.Repeat("]", 20_000), "read the definition to apply: "},
		"duplicate key":        {"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {a: '1', a: '2'}", `"a"`},
		"duplicate key, JSON":  {`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"},"data":{"a":"1","a":"2"}}`, "a"},
		"tabs":                 {"apiVersion: v1\nkind: ConfigMap\nmetadata:\n\tname: a", "line 4: found character that cannot start any token"},
		"unrendered":           {"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata:\n  {{- range .Values }}\n  a: b\n  {{- end }}", "is it a template that was never rendered?"},
		"unrendered value":     {"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {value: {{ .Value }}}", "is it a template that was never rendered?"},
		"removed version":      {"apiVersion: extensions/v1beta1\nkind: Ingress\nmetadata: {name: a}", "Ingress a: the cluster has no kind Ingress in extensions/v1beta1; it has one in networking.k8s.io/v1"},
		"generated name":       {"apiVersion: v1\nkind: ConfigMap\nmetadata: {generateName: a-}", "each apply would make another"},
		"not an object":        {"just some text", `want an object with apiVersion and kind, got a string`},
		"bad in a List":        {`{"apiVersion":"v1","kind":"List","items":[{"apiVersion":"v1","kind":"ConfigMap","metadata":{}}]}`, "item 1 of the List: ConfigMap: metadata.name is missing"},
		"bad second document":  {configMap("lost", "1") + "\n---\nkind: [", "document at line 5"},
		"UTF-16":               {"\xff\xfea\x00", "UTF-16"},
		"not UTF-8":            {"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {value: \"\xff\"}", "read the definition to apply: "},
		"no such namespace":    {in("nowhere", configMap("a", "1")), `namespaces "nowhere" not found`},
		"name of another kind": {"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: 'a/b'}", "a/b"},
		"wrong type":           {strings.Replace(deployment("typed", "example.com/web:1"), "replicas: 2", "replicas: two", 1), ".spec.replicas"},
		"status only":          {"apiVersion: v1\nkind: Status\nmetadata: {name: a}", "Status a: the cluster has no kind Status in v1"},
	}
	right := map[string]string{
		"mark":           "\ufeff" + configMap("mark", "1"),
		"windows":        strings.ReplaceAll(configMap("windows", "1")+"\n---\n"+configMap("windows-2", "1"), "\n", "\r\n"),
		"trailing":       configMap("trailing", "1") + "\n---\n",
		"leading":        "---\n---\n" + configMap("leading", "1") + "\n...\n",
		"nested":         `{"apiVersion":"v1","kind":"List","items":[{"apiVersion":"v1","kind":"List","items":[{"apiVersion":"v1","kind":"ConfigMapList","items":[{"metadata":{"name":"nested"},"data":{"value":"1"}}]}]}]}`,
		"without-one":    configMap("without-one", "1"), // a namespace, that is
		"comment":        "# first\n" + configMap("comment", "1") + "\n# last",
		"rendered-again": strings.Replace(configMap("rendered-again", "1"), "\ndata: {", "\ndata: {template: '{{ .Value }}', ", 1),
		"server-set":     strings.Replace(configMap("server-set", "1"), "{name: server-set", "{uid: a, resourceVersion: '1', creationTimestamp: null, generation: 7, managedFields: [], name: server-set", 1),
	}
	scoped := "apiVersion: v1\nkind: Namespace\nmetadata: {name: " + w.namespace + "-scoped, namespace: elsewhere}"
	w.removedAtEnd(t, scoped)
	all := def(apply("namespace on what is in none", scoped))
	for id, c := range wrong {
		all.Actions = append(all.Actions, apply(id, c.definition))
	}
	for id, definition := range right {
		all.Actions = append(all.Actions, apply(id, definition))
	}
	got := syncErrors(t, w.Sync(all))
	for id, c := range wrong {
		assert.Contains(t, got[id], c.says, id)
		assert.NotContains(t, got[id], "\n", "%s: one line", id)
		assert.Less(t, len(got[id]), 2000, "%s: it does not repeat what is wrong", id)
		delete(got, id)
	}
	assert.Empty(t, got, "nothing else is wrong")
	for name := range right {
		assert.Equal(t, "1", live(t, w.client.CoreV1().ConfigMaps(w.namespace).Get, name).Data["value"], name)
	}
	assert.Equal(t, "1", live(t, w.client.CoreV1().ConfigMaps(w.namespace).Get, "windows-2").Data["value"])
	live(t, w.client.CoreV1().Namespaces().Get, w.namespace+"-scoped")
	_, err = w.client.CoreV1().ConfigMaps(w.namespace).Get(t.Context(), "lost", metav1.GetOptions{})
	assert.True(t, apierrors.IsNotFound(err), "an action that is wrong is not begun")
}

// Bad input is told of a deletion too, and the rest is deleted.
func TestBadInputOfADeletion(t *testing.T) {
	w := newEnv(t, kubernetes.Options{})
	require.NoError(t, w.Sync(def(apply("a", configMap("a", "1")))))
	got := syncErrors(t, w.Sync(def(
		remove("malformed", "kind: ["), remove("bomb", bomb()), remove("removed version", "apiVersion: extensions/v1beta1\nkind: Ingress\nmetadata: {name: a}"),
		remove("a", configMap("a", "1")),
	)))
	assert.Len(t, got, 3, "%v", got)
	assert.Contains(t, got["malformed"], "read the definition to delete: document at line 1: ")
	assert.Contains(t, got["removed version"], "it has one in networking.k8s.io/v1")
	_, err := w.client.CoreV1().ConfigMaps(w.namespace).Get(t.Context(), "a", metav1.GetOptions{})
	assert.True(t, apierrors.IsNotFound(err))
}

// What was read beside larger definitions can be read again beside them; alone it may stand for too
// much, which is then an error of its action only.
func TestReadAgainBesideLargerDefinitions(t *testing.T) {
	w := newEnv(t, kubernetes.Options{})
	var documents []string // which stand for 1.6 MB, of 23 KB
	for i := range 4 {
		var b strings.Builder
		fmt.Fprintf(&b, "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: expanding-%d}\ndata:\n  a: &a %s\n", i, strings.Repeat("x", 5000))
		for key := range 80 {
			fmt.Fprintf(&b, "  b%d: *a\n", key)
		}
		documents = append(documents, b.String())
	}
	expanding, large := apply("expanding", documents...), apply("large", configMap("large", strings.Repeat("x", 100<<10)))
	require.NoError(t, w.Sync(def(expanding, large)))
	w.deleted(t, "expanding-0")
	require.NoError(t, w.Sync(def(expanding, large)))
	live(t, w.client.CoreV1().ConfigMaps(w.namespace).Get, "expanding-0")

	w.deleted(t, "expanding-0")
	got := syncErrors(t, w.Sync(def(expanding, apply("other", configMap("other", "1")))))
	assert.Len(t, got, 1, "%v", got)
	assert.Contains(t, got["expanding"], "read the definition to apply: document at line ")
	assert.Contains(t, got["expanding"], "stand for far more than its size")
	live(t, w.client.CoreV1().ConfigMaps(w.namespace).Get, "other")
}

// So many objects in one definition take several pages to look at, and are still looked
// at once. They have a control plane to themselves, so that nobody waits for their end.
func TestManyDocumentsInOneDefinition(t *testing.T) {
	const documents, pages = manyDocuments, manyDocuments / 500
	controlplane.Require(t) // for whoever has none
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cp, err := controlplane.Start(ctx, controlplane.Options{NoControllerManager: true, NoScheduler: true, NoKwok: true})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, cp.Stop()) })
	w := env{cp: cp, client: clientFor(t, cp.Config()), namespace: cp.Namespace(t)}
	var definitions []string
	for i := range documents {
		definitions = append(definitions, configMap(fmt.Sprintf("c-%d", i), "1"))
	}
	cluster, requests := w.recorded(t, kubernetes.Options{Timeout: 5 * time.Minute}, nil)
	all := def(apply("many", definitions...), apply("bad", "kind: ["))
	assert.Len(t, syncErrors(t, cluster.Sync(all)), 1)
	assert.Len(t, requests.take("PATCH"), documents)
	first := "/api/v1/namespaces/" + w.namespace + "/configmaps"
	look := func(cluster *kubernetes.Cluster, requests *recordingTransport, verb string, changed int) {
		t.Helper()
		assert.Len(t, syncErrors(t, cluster.Sync(all)), 1)
		var lists, patches, peeks int
		for _, r := range requests.take("") {
			switch {
			case strings.HasPrefix(r, verb+" "+first):
				lists++
			case strings.HasPrefix(r, "PATCH "):
				patches++
			case verb == "GET" && r == "GET metadata "+first: // to see whether much else is there
				peeks++
			default:
				assert.Regexp(t, "^GET /apis?$", r)
			}
		}
		assert.Equal(t, pages, lists, "one list, in pages")
		assert.LessOrEqual(t, peeks, 1)
		assert.Equal(t, changed, patches)
	}
	look(cluster, requests, "GET metadata", 0)
	cold, others := w.recorded(t, kubernetes.Options{Timeout: 5 * time.Minute}, nil)
	look(cold, others, "GET", 0)
	definitions[77] = configMap("c-77", "changed")
	all.Actions[0] = apply("many", definitions...)
	look(cluster, requests, "GET metadata", 1)
}

// manyDocuments is enough for several pages. 10,000 pass too, and take 30 seconds to apply
// under the race detector on two cores.
const manyDocuments = 2_000
