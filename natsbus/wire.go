package natsbus

import "github.com/nats-io/nats.go"

// protocolVersion is that of the frames that this package sends.
const protocolVersion = 1

// A kind says what a frame is for.
type kind string

const (
	kindOpen    kind = "open"    // caller: begins a call; of a small read it has the whole request
	kindAccept  kind = "accept"  // daemon: ready for the request, under session and ticket
	kindData    kind = "data"    // either: a chunk of a request or of a result
	kindAck     kind = "ack"     // either: chunks before sequence have come; with last, those after are lost
	kindBeat    kind = "beat"    // either: still there, and has sent the chunks before sequence
	kindEnd     kind = "end"     // caller: has all it wants; what is under way is cancelled
	kindGone    kind = "gone"    // daemon: this call was not begun here and never will be; ask again
	kindUnknown kind = "unknown" // daemon: there is no such call here
	kindClaim   kind = "claim"   // daemon to daemons: session holds the instance since epoch
	kindHeld    kind = "held"    // daemon to claimant: session holds it, by a later epoch
	kindEnded   kind = "ended"   // daemon to claimant: it is yours
)

// A frame is a message of the bus. See head.go for how it travels.
type frame struct {
	kind    kind
	version int
	call    string // the call, or the claim to be answered
	bus     string // the caller's
	session string // the daemon's
	ticket  uint64 // which of the session's calls
	seq     int
	last    bool
	length  int64  // of the body in all its chunks
	raw     int64  // of the body before it was compressed
	zstd    bool   // the body is compressed
	digest  []byte // SHA-256 of the body in all its chunks, on the last of several
	beat    int64  // the sender's Beat, in milliseconds
	epoch   uint64
	age     int64 // of a claim, in milliseconds
	body    []byte
}

// noResponders says whether m is what the server sends in place of an answer when
// nobody has subscribed to the subject of a message.
func noResponders(m *nats.Msg) bool {
	if len(m.Data) != 0 || len(m.Header) == 0 {
		return false
	}
	status := m.Header["Status"]
	return len(status) == 1 && status[0] == "503"
}
