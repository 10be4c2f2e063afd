package parse_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/platformbus/platform/kubernetes/internal/parse"
)

func TestSOPS(t *testing.T) {
	const (
		sealed = "ENC[AES256_GCM,data:c2VhbGVk,iv:aXY=,tag:dGFn,type:str]"
		want   = "it is encrypted with SOPS, and has to be decrypted first"
		secret = "apiVersion: v1\nkind: Secret\nmetadata: {name: a}\n"
	)
	for _, c := range []struct{ name, in, want string }{
		{"all of it", secret + "data: {a: \"" + sealed + "\"}\nsops: {mac: \"" + sealed + "\", version: 3.9.0}\n", `document at line 1: Secret "a": ` + want},
		{"the marks alone", secret + "data: {a: aHVudGVyMg==}\nsops: {version: 3.9.0}\n", `Secret "a": ` + want},
		{"a value alone", secret + "stringData: {a: \"" + sealed + "\"}\n", `Secret "a": ` + want},
		{"a value in a list", configMap("a", "spec: {a: [{b: \""+sealed+"\"}]}\n"), `ConfigMap "a": ` + want},
		{"the kind too", "apiVersion: \"" + sealed + "\"\nkind: \"" + sealed + "\"\nmetadata: {name: a}\nsops: {mac: x}\n", "document at line 1: " + want},
		{"the name too", "apiVersion: v1\nkind: Secret\nmetadata: {name: \"" + sealed + "\"}\n", "document at line 1: Secret: " + want},
		{"of a List", "apiVersion: v1\nkind: List\nitems: []\nsops: {lastmodified: x}\n", "document at line 1: List: " + want},
		{"an item of a List", "apiVersion: v1\nkind: List\nitems:\n- " + strings.ReplaceAll(strings.TrimSpace(configMap("a", "")), "\n", "\n  ") + "\n- " + strings.ReplaceAll(secret, "\n", "\n  ") + "data: {a: \"" + sealed + "\"}\n", `document at line 1: item 2 of the List: Secret "a": ` + want},
		{"JSON", `{"apiVersion":"v1","kind":"Secret","metadata":{"name":"a"},"data":{"a":"` + sealed + `"},"sops":{"mac":"x"}}`, `Secret "a": ` + want},
		{"a field named sops", configMap("a", "spec: {sops: {mac: x, version: 3.9.0}}\n"), ""},
		{"a string named sops", configMap("a", "sops: hunter2\n"), ""},
		{"a map of another's, named sops", configMap("a", "sops: {enabled: true}\n"), ""},
		{"a text about it", configMap("a", "data: {a: \"as in "+sealed+"\", b: \"ENC[AES256_GCM,\"}\n"), ""},
		{"what is decrypted in the cluster", "apiVersion: isindir.github.com/v1alpha3\nkind: SopsSecret\nmetadata: {name: a}\nspec: {a: \"" + sealed + "\"}\nsops: {mac: x}\n", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := read(t, c.in, parse.NewLimits(len(c.in), parse.AnyNumber))
			if c.want == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, c.want)
			assert.NotContains(t, err.Error(), "c2VhbGVk")
		})
	}
}
