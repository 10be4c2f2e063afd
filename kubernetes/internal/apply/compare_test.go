package apply

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

// noOp says what isNoOp says of a definition, a live object and what is recorded to be ours of it,
// all YAML.
func noOp(t *testing.T, defined, live, owned string) bool {
	t.Helper()
	defs := definitionsOf(t, defined)
	require.Len(t, defs, 1)
	var object unstructured.Unstructured
	asJSON, err := yaml.YAMLToJSON([]byte(live))
	require.NoError(t, err)
	require.NoError(t, object.UnmarshalJSON(asJSON))
	var ours *metav1.ManagedFieldsEntry
	if owned != "" {
		version, fields, _ := strings.Cut(owned, "\n")
		asJSON, err = yaml.YAMLToJSON([]byte(fields))
		require.NoError(t, err)
		ours = &metav1.ManagedFieldsEntry{APIVersion: version, FieldsV1: &metav1.FieldsV1{}}
		require.NoError(t, ours.FieldsV1.UnmarshalJSON(asJSON))
	}
	return isNoOp(defs[0], &object, ours, false)
}

const (
	ownedDefinition = `
apiVersion: x/v1
kind: X
metadata: {name: a, labels: {l: "1"}}
spec:
  text: t
  number: 3
  fraction: 1.5
  "yes": true
  atomic: [1, two]
  whole: {deep: {er: 1}}
  set: [p, q]
  items: [{name: m, value: 1}, {name: k, port: 80}]
`
	ownedLive = `
apiVersion: x/v1
kind: X
metadata: {name: a, namespace: d, uid: u, labels: {l: "1", theirs: "2"}}
spec:
  text: t
  number: 3
  fraction: 1.5
  "yes": true
  atomic: [1, two]
  whole: {deep: {er: 1}}
  set: [p, other, q]
  items: [{name: m, value: 1, theirs: 2}, {name: other}, {name: k, port: 80, protocol: TCP}]
  defaulted: 7
status: {ready: true}
`
	ownedFields = `x/v1
f:metadata: {f:labels: {f:l: {}}}
f:spec:
  f:text: {}
  f:number: {}
  f:fraction: {}
  f:yes: {}
  f:atomic: {}
  f:whole: {}
  f:set: {'v:"p"': {}, 'v:"q"': {}}
  f:items:
    'k:{"name":"m"}': {.: {}, f:name: {}, f:value: {}}
    'k:{"name":"k","protocol":"TCP"}': {.: {}, f:name: {}, f:port: {}}
`
)

func TestNoOp(t *testing.T) {
	require.True(t, noOp(t, ownedDefinition, ownedLive, ownedFields))

	bare := "apiVersion: v1\nkind: Namespace\nmetadata: {name: a}"
	live := "apiVersion: v1\nkind: Namespace\nmetadata: {name: a, labels: {kubernetes.io/metadata.name: a}}\nspec: {finalizers: [kubernetes]}"
	assert.True(t, noOp(t, bare, live, ""), "who says nothing owns nothing")
	assert.False(t, noOp(t, bare, live, "v1\nf:metadata: {f:labels: {f:x: {}}}"), "a label is to be removed")
	assert.False(t, noOp(t, ownedDefinition, ownedLive, ""), "it was never ours")
}

