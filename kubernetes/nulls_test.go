package kubernetes_test

import (
	"encoding/base64"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/platformbus/platform/kubernetes"
)

// nullable defines a kind of whose fields some may be null.
func nullable(w env) (definition, object string) {
	definition, object = crd(w.namespace, "Nullity")
	definition = strings.Replace(definition, "properties: {size: {type: integer}}", `properties: {size: {type: integer}, plain: {type: string}, may: {type: string, nullable: true},
          map: {type: object, additionalProperties: {type: string}}, mayMap: {type: object, additionalProperties: {type: string, nullable: true}},
          list: {type: array, items: {type: object, properties: {plain: {type: string}, may: {type: string, nullable: true}}}},
          free: {type: object, x-kubernetes-preserve-unknown-fields: true, properties: {plain: {type: string}, may: {type: string, nullable: true}}}}`, 1)
	object = strings.Replace(object, "{size: 3}", "{size: 3, plain: null, may: null, map: {a: null, b: x}, mayMap: {a: null, b: x}, list: [{plain: null, may: null}, {plain: x}], free: {plain: null, may: null, kept: 1}}", 1)
	return definition, object
}

var withoutNulls = map[string]any{
	"size": int64(3), "may": nil, "map": map[string]any{"b": "x"}, "mayMap": map[string]any{"a": nil, "b": "x"},
	"list": []any{map[string]any{"may": nil}, map[string]any{"plain": "x"}}, "free": map[string]any{"may": nil, "kept": int64(1)},
}

// A null means that a field is not set, unless the schema allows it.
func TestNullsOfCustomResources(t *testing.T) {
	for _, name := range []string{"in one Sync", "defined before"} {
		t.Run(name, func(t *testing.T) {
			w := newEnv(t, kubernetes.Options{})
			definition, object := nullable(w)
			w.removedAtEnd(t, definition)
			if name == "defined before" {
				require.NoError(t, w.Sync(def(apply("crd", definition))))
			}
			cluster, requests := w.recorded(t, kubernetes.Options{}, nil)
			texts := []string{definition, object}
			require.NoError(t, cluster.Sync(def(apply("all", texts...))))
			assert.Equal(t, withoutNulls, w.object(t, w.own("nullitys"), "one").Object["spec"])
			w.sameAgain(t, cluster, requests, texts...)
			w.sameAgain(t, cluster, requests, object)
		})
	}
}

// Who may not read the definition of a kind gets what the API server says of a null.
func TestNullsWithoutTheRightToReadTheKind(t *testing.T) {
	w := newEnv(t, kubernetes.Options{})
	definition, object := nullable(w)
	w.removedAtEnd(t, definition)
	require.NoError(t, w.Sync(def(apply("crd", definition))))
	user := w.userWith(t, "local", kubernetes.Options{Namespace: w.namespace}, mayDo([]string{"*"}, "nullitys"), w.namespace)
	_, plain := crd(w.namespace, "Nullity")
	require.Eventually(t, func() bool { return user.Sync(def(apply("a", plain))) == nil }, testLimit, testTick, "the rights come into force")
	assert.Contains(t, syncErrors(t, user.Sync(def(apply("a", object))))["a"], "spec.plain")
}

// A key moves between the data and the stringData of a Secret.
func TestStringData(t *testing.T) {
	w := newEnv(t, kubernetes.Options{})
	cluster, requests := w.recorded(t, kubernetes.Options{}, nil)
	const head = "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\n"
	encoded := base64.StdEncoding.EncodeToString([]byte("one"))
	for _, c := range []struct {
		text string
		want map[string][]byte
	}{
		{"data: {a: " + encoded + ", b: " + encoded + "}", map[string][]byte{"a": []byte("one"), "b": []byte("one")}},
		{"data: {b: " + encoded + "}\nstringData: {a: one}", map[string][]byte{"a": []byte("one"), "b": []byte("one")}},
		{"stringData: {a: two}", map[string][]byte{"a": []byte("two")}},
		{"data: {a: " + encoded + "}", map[string][]byte{"a": []byte("one")}},
		{"data: {}\nstringData: {a: ''}", map[string][]byte{"a": {}}},
		{"stringData: {}", nil}, // from here on nobody owns anything, and the API server says so with an entry of its own
		{"stringData: null", nil},
	} {
		require.NoError(t, cluster.Sync(def(apply("s", head+c.text))), c.text)
		assert.Equal(t, c.want, live(t, w.client.CoreV1().Secrets(w.namespace).Get, "s").Data, c.text)
		w.sameAgain(t, cluster, requests, head+c.text)
	}
	for _, wrong := range []string{"stringData: {pin: 48151623, ok: hush-hush}", "stringData: {pin: [48151623]}", "stringData: 48151623", "data: 48151623\nstringData: {pin: hush-hush}"} {
		text := syncErrors(t, cluster.Sync(def(apply("s", head+wrong))))["s"]
		assert.Contains(t, text, "ata", wrong)
		assert.NotContains(t, text, "48151623")
		assert.NotContains(t, text, "hush-hush")
	}
}
