package natsbus

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"flag"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"unicode/utf8"

	"github.com/fxamacker/cbor/v2"
	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/platformbus/platform"
	"github.com/platformbus/platform/flux"
)

// ample is a quota that is no limit.
func ample() *quota { return &quota{limit: 1 << 40} }

var update = flag.Bool("update", false, "write the golden frames anew; only before a version is released")

// golden has every kind of frame. Those of testdata/v1 must be understood by every later
// version.
func golden(t *testing.T) map[string]frame {
	whole := func(v any) body {
		b, err := encode(v, 0, 1<<20)
		require.NoError(t, err)
		return b
	}
	as := func(f frame, k kind) frame {
		f.kind, f.version, f.call = k, protocolVersion, "CALL"
		return f
	}
	common := frame{version: protocolVersion, call: "CALL", session: "SESSION", ticket: 7, beat: 1000}
	plain := func(k kind, change func(*frame)) frame {
		f := common
		f.kind = k
		if change != nil {
			change(&f)
		}
		return f
	}
	large := body{data: pieces{bytes.Repeat([]byte("x"), chunkSize+1)}, raw: chunkSize + 1}
	large.digest = large.data.digest()
	first, second := large.frame(0), large.frame(1)
	first.body = first.body[:3] // the rest would only fill the file
	read := whole(request{Namespace: "default", Ignored: flux.ServiceIDSet{"default/web": {}}})
	write := whole(request{
		Defs:    []platform.ServiceDefinition{{ServiceID: "a/b", NewDefinition: []byte("kind: X\n"), Async: true}},
		Actions: []platform.SyncAction{{ResourceID: "r", Delete: nil, Apply: platform.ResourceDef{}}},
	})
	failed := whole(answer{Services: []platform.Service{{ID: "a/b"}}, Err: toWire(platform.SyncError{"r": platform.UnavailableError(errors.New("lost"))})})
	long := whole(answer{Export: bytes.Repeat([]byte("kind: X\n"), 1000)})
	open := as(read.frame(0), kindOpen)
	open.bus, open.beat = "BUS", 1000
	return map[string]frame{
		"open-read":  open,
		"open-write": {kind: kindOpen, version: protocolVersion, call: "CALL", bus: "BUS", beat: 1000},
		"accept":     plain(kindAccept, nil),
		"data-write": as(write.frame(0), kindData),
		"data-error": as(failed.frame(0), kindData),
		"data-zstd":  as(long.frame(0), kindData),
		"data-first": as(first, kindData),
		"data-last":  as(second, kindData),
		"ack":        plain(kindAck, func(f *frame) { f.seq = 3 }),
		"ack-lost":   plain(kindAck, func(f *frame) { f.seq, f.last = 3, true }),
		"beat":       plain(kindBeat, func(f *frame) { f.seq = 9 }),
		"end":        plain(kindEnd, func(f *frame) { f.bus = "BUS" }),
		"gone":       plain(kindGone, nil),
		"unknown":    plain(kindUnknown, nil),
		"claim":      {kind: kindClaim, version: protocolVersion, session: "SESSION", epoch: 1 << 41, call: "CLAIM"},
		"claim-aged": {kind: kindClaim, version: protocolVersion, session: "SESSION", epoch: 1 << 41, age: 1 << 32},
		"held":       {kind: kindHeld, version: protocolVersion, session: "OTHER", epoch: 1 << 42, call: "CLAIM"},
		"ended":      {kind: kindEnded, version: protocolVersion, session: "OTHER", call: "CLAIM"},
	}
}

func TestGoldenFrames(t *testing.T) {
	frames := golden(t)
	if *update {
		require.NoError(t, os.MkdirAll("testdata/v1", 0o755))
		for name, f := range frames {
			require.NoError(t, os.WriteFile("testdata/v1/"+name, f.appendTo(nil), 0o644))
		}
	}
	files, err := filepath.Glob("testdata/v1/*")
	require.NoError(t, err)
	assert.Len(t, files, len(frames))
	for name, want := range frames {
		data, err := os.ReadFile("testdata/v1/" + name)
		require.NoError(t, err)
		got, err := parseFrame(data)
		require.NoError(t, err, name)
		if len(want.body) == 0 {
			got.body, want.body = nil, nil
		}
		if want.zstd { // its bytes are the compressor's choice
			got.body, want.body = nil, nil
		}
		assert.Equal(t, want, got, name)
	}
}

