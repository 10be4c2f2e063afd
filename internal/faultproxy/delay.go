package faultproxy

import (
	"bytes"
	"io"
	"time"
)

// queueLength is large enough for 640 MB per second at a delay of 25 ms.
const queueLength = 1024

// Delay delays all bytes by d in each direction, so that a round trip takes 2*d longer. It
// applies to connections that are made later. These are accepted at once. The bandwidth
// stays as it is. The end of a direction follows its bytes.
func (p *Proxy) Delay(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.delay = d
}

// A queue is a writer that passes on what is written to it, after the pair's delay.
// newQueue starts its only goroutine; close waits until that has ended.
type queue struct {
	pair   *pair
	chunks chan chunk    // closed by close
	done   chan struct{} // closed when the goroutine has returned
	err    error         // of the goroutine; to be read after done is closed
}

// A chunk is the bytes of one Write.
type chunk struct {
	data []byte
	due  time.Time
}

func newQueue(p *pair, to io.Writer) *queue {
	q := &queue{pair: p, chunks: make(chan chunk, queueLength), done: make(chan struct{})}
	go func() {
		defer close(q.done)
		if q.err = q.forward(to); q.err != nil {
			p.reset() // which ends Write, and what reads for it
		}
	}()
	return q
}

// Write does not wait for p to be passed on, unless the queue is full.
func (q *queue) Write(p []byte) (int, error) {
	select {
	case q.chunks <- chunk{bytes.Clone(p), time.Now().Add(q.pair.delay)}:
		return len(p), nil
	case <-q.pair.ctx.Done():
		return 0, q.pair.ctx.Err()
	}
}

// close waits until all is passed on, and returns the first error. No Write may follow.
func (q *queue) close() error {
	close(q.chunks)
	<-q.done
	return q.err
}

// forward passes the chunks on, each when it is due.
func (q *queue) forward(to io.Writer) error {
	for c := range q.chunks {
		select {
		case <-time.After(time.Until(c.due)):
		case <-q.pair.ctx.Done():
			return q.pair.ctx.Err()
		}
		if _, err := to.Write(c.data); err != nil {
			return err
		}
	}
	return nil
}
