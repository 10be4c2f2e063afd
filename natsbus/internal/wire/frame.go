package wire

import (
	"crypto/rand"
	"crypto/sha256"
)

// Version is that of the frames that this package writes.
const Version = 1

// A Kind says what a frame is for.
type Kind string

// The kinds of frames, by who sends them.
const (
	Open   Kind = "open"   // caller: begins a call; of a small read it has the whole request
	Accept Kind = "accept" // daemon: ready for the request, under session and ticket
	Refuse Kind = "refuse" // daemon: the call is not begun, for the reason in the body
	Data   Kind = "data"   // either: a chunk of a request or of an answer
	Ack    Kind = "ack"    // either: the bytes before the offset have come; with last, what is behind them is lost
	Beat   Kind = "beat"   // either: still there, and has sent the bytes before the offset
	End    Kind = "end"    // caller: has all that it wants; what is under way is cancelled
	Gone   Kind = "gone"   // daemon: this call was not begun here and never will be; ask again
	Claim  Kind = "claim"  // daemon to daemons: session holds the instance since epoch
	Held   Kind = "held"   // daemon to claimant: session holds it, by a later epoch
	Ended  Kind = "ended"  // daemon to claimant: it is yours
)

var kinds = [...]Kind{Open, Accept, Refuse, Data, Ack, Beat, End, Gone, Claim, Held, Ended}

// A Frame is a message.
type Frame struct {
	Kind    Kind
	Version int
	Call    string // the call's name
	Service string // whose buses the reply subject is of
	Bus     string // the caller's, in the reply subject
	Session string // the daemon's
	Ticket  Ticket // see Ticket
	Offset  int64  // of data: where in the body it begins; of ack and beat: see there
	Last    bool
	Length  int64  // of the body in all its chunks
	Raw     int64  // of the body before it was compressed
	Zstd    bool   // the body is compressed
	Digest  []byte // SHA-256 of the body in all its chunks, on the last of several
	Beat    int64  // how often the sender beats, in milliseconds
	Chunk   int64  // the largest chunk that the sender can be sent
	Window  int64  // how many bytes the sender can be sent before it acknowledges any
	RTT     int64  // of the sender's connection to its server, in milliseconds
	Epoch   uint64 // of a claim
	Age     int64  // of a claim, in microseconds
	Asking  bool   // the claimant has not heard yet what the holder says

	Origin // of a call; on open

	Body []byte
}

// An Origin says where a call comes from. Nothing verifies it.
type Origin struct {
	Trace      string // W3C traceparent
	TraceState string // W3C tracestate
	Identity   string // who asks
}

// maxOrigin is how long an origin may be, with a service of any name, so that the head of the
// frame that has it is no longer than MaxHead.
const maxOrigin = MaxHead - 200

// Fit returns o as it fits into a frame of a service's: without its trace state, which no trace
// needs, if that is too long.
func (o Origin) Fit(service string) Origin {
	if len(service)+len(o.Trace)+len(o.TraceState)+len(o.Identity) > maxOrigin {
		o.TraceState = ""
	}
	return o
}

// A Ticket names one acceptance of one call. The daemon makes it of 128 random bits and
// sends it with each of its frames; the caller sends [Ticket.Hash] with each of its own.
// Whoever hears the one direction can therefore not speak in the other.
type Ticket [16]byte

// NewTicket returns a ticket that nobody can guess.
func NewTicket() (t Ticket) {
	_, _ = rand.Read(t[:]) // it never fails
	return t
}

// IsZero says whether t is no ticket.
func (t Ticket) IsZero() bool { return t == Ticket{} }

// Hash returns what the caller proves with that it was accepted.
func (t Ticket) Hash() (h Ticket) {
	sum := sha256.Sum256(t[:])
	copy(h[:], sum[:])
	return h
}

// NewName returns a name that nobody can guess, for buses, sessions and calls.
func NewName() string { return rand.Text() }
