package natsbus

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"strings"

	"github.com/platformbus/platform/flux"
)

// maxToken is how long an escaped instance ID may be; a longer one is hashed. A server
// closes connections that send much longer subjects.
const maxToken = 200

const hexDigits = "0123456789abcdef"

// token returns inst as one token of a subject. No two instances have the same one:
// what is not in [a-z0-9_-] becomes "=" and two hexadecimal digits, and a hash begins
// with "=h", which nothing is escaped to. NATS tells upper from lower case, but files and
// the people who write permissions may not, so upper case is escaped too.
func token(inst flux.InstanceID) string {
	plain := 0 // how much of inst stays as it is
	for plain < len(inst) && isPlain(inst[plain]) {
		plain++
	}
	if plain == len(inst) && plain <= maxToken {
		return string(inst)
	}
	var b strings.Builder
	for i := range len(inst) {
		if c := inst[i]; isPlain(c) {
			b.WriteByte(c)
		} else {
			b.Write([]byte{'=', hexDigits[c>>4], hexDigits[c&15]})
		}
	}
	if b.Len() <= maxToken {
		return b.String()
	}
	sum := sha256.Sum256([]byte(inst))
	return "=h" + hex.EncodeToString(sum[:])
}

func isPlain(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '_' || c == '-'
}

// The second token of every subject. A later version of the protocol that can talk with
// this one keeps it, and says what it is in the frame.
const subjectVersion = "v1"

// What the fourth token of a subject may be.
const (
	toDaemon = "rpc" // and the method: what begins a call
	toCaller = "re"  // and bus and call: what answers
	inCall   = "in"  // and session and call: what follows, from the caller
)

// subject returns a subject of two tokens after the direction, or of one if the second is
// empty.
func (b *Bus) subject(tok, direction, first, second string) string {
	if second == "" {
		return b.root + tok + "." + direction + "." + first
	}
	return b.root + tok + "." + direction + "." + first + "." + second
}

// parseSubject returns what subject put in.
func (b *Bus) parseSubject(s string) (tok, direction, first, second string, ok bool) {
	s, ok = strings.CutPrefix(s, b.root)
	if !ok {
		return "", "", "", "", false
	}
	tok, s, _ = strings.Cut(s, ".")
	direction, s, ok = strings.Cut(s, ".")
	first, second, _ = strings.Cut(s, ".")
	return tok, direction, first, second, ok
}

// newName returns a name that nobody can guess, for buses, sessions and calls.
func newName() string { return rand.Text() }

const maxName = 64

// isName says whether s may be part of a subject, as names from newName may.
func isName(s string) bool {
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '_' && c != '-' {
			return false
		}
	}
	return s != "" && len(s) <= maxName
}
