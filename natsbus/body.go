package natsbus

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
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
	data   []byte
	raw    int64 // its size before it was compressed
	zstd   bool
	digest []byte // of data, if that takes several frames
}

func (b *body) chunks() int { return max(1, (len(b.data)+chunkSize-1)/chunkSize) }

// frame returns chunk i.
func (b *body) frame(i int) frame {
	n := b.chunks()
	f := frame{kind: kindData, seq: i, last: i == n-1, body: b.data[i*chunkSize : min(len(b.data), (i+1)*chunkSize)]}
	if i == 0 {
		f.zstd = b.zstd
		if b.zstd || n > 1 {
			f.raw = b.raw
		}
		if n > 1 {
			f.length = int64(len(b.data))
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
	var buf bytes.Buffer
	buf.Grow(sizeHint + 64)
	if err := encoding.MarshalToBuffer(v, &buf); err != nil {
		return body{}, fmt.Errorf("encode: %w", err)
	}
	b := body{data: buf.Bytes(), raw: int64(buf.Len())}
	if b.raw > limit {
		return body{}, sizeError(b.raw, limit)
	}
	if b.raw > compressAbove && compressible(b.data) {
		if small := compressor().EncodeAll(b.data, nil); int64(len(small)) < b.raw {
			b.data, b.zstd = small, true
		}
	}
	if b.chunks() > 1 {
		sum := sha256.Sum256(b.data)
		b.digest = sum[:]
	}
	return b, nil
}

// compressible looks at the beginning of what is large, to save a copy of it.
func compressible(data []byte) bool {
	const sample = 64 << 10
	if len(data) < 8*sample {
		return true
	}
	return len(compressor().EncodeAll(data[:sample], nil)) < sample*9/10
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
		if sum := sha256.Sum256(b.data); !bytes.Equal(sum[:], b.digest) {
			return errDigest
		}
	}
	data := b.data
	if b.zstd {
		if b.raw > limit {
			return sizeError(b.raw, limit)
		}
		if err := q.take(b.raw); err != nil {
			return err
		}
		defer q.give(b.raw)
		var err error
		if data, err = decompress(data, b.raw); err != nil {
			return err
		}
	}
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

// decompress returns what data was made from, which is of the size given. It takes no
// more memory than that, whatever data says of itself.
func decompress(data []byte, size int64) ([]byte, error) {
	d := decompressors.Get().(*zstd.Decoder)
	defer func() {
		_ = d.Reset(nil)
		decompressors.Put(d)
	}()
	if err := d.Reset(bytes.NewReader(data)); err != nil {
		return nil, fmt.Errorf("body cannot be decompressed: %w", err)
	}
	var buf bytes.Buffer
	if grow := int64(len(data))*32 + bytes.MinRead; size <= grow {
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
