package natsbus

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"
)

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

// A frame is a message of the bus. What is zero is not sent.
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
	body    []byte
}

// A head is what a message has of a frame before the body. Fields that this version does
// not know are ignored.
type head struct {
	Kind     kind   `cbor:"1,keyasint"`
	Version  int    `cbor:"2,keyasint"`
	Call     string `cbor:"3,keyasint,omitempty"`
	Bus      string `cbor:"4,keyasint,omitempty"`
	Session  string `cbor:"5,keyasint,omitempty"`
	Ticket   uint64 `cbor:"6,keyasint,omitempty"`
	Sequence uint32 `cbor:"7,keyasint,omitempty"`
	Last     bool   `cbor:"8,keyasint,omitempty"`
	Length   int64  `cbor:"9,keyasint,omitempty"`
	Raw      int64  `cbor:"10,keyasint,omitempty"`
	Zstd     bool   `cbor:"11,keyasint,omitempty"`
	Digest   []byte `cbor:"12,keyasint,omitempty"`
	Beat     int64  `cbor:"13,keyasint,omitempty"`
	Epoch    uint64 `cbor:"14,keyasint,omitempty"`
}

func (f *frame) message(subject, reply string) *nats.Msg {
	var buf bytes.Buffer
	buf.Grow(len(f.body) + 192)
	err := encoding.MarshalToBuffer(&head{
		f.kind, protocolVersion, f.call, f.bus, f.session, f.ticket, uint32(f.seq), f.last,
		f.length, f.raw, f.zstd, f.digest, f.beat, f.epoch,
	}, &buf)
	if err != nil {
		panic(err) // it depends on the type only
	}
	buf.Write(f.body)
	return &nats.Msg{Subject: subject, Reply: reply, Data: buf.Bytes()}
}

// parseFrame returns the frame that a message is. Of a frame of a later version it
// returns what this version knows.
func parseFrame(data []byte) (frame, error) {
	var h head
	rest, err := decoding.UnmarshalFirst(data, &h)
	if err != nil {
		return frame{}, fmt.Errorf("frame: %w", err)
	}
	switch {
	case h.Kind == "" || h.Version <= 0:
		return frame{}, errors.New("frame: without a kind or a version")
	case h.Length < 0 || h.Raw < 0 || h.Beat < 0 || h.Sequence > 1<<30:
		return frame{}, errors.New("frame: a number is out of bounds")
	case h.Digest != nil && len(h.Digest) != sha256.Size:
		return frame{}, errors.New("frame: the digest is not a SHA-256")
	}
	for _, name := range []string{h.Call, h.Bus, h.Session} {
		if name != "" && !isName(name) {
			return frame{}, errors.New("frame: what must be a name is none")
		}
	}
	return frame{
		h.Kind, h.Version, h.Call, h.Bus, h.Session, h.Ticket, int(h.Sequence), h.Last,
		h.Length, h.Raw, h.Zstd, h.Digest, h.Beat, h.Epoch, rest,
	}, nil
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
