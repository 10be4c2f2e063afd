package service

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
)

// A budget bounds the memory of the bodies of all requests.
type budget struct {
	size int64

	mu    sync.Mutex
	taken int64 // guarded by mu
}

func newBudget(size int64) *budget { return &budget{size: size} }

// reserve reserves n bytes. If they exceed the budget it reserves none and returns false.
func (b *budget) reserve(n int64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if n > b.size-b.taken {
		return false
	}
	b.taken += n
	return true
}

func (b *budget) release(n int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.taken -= n
}

const (
	minChunk = 4 << 10
	maxChunk = 256 << 10
)

// chunks is a buffer that is written and then read once. Unlike a slice that grows by copying,
// it never holds a text twice, and parts that have been read can be garbage collected.
type chunks struct {
	full [][]byte
	size int // number of bytes that have been written and not read
}

// grow returns free space for the next write. The size of a chunk grows with the text, so that
// a client that sends little does not cost a large chunk.
func (c *chunks) grow() []byte {
	if n := len(c.full); n > 0 {
		if last := c.full[n-1]; len(last) < cap(last) {
			return last[len(last):cap(last)]
		}
	}
	c.full = append(c.full, make([]byte, 0, min(max(c.size, minChunk), maxChunk)))
	last := c.full[len(c.full)-1]
	return last[:cap(last)]
}

// advance adds the first n bytes of the space that grow returned to the text.
func (c *chunks) advance(n int) {
	last := &c.full[len(c.full)-1]
	*last = (*last)[:len(*last)+n]
	c.size += n
}

func (c *chunks) Write(p []byte) (int, error) {
	for rest := p; len(rest) > 0; {
		n := copy(c.grow(), rest)
		c.advance(n)
		rest = rest[n:]
	}
	return len(p), nil
}

func (c *chunks) Read(p []byte) (int, error) {
	if c.size == 0 {
		return 0, io.EOF
	}
	n := copy(p, c.full[0])
	c.full[0], c.size = c.full[0][n:], c.size-n
	if len(c.full[0]) == 0 {
		c.full[0] = nil // so that the chunk can be collected: the array of c.full stays in use
		c.full = c.full[1:]
	}
	return n, nil
}

// drain returns the rest of the text and empties the buffer, which can then be written again.
// The buffer keeps the memory of a text of one chunk for the next one.
func (c *chunks) drain() []byte {
	if c.size == 0 {
		return nil
	}
	if len(c.full) == 1 {
		all := bytes.Clone(c.full[0])
		c.full[0], c.size = c.full[0][:0], 0
		return all
	}
	all := make([]byte, c.size)
	io.ReadFull(c, all) //nolint:errcheck // c has exactly this many bytes
	return all
}

// readBody reads the complete body of a request: only then does the server detect that the
// client disconnects. Memory is reserved as data arrives, not as Content-Length declares.
// The caller must call release, also after an error.
func (a *api) readBody(w http.ResponseWriter, r *http.Request) (body *chunks, release func(), err error) {
	body = new(chunks)
	var reserved int64
	release = func() { a.bodies.release(reserved) }
	if r.ContentLength > a.maxBody {
		return nil, release, badRequest{fmt.Errorf("read the request's body: %w", &http.MaxBytesError{Limit: a.maxBody})}
	}
	if r.Body == http.NoBody {
		return body, release, nil
	}
	source := http.MaxBytesReader(w, r.Body, a.maxBody)
	for {
		n, err := source.Read(body.grow())
		if !a.bodies.reserve(int64(n)) {
			return nil, release, tooBusy{fmt.Errorf("the bodies of all requests in progress take more than %d bytes; try again", a.bodies.size)}
		}
		reserved += int64(n)
		body.advance(n)
		if errors.Is(err, io.EOF) {
			return body, release, nil
		} else if err != nil {
			return nil, release, badRequest{fmt.Errorf("read the request's body: %w", err)}
		}
	}
}
