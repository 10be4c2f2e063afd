package wire

import (
	"bytes"
	"crypto/sha256"
	"io"
	"slices"
)

// Buffers are bytes that are not in one place, so that what is large need not be copied to
// get there.
type Buffers [][]byte

// Size returns how many bytes there are.
func (p Buffers) Size() (n int) {
	for _, piece := range p {
		n += len(piece)
	}
	return n
}

// slice returns at most n bytes from an offset on. It is a copy only if they are in
// several Buffers.
func (p Buffers) slice(from, n int) []byte {
	for i, piece := range p {
		switch {
		case from >= len(piece):
			from -= len(piece)
		case from+n <= len(piece):
			return piece[from : from+n]
		case i == len(p)-1:
			return piece[from:]
		default:
			return slices.Concat(piece[from:], p[i+1:].slice(0, n-len(piece)+from))
		}
	}
	return nil
}

// join returns the bytes in one piece.
func (p Buffers) join() []byte {
	if len(p) == 1 {
		return p[0]
	}
	return bytes.Join(p, nil)
}

func (p Buffers) reader() io.Reader {
	readers := make([]io.Reader, len(p))
	for i, piece := range p {
		readers[i] = bytes.NewReader(piece)
	}
	return io.MultiReader(readers...)
}

// digest returns the SHA-256. It takes no more than a chunk at once: other goroutines,
// which beat, may have to wait for the end of one that hashes.
func (p Buffers) digest() []byte {
	sum := sha256.New()
	for _, piece := range p {
		for len(piece) > 0 {
			n := min(MaxChunk, len(piece))
			sum.Write(piece[:n])
			piece = piece[n:]
		}
	}
	return sum.Sum(nil)
}
