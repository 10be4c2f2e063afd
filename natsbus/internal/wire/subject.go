package wire

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"

	"github.com/platformbus/platform/flux"
)

// MaxToken is how long an escaped instance ID may be; a longer one is hashed. A server
// closes connections that send much longer subjects.
const MaxToken = 200

const hexDigits = "0123456789abcdef"

// Token returns inst as one token of a subject. No two instances have the same one:
// what is not in [a-z0-9_-] becomes "=" and two hexadecimal digits, and a hash begins
// with "=h", which nothing is escaped to. NATS tells upper from lower case, but files and
// the people who write permissions may not, so upper case is escaped too.
func Token(inst flux.InstanceID) string {
	plain := 0 // how much of inst stays as it is
	for plain < len(inst) && isPlain(inst[plain]) {
		plain++
	}
	if plain == len(inst) && plain <= MaxToken {
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
	if b.Len() <= MaxToken {
		return b.String()
	}
	sum := sha256.Sum256([]byte(inst))
	return "=h" + hex.EncodeToString(sum[:])
}

func isPlain(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '_' || c == '-'
}

// isToken says whether s may be what Token returns.
func isToken(s string) bool {
	for i := range len(s) {
		if !isPlain(s[i]) && s[i] != '=' {
			return false
		}
	}
	return s != "" && len(s) <= MaxToken
}

// subjectVersion is the second token of every subject. A later version of the protocol that
// can talk with this one keeps it, and says what it is in the frame.
const subjectVersion = "v1"

// A Direction is the fourth token of a subject, and for claims the fifth too: who speaks to
// whom. A daemon hears calls and claims by one pattern, but who may make calls need not be
// permitted to make claims, nor the other way round.
type Direction string

// The directions, each with the names that follow it.
const (
	Calls   Direction = "rpc"       // method: caller to daemon; what begins a call
	Claims  Direction = "rpc.claim" // "all" or session: daemon to daemons, or to the claimant
	Replies Direction = "re"        // service, bus, call: daemon to caller
	InCall  Direction = "in"        // session, call: caller to daemon, during a call
)

// AllClaimants is where a session is in the subject of a claim that all daemons are to hear.
const AllClaimants = "all"

// An Address is a subject in its parts. Names that a direction does not have are empty.
type Address struct {
	Token     string // the instance's
	Direction Direction
	Method    string
	Service   string
	Bus       string
	Session   string
	Call      string
}

// Subjects makes the subjects of a bus, and takes them apart.
type Subjects struct{ root string }

// NewSubjects returns those that begin with a prefix.
func NewSubjects(prefix string) Subjects { return Subjects{prefix + "." + subjectVersion + "."} }

// Call returns where a call of a method is made.
func (s Subjects) Call(tok, method string) string {
	return s.root + tok + "." + string(Calls) + "." + method
}

// Reply returns where the caller hears of a call.
func (s Subjects) Reply(tok, service, bus, call string) string {
	return s.root + tok + "." + string(Replies) + "." + service + "." + bus + "." + call
}

// InCall returns where the daemon hears of a call.
func (s Subjects) InCall(tok, session, call string) string {
	return s.root + tok + "." + string(InCall) + "." + session + "." + call
}

// Claim returns where all daemons of an instance hear claims.
func (s Subjects) Claim(tok string) string { return s.Claimant(tok, AllClaimants) }

// Claimant returns where one of them hears what is said of its claim.
func (s Subjects) Claimant(tok, session string) string {
	return s.root + tok + "." + string(Claims) + "." + session
}

// Registration returns the pattern by which a daemon hears calls and claims.
func (s Subjects) Registration(tok string) string { return s.root + tok + "." + string(Calls) + ".>" }

// TokenIn returns the part of a subject of an instance that is its token, so that both can
// share their memory.
func (s Subjects) TokenIn(subject string) string {
	tok, _, _ := strings.Cut(subject[len(s.root):], ".")
	return tok
}

// Parse takes a subject apart. It fails for one that is not of the bus, or whose names are
// none: what answers it is sent to a subject made of this one, and a server closes the
// connection of who sends to a subject that is too long.
func (s Subjects) Parse(subject string) (a Address, ok bool) {
	rest, ok := strings.CutPrefix(subject, s.root)
	if !ok {
		return Address{}, false
	}
	a.Token, rest, _ = strings.Cut(rest, ".")
	direction, rest, _ := strings.Cut(rest, ".")
	a.Direction = Direction(direction)
	if session, claims := strings.CutPrefix(rest, "claim."); claims && a.Direction == Calls {
		a.Direction, rest = Claims, session
	}
	names := [...]*string{nil, nil, nil}
	switch a.Direction {
	case Calls:
		names[0] = &a.Method
	case Replies:
		names = [...]*string{&a.Service, &a.Bus, &a.Call}
	case InCall:
		names[0], names[1] = &a.Session, &a.Call
	case Claims:
		names[0] = &a.Session
	default:
		return a, false
	}
	for _, name := range names {
		if name == nil {
			break
		}
		*name, rest, _ = strings.Cut(rest, ".")
		if name != &a.Service && !IsName(*name) {
			return a, false
		}
	}
	return a, rest == "" && len(a.Token) <= MaxToken && (a.Direction != Replies || isToken(a.Service))
}

// MaxName is how long a name may be.
const MaxName = 64

// IsName says whether s may be part of a subject, as names from NewName may.
func IsName(s string) bool {
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '_' && c != '-' {
			return false
		}
	}
	return s != "" && len(s) <= MaxName
}
