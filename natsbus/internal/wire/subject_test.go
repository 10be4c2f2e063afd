package wire

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
		got := Token(inst)
		if want == "=h" {
			assert.Len(t, got, 66)
			got = got[:2]
		}
		assert.Equal(t, want, got, "Token(%q)", inst)
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
		a, b := Token(flux.InstanceID(one)), Token(flux.InstanceID(two))
		if (a == b) != (one == two) {
			t.Errorf("Token(%q) = %q, Token(%q) = %q", one, a, two, b)
		}
		if one != "" && (a == "" || len(a) > MaxToken || strings.ContainsAny(a, ".*> \t\r\n")) {
			t.Errorf("Token(%q) = %q", one, a)
		}
	})
}

// What is put into a subject is what Parse finds in it.
func TestSubjects(t *testing.T) {
	s := NewSubjects("flux")
	for subject, want := range map[string]Address{
		s.Call("a", "Ping"):                        {Token: "a", Direction: Calls, Method: "Ping"},
		s.Reply("=2a", "my=20service", "BUS", "C"): {Token: "=2a", Direction: Replies, Service: "my=20service", Bus: "BUS", Call: "C"},
		s.InCall("a", "S", "C"):                    {Token: "a", Direction: InCall, Session: "S", Call: "C"},
		s.Claim("a"):                               {Token: "a", Direction: Claims, Session: AllClaimants},
		s.Claimant("a", "S"):                       {Token: "a", Direction: Claims, Session: "S"},
	} {
		got, ok := s.Parse(subject)
		assert.True(t, ok, subject)
		assert.Equal(t, want, got, subject)
		assert.Equal(t, want.Token, s.TokenIn(subject))
	}
	for _, subject := range []string{
		"", "flux", "flux.v1.", "flux.v1.a", "flux.v2.a.rpc.Ping", "other.v1.a.rpc.Ping", "flux.v1.a.rpc", "flux.v1.a.rpc.", "flux.v1.a.rpc.Ping.more",
		"flux.v1.a.rpc.claim.", "flux.v1.a.rpc.claim.S.more", "flux.v1.a.re.BUS.CALL", "flux.v1.a.re.s.BUS.CALL.more", "flux.v1.a.re.Upper.BUS.CALL",
		"flux.v1.a.in.S", "flux.v1.a.in..C", "flux.v1.a.in.S.C.more", "flux.v1.a.out.S.C", "flux.v1.a.rpc." + rep("x", MaxName+1),
		"flux.v1." + rep("x", MaxToken+1) + ".rpc.Ping", "flux.v1.a.re." + rep("x", MaxToken+1) + ".BUS.CALL",
	} {
		_, ok := s.Parse(subject)
		assert.False(t, ok, subject)
	}
}

// FuzzSubject checks that Parse takes whatever it is given, and that names from outside stay
// short: what answers goes to subjects that are made of them.
func FuzzSubject(f *testing.F) {
	s := NewSubjects("flux")
	f.Add(s.Call("a", "Ping"))
	f.Add(s.Reply("a", "service", "BUS", "CALL"))
	f.Add(s.InCall("a", "S", "C"))
	f.Add(s.Claim("a"))
	f.Fuzz(func(t *testing.T, subject string) {
		if a, ok := s.Parse(subject); ok && len(a.Token+a.Method+a.Service+a.Bus+a.Session+a.Call) > 2*MaxToken+3*MaxName {
			t.Errorf("%q has names that are too long", subject)
		}
	})
}
