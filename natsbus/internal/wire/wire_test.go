package wire

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/fxamacker/cbor/v2"
	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/platformbus/platform"
	"github.com/platformbus/platform/flux"
)

// ample is memory without a limit.
type ample struct{}

func (ample) Take(int64) error { return nil }
func (ample) Give(int64)       {}

// scarce is memory with one.
type scarce struct{ limit, used int64 }

func (s *scarce) Take(n int64) error {
	if s.used+n > s.limit {
		return fmt.Errorf("%d bytes are over the limit of %d", s.used+n, s.limit)
	}
	s.used += n
	return nil
}

func (s *scarce) Give(n int64) { s.used -= n }

var update = flag.Bool("update", false, "write the golden frames anew; only before a version is released")

// golden has every kind of frame. Those of testdata/v1 must be understood by every later
// version.
func golden(t *testing.T) map[string]Frame {
	whole := func(v any) Frame {
		b, err := Encode(v, 0, 1<<20)
		require.NoError(t, err)
		return b.Frame(0, MaxChunk)
	}
	ticket := Ticket([]byte("0123456789abcdef"))
	daemon := func(f Frame) Frame { // says which of its calls it is
		f.Version, f.Session, f.Ticket = Version, "SESSION", ticket
		return f
	}
	caller := func(f Frame) Frame {
		f.Version, f.Ticket = Version, ticket.Hash()
		return f
	}
	able := func(f Frame) Frame { // says what it can take
		f.Beat, f.Chunk, f.Window, f.RTT = 1000, MaxChunk, 16<<20, 75
		return f
	}
	open := func(f Frame) Frame {
		f.Kind, f.Version, f.Call, f.Bus, f.Service = Open, Version, "CALL", "BUS", "service"
		return able(f)
	}
	large := Body{Data: Buffers{bytes.Repeat([]byte("x"), MaxChunk+1)}, Raw: MaxChunk + 1}
	large.Digest = large.Data.digest()
	first, second := large.Frame(0, MaxChunk), large.Frame(MaxChunk, MaxChunk)
	first.Body = first.Body[:3] // the rest would only fill the file
	traced := open(Frame{})
	traced.Trace, traced.TraceState, traced.Identity = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "vendor=1", "somebody"
	refusal := whole(Answer{Err: EncodeError(platform.UpgradeNeededError(errors.New("unknown method")))})
	refusal.Kind, refusal.Version = Refuse, Version
	claim := Frame{Version: Version, Session: "SESSION", Epoch: 1 << 41, Age: 1500}
	kind := func(f Frame, k Kind) Frame {
		f.Kind = k
		return f
	}
	asking := kind(claim, Claim)
	asking.Asking = true
	return map[string]Frame{
		"open-read":   open(whole(Request{Namespace: "default", Ignored: flux.ServiceIDSet{"default/web": {}}})),
		"open-write":  open(Frame{}),
		"open-traced": traced,
		"accept":      daemon(able(Frame{Kind: Accept})),
		"refuse":      refusal,
		"data-write": caller(whole(Request{
			Defs:    []platform.ServiceDefinition{{ServiceID: "a/b", NewDefinition: []byte("kind: X\n"), Async: true}},
			Actions: []platform.SyncAction{{ResourceID: "r", Delete: nil, Apply: platform.ResourceDef{}}},
		})),
		"data-error":   daemon(whole(Answer{Services: []platform.Service{{ID: "a/b"}}, Err: EncodeError(platform.SyncError{"r": platform.UnavailableError(errors.New("lost"))})})),
		"data-zstd":    daemon(whole(Answer{Export: bytes.Repeat([]byte("kind: X\n"), 1000)})),
		"data-first":   caller(first),
		"data-last":    caller(second),
		"ack":          caller(Frame{Kind: Ack, Offset: 3 << 17}),
		"ack-lost":     daemon(Frame{Kind: Ack, Offset: 3 << 17, Last: true}),
		"beat":         daemon(able(Frame{Kind: Beat, Offset: 9 << 17})),
		"end":          caller(Frame{Kind: End}),
		"gone":         daemon(Frame{Kind: Gone}),
		"claim":        kind(claim, Claim),
		"claim-asking": asking,
		"held":         kind(claim, Held),
		"ended":        {Kind: Ended, Version: Version, Session: "SESSION"},
	}
}

