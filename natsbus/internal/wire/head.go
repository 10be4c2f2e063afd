package wire

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"unicode/utf8"

	"github.com/fxamacker/cbor/v2"
)

// The keys of a head. It is written and read by hand, since with reflection it was a third
// of what a small call takes.
const (
	keyKind = 1 + iota
	keyVersion
	keyCall
	keyBus
	keySession
	keyTicket
	keyOffset
	keyLast
	keyLength
	keyRaw
	keyZstd
	keyDigest
	keyBeat
	keyEpoch
	keyAge
	keyService
	keyChunk
	keyWindow
	keyAsking
	keyTrace
	keyTraceState
	keyIdentity
	keyRTT
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

// AppendTo appends f as it travels.
func (f *Frame) AppendTo(b []byte) []byte {
	h := headWriter{b: append(b, 0)}
	h.text(keyKind, string(f.Kind))
	h.uint(keyVersion, Version)
	h.text(keyCall, f.Call)
	h.text(keyService, f.Service)
	h.text(keyBus, f.Bus)
	h.text(keySession, f.Session)
	if !f.Ticket.IsZero() {
		h.bytes(keyTicket, f.Ticket[:])
	}
	h.uint(keyOffset, uint64(f.Offset))
	h.bool(keyLast, f.Last)
	h.uint(keyLength, uint64(f.Length))
	h.uint(keyRaw, uint64(f.Raw))
	h.bool(keyZstd, f.Zstd)
	if f.Digest != nil {
		h.bytes(keyDigest, f.Digest)
	}
	h.uint(keyBeat, uint64(f.Beat))
	h.uint(keyChunk, uint64(f.Chunk))
	h.uint(keyWindow, uint64(f.Window))
	h.uint(keyRTT, uint64(f.RTT))
	h.uint(keyEpoch, f.Epoch)
	h.uint(keyAge, uint64(f.Age))
	h.bool(keyAsking, f.Asking)
	h.text(keyTrace, f.Trace)
	h.text(keyTraceState, f.TraceState)
	h.text(keyIdentity, f.Identity)
	h.b[len(b)] = majorMap<<5 | h.fields // there are fewer than 24
	return append(h.b, f.Body...)
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

func (h *headWriter) bytes(key byte, b []byte) {
	h.item(key, majorBytes, uint64(len(b)))
	h.b = append(h.b, b...)
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

// MaxHead is how long a head may be. It stays in memory with what it is the head of, and
// whoever sent it must not have the receiver read for long.
const MaxHead = 1 << 10

// Parse returns the frame that a message is, which shares the memory of data. Of a frame
// of a later version it returns what this version knows.
func Parse(data []byte) (Frame, error) {
	head := data[:min(len(data), MaxHead)]
	f, err := parseHead(head)
	if err != nil {
		return Frame{}, fmt.Errorf("frame: what is before the body, within %d bytes: %w", MaxHead, err)
	}
	f.Body = data[len(head)-len(f.Body):]
	switch {
	case f.Kind == "" || f.Version <= 0:
		return Frame{}, errors.New("frame: without a kind or a version")
	case f.Offset < 0 || f.Offset > maxOffset || f.Length < 0 || f.Raw < 0 || f.Beat < 0 || f.Chunk < 0 || f.Window < 0 || f.RTT < 0 || f.Age < 0:
		return Frame{}, errors.New("frame: a number is out of bounds")
	case f.Digest != nil && len(f.Digest) != sha256.Size:
		return Frame{}, errors.New("frame: the digest is not a SHA-256")
	}
	for _, name := range [...]string{f.Call, f.Bus, f.Session} {
		if name != "" && !IsName(name) {
			return Frame{}, errors.New("frame: what must be a name is none")
		}
	}
	if f.Service != "" && !isToken(f.Service) {
		return Frame{}, errors.New("frame: what must be a token is none")
	}
	return f, nil
}

// maxOffset leaves room to add the length of any chunk.
const maxOffset = 1 << 62

func parseHead(data []byte) (f Frame, err error) {
	major, info, fields, data, err := splitItem(data)
	if err != nil || major != majorMap || info == indefinite {
		return Frame{}, errNoCBOR
	}
	for range fields {
		r := headReader{data: data}
		major, info, key, rest, err := splitItem(data)
		if err != nil {
			return Frame{}, err
		}
		known := major == majorUint && info != indefinite
		if known {
			r.data = rest
		} else {
			r.skip() // the key
			key = 0
		}
		switch key {
		case keyKind:
			f.Kind = kindOf(r.bytes(majorText))
		case keyVersion:
			f.Version = int(r.uint())
		case keyCall:
			f.Call = string(r.bytes(majorText))
		case keyService:
			f.Service = string(r.bytes(majorText))
		case keyBus:
			f.Bus = string(r.bytes(majorText))
		case keySession:
			f.Session = string(r.bytes(majorText))
		case keyTicket:
			if copy(f.Ticket[:], r.bytes(majorBytes)) != len(f.Ticket) && r.err == nil {
				r.err = errHead
			}
		case keyOffset:
			f.Offset = int64(r.uint())
		case keyLast:
			f.Last = r.bool()
		case keyLength:
			f.Length = int64(r.uint())
		case keyRaw:
			f.Raw = int64(r.uint())
		case keyZstd:
			f.Zstd = r.bool()
		case keyDigest:
			f.Digest = r.bytes(majorBytes)
		case keyBeat:
			f.Beat = int64(r.uint())
		case keyChunk:
			f.Chunk = int64(r.uint())
		case keyWindow:
			f.Window = int64(r.uint())
		case keyRTT:
			f.RTT = int64(r.uint())
		case keyEpoch:
			f.Epoch = r.uint()
		case keyAge:
			f.Age = int64(r.uint())
		case keyAsking:
			f.Asking = r.bool()
		case keyTrace:
			f.Trace = r.text()
		case keyTraceState:
			f.TraceState = r.text()
		case keyIdentity:
			f.Identity = r.text()
		default:
			r.skip()
		}
		if r.err != nil {
			return Frame{}, r.err
		}
		data = r.data
	}
	f.Body = data
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

// text takes text that somebody may read.
func (r *headReader) text() string {
	text := r.bytes(majorText)
	if !utf8.Valid(text) {
		r.err = errHead
	}
	return string(text)
}

// skip takes a value of any kind.
func (r *headReader) skip() {
	var any cbor.RawMessage
	if r.err == nil {
		r.data, r.err = decoding.UnmarshalFirst(r.data, &any)
	}
}

// kindOf returns a kind without new memory for those that are known.
func kindOf(name []byte) Kind {
	for _, k := range kinds {
		if string(name) == string(k) {
			return k
		}
	}
	return Kind(name)
}