// What is inside the golden frames is understood too.
func TestGoldenBodies(t *testing.T) {
	open := func(name string, v any) {
		data, err := os.ReadFile("testdata/v1/" + name)
		require.NoError(t, err)
		f, err := parseFrame(data)
		require.NoError(t, err)
		b := body{data: pieces{f.body}, raw: f.raw, zstd: f.zstd}
		require.NoError(t, b.decode(v, 1<<20, ample()), name)
	}
	var read, write request
	open("open-read", &read)
	assert.Equal(t, request{Namespace: "default", Ignored: flux.ServiceIDSet{"default/web": {}}}, read)
	open("data-write", &write)
	assert.Equal(t, []platform.SyncAction{{ResourceID: "r", Apply: platform.ResourceDef{}}}, write.Actions, "nil and empty apart")
	var failed, long answer
	open("data-error", &failed)
	syncing, ok := errors.AsType[platform.SyncError](failed.Err.err())
	require.True(t, ok)
	require.ErrorIs(t, syncing["r"], platform.ErrPlatformNotAvailable)
	open("data-zstd", &long)
	assert.Len(t, long.Export, 8000)
}

// A large export is not copied, and what is sent is the same as if it were.
func TestExportIsEncodedInPlace(t *testing.T) {
	for _, size := range []int{0, 1, chunkSize, chunkSize + 1, 5*chunkSize - 20, 5*chunkSize + 3} {
		for _, fault := range []error{nil, errors.New("lost")} {
			a := answer{Version: "v", Export: noise(size), Err: toWire(fault)}
			want, err := encode(a, 0, 1<<30)
			require.NoError(t, err)
			got, err := encodeAnswer(a, 1<<30)
			require.NoError(t, err)
			require.Equal(t, want.chunks(), got.chunks())
			for i := range want.chunks() {
				require.Equal(t, want.frame(i), got.frame(i), "chunk %d of %d bytes", i, size)
			}
			require.Equal(t, size > chunkSize, len(got.data) > 1 && &got.data[1][0] == &a.Export[0])
		}
	}
	yaml := bytes.Repeat([]byte("kind: X\n"), chunkSize)
	got, err := encodeAnswer(answer{Export: yaml}, 1<<30)
	require.NoError(t, err)
	require.True(t, got.zstd)
	_, err = encodeAnswer(answer{Export: yaml}, 1<<20)
	require.EqualError(t, err, "body of 1048589 bytes is over the limit of 1048576")
	var a answer
	require.NoError(t, got.decode(&a, 1<<30, ample()))
	require.Equal(t, blob(yaml), a.Export)
}

func TestPieces(t *testing.T) {
	whole := []byte("abcdefghij")
	for _, p := range []pieces{{whole}, {whole[:3], whole[3:]}, {whole[:1], nil, whole[1:2], whole[2:9], whole[9:]}} {
		require.Equal(t, len(whole), p.size())
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
	out, err := encode(answer{Export: want}, 0, 1<<20)
	require.NoError(t, err)
	sent := out.data[0]
	var a answer
	require.NoError(t, out.decode(&a, 1<<20, ample()))
	require.Equal(t, blob(want), a.Export)
	sent[bytes.IndexByte(sent, 'x')] = 'y'
	require.Equal(t, byte('y'), a.Export[0])

	for data, want := range map[string]blob{
		"\xa1\x03\x5f\x41a\x41b\xff": blob("ab"), // in pieces
		"\xa1\x03\x40":               blob{},
		"\xa1\x03\xf6":               nil,
	} {
		a := answer{Export: blob("before")}
		require.NoError(t, (&body{data: pieces{[]byte(data)}}).decode(&a, 1<<20, ample()), "%x", data)
		require.Equal(t, want, a.Export, "%x", data)
	}
	require.Error(t, (&body{data: pieces{[]byte("\xa1\x03\x61a")}}).decode(&answer{}, 1<<20, ample()), "a text is none")
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
		fr, err := parseFrame(data)
		if err != nil {
			return
		}
		written := fr.appendTo(nil)
		again, err := parseFrame(written)
		if err != nil {
			t.Fatalf("%+v cannot be read again: %v", fr, err)
		}
		again.version = fr.version
		require.Equal(t, fr, again)
		if utf8.ValidString(string(fr.kind)) { // or it is none that there will ever be
			var fields map[uint64]any
			rest, err := cbor.UnmarshalFirst(written, &fields)
			require.NoError(t, err, "a head is CBOR")
			require.True(t, bytes.Equal(fr.body, rest))
			require.EqualValues(t, fr.kind, fields[keyKind])
		}
		b := body{data: pieces{fr.body}, raw: fr.raw, zstd: fr.zstd, digest: fr.digest}
		var r request
		_ = b.decode(&r, 1<<20, ample())
		var a answer
		if b.decode(&a, 1<<20, ample()) == nil {
			if err := a.Err.err(); err != nil {
				_ = err.Error()
			}
		}
	})
}