// Any one difference is a doubt.
func TestDoubts(t *testing.T) {
	for _, part := range []struct{ what, text string }{{"definition", ownedDefinition}, {"live", ownedLive}, {"owned", ownedFields}} {
		changes := map[string][2]string{}
		switch part.what {
		case "definition":
			changes = map[string][2]string{
				"text": {"text: t", "text: u"}, "no text": {"  text: t\n", ""}, "more": {"  text: t\n", "  text: t\n  more: 1\n"}, "null": {"text: t", "text: null"},
				"number": {"number: 3", "number: 4"}, "number as text": {"number: 3", "number: '3'"}, "fraction": {"1.5", "1.50001"}, "boolean": {`"yes": true`, `"yes": false`},
				"boolean as text": {`"yes": true`, `"yes": "true"`}, "atomic order": {"[1, two]", "[two, 1]"}, "atomic more": {"[1, two]", "[1, two, 3]"}, "atomic less": {"[1, two]", "[1]"},
				"atomic as map": {"[1, two]", "{a: 1}"}, "atomic map": {"er: 1", "er: 2"}, "atomic map more": {"er: 1", "er: 1, f: 2"}, "atomic map less": {"{er: 1}", "{}"},
				"set more": {"[p, q]", "[p, q, r]"}, "set less": {"[p, q]", "[p]"}, "set order": {"[p, q]", "[q, p]"}, "set twice": {"[p, q]", "[p, p]"}, "set gone": {"  set: [p, q]\n", ""},
				"item value": {"value: 1", "value: 2"}, "item more": {"value: 1", "value: 1, more: 1"}, "item less": {", value: 1", ""}, "item other": {"name: m", "name: o"},
				"item gone": {"{name: m, value: 1}, ", ""}, "item order": {"{name: m, value: 1}, {name: k, port: 80}", "{name: k, port: 80}, {name: m, value: 1}"},
				"item keyless": {"name: m, ", ""}, "items as text": {"[{name: m, value: 1}, {name: k, port: 80}]", "text"}, "item as text": {"{name: m, value: 1}", "text"},
				"label": {`l: "1"`, `l: "2"`}, "label more": {`l: "1"`, `l: "1", m: "2"`}, "no labels": {`, labels: {l: "1"}`, ""}, "empty labels": {`{l: "1"}`, "{}"},
				"other version": {"x/v1", "x/v2"}, "other section": {"spec:\n", "data: {}\nspec:\n"},
			}
		case "live":
			changes = map[string][2]string{
				"text": {"text: t", "text: u"}, "no text": {"  text: t\n", ""}, "number": {"number: 3", "number: 4"}, "fraction": {"1.5", "1"}, "boolean": {`"yes": true`, `"yes": false`},
				"atomic": {"[1, two]", "[1, three]"}, "atomic more": {"[1, two]", "[1, two, 3]"}, "atomic map": {"er: 1", "er: 2"}, "atomic map more": {"er: 1", "er: 1, f: 2"},
				"set": {"[p, other, q]", "[p, other]"}, "set order": {"[p, other, q]", "[q, other, p]"}, "set as text": {"[p, other, q]", "text"},
				"item value": {"value: 1", "value: 2"}, "item gone": {"{name: m, value: 1, theirs: 2}, ", ""}, "item key": {"name: m", "name: o"}, "item second key": {"protocol: TCP", "protocol: UDP"},
				"item order": {"{name: m, value: 1, theirs: 2}, {name: other}, {name: k, port: 80, protocol: TCP}", "{name: k, port: 80, protocol: TCP}, {name: m, value: 1}"},
				"label":      {`l: "1"`, `l: "2"`}, "no label": {`l: "1", `, ""}, "no labels": {`, labels: {l: "1", theirs: "2"}`, ""}, "other version": {"x/v1", "x/v2"}, "no spec": {"spec:", "other:"},
			}
		case "owned":
			changes = map[string][2]string{
				"text": {"  f:text: {}\n", ""}, "more": {"  f:text: {}\n", "  f:text: {}\n  f:more: {}\n"}, "more on top": {"f:spec:", "f:data: {}\nf:spec:"},
				"map in whole": {"f:whole: {}", "f:whole: {f:deep: {f:other: {}}}"}, "text as map": {"f:text: {}", "f:text: {f:a: {}}"}, "atomic as set": {"f:atomic: {}", "f:atomic: {'v:1': {}}"},
				"set less": {`'v:"p"': {}, `, ""}, "set more": {`'v:"p"': {}`, `'v:"p"': {}, 'v:"r"': {}`}, "item less": {"f:value: {}", ""}, "item more": {"f:value: {}", "f:value: {}, f:more: {}"},
				"item gone": {`    'k:{"name":"m"}': {.: {}, f:name: {}, f:value: {}}` + "\n", ""}, "item twice": {`    'k:{"name":"m"}'`, `    'k:{"name":"k","protocol":"UDP"}': {.: {}, f:name: {}, f:port: {}}` + "\n" + `    'k:{"name":"m"}'`},
				"label": {"f:l: {}", ""}, "label more": {"f:l: {}", "f:l: {}, f:m: {}"}, "other version": {"x/v1", "x/v2"}, "not a set": {"f:text: {}", "nonsense: {}"},
			}
		}
		for name, change := range changes {
			t.Run(part.what+"/"+name, func(t *testing.T) {
				require.Contains(t, part.text, change[0])
				changed := strings.Replace(part.text, change[0], change[1], 1)
				texts := map[string]string{"definition": ownedDefinition, "live": ownedLive, "owned": ownedFields, part.what: changed}
				assert.False(t, noOp(t, texts["definition"], texts["live"], texts["owned"]))
			})
		}
	}
}

// To compare a list takes no longer for each element than for one of a short list.
func TestNoOpOfLongLists(t *testing.T) {
	var items, set, ownedItems, ownedSet strings.Builder
	for i := range 20_000 {
		fmt.Fprintf(&items, "{name: n%d},", i)
		fmt.Fprintf(&set, "s%d,", i)
		fmt.Fprintf(&ownedItems, `'k:{"name":"n%d"}': {.: {}, f:name: {}},`, i)
		fmt.Fprintf(&ownedSet, `'v:"s%d"': {},`, i)
	}
	object := "apiVersion: x/v1\nkind: X\nmetadata: {name: a}\nspec: {items: [" + items.String() + "], set: [" + set.String() + "]}"
	assert.True(t, noOp(t, object, object, "x/v1\nf:spec: {f:items: {"+ownedItems.String()+"}, f:set: {"+ownedSet.String()+"}}"))
}

// A definition that is known from an earlier call, without its body, is a doubt.
func TestNoOpNeedsTheBody(t *testing.T) {
	defs := definitionsOf(t, configMapText)
	assert.False(t, isNoOp(defs[0].Summary(), &unstructured.Unstructured{Object: map[string]any{}}, nil, false))
}

const configMapText = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}"
