package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
)

// A budget bounds the memory that the bodies of all requests take at once.
type budget struct {
	size int64

	mu    sync.Mutex
	taken int64 // guarded by mu
}

func newBudget(size int64) *budget { return &budget{size: size} }

// take reserves n bytes, or none and returns false.
func (b *budget) take(n int64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if n > b.size-b.taken {
		return false
	}
	b.taken += n
	return true
}

func (b *budget) give(n int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.taken -= n
}

const (
	minChunk = 4 << 10
	maxChunk = 256 << 10
)

// chunks are a text in memory, written and then read once. Unlike a slice that grows by
// copying, they are never in memory twice; and what has been read can be collected.
type chunks struct {
	full [][]byte
	size int // of what has been written, and not been read
}

// room returns space for what is to be written next. It grows with what has been written, so
// that somebody who sends little, or nothing, does not cost a large chunk.
func (c *chunks) room() []byte {
	if n := len(c.full); n > 0 {
		if last := c.full[n-1]; len(last) < cap(last) {
			return last[len(last):cap(last)]
		}
	}
	c.full = append(c.full, make([]byte, 0, min(max(c.size, minChunk), maxChunk)))
	last := c.full[len(c.full)-1]
	return last[:cap(last)]
}

// wrote says how much of the room has been filled.
func (c *chunks) wrote(n int) {
	last := &c.full[len(c.full)-1]
	*last = (*last)[:len(*last)+n]
	c.size += n
}

func (c *chunks) Write(p []byte) (int, error) {
	for rest := p; len(rest) > 0; {
		n := copy(c.room(), rest)
		c.wrote(n)
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
		c.full[0] = nil // the array that holds it is still in use
		c.full = c.full[1:]
	}
	return n, nil
}

// bytes returns all that can be read, in one piece. The chunks can be written again then; a
// short text leaves them their memory for the next one.
func (c *chunks) bytes() []byte {
	if c.size == 0 {
		return nil
	}
	if len(c.full) == 1 {
		all := bytes.Clone(c.full[0])
		c.full[0], c.size = c.full[0][:0], 0
		return all
	}
	all := make([]byte, c.size)
	io.ReadFull(c, all) //nolint:errcheck // there is as much
	return all
}

// readBody reads the body of a request, all of it: only then does the server notice when
// whoever asked goes away. The memory is reserved as it arrives, not as Content-Length
// declares; release gives it back, also after an error.
func (a *api) readBody(w http.ResponseWriter, r *http.Request) (body *chunks, release func(), err error) {
	body = new(chunks)
	var reserved int64
	release = func() { a.bodies.give(reserved) }
	if r.ContentLength > a.maxBody {
		return nil, release, badRequest{fmt.Errorf("read the request's body: %w", &http.MaxBytesError{Limit: a.maxBody})}
	}
	if r.Body == http.NoBody {
		return body, release, nil
	}
	source := http.MaxBytesReader(w, r.Body, a.maxBody)
	for {
		n, err := source.Read(body.room())
		if !a.bodies.take(int64(n)) {
			return nil, release, tooBusy{fmt.Errorf("the bodies of all requests under way take more than %d bytes; try again", a.bodies.size)}
		}
		reserved += int64(n)
		body.wrote(n)
		if errors.Is(err, io.EOF) {
			return body, release, nil
		} else if err != nil {
			return nil, release, badRequest{fmt.Errorf("read the request's body: %w", err)}
		}
	}
}