// A bomb is refused, and takes no more memory than it was said to need.
func TestBomb(t *testing.T) {
	small := must(zstd.NewWriter(nil)).EncodeAll(make([]byte, 1<<30), nil)
	b := body{data: pieces{small}, raw: 1 << 20, zstd: true}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	err := b.decode(&answer{}, 64<<20, ample())
	runtime.ReadMemStats(&after)
	require.ErrorContains(t, err, "does not have the 1048576 bytes")
	assert.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(32<<20))

	b.raw = 1 << 30
	require.EqualError(t, b.decode(&answer{}, 64<<20, ample()), "body of 1073741824 bytes is over the limit of 67108864")
}

// Many small values take much more memory than their encoding.
func TestManyValues(t *testing.T) {
	data := binary.BigEndian.AppendUint32([]byte{0xa1, 1, 0x9a}, 8<<20)
	data = append(data, bytes.Repeat([]byte{0xf6}, 8<<20)...)
	b := body{data: pieces{data}}
	require.EqualError(t, b.decode(&answer{}, 64<<20, ample()), "body has more than 2097152 values")
}

func testLink() *link {
	o, _ := Options{MaxBody: 1 << 20}.withDefaults()
	b := &Bus{options: o, counters: o.Metrics.counters(), quota: quota{limit: o.MaxBytes}, window: window{size: o.Window}}
	return &link{bus: b, wake: make(chan struct{}, 1)}
}

func TestHostileChunks(t *testing.T) {
	chunk := make([]byte, minChunk)
	for name, tt := range map[string]struct {
		frames []frame
		want   string
	}{
		"longer than said":     {[]frame{{length: 5000, body: chunk}, {seq: 1, body: chunk}}, "body does not have the 5000 bytes that it was said to have"},
		"shorter than said":    {[]frame{{length: 9000, body: chunk}, {seq: 1, body: chunk, last: true, digest: chunk[:32]}}, "body does not have the 9000 bytes that it was said to have"},
		"over the limit":       {[]frame{{length: 1<<20 + 1, body: chunk}}, "body of 1048577 bytes is over the limit of 1048576"},
		"over it decompressed": {[]frame{{length: 9000, raw: 1 << 40, zstd: true, body: chunk}}, "body of 1099511627776 bytes is over the limit of 1048576"},
		"nothing in a chunk":   {[]frame{{length: 9000}}, "body has a chunk of 0 bytes, which is too small"},
		"little in a chunk":    {[]frame{{length: 9000, body: chunk[1:]}}, "body has a chunk of 4095 bytes, which is too small"},
		"no digest":            {[]frame{{length: 8192, body: chunk}, {seq: 1, body: chunk, last: true}}, "body has no digest"},
	} {
		l := testLink()
		for i := range tt.frames {
			over := l.onData(&tt.frames[i])
			assert.Equal(t, i == len(tt.frames)-1, over, name)
		}
		_, err, over := l.received()
		assert.True(t, over, name)
		require.EqualError(t, err, tt.want, name)
		l.close()
		assert.Zero(t, l.bus.quota.used, name)
	}
}

// What is before a body stays in memory with it.
func TestLongHead(t *testing.T) {
	f := frame{kind: kindData, version: protocolVersion, call: "CALL", body: make([]byte, minChunk)}
	head := f.appendTo(nil)
	padded := func(n int) []byte { // with a field that this version does not know
		return append(append([]byte{head[0] + 1, 0x18, 99, 0x59, byte(n >> 8), byte(n)}, make([]byte, n)...), head[1:]...)
	}
	got, err := parseFrame(padded(900))
	require.NoError(t, err)
	require.Len(t, got.body, minChunk)
	_, err = parseFrame(padded(1100))
	require.EqualError(t, err, "frame: what is before the body, within 1024 bytes: unexpected EOF")
}

// A frame that has very many fields costs no more than one that has few.
func TestManyFields(t *testing.T) {
	data := append(binary.BigEndian.AppendUint32([]byte{0xba}, 1<<19), bytes.Repeat([]byte{0x60, 0}, 1<<19)...)
	assert.Less(t, testing.AllocsPerRun(3, func() {
		_, err := parseFrame(data)
		require.Error(t, err)
	}), 5000.0)
}

