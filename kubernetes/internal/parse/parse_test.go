package parse_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/platformbus/platform/kubernetes/internal/parse"
)

func configMap(name, rest string) string {
	return fmt.Sprintf("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: %s}\n%s", name, rest)
}

func read(t *testing.T, text string, limits *parse.Limits) error {
	t.Helper()
	return parse.Each(t.Context(), []byte(text), limits, func(parse.Object) error { return nil })
}

// Reading ends with its context: before a document, and within one.
func TestEachEndsWithItsContext(t *testing.T) {
	enough := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	text := strings.Repeat(configMap("a", "---\n"), 10)
	var seen int
	err := parse.Each(ctx, []byte(text), parse.NewLimits(len(text), parse.AnyNumber), func(parse.Object) error {
		if seen++; seen == 3 {
			cancel(enough)
		}
		return nil
	})
	require.ErrorIs(t, err, enough)
	assert.Equal(t, 3, seen)

	doc := parse.Split([]byte(configMap("a", "a: "+strings.Repeat("x", 2<<20))))[0]
	_, err = doc.Value(ctx, parse.NewLimits(0, parse.AnyNumber))
	require.ErrorIs(t, err, enough)
}

// What stops it from outside is what it fails with.
func TestEachFailsWithWhatStopsIt(t *testing.T) {
	stop := errors.New("stop")
	err := parse.Each(t.Context(), []byte(configMap("a", "")), parse.NewLimits(0, parse.AnyNumber), func(parse.Object) error { return stop })
	require.ErrorIs(t, err, stop)
}

// Limits are those of all texts that share them.
func TestLimitsAreShared(t *testing.T) {
	limits := parse.NewLimits(0, 3)
	err := read(t, configMap("a", "---\n")+configMap("b", ""), limits)
	require.NoError(t, err)
	err = read(t, configMap("a", ""), limits)
	require.NoError(t, err)
	err = read(t, configMap("a", ""), limits)
	require.ErrorIs(t, err, parse.ErrTooManyObjects)

	limits = parse.NewLimits(0, parse.AnyNumber)
	aliased := configMap("a", "a: &a "+strings.Repeat("x", 1000)+"\nb: ["+strings.Repeat("*a,", 700)+"]")
	err = read(t, aliased, limits)
	require.NoError(t, err, "half a megabyte of aliases is no bomb")
	err = read(t, aliased, limits)
	require.ErrorContains(t, err, "far more than its size", "many of it are")
	limits.Add(1 << 20)
	err = read(t, aliased, limits)
	require.NoError(t, err, "in a text as large they are not")
}

// Anchors, merged maps and Lists as people write them stay within all limits.
func TestOrdinaryTexts(t *testing.T) {
	for name, text := range map[string]string{
		"anchors":                       configMap("a", "x: &x {a: 1}\ny: *x\nz: {<<: *x, b: 2}"),
		"a table as text":               configMap("a", "data:\n  table: |\n"+strings.Repeat("    1,2,3,4,5,6,7,8,9\n", 50_000)),
		"a sparse table as text":        configMap("a", "data:\n  table: |\n"+strings.Repeat("    "+strings.Repeat(",", 200)+"\n", 3_000)),
		"one alias in a large document": configMap("a", "x: &x 1\ny: *x\na:\n"+strings.Repeat("- a: 1\n  b: 2\n", 60_000)),
		"one alias beside a list":       configMap("a", "x: &x 1\ny: *x\na: ["+strings.Repeat("1,", 200_000)+"]"),
		"a mark before directives":      "\ufeff%TAG ! tag:yaml.org,2002:\n---\n" + configMap("a", "b: !str c"),
		"a dashboard":                   configMap("a", "data:\n  board.json: '"+strings.Repeat(`{"a":1,"b":[2]},`, 60_000)+"'"),
		"a list in JSON":                `{"apiVersion":"v1","kind":"List","items":[` + strings.Repeat(`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a","managedFields":[{"fieldsV1":{"f:data":{".":{},"f:a":{}}}}]},"data":{"a":"b"}},`, 30_000) + `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"}}]}`,
		"a star and an and":             configMap("a", "data: {a: '&', b: '*'}"),
	} {
		err := read(t, text, parse.NewLimits(len(text), parse.AnyNumber))
		assert.NoError(t, err, name)
	}
}

func TestSplit(t *testing.T) {
	for text, want := range map[string]string{
		"":                                      "",
		"a: 1":                                  "1@0 a: 1",
		"---\na: 1\n---\nb: 2\n":                "1@3 \na: 1\n|3@12 \nb: 2\n",
		"a: 1\n...\n---\nb: 2":                  "1@0 a: 1\n...\n|3@12 \nb: 2",
		"%YAML 1.1\n---\na: 1":                  "2@13 \na: 1",
		"%TAG ! x\n---\na: 1":                   "1@0 %TAG ! x\n---\na: 1",
		"%TAG ! x\n%YAML 1.2\n---\na: 1":        "1@0 %TAG ! x\n#YAML 1.2\n---\na: 1",
		"a: 1\n...\n%TAG ! x\n--- b\n---\nc":    "1@0 a: 1\n...\n|3@9 %TAG ! x\n--- b\n|5@27 \nc",
		"a: |\n  x\n%TAG ! x\n---\nb: 2":        "1@0 a: |\n  x\n%TAG ! x\n|4@21 \nb: 2",
		"%TAG ! x\na: 1\n---\nb: 2":             "1@0 %TAG ! x\na: 1\n|3@17 \nb: 2",
		"%TAG ! x\n---\n---\nb: 2":              "3@16 \nb: 2",
		"# only a comment\n---\n...\n# another": "",
	} {
		var got []string
		for _, doc := range parse.Split([]byte(text)) {
			got = append(got, fmt.Sprintf("%d@%d %s", doc.Line, doc.At, doc.Text))
		}
		assert.Equal(t, want, strings.Join(got, "|"), "%q", text)
	}
}

// Whatever is read, each document stands where it is said to, and nothing but separators,
// comments and marks is left out.
func FuzzSplit(f *testing.F) {
	for _, seed := range []string{"a\n---\nb", "%TAG ! x\n---\na", "a\n...\n%TAG ! x\n---\nb", "\ufeffa", "--- a\n--- b"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		end := 0
		for _, doc := range parse.Split(data) {
			if doc.At < end || doc.Line != bytes.Count(data[:doc.At], []byte("\n"))+1 && doc.Line != bytes.Count(data[:doc.At], []byte("\n")) {
				t.Errorf("document at %d, line %d, in %q", doc.At, doc.Line, data)
			}
			end = doc.At
		}
	})
}
