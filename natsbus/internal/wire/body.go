package wire

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"

	"github.com/fxamacker/cbor/v2"
	"github.com/klauspost/compress/zstd"

	"github.com/platformbus/platform"
	"github.com/platformbus/platform/flux"
)

const (
	// MaxChunk is how much of a body is in one frame at most. It is well below a server's
	// usual limit of 1 MiB, and small enough that a Ping gets in between on a slow link.
	MaxChunk = 128 << 10
	// MinChunk is the least that is in a frame of several, but for the last: a message takes
	// memory beside what is in it.
	MinChunk = 4 << 10
	// compressAbove is the size above which a body is worth compressing.
	compressAbove = 4 << 10
	// maxItems is the limit of values in a body. It bounds the memory that a body of many
	// small values takes once it is decoded.
	maxItems = 2 << 20
)

// ChunkFor returns the size of the largest chunk for a connection whose messages have the
// size given at most.
func ChunkFor(maxPayload int64) int64 {
	return min(MaxChunk, max(MinChunk, maxPayload-MaxHead))
}

// A Request has the arguments of any method.
type Request struct {
	Namespace string                       `cbor:"1,keyasint"`
	Ignored   flux.ServiceIDSet            `cbor:"2,keyasint"`
	IDs       []flux.ServiceID             `cbor:"3,keyasint"`
	Defs      []platform.ServiceDefinition `cbor:"4,keyasint"`
	Actions   []platform.SyncAction        `cbor:"5,keyasint"`
}

// An Answer has the results of any method.
type Answer struct {
	Services []platform.Service  `cbor:"1,keyasint"`
	Version  string              `cbor:"2,keyasint"`
	Export   Bytes               `cbor:"3,keyasint"`
	Err      *platform.WireError `cbor:"4,keyasint"`
}

// Bytes are those that, once decoded, are those of the body that they came in: a copy of
// an export would double what it takes.
type Bytes []byte

// UnmarshalCBOR is for package cbor.
func (b *Bytes) UnmarshalCBOR(data []byte) error {
	major, info, n, rest, err := splitItem(data)
	if err == nil && major == majorBytes && info != indefinite && n == uint64(len(rest)) {
		*b = rest[:n:n]
		return nil
	}
	return decoding.Unmarshal(data, (*[]byte)(b))
}

// A Body is a request or an answer as it travels.
type Body struct {
	Data   Buffers
	Raw    int64 // its size before it was compressed
	Zstd   bool
	Digest []byte // of Data, if that takes several frames
}

// Size returns how many bytes travel.
func (b *Body) Size() int64 { return int64(b.Data.Size()) }

// Frame returns the chunk at an offset, which has n bytes at most.
func (b *Body) Frame(offset, n int64) Frame {
	size := b.Size()
	f := Frame{Kind: Data, Offset: offset, Last: offset+n >= size, Body: b.Data.slice(int(offset), int(n))}
	whole := offset == 0 && f.Last
	if offset == 0 {
		f.Zstd = b.Zstd
		if b.Zstd || !whole {
			f.Raw = b.Raw
		}
		if !whole {
			f.Length = size
		}
	}
	if f.Last && !whole {
		if b.Digest == nil { // it is smaller than most chunks
			b.Digest = b.Data.digest()
		}
		f.Digest = b.Digest
	}
	return f
}

var (
	encoding = must(cbor.EncOptions{}.UserBufferEncMode())
	decoding = must(cbor.DecOptions{MaxArrayElements: maxItems, MaxMapPairs: maxItems, MaxNestedLevels: 64}.DecMode())

	compressor = sync.OnceValue(func() *zstd.Encoder {
		return must(zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithLowerEncoderMem(true)))
	})
	decompressors = sync.Pool{New: func() any {
		return must(zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(8<<20)))
	}}
)

// must is for what depends on constants only.
func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// Encode returns v as it travels. sizeHint is about how large that is.
func Encode(v any, sizeHint int, limit int64) (Body, error) {
	data, err := marshal(v, sizeHint)
	if err != nil {
		return Body{}, err
	}
	return pack(Buffers{data}, limit)
}

func marshal(v any, sizeHint int) ([]byte, error) {
	var buf bytes.Buffer
	buf.Grow(sizeHint + 64)
	if err := encoding.MarshalToBuffer(v, &buf); err != nil {
		return nil, fmt.Errorf("encode: %w", err)
	}
	return buf.Bytes(), nil
}

// EncodeAnswer is Encode for an answer, but that a large export is not copied. It must not
// be changed as long as the body is there.
func EncodeAnswer(a Answer, limit int64) (Body, error) {
	if len(a.Export) <= MaxChunk {
		return Encode(a, len(a.Export), limit)
	}
	export := a.Export
	a.Export = nil
	around, err := marshal(a, 0)
	if err != nil {
		return Body{}, err
	}
	fault, err := marshal(a.Err, 0)
	if err != nil {
		return Body{}, err
	}
	// The export is a null so far, and behind it come the key and the value of the error.
	at := len(around) - len(fault) - 2
	before := headWriter{b: slices.Clone(around[:at])}
	before.value(majorBytes, uint64(len(export)))
	return pack(Buffers{before.b, export, around[at+1:]}, limit)
}