func TestGoldenFrames(t *testing.T) {
	frames := golden(t)
	if *update {
		require.NoError(t, os.RemoveAll("testdata/v1"))
		require.NoError(t, os.MkdirAll("testdata/v1", 0o755))
		for name, f := range frames {
			require.NoError(t, os.WriteFile("testdata/v1/"+name, f.AppendTo(nil), 0o644))
		}
	}
	files, err := filepath.Glob("testdata/v1/*")
	require.NoError(t, err)
	assert.Len(t, files, len(frames))
	seen := map[Kind]bool{}
	for name, want := range frames {
		data, err := os.ReadFile("testdata/v1/" + name)
		require.NoError(t, err)
		got, err := Parse(data)
		require.NoError(t, err, name)
		if len(want.Body) == 0 {
			got.Body, want.Body = nil, nil
		}
		if want.Zstd { // its bytes are the compressor's choice
			got.Body, want.Body = nil, nil
		}
		assert.Equal(t, want, got, name)
		seen[got.Kind] = true
	}
	for _, k := range kinds {
		assert.True(t, seen[k], "there is a frame of the kind %s", k)
	}
}

// What is inside the golden frames is understood too.
func TestGoldenBodies(t *testing.T) {
	open := func(name string, v any) {
		data, err := os.ReadFile("testdata/v1/" + name)
		require.NoError(t, err)
		f, err := Parse(data)
		require.NoError(t, err)
		b := Body{Data: Buffers{f.Body}, Raw: f.Raw, Zstd: f.Zstd}
		require.NoError(t, b.Decode(v, 1<<20, ample{}), name)
	}
	var read, write Request
	open("open-read", &read)
	assert.Equal(t, Request{Namespace: "default", Ignored: flux.ServiceIDSet{"default/web": {}}}, read)
	open("data-write", &write)
	assert.Equal(t, []platform.SyncAction{{ResourceID: "r", Apply: platform.ResourceDef{}}}, write.Actions, "nil and empty apart")
	var failed, long, refused Answer
	open("data-error", &failed)
	syncing, ok := errors.AsType[platform.SyncError](DecodeError(failed.Err))
	require.True(t, ok)
	require.ErrorIs(t, syncing["r"], platform.ErrPlatformNotAvailable)
	open("data-zstd", &long)
	assert.Len(t, long.Export, 8000)
	open("refuse", &refused)
	require.ErrorIs(t, DecodeError(refused.Err), platform.ErrUpgradeNeeded)
}

// A ticket cannot be found from what the caller shows.
func TestTickets(t *testing.T) {
	one, two := NewTicket(), NewTicket()
	assert.NotEqual(t, one, two)
	assert.NotEqual(t, one, one.Hash())
	assert.Equal(t, one.Hash(), one.Hash())
	assert.True(t, Ticket{}.IsZero())
	assert.False(t, one.IsZero())
}

// A large export is not copied, and what is sent is the same as if it were.
func TestExportIsEncodedInPlace(t *testing.T) {
	for _, size := range []int{0, 1, MaxChunk, MaxChunk + 1, 5*MaxChunk - 20, 5*MaxChunk + 3} {
		for _, fault := range []error{nil, errors.New("lost")} {
			a := Answer{Version: "v", Export: noise(size), Err: EncodeError(fault)}
			want, err := Encode(a, 0, 1<<30)
			require.NoError(t, err)
			got, err := EncodeAnswer(a, 1<<30)
			require.NoError(t, err)
			require.Equal(t, want.Size(), got.Size())
			for at := int64(0); at < want.Size(); at += MaxChunk {
				require.Equal(t, want.Frame(at, MaxChunk), got.Frame(at, MaxChunk), "at %d of %d bytes", at, size)
			}
			require.Equal(t, size > MaxChunk, len(got.Data) > 1 && &got.Data[1][0] == &a.Export[0])
		}
	}
	yaml := bytes.Repeat([]byte("kind: X\n"), MaxChunk)
	got, err := EncodeAnswer(Answer{Export: yaml}, 1<<30)
	require.NoError(t, err)
	require.True(t, got.Zstd)
	_, err = EncodeAnswer(Answer{Export: yaml}, 1<<20)
	require.EqualError(t, err, "body of 1048589 bytes is over the limit of 1048576")
	var a Answer
	require.NoError(t, got.Decode(&a, 1<<30, ample{}))
	require.Equal(t, Bytes(yaml), a.Export)
}

