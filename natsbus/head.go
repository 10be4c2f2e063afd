package natsbus

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"github.com/fxamacker/cbor/v2"
)

// The head of a message is a CBOR map of what is not zero in a frame, but for the body,
// with these keys. It is written and read by hand, since with reflection it was a third
// of what a small call takes.
const (
	keyKind = 1 + iota
	keyVersion
	keyCall
	keyBus
	keySession
	keyTicket
	keySequence
	keyLast
	keyLength
	keyRaw
	keyZstd
	keyDigest
	keyBeat
	keyEpoch
	keyAge
)

// The major types of CBOR that a head is made of.
const (
	majorUint  = 0
	majorBytes = 2
	majorText  = 3
	majorMap   = 5
	majorOther = 7
)

const (
	cborFalse = majorOther<<5 | 20
	cborTrue  = majorOther<<5 | 21
)

// appendTo appends f as it travels.
func (f *frame) appendTo(b []byte) []byte {
	h := headWriter{b: append(b, 0)}
	h.text(keyKind, string(f.kind))
	h.uint(keyVersion, protocolVersion)
	h.text(keyCall, f.call)
	h.text(keyBus, f.bus)
	h.text(keySession, f.session)
	h.uint(keyTicket, f.ticket)
	h.uint(keySequence, uint64(f.seq))
	h.bool(keyLast, f.last)
	h.uint(keyLength, uint64(f.length))
	h.uint(keyRaw, uint64(f.raw))
	h.bool(keyZstd, f.zstd)
	if f.digest != nil {
		h.item(keyDigest, majorBytes, uint64(len(f.digest)))
		h.b = append(h.b, f.digest...)
	}
	h.uint(keyBeat, uint64(f.beat))
	h.uint(keyEpoch, f.epoch)
	h.uint(keyAge, uint64(f.age))
	h.b[len(b)] = majorMap<<5 | h.fields // there are fewer than 24
	return append(h.b, f.body...)
}

// A headWriter appends the fields of a head, without those that are zero.
type headWriter struct {
	b      []byte
	fields byte
}

func (h *headWriter) uint(key byte, n uint64) {
	if n != 0 {
		h.item(key, majorUint, n)
	}
}

func (h *headWriter) text(key byte, s string) {
	if s != "" {
		h.item(key, majorText, uint64(len(s)))
		h.b = append(h.b, s...)
	}
}

func (h *headWriter) bool(key byte, is bool) {
	if is {
		h.b = append(h.b, key, cborTrue)
		h.fields++
	}
}

// item appends the key and the first bytes of its value.
func (h *headWriter) item(key, major byte, n uint64) {
	h.b = append(h.b, key)
	h.fields++
	h.value(major, n)
}

// value appends the first bytes of a value, which say what it is.
func (h *headWriter) value(major byte, n uint64) {
	switch major <<= 5; {
	case n < 24:
		h.b = append(h.b, major|byte(n))
	case n <= math.MaxUint8:
		h.b = append(h.b, major|24, byte(n))
	case n <= math.MaxUint16:
		h.b = binary.BigEndian.AppendUint16(append(h.b, major|25), uint16(n))
	case n <= math.MaxUint32:
		h.b = binary.BigEndian.AppendUint32(append(h.b, major|26), uint32(n))
	default:
		h.b = binary.BigEndian.AppendUint64(append(h.b, major|27), n)
	}
}

// indefinite is what is in the first byte of a value whose length is not said.
const indefinite = 31

// splitItem takes from data the bytes that say what comes next: its major type, the low
// bits of the first byte, and the number that is said by them or follows them.
func splitItem(data []byte) (major, info byte, n uint64, rest []byte, err error) {
	if len(data) == 0 {
		return 0, 0, 0, nil, errCut
	}
	major, info, data = data[0]>>5, data[0]&31, data[1:]
	if info < 24 || info == indefinite {
		return major, info, uint64(info), data, nil
	}
	if info > 27 {
		return 0, 0, 0, nil, errNoCBOR
	}
	size := 1 << (info - 24)
	if len(data) < size {
		return 0, 0, 0, nil, errCut
	}
	for _, b := range data[:size] {
		n = n<<8 | uint64(b)
	}
	return major, info, n, data[size:], nil
}

var (
	errCut    = errors.New("data is cut short")
	errNoCBOR = errors.New("data is no CBOR")
	errHead   = errors.New("a field has the wrong type")
)