func TestWrongDigest(t *testing.T) {
	l := testLink()
	chunk := make([]byte, minChunk)
	assert.False(t, l.onData(&frame{length: 2 * minChunk, body: chunk}))
	assert.True(t, l.onData(&frame{seq: 1, body: chunk, last: true, digest: make([]byte, 32)}))
	b, err, over := l.received()
	require.NoError(t, err)
	assert.True(t, over)
	require.ErrorIs(t, b.decode(&answer{}, 1<<20, ample()), errDigest)
}

// A large body is not paid for before it comes.
func TestLengthIsNotBelieved(t *testing.T) {
	l := testLink()
	l.bus.options.MaxBody = 1 << 30
	l.bus.quota.limit = 3 << 20
	first := make([]byte, minChunk)
	assert.False(t, l.onData(&frame{length: 1 << 30, body: first}))
	assert.EqualValues(t, minChunk, l.bus.quota.used, "others have room, though it says that it is large")
	other := &link{bus: l.bus, wake: make(chan struct{}, 1)}
	assert.False(t, other.onData(&frame{length: 1 << 30, body: first}))
	for i := 1; other.in.err == nil; i++ {
		other.onData(&frame{seq: i, body: make([]byte, chunkSize)})
	}
	_, err, _ := other.received()
	require.EqualError(t, err, "body of 131072 bytes is over what is left of the limit of 3145728 for all calls together")
	l.close()
	other.close()
	assert.Zero(t, l.bus.quota.used)

	// What comes when the call is over takes nothing any more.
	assert.False(t, other.onData(&frame{length: 1 << 30, body: first}))
	late := &link{bus: l.bus, wake: make(chan struct{}, 1)}
	late.close()
	assert.False(t, late.onData(&frame{length: 1 << 30, body: first}))
	assert.Zero(t, l.bus.quota.used)
}

// Chunks that come twice, or not in order, change nothing: what is missing is asked for, and
// the body is whole in the end.
func TestChunksOutOfOrder(t *testing.T) {
	want := noise(10*chunkSize + 7)
	sent, err := encodeAnswer(answer{Export: want}, 1<<30)
	require.NoError(t, err)
	n := sent.chunks()
	chance := rand.New(rand.NewPCG(1, 2))
	for range 20 {
		l := testLink()
		l.bus.options.MaxBody = 1 << 30
		var order []int
		for range 3 {
			order = append(order, chance.Perm(n)...)
		}
		for i := range n { // the sender goes back to the beginning at last
			order = append(order, i, i)
		}
		whole := 0
		for _, i := range order {
			f := sent.frame(i)
			if l.onData(&f) {
				whole++
			}
		}
		require.Equal(t, 1, whole, "it is complete once")
		got, err, over := l.received()
		require.NoError(t, err)
		require.True(t, over)
		var a answer
		require.NoError(t, got.decode(&a, 1<<30, ample()))
		require.True(t, bytes.Equal(want, a.Export))
	}
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
	b := body{data: pieces{services}}
	q := &quota{limit: 64 << 20}
	require.EqualError(t, b.decode(&answer{}, 64<<20, q), "body of 134218112 bytes is over what is left of the limit of 67108864 for all calls together")
	assert.Zero(t, q.used)
	var a answer
	b.data = pieces{services}
	require.NoError(t, b.decode(&a, 64<<20, ample()))
	assert.Len(t, a.Services, 1<<20)
}

// A peer that says again and again that the same chunk is lost does not have all that was sent
// sent again each time.
func TestRewindsAreBounded(t *testing.T) {
	l := testLink()
	l.to = "peer"
	l.start(body{data: pieces{noise(8 * chunkSize)}})
	sent := 0
	pump := func() {
		for _, ok := l.nextChunkLocked(); ok; _, ok = l.nextChunkLocked() {
			sent++
		}
	}
	pump()
	first := sent
	for range 1000 {
		l.onAck(&frame{kind: kindAck, seq: 0, last: true})
		pump()
	}
	assert.Positive(t, first)
	assert.Equal(t, 2*first, sent, "once, within a quarter of a beat")
	l.onAck(&frame{kind: kindAck, seq: 1, last: true})
	pump()
	assert.Greater(t, sent, 2*first, "there was progress")
	l.close()
	assert.Zero(t, l.bus.window.used)
}