// pack makes a body of what was encoded.
func pack(data Buffers, limit int64) (Body, error) {
	b := Body{Data: data, Raw: int64(data.Size())}
	if b.Raw > limit {
		return Body{}, SizeError(b.Raw, limit)
	}
	if b.Raw > compressAbove && compressible(data) {
		if small := compressor().EncodeAll(data.join(), nil); int64(len(small)) < b.Raw {
			b.Data, b.Zstd = Buffers{small}, true
		}
	}
	if b.Size() > MaxChunk {
		b.Digest = b.Data.digest()
	}
	return b, nil
}

// compressible looks at the beginning of what is large, to save a copy of it.
func compressible(data Buffers) bool {
	const sample = 64 << 10
	if data.Size() < 8*sample {
		return true
	}
	largest := slices.MaxFunc(data, func(a, b []byte) int { return len(a) - len(b) })
	return len(compressor().EncodeAll(largest[:min(sample, len(largest))], nil)) < sample*9/10
}

// SizeError says that a body is too large.
func SizeError(size, limit int64) error {
	return fmt.Errorf("body of %d bytes is over the limit of %d", size, limit)
}

var errDigest = errors.New("body does not match its digest")

// Check compares the body with its digest, if it has one.
func (b *Body) Check() error {
	if b.Digest != nil && !bytes.Equal(b.Data.digest(), b.Digest) {
		return errDigest
	}
	return nil
}

// itemSize is about what an empty value of a body takes once it is decoded: a Service has
// 96 bytes.
const itemSize = 128

// A Memory bounds what bodies take.
type Memory interface {
	Take(n int64) error
	Give(n int64)
}

// Decode reads what Encode wrote into v, and lets go of the body. What that takes
// meanwhile is taken from q, as far as it may be more than what came.
func (b *Body) Decode(v any, limit int64, q Memory) error {
	if err := b.Check(); err != nil {
		return err
	}
	var data []byte
	if b.Zstd {
		if b.Raw > limit {
			return SizeError(b.Raw, limit)
		}
		if err := q.Take(b.Raw); err != nil {
			return err
		}
		defer q.Give(b.Raw)
		var err error
		if data, err = decompress(b.Data, b.Raw); err != nil {
			return err
		}
	} else {
		if len(b.Data) > 1 {
			if err := q.Take(int64(b.Data.Size())); err != nil {
				return err
			}
			defer q.Give(int64(b.Data.Size()))
		}
		data = b.Data.join()
	}
	b.Data = nil
	items, err := countItems(data, maxItems)
	if err != nil {
		return err
	}
	if size := int64(items) * itemSize; size > MaxChunk {
		if err := q.Take(size); err != nil {
			return err
		}
		defer q.Give(size)
	}
	if err := decoding.Unmarshal(data, v); err != nil {
		return fmt.Errorf("body cannot be decoded: %w", err)
	}
	return nil
}

// decompress returns what data was made from, which is of the size given. It takes memory in
// proportion to that and not more, whatever data says of itself.
func decompress(data Buffers, size int64) ([]byte, error) {
	d := decompressors.Get().(*zstd.Decoder)
	defer func() {
		_ = d.Reset(nil)
		decompressors.Put(d)
	}()
	if err := d.Reset(data.reader()); err != nil {
		return nil, fmt.Errorf("body cannot be decompressed: %w", err)
	}
	var buf bytes.Buffer
	if grow := int64(data.Size())*32 + bytes.MinRead; size <= grow {
		buf.Grow(int(size) + bytes.MinRead)
	}
	n, err := io.Copy(&buf, io.LimitReader(d, size+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("body cannot be decompressed: %w", err)
	case n != size:
		return nil, fmt.Errorf("body does not have the %d bytes that it was said to have", size)
	}
	return buf.Bytes(), nil
}

// countItems returns how many values of CBOR data has, and an error if there are more
// than limit. It goes through them one after another, whatever they are in.
func countItems(data []byte, limit int) (n int, err error) {
	for ; len(data) > 0; n++ {
		if n == limit {
			return 0, fmt.Errorf("body has more than %d values", limit)
		}
		major, info, length, rest, err := splitItem(data)
		if err != nil {
			return 0, fmt.Errorf("body: %w", err)
		}
		data = rest
		if (major == majorBytes || major == majorText) && info != indefinite {
			if uint64(len(data)) < length {
				return 0, fmt.Errorf("body: %w", errCut)
			}
			data = data[length:]
		}
	}
	return n, nil
}
