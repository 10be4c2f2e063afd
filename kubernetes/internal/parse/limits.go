package parse

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"sync/atomic"
)

// maxDepth bounds how deep the values of a document, and Lists in Lists, may nest. No real
// object comes near it.
const maxDepth = 500

// How many objects are read at most.
const (
	MaxObjects = 100_000     // in one Sync or Load where nobody says otherwise
	AnyNumber  = math.MaxInt // where only the size counts
)

// What a text may become. Beyond a floor that no small text reaches by accident, both bounds
// grow with its size: what it costs to read a text is a multiple of its size.
const (
	// These bound how many values the texts of a call may hold together: one in bytesPerValue,
	// beside fewValues, which is what a ConfigMap with a table of numbers has; and how many a
	// document may hold. A value takes up to 500 bytes in memory, a map that of mapValues, and
	// manifests have one in some 15 bytes.
	bytesPerValue = 8
	fewValues     = 1 << 19
	maxValues     = 1 << 20
	mapValues     = 3
	// maxValuesOfJSON is how many a document in JSON may hold. It needs no other bound: decoded
	// without a tree, it takes at most some 50 times its size.
	maxValuesOfJSON = 4 << 20
	// expansionFloor and expansionFactor bound how many bytes aliases and tags may make of a
	// text.
	expansionFloor  = 1 << 20
	expansionFactor = 10
	// largeDocument is the size from which on documents are decoded one at a time.
	largeDocument = 1 << 20
)

// Limits bounds what the texts of one call may become together. It may be used by many
// goroutines at once.
type Limits struct {
	maxObjects int
	objects    atomic.Int64 // that have been read
	values     atomic.Int64 // that may still be read
	expansion  atomic.Int64 // bytes that aliases and tags may still make
}

// NewLimits returns the limits for texts of size bytes together, which may hold maxObjects
// objects.
func NewLimits(size, maxObjects int) *Limits {
	l := &Limits{maxObjects: maxObjects}
	l.values.Store(fewValues)
	l.expansion.Store(expansionFloor)
	l.Add(size)
	return l
}

// Add allows for another text.
func (l *Limits) Add(size int) {
	l.values.Add(int64(size) / bytesPerValue)
	l.expansion.Add(expansionFactor * int64(size))
}

// ErrTooManyObjects is matched by the error about a text with more objects than may be read.
var ErrTooManyObjects = errors.New("too many objects")

func (l *Limits) addObject() error {
	if l.objects.Add(1) > int64(l.maxObjects) {
		return fmt.Errorf("%w: more than %d", ErrTooManyObjects, l.maxObjects)
	}
	return nil
}

// take takes n from what is left, if there is as much: what is refused takes nothing from
// other texts.
func take(left *atomic.Int64, n int64) bool {
	for {
		have := left.Load()
		if have < n {
			return false
		}
		if left.CompareAndSwap(have, have-n) {
			return true
		}
	}
}

func (l *Limits) expand(bytes int64) error {
	if !take(&l.expansion, bytes) {
		return errors.New("its aliases or tags stand for far more than its size")
	}
	return nil
}

// read takes the values of a document from those that may be read.
func (l *Limits) read(values int) error {
	if values > maxValues {
		return fmt.Errorf("it has more than %d values", maxValues)
	}
	if !take(&l.values, int64(values)) {
		return errors.New("it has too many values for its size")
	}
	return nil
}

// decoding holds a token for whoever decodes a large document, of which a process has no
// more than one in memory at a time.
var decoding = make(chan struct{}, 1)

// turn waits until a document of that size may be decoded. The function must be called when
// it is.
func turn(ctx context.Context, size int) (func(), error) {
	if err := ctx.Err(); err != nil {
		return nil, context.Cause(ctx)
	}
	if size < largeDocument {
		return func() {}, nil
	}
	select {
	case decoding <- struct{}{}:
		return func() { <-decoding }, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// A reader reads until its context ends.
type reader struct {
	ctx context.Context
	io.Reader
}

func (r reader) Read(p []byte) (int, error) {
	if r.ctx.Err() != nil {
		return 0, context.Cause(r.ctx)
	}
	return r.Reader.Read(p)
}
