package natsbus

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/platformbus/platform/flux"
)

func TestToken(t *testing.T) {
	for inst, want := range map[flux.InstanceID]string{
		"a-b_9":                              "a-b_9",
		"A.b":                                "=41=2eb",
		"*":                                  "=2a",
		">":                                  "=3e",
		"=2a":                                "=3d2a",
		"ü":                                  "=c3=bc",
		flux.InstanceID(rep("x", 200)):       rep("x", 200),
		flux.InstanceID(rep("x", 201)):       "=h",
		flux.InstanceID(rep(".", 67)):        "=h",
		flux.InstanceID("=h" + rep("0", 64)): "=3dh" + rep("0", 64),
	} {
		got := token(inst)
		if want == "=h" {
			assert.Len(t, got, 66)
			got = got[:2]
		}
		assert.Equal(t, want, got, "token(%q)", inst)
	}
}

func rep(s string, n int) string { return strings.Repeat(s, n) }

// Two different IDs never share a subject, and a token is one token of a subject.
func FuzzToken(f *testing.F) {
	f.Add("a", "A")
	f.Add("*", "=2a")
	f.Add(rep("x", 300), rep("x", 301))
	f.Add("=h", "=3dh")
	f.Fuzz(func(t *testing.T, one, two string) {
		a, b := token(flux.InstanceID(one)), token(flux.InstanceID(two))
		if (a == b) != (one == two) {
			t.Errorf("token(%q) = %q, token(%q) = %q", one, a, two, b)
		}
		if one != "" && (a == "" || len(a) > maxToken || strings.ContainsAny(a, ".*> \t\r\n")) {
			t.Errorf("token(%q) = %q", one, a)
		}
	})
}