func TestBuffers(t *testing.T) {
	whole := []byte("abcdefghij")
	for _, p := range []Buffers{{whole}, {whole[:3], whole[3:]}, {whole[:1], nil, whole[1:2], whole[2:9], whole[9:]}} {
		require.Equal(t, len(whole), p.Size())
		require.Equal(t, whole, p.join())
		sum := sha256.Sum256(whole)
		require.Equal(t, sum[:], p.digest())
		for from := range whole {
			for n := 1; n <= len(whole)+1; n++ {
				require.Equal(t, string(whole[from:min(len(whole), from+n)]), string(p.slice(from, n)), "%d from %d of %q", n, from, p)
			}
		}
	}
}

// What is large is not copied, and whatever CBOR has for bytes is understood.
func TestExportIsDecodedInPlace(t *testing.T) {
	want := bytes.Repeat([]byte("x"), 100)
	out, err := Encode(Answer{Export: want}, 0, 1<<20)
	require.NoError(t, err)
	sent := out.Data[0]
	var a Answer
	require.NoError(t, out.Decode(&a, 1<<20, ample{}))
	require.Equal(t, Bytes(want), a.Export)
	sent[bytes.IndexByte(sent, 'x')] = 'y'
	require.Equal(t, byte('y'), a.Export[0])

	for data, want := range map[string]Bytes{
		"\xa1\x03\x5f\x41a\x41b\xff": Bytes("ab"), // in pieces
		"\xa1\x03\x40":               Bytes{},
		"\xa1\x03\xf6":               nil,
	} {
		a := Answer{Export: Bytes("before")}
		require.NoError(t, (&Body{Data: Buffers{[]byte(data)}}).Decode(&a, 1<<20, ample{}), "%x", data)
		require.Equal(t, want, a.Export, "%x", data)
	}
	require.Error(t, (&Body{Data: Buffers{[]byte("\xa1\x03\x61a")}}).Decode(&Answer{}, 1<<20, ample{}), "a text is none")
}

func FuzzFrame(f *testing.F) {
	files, err := filepath.Glob("testdata/v1/*")
	require.NoError(f, err)
	for _, file := range files {
		data, err := os.ReadFile(file)
		require.NoError(f, err)
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		fr, err := Parse(data)
		if err != nil {
			return
		}
		written := fr.AppendTo(nil)
		again, err := Parse(written)
		if err != nil {
			t.Fatalf("%+v cannot be read again: %v", fr, err)
		}
		again.Version = fr.Version
		require.Equal(t, fr, again)
		if utf8.ValidString(string(fr.Kind)) { // or it is none that there will ever be
			var fields map[uint64]any
			rest, err := cbor.UnmarshalFirst(written, &fields)
			require.NoError(t, err, "a head is CBOR")
			require.True(t, bytes.Equal(fr.Body, rest))
			require.EqualValues(t, fr.Kind, fields[keyKind])
		}
		b := Body{Data: Buffers{fr.Body}, Raw: fr.Raw, Zstd: fr.Zstd, Digest: fr.Digest}
		var r Request
		_ = b.Decode(&r, 1<<20, ample{})
		var a Answer
		if b.Decode(&a, 1<<20, ample{}) == nil {
			if err := DecodeError(a.Err); err != nil {
				_ = err.Error()
			}
		}
	})
}

// A bomb is refused, and takes no more memory than it was said to need.
func TestBomb(t *testing.T) {
	small := must(zstd.NewWriter(nil)).EncodeAll(make([]byte, 1<<30), nil)
	b := Body{Data: Buffers{small}, Raw: 1 << 20, Zstd: true}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	err := b.Decode(&Answer{}, 64<<20, ample{})
	runtime.ReadMemStats(&after)
	require.ErrorContains(t, err, "does not have the 1048576 bytes")
	assert.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(32<<20))

	b.Raw = 1 << 30
	require.EqualError(t, b.Decode(&Answer{}, 64<<20, ample{}), "body of 1073741824 bytes is over the limit of 67108864")
}

