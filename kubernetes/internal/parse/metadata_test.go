package parse_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/platformbus/platform/kubernetes/internal/parse"
)

func TestAnnotationsAndLabelsAreStrings(t *testing.T) {
	const quotes = ", and has to be a string: write it in quotes"
	for _, c := range []struct{ name, metadata, want string }{
		{"a number", "annotations: {prometheus.io/port: 48151623}", `ConfigMap "a": .metadata.annotations: the value of "prometheus.io/port" is a number` + quotes},
		{"a boolean", "annotations: {scrape: true}", `.metadata.annotations: the value of "scrape" is a boolean` + quotes},
		{"a map", "annotations: {a: {b: hunter2}}", `.metadata.annotations: the value of "a" is a map` + quotes},
		{"a list", "annotations: {a: [hunter2]}", `.metadata.annotations: the value of "a" is a list` + quotes},
		{"a label", "labels: {version: 1.5}", `.metadata.labels: the value of "version" is a number` + quotes},
		{"several", "labels: {b: 48151623, c: x, a: no}", `.metadata.labels: the values of "a", "b" have to be strings: write them in quotes`},
		{"many", "labels: {a0: 1, a1: 1, a2: 1, a3: 1, a4: 1, a5: 1, a6: 1, a7: 1, a8: 1, a9: 1, b: 1}", `"a9" and 1 more have to be strings`},
	} {
		t.Run(c.name, func(t *testing.T) {
			text := "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, " + c.metadata + "}\n"
			err := read(t, text, parse.NewLimits(len(text), parse.AnyNumber))
			require.ErrorContains(t, err, c.want)
			require.ErrorContains(t, err, "document at line 1: ConfigMap \"a\": ")
			for _, value := range []string{"hunter2", "48151623"} {
				assert.NotContains(t, err.Error(), value)
			}
		})
	}
}

// As kubectl does, a null is taken for what is not set.
func TestNullsInMetadata(t *testing.T) {
	for metadata, want := range map[string]string{
		"namespace: null":                                `{"name":"a"}`,
		"namespace: ":                                    `{"name":"a"}`,
		"labels: null, annotations: ~":                   `{"name":"a"}`,
		"annotations: {a: null, b: \"1\"}":               `{"name":"a","annotations":{"b":"1"}}`,
		"labels: {a: null}":                              `{"name":"a","labels":{}}`,
		"labels: {a: \"\"}, annotations: {}":             `{"name":"a","labels":{"a":""},"annotations":{}}`,
		"namespace: b, labels: {a: null, b: b, c: null}": `{"name":"a","namespace":"b","labels":{"b":"b"}}`,
	} {
		text := "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, " + metadata + "}\n"
		for _, text := range []string{text, "apiVersion: v1\nkind: List\nitems:\n- " + strings.ReplaceAll(text, "\n", "\n  ")} {
			var got []byte
			err := parse.Each(t.Context(), []byte(text), parse.NewLimits(len(text), parse.AnyNumber), func(o parse.Object) (err error) {
				got, err = json.Marshal(o.Object["metadata"])
				return err
			})
			require.NoError(t, err, text)
			assert.JSONEq(t, want, string(got), text)
		}
	}
}
