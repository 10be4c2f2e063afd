package manifest_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	sigsyaml "sigs.k8s.io/yaml"

	"github.com/platformbus/platform/kubernetes/manifest"
)

const configMap = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: %s\n"

func cm(name string) string { return fmt.Sprintf(configMap, name) }

func TestParse(t *testing.T) {
	list := func(items ...string) string {
		return `{"apiVersion":"v1","kind":"List","items":[` + strings.Join(items, ",") + `]}`
	}
	jsonCM := func(name string) string {
		return fmt.Sprintf(`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":%q}}`, name)
	}
	for _, c := range []struct {
		name, in string
		want     string // name:line of each object
	}{
		{"nothing", "", ""},
		{"only comments", "# nothing here\n---\n# nor here\n", ""},
		{"one", cm("a"), "a:1"},
		{"two", cm("a") + "---\n" + cm("b"), "a:1 b:5"},
		{"no line end at the end", strings.TrimSuffix(cm("a"), "\n"), "a:1"},
		{"leading and trailing separators", "---\n---\n" + cm("a") + "---\n---", "a:2"},
		{"separator with comment", "--- # first\n" + cm("a") + "---\t# second\n" + cm("b"), "a:1 b:6"},
		{"indented as a whole", "  " + strings.ReplaceAll(cm("a"), "\n", "\n  "), "a:1"},
		{"byte order mark", "\ufeff" + cm("a") + "---\n\ufeff" + cm("b"), "a:1 b:5"},
		{"Windows line ends", strings.ReplaceAll(cm("a")+"---\n"+cm("b"), "\n", "\r\n"), "a:1 b:5"},
		{"document end marks", cm("a") + "...\n---\n" + cm("b") + "...\n", "a:1 b:6"},
		{"directive", "%YAML 1.1\n---\n" + cm("a"), "a:2"},
		{"dashes in a block scalar", cm("a") + "data:\n  x: |\n    ---\n    y\n---\n" + cm("b"), "a:1 b:9"},
		{"JSON", jsonCM("a"), "a:1"},
		{"JSON with tabs", "{\n\t\"apiVersion\": \"v1\",\n\t\"kind\": \"ConfigMap\",\n\t\"metadata\": {\"name\": \"a\"}\n}", "a:1"},
		{"YAML in braces", "{apiVersion: v1, kind: ConfigMap, metadata: {name: a}}", "a:1"},
		{"List", list(jsonCM("a"), jsonCM("b")), "a:1 b:1"},
		{"List in a List", list(jsonCM("a"), list(jsonCM("b"), list())), "a:1 b:1"},
		{"typed list", "apiVersion: v1\nkind: ConfigMapList\nitems:\n- metadata: {name: a}\n- metadata: {name: b}\n", "a:1 b:1"},
		{"a kind that ends in List", "apiVersion: x/v1\nkind: AllowList\nmetadata: {name: a}\n", "a:1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			objects, err := manifest.Parse([]byte(c.in))
			require.NoError(t, err)
			var got []string
			for _, o := range objects {
				got = append(got, fmt.Sprintf("%s:%d", o.GetName(), o.Line))
				assert.NotEmpty(t, o.GetKind())
				assert.NotEmpty(t, o.GetAPIVersion())
			}
			assert.Equal(t, c.want, strings.Join(got, " "))
		})
	}
}

func TestParseRefuses(t *testing.T) {
	for _, c := range []struct{ name, in, want string }{
		{"empty object", "{}", "document at line 1: apiVersion is missing"},
		{"no kind", "apiVersion: v1\nmetadata: {name: a}\n", "kind is missing"},
		{"no name", "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {}\n", "document at line 1: ConfigMap: metadata.name is missing"},
		{"no metadata", "apiVersion: v1\nkind: ConfigMap\n", "metadata is missing"},
		{"a name that is a number", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: 12}\n", "metadata.name is missing, or not a string"},
		{"a namespace that is a number", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, namespace: 1}\n", `ConfigMap "a": metadata.namespace is not a string`},
		{"generateName", "apiVersion: v1\nkind: Pod\nmetadata: {generateName: a-}\n", "generateName"},
		{"a string", "hello\n", `got a string`},
		{"a list", "- a\n- b\n", "got a list"},
		{"malformed", cm("a") + "---\nkind: [\n", "document at line 5: line 6: did not find expected node content"},
		{"tab", "apiVersion: v1\nkind: X\nmetadata:\n\tname: a\n", "line 4: found character that cannot start any token"},
		{"duplicate key", cm("a") + "kind: Secret\n", `line 5: key "kind" already set in map`},
		{"duplicate key in JSON", `{"apiVersion":"v1","kind":"A","kind":"B","metadata":{"name":"a"}}`, `duplicate field "kind"`},
		{"keys equal as text", "1: a\n\"1\": b\n", `key "1" is there twice`},
		{"two without a separator", cm("a") + "...\n# the next\n" + cm("b"), "document at line 1: more follows after its end"},
		{"two JSON objects", `{"kind":"A"}` + "\n" + `{"kind":"B"}`, "document at line 1: more follows after its end"},
		{"template", "apiVersion: v1\nkind: {{ .Kind }}\n", "is it a template that was never rendered?"},
		{"not a number", cm("a") + "data: {x: .nan}\n", "the number NaN has no place"},
		{"not UTF-8", cm("a") + "data: {x: !!binary \"/w==\"}\n", "is not UTF-8"},
		{"UTF-16", "\xff\xfea\x00", "UTF-16"},
		{"List without items", "apiVersion: v1\nkind: List\n", "the List has no items"},
		{"nothing in a List", `{"apiVersion":"v1","kind":"List","items":[null]}`, "item 1 of the List: want an object with apiVersion and kind, got nothing"},
		{"deep", "a: " + strings.Repeat("[", 2000) + strings.Repeat("]", 2000), "nested more than"},
		{"deeper", strings.Repeat("[", 100_000), "exceeded max depth"},
	} {
		t.Run(c.name, func(t *testing.T) {
			objects, err := manifest.Parse([]byte(c.in))
			require.Error(t, err)
			assert.Contains(t, err.Error(), c.want)
			assert.NotContains(t, err.Error(), "\n", "one line")
			assert.Nil(t, objects)
		})
	}
}

