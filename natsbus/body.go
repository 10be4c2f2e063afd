package natsbus

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
	// chunkSize is how much of a body is in one frame. It is well below a server's limit of
	// 1 MiB, and small enough that a Ping gets in between on a slow link.
	chunkSize = 128 << 10
	// minChunk is the least that is in a frame of several, but for the last: a message takes
	// memory beside what is in it.
	minChunk = 4 << 10
	// compressAbove is the size above which a body is worth compressing.
	compressAbove = 4 << 10
	// maxItems is the limit of values in a body. It bounds the memory that a body of many
	// small values takes once it is decoded.
	maxItems = 2 << 20
)

// A request has the arguments of any method.
type request struct {
	Namespace string                       `cbor:"1,keyasint"`
	Ignored   flux.ServiceIDSet            `cbor:"2,keyasint"`
	IDs       []flux.ServiceID             `cbor:"3,keyasint"`
	Defs      []platform.ServiceDefinition `cbor:"4,keyasint"`
	Actions   []platform.SyncAction        `cbor:"5,keyasint"`
}

// An answer has the results of any method.
type answer struct {
	Services []platform.Service `cbor:"1,keyasint"`
	Version  string             `cbor:"2,keyasint"`
	Export   blob               `cbor:"3,keyasint"`
	Err      *wireError         `cbor:"4,keyasint"`
}

// A blob is bytes that, once decoded, are those of the body that they came in: a copy of
// an export would double what it takes.
type blob []byte

// UnmarshalCBOR is for package cbor.
func (b *blob) UnmarshalCBOR(data []byte) error {
	major, info, n, rest, err := splitItem(data)
	if err == nil && major == majorBytes && info != indefinite && n == uint64(len(rest)) {
		*b = rest[:n:n]
		return nil
	}
	return decoding.Unmarshal(data, (*[]byte)(b))
}

// A body is a request or an answer as it travels.
type body struct {
	data   pieces
	raw    int64 // its size before it was compressed
	zstd   bool
	digest []byte // of data, if that takes several frames
}

func (b *body) chunks() int { return max(1, (b.data.size()+chunkSize-1)/chunkSize) }

// frame returns chunk i.
func (b *body) frame(i int) frame {
	n := b.chunks()
	f := frame{kind: kindData, seq: i, last: i == n-1, body: b.data.slice(i*chunkSize, chunkSize)}
	if i == 0 {
		f.zstd = b.zstd
		if b.zstd || n > 1 {
			f.raw = b.raw
		}
		if n > 1 {
			f.length = int64(b.data.size())
		}
	}
	if f.last && n > 1 {
		f.digest = b.digest
	}
	return f
}

var (
	encoding = must(cbor.EncOptions{}.UserBufferEncMode())
	decoding = must(cbor.DecOptions{MaxArrayElements: maxItems, MaxMapPairs: maxItems, MaxNestedLevels: 32}.DecMode())

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

// encode returns v as it travels. sizeHint is about how large that is.
func encode(v any, sizeHint int, limit int64) (body, error) {
	data, err := marshal(v, sizeHint)
	if err != nil {
		return body{}, err
	}
	return pack(pieces{data}, limit)
}

func marshal(v any, sizeHint int) ([]byte, error) {
	var buf bytes.Buffer
	buf.Grow(sizeHint + 64)
	if err := encoding.MarshalToBuffer(v, &buf); err != nil {
		return nil, fmt.Errorf("encode: %w", err)
	}
	return buf.Bytes(), nil
}

// encodeAnswer is encode for an answer, but that a large export is not copied. It must not
// be changed as long as the body is there.
func encodeAnswer(a answer, limit int64) (body, error) {
	if len(a.Export) <= chunkSize {
		return encode(a, len(a.Export), limit)
	}
	export := a.Export
	a.Export = nil
	around, err := marshal(a, 0)
	if err != nil {
		return body{}, err
	}
	fault, err := marshal(a.Err, 0)
	if err != nil {
		return body{}, err
	}
	// The export is a null so far, and behind it come the key and the value of the error.
	at := len(around) - len(fault) - 2
	before := headWriter{b: slices.Clone(around[:at])}
	before.value(majorBytes, uint64(len(export)))
	return pack(pieces{before.b, export, around[at+1:]}, limit)
}

// pack makes a body of what was encoded.
func pack(data pieces, limit int64) (body, error) {
	b := body{data: data, raw: int64(data.size())}
	if b.raw > limit {
		return body{}, sizeError(b.raw, limit)
	}
	if b.raw > compressAbove && compressible(data) {
		if small := compressor().EncodeAll(data.join(), nil); int64(len(small)) < b.raw {
			b.data, b.zstd = pieces{small}, true
		}
	}
	if b.chunks() > 1 {
		b.digest = b.data.digest()
	}
	return b, nil
}

// compressible looks at the beginning of what is large, to save a copy of it.
func compressible(data pieces) bool {
	const sample = 64 << 10
	if data.size() < 8*sample {
		return true
	}
	largest := slices.MaxFunc(data, func(a, b []byte) int { return len(a) - len(b) })
	return len(compressor().EncodeAll(largest[:min(sample, len(largest))], nil)) < sample*9/10
}

func sizeError(size, limit int64) error {
	return fmt.Errorf("body of %d bytes is over the limit of %d", size, limit)
}

var errDigest = errors.New("body does not match its digest")

// itemSize is about what an empty value of a body takes once it is decoded: a Service has
// 96 bytes.
const itemSize = 128

// decode reads what encode wrote into v. What that takes meanwhile counts towards the
// quota, as far as it may be more than what came.
func (b *body) decode(v any, limit int64, q *quota) error {
	if b.digest != nil {
		if !bytes.Equal(b.data.digest(), b.digest) {
			return errDigest
		}
	}
	var data []byte
	if b.zstd {
		if b.raw > limit {
			return sizeError(b.raw, limit)
		}
		if err := q.take(b.raw); err != nil {
			return err
		}
		defer q.give(b.raw)
		var err error
		if data, err = decompress(b.data, b.raw); err != nil {
			return err
		}
	} else {
		if len(b.data) > 1 {
			if err := q.take(int64(b.data.size())); err != nil {
				return err
			}
			defer q.give(int64(b.data.size()))
		}
		data = b.data.join()
	}
	b.data = nil
	items, err := countItems(data, maxItems)
	if err != nil {
		return err
	}
	if size := int64(items) * itemSize; size > chunkSize {
		if err := q.take(size); err != nil {
			return err
		}
		defer q.give(size)
	}
	if err := decoding.Unmarshal(data, v); err != nil {
		return fmt.Errorf("body cannot be decoded: %w", err)
	}
	return nil
}

// decompress returns what data was made from, which is of the size given. It takes memory in
// proportion to that and not more, whatever data says of itself.
func decompress(data pieces, size int64) ([]byte, error) {
	d := decompressors.Get().(*zstd.Decoder)
	defer func() {
		_ = d.Reset(nil)
		decompressors.Put(d)
	}()
	if err := d.Reset(data.reader()); err != nil {
		return nil, fmt.Errorf("body cannot be decompressed: %w", err)
	}
	var buf bytes.Buffer
	if grow := int64(data.size())*32 + bytes.MinRead; size <= grow {
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
