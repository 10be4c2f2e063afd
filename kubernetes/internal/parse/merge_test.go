package parse_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	yamlv3 "go.yaml.in/yaml/v3"
	sigsyaml "sigs.k8s.io/yaml"

	"github.com/platformbus/platform/kubernetes/internal/parse"
)

// value returns what a text of one document holds, as JSON, and the error of reading it.
func value(t *testing.T, text string) (string, error) {
	t.Helper()
	docs := parse.Split([]byte(text))
	require.Len(t, docs, 1, text)
	v, err := docs[0].Value(t.Context(), parse.NewLimits(len(text), parse.AnyNumber))
	if err != nil {
		return "", err
	}
	out, err := json.Marshal(v)
	require.NoError(t, err)
	return string(out), nil
}

func TestMergeKeys(t *testing.T) {
	const maps = "a: &a {x: 1, k: 1}\nb: &b {x: 2, z: 2}\n"
	for _, c := range []struct {
		name, in, want string
		// kubectl is what kubectl reads where that is not what the text says: its decoder
		// lets a merge key override all that stands before it.
		kubectl string
	}{
		{name: "a key after the merge", in: maps + "c: {<<: *a, x: 9}", want: `{"x":9,"k":1}`},
		{name: "a key before the merge", in: maps + "c: {x: 9, <<: *a}", want: `{"x":9,"k":1}`, kubectl: `{"x":1,"k":1}`},
		{name: "keys on both sides", in: maps + "c:\n  x: 9\n  <<: *a\n  k: 8 # not 1\n", want: `{"x":9,"k":8}`, kubectl: `{"x":1,"k":8}`},
		{name: "a list", in: maps + "c: {<<: [*a, *b]}", want: `{"x":1,"k":1,"z":2}`},
		{name: "a list in blocks", in: maps + "c:\n  <<:\n  - *b\n  - *a\n  q: 1\n", want: `{"x":2,"k":1,"z":2,"q":1}`},
		{name: "a list, then a key", in: maps + "c: {<<: [*a, *b], z: 9}", want: `{"x":1,"k":1,"z":9}`},
		{name: "an empty list", in: "c: {<<: [], x: 1}", want: `{"x":1}`},
		{name: "several", in: maps + "c: {<<: *a, <<: *b}", want: `{"x":1,"k":1,"z":2}`, kubectl: `{"x":2,"k":1,"z":2}`},
		{name: "ten", in: "c: {" + strings.Repeat("<<: {x: 1}, ", 2) + strings.Repeat("<<: {x: 2}, ", 8) + "}", want: `{"x":1}`, kubectl: `{"x":2}`},
		{name: "a map in place", in: "c:\n  <<: {x: 1, k: 1}\n  x: 2\n", want: `{"x":2,"k":1}`},
		{name: "maps are not mixed", in: "a: &a {x: {p: 1}}\nc: {<<: *a, x: {q: 1}}", want: `{"x":{"q":1}}`},
		{name: "a merge of a merge", in: "a: &a {x: 1, k: 1}\nb: &b {<<: *a, x: 2}\nc: {<<: *b, k: 3}", want: `{"x":2,"k":3}`},
		{name: "a null overrides", in: maps + "c: {<<: *a, x: null}", want: `{"x":null,"k":1}`},
		{name: "on the next line", in: maps + "c:\n  ? <<\n  : *a\n  x: 9\n", want: `{"x":9,"k":1}`},
		{name: "after wide characters", in: maps + "c: {ä€😀: &u {x: 1}, <<: *u, x: 9}", want: `{"ä€😀":{"x":1},"x":9}`},
		{name: "Windows line ends", in: strings.ReplaceAll(maps+"c:\n  <<: *a\n  x: 9\n", "\n", "\r\n"), want: `{"x":9,"k":1}`},
		{name: "quoted, it is a key", in: "c: {'<<': a, x: 2}", want: `{"<<":"a","x":2}`},
		{name: "as text", in: "c: {x: \"cat << EOF\", k: \"cat <<: EOF\", z: '<< '}\n# <<: a\n", want: `{"x":"cat << EOF","k":"cat <<: EOF","z":"<< "}`},
		{name: "as a value", in: "c: {x: <<, k: [<<]}", want: `{"x":"<<","k":["<<"]}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := value(t, c.in)
			require.NoError(t, err)
			assert.JSONEq(t, c.want, part(t, got))
			if c.kubectl == "" {
				c.kubectl = c.want
			}
			theirs, err := sigsyaml.YAMLToJSON([]byte(c.in))
			require.NoError(t, err)
			assert.JSONEq(t, c.kubectl, part(t, string(theirs)), "kubectl")
		})
	}
}

// part returns c of an object in JSON.
func part(t *testing.T, text string) string {
	t.Helper()
	var content struct{ C json.RawMessage }
	require.NoError(t, json.Unmarshal([]byte(text), &content))
	return string(content.C)
}

func TestMergeKeysRefused(t *testing.T) {
	const wrong = "a merge key (<<) wants a map, or a list of maps"
	for _, c := range []struct{ name, in, want string }{
		{"a key twice beside a merge", "a: &a {x: 1}\nc: {<<: *a, k: 2, k: 3}", `line 2: key "k" already set in map`},
		{"a merged key twice", "a: &a {x: 1}\nc: {x: 2, <<: *a, x: 3}", `line 2: key "x" already set in map`},
		{"twice in what is merged", "c: {<<: {x: 1, x: 2}, x: 3}", `line 1: key "x" already set in map`},
		{"keys equal as text", "a: &a {x: 1}\nc: {<<: *a, 1: a, \"1\": b}", `key "1" is there twice`},
		{"a string", "c: {<<: hunter2}", wrong},
		{"nothing", "c: {<<: }", wrong},
		{"a list of strings", "c: {<<: [hunter2]}", wrong},
		{"an alias of a list", "a: &a [{x: 1}]\nc: {<<: *a}", wrong},
		{"a list in a list", "a: &a [{x: 1}]\nc: {<<: [*a]}", wrong},
		{"itself", "c: &c {<<: *c}", "contains itself"},
		{"an anchor", "c: {&k <<: {x: 1}, *k : 2}", "a merge key with a tag or an anchor is not read"},
		{"a name of ours", `c: {"\0<<1": hunter2}`, wrong},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := value(t, c.in)
			require.ErrorContains(t, err, "document at line 1: ")
			require.ErrorContains(t, err, c.want)
			assert.NotContains(t, err.Error(), "hunter2")
		})
	}
}

// Mappings that merge each other at random are read as another decoder reads them, which
// knows one merge key in a mapping.
func TestMergeKeysAtRandom(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 500 {
		var b strings.Builder
		for m := range 6 {
			var entries []string
			for key := range 4 {
				if r.IntN(2) == 0 {
					entries = append(entries, fmt.Sprintf("k%d: %d", key, r.IntN(100)))
				}
			}
			if m > 0 && r.IntN(4) > 0 {
				merge := fmt.Sprintf("<<: *m%d", r.IntN(m))
				if r.IntN(2) == 0 {
					merge = fmt.Sprintf("<<: [*m%d, {k0: v, k3: w}, *m%d]", r.IntN(m), r.IntN(m))
				}
				entries = append(entries, merge)
			}
			r.Shuffle(len(entries), func(i, j int) { entries[i], entries[j] = entries[j], entries[i] })
			if r.IntN(2) == 0 || len(entries) == 0 {
				fmt.Fprintf(&b, "m%d: &m%d {%s}\n", m, m, strings.Join(entries, ", "))
			} else {
				fmt.Fprintf(&b, "m%d: &m%d\n  %s\n", m, m, strings.Join(entries, "\n  "))
			}
		}
		var theirs map[string]any
		require.NoError(t, yamlv3.Unmarshal([]byte(b.String()), &theirs), b.String())
		want, err := json.Marshal(theirs)
		require.NoError(t, err)
		got, err := value(t, b.String())
		require.NoError(t, err, b.String())
		require.JSONEq(t, string(want), got, b.String())
	}
}