// A bomb of anchors is refused before it has grown; that takes no time to speak of, and
// the test's own time limit is the only clock.
func TestParseRefusesAnAnchorBomb(t *testing.T) {
	var b strings.Builder
	b.WriteString("a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n")
	for i := 1; i < 20; i++ {
		fmt.Fprintf(&b, "a%d: &a%d [%s]\n", i, i, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*a%d,", i-1), 10), ","))
	}
	_, err := manifest.Parse([]byte(b.String()))
	require.Error(t, err)
	assert.Contains(t, err.Error(), "its aliases or tags stand for far more than its size")
}

func TestParseManyDocuments(t *testing.T) {
	var b strings.Builder
	for i := range 10_000 {
		b.WriteString("---\n" + cm(fmt.Sprintf("c%d", i)))
	}
	objects, err := manifest.Parse([]byte(b.String()))
	require.NoError(t, err)
	require.Len(t, objects, 10_000)
	assert.Equal(t, "c9999", objects[9_999].GetName())
}

// What is parsed must not differ from what kubectl would read.
func TestParseReadsAsKubectlDoes(t *testing.T) {
	const in = `
apiVersion: v1
kind: ConfigMap
metadata: {name: a}
map: &l {off: "yes", 1: one, true: x, 1.5: y}
list: [1, -1, 1.0, 1.5, 1e3, 0x10, 010, 9007199254740993, 18446744073709551615, yes, off, ~, null, "", 2001-01-01, 12:30:45]
text: |
  a
  b
merged: {<<: *l, z: 1, on: z}
`
	objects, err := manifest.Parse([]byte(in))
	require.NoError(t, err)
	var want map[string]any
	require.NoError(t, sigsyaml.Unmarshal([]byte(in), &want))
	got, err := sigsyaml.Marshal(objects[0].Object)
	require.NoError(t, err)
	var back map[string]any
	require.NoError(t, sigsyaml.Unmarshal(got, &back))
	assert.Equal(t, want, back)
}

// Directives before a separator belong to the document after it.
func TestParseDirectives(t *testing.T) {
	tagged := "%TAG ! tag:yaml.org,2002:\n---\n" + strings.Replace(cm("a"), "kind:", "kind: !str", 1)
	for name, text := range map[string]string{
		"alone":               tagged,
		"after a document":    cm("b") + "...\n# note\n" + tagged,
		"with a version":      strings.Replace(tagged, "---", "%YAML 1.2\n---", 1),
		"with a comment":      "# first\n" + strings.Replace(tagged, "---", "# then\n\n---", 1),
		"only a version":      "%YAML 1.2\n---\n" + cm("a"),
		"of nothing":          cm("a") + "...\n%TAG ! tag:yaml.org,2002:\n---\n---\n",
		"before the next":     tagged + "---\n" + cm("b"),
		"no directive at all": cm("a") + "  text: |\n    %TAG x\n",
	} {
		objects, err := manifest.Parse([]byte(text))
		if assert.NoError(t, err, name) {
			assert.Equal(t, "a", objects[max(0, strings.Count(name, "after"))].GetName(), name)
		}
	}
	_, err := manifest.Parse([]byte(tagged + "---\n" + strings.Replace(cm("b"), "kind:", "kind: !nowhere!str", 1)))
	require.ErrorContains(t, err, "undefined tag handle", "a directive is for one document")

	images, err := manifest.SetImages([]byte("# ä\n%TAG ! tag:yaml.org,2002:\n---\napiVersion: v1\nkind: !str Pod\nmetadata: {name: a}\nspec: {containers: [{name: c, image: 'x:1'}]}\n"), map[string]string{"c": "x:2"})
	require.NoError(t, err)
	assert.Equal(t, "# ä\n%TAG ! tag:yaml.org,2002:\n---\napiVersion: v1\nkind: !str Pod\nmetadata: {name: a}\nspec: {containers: [{name: c, image: 'x:2'}]}\n", string(images))
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(cm("a") + "---\n" + cm("b")))
	f.Add([]byte(`{"apiVersion":"v1","kind":"List","items":[{"metadata":{"name":"a"}}]}`))
	f.Add([]byte("a: &a [*a]"))
	f.Add([]byte("? {a: b}\n: c"))
	f.Fuzz(func(t *testing.T, data []byte) {
		objects, err := manifest.Parse(data)
		if err != nil {
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("the error runs over several lines: %q", err)
			}
			return
		}
		for _, o := range objects {
			if o.GetName() == "" || o.GetKind() == "" || o.GetAPIVersion() == "" || o.Line < 1 {
				t.Errorf("an incomplete object was accepted: %v", o)
			}
			if _, err := o.MarshalJSON(); err != nil {
				t.Errorf("an object that cannot be sent was accepted: %v", err)
			}
			o.DeepCopy() // panics on a type that has no place in an object
		}
	})
}