// maxHead is how long a head may be. It stays in memory with what it is the head of, and
// whoever sent it must not have the dispatcher read for long.
const maxHead = 1 << 10

// parseFrame returns the frame that a message is. Of a frame of a later version it
// returns what this version knows.
func parseFrame(data []byte) (frame, error) {
	head := data[:min(len(data), maxHead)]
	f, err := parseHead(head)
	if err != nil {
		return frame{}, fmt.Errorf("frame: what is before the body, within %d bytes: %w", maxHead, err)
	}
	f.body = data[len(head)-len(f.body):]
	switch {
	case f.kind == "" || f.version <= 0:
		return frame{}, errors.New("frame: without a kind or a version")
	case f.length < 0 || f.raw < 0 || f.beat < 0 || f.age < 0 || f.seq < 0 || f.seq > 1<<30:
		return frame{}, errors.New("frame: a number is out of bounds")
	case f.digest != nil && len(f.digest) != sha256.Size:
		return frame{}, errors.New("frame: the digest is not a SHA-256")
	}
	for _, name := range [...]string{f.call, f.bus, f.session} {
		if name != "" && !isName(name) {
			return frame{}, errors.New("frame: what must be a name is none")
		}
	}
	return f, nil
}

func parseHead(data []byte) (f frame, err error) {
	major, info, fields, data, err := splitItem(data)
	if err != nil || major != majorMap || info == indefinite {
		return frame{}, errNoCBOR
	}
	for range fields {
		r := headReader{data: data}
		major, info, key, rest, err := splitItem(data)
		if err != nil {
			return frame{}, err
		}
		known := major == majorUint && info != indefinite
		if known {
			r.data = rest
		} else {
			r.skip() // the key
		}
		switch {
		case !known:
			r.skip()
		case key == keyKind:
			f.kind = kindOf(r.bytes(majorText))
		case key == keyVersion:
			f.version = int(r.uint())
		case key == keyCall:
			f.call = string(r.bytes(majorText))
		case key == keyBus:
			f.bus = string(r.bytes(majorText))
		case key == keySession:
			f.session = string(r.bytes(majorText))
		case key == keyTicket:
			f.ticket = r.uint()
		case key == keySequence:
			f.seq = int(r.uint())
		case key == keyLast:
			f.last = r.bool()
		case key == keyLength:
			f.length = int64(r.uint())
		case key == keyRaw:
			f.raw = int64(r.uint())
		case key == keyZstd:
			f.zstd = r.bool()
		case key == keyDigest:
			f.digest = r.bytes(majorBytes)
		case key == keyBeat:
			f.beat = int64(r.uint())
		case key == keyEpoch:
			f.epoch = r.uint()
		case key == keyAge:
			f.age = int64(r.uint())
		default:
			r.skip()
		}
		if r.err != nil {
			return frame{}, r.err
		}
		data = r.data
	}
	f.body = data
	return f, nil
}

// A headReader takes values from data.
type headReader struct {
	data []byte
	err  error
}

func (r *headReader) uint() uint64 {
	major, info, n, rest, err := splitItem(r.data)
	if r.data, r.err = rest, err; err == nil && (major != majorUint || info == indefinite) {
		r.err = errHead
	}
	return n
}

func (r *headReader) bool() bool {
	if len(r.data) == 0 || r.data[0] != cborTrue && r.data[0] != cborFalse {
		r.err = errHead
		return false
	}
	is := r.data[0] == cborTrue
	r.data = r.data[1:]
	return is
}

// bytes takes bytes or text, which are part of data.
func (r *headReader) bytes(want byte) []byte {
	major, info, n, rest, err := splitItem(r.data)
	switch {
	case err != nil:
		r.err = err
	case major != want || info == indefinite:
		r.err = errHead
	case n > uint64(len(rest)):
		r.err = errCut
	}
	if r.err != nil {
		return nil
	}
	r.data = rest[n:]
	return rest[:n:n]
}

// skip takes a value of any kind.
func (r *headReader) skip() {
	var any cbor.RawMessage
	if r.err == nil {
		r.data, r.err = decoding.UnmarshalFirst(r.data, &any)
	}
}

// kindOf returns a kind without new memory for those that are known.
func kindOf(name []byte) kind {
	for _, k := range [...]kind{
		kindOpen, kindAccept, kindData, kindAck, kindBeat, kindEnd, kindGone, kindUnknown, kindClaim, kindHeld, kindEnded,
	} {
		if string(name) == string(k) {
			return k
		}
	}
	return kind(name)
}