// Many small values take much more memory than their encoding.
func TestManyValues(t *testing.T) {
	data := binary.BigEndian.AppendUint32([]byte{0xa1, 1, 0x9a}, 8<<20)
	data = append(data, bytes.Repeat([]byte{0xf6}, 8<<20)...)
	b := Body{Data: Buffers{data}}
	require.EqualError(t, b.Decode(&Answer{}, 64<<20, ample{}), "body has more than 2097152 values")
}

// What is before a body stays in memory with it.
func TestLongHead(t *testing.T) {
	f := Frame{Kind: Data, Version: Version, Call: "CALL", Body: make([]byte, MinChunk)}
	head := f.AppendTo(nil)
	padded := func(n int) []byte { // with a field that this version does not know
		return append(append([]byte{head[0] + 1, 0x18, 99, 0x59, byte(n >> 8), byte(n)}, make([]byte, n)...), head[1:]...)
	}
	got, err := Parse(padded(900))
	require.NoError(t, err)
	require.Len(t, got.Body, MinChunk)
	_, err = Parse(padded(1100))
	require.EqualError(t, err, "frame: what is before the body, within 1024 bytes: unexpected EOF")
}

// Whatever a context holds, the call that it is for can be read: a trace state that is too long is
// left out.
func TestLongOrigin(t *testing.T) {
	for service, wantState := range map[string]bool{"service": true, strings.Repeat("s", MaxToken): false} {
		o := Origin{Trace: strings.Repeat("t", 55), TraceState: strings.Repeat("x", 500), Identity: strings.Repeat("i", 256)}.Fit(service)
		assert.Equal(t, wantState, o.TraceState != "")
		f := Frame{
			Kind: Open, Version: Version, Call: NewName(), Service: service, Bus: NewName(), Last: true, Zstd: true, Origin: o,
			Length: math.MaxInt64, Raw: math.MaxInt64, Beat: math.MaxInt64, Chunk: math.MaxInt64, Window: math.MaxInt64, RTT: math.MaxInt64,
			Body: make([]byte, MaxChunk),
		}
		got, err := Parse(f.AppendTo(nil))
		require.NoError(t, err)
		assert.Equal(t, f, got)
	}
	for _, o := range []Origin{{TraceState: strings.Repeat("x", 1<<20)}, {Trace: "t", TraceState: strings.Repeat("x", maxOrigin)}} {
		assert.Equal(t, Origin{Trace: o.Trace}, o.Fit("service"))
	}
}

// A frame that has very many fields costs no more than one that has few.
func TestManyFields(t *testing.T) {
	data := append(binary.BigEndian.AppendUint32([]byte{0xba}, 1<<19), bytes.Repeat([]byte{0x60, 0}, 1<<19)...)
	assert.Less(t, testing.AllocsPerRun(3, func() {
		_, err := Parse(data)
		require.Error(t, err)
	}), 5000.0)
}

// noise returns bytes that cannot be compressed.
func noise(size int) []byte {
	data := make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte{}).Read(data) // it never fails
	return data
}

// Many small values are counted as what they take once they are decoded.
func TestManyValuesAreCharged(t *testing.T) {
	services := binary.BigEndian.AppendUint32([]byte{0xa1, 1, 0x9a}, 1<<20)
	services = append(services, bytes.Repeat([]byte{0xa0}, 1<<20)...) // a million of them, with nothing in them
	b := Body{Data: Buffers{services}}
	q := &scarce{limit: 64 << 20}
	require.EqualError(t, b.Decode(&Answer{}, 64<<20, q), "134218112 bytes are over the limit of 67108864")
	assert.Zero(t, q.used)
	var a Answer
	b.Data = Buffers{services}
	require.NoError(t, b.Decode(&a, 64<<20, ample{}))
	assert.Len(t, a.Services, 1<<20)
}
