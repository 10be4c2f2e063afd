package api

import (
	"context"
	"sync"
	"time"
)

// Slots bound how many requests of a call are under way at once. Where requests take no longer
// for being more, as they do far away from an idle API server, there come to be more of them,
// until one is refused because the server is busy. There are fewer while the server has much to do
// on its own that the call waits for.
type Slots struct {
	free chan struct{} // a token for each request that may be begun
	low  int           // how many there are at first, and at least

	mu      sync.Mutex
	now     int           // how many there are; guarded by mu
	debt    int           // how many of them are to be given up; guarded by mu
	fixed   bool          // they stay as many as there are; guarded by mu
	fastest time.Duration // of all requests; guarded by mu
	total   time.Duration // of the requests since the number was last judged; guarded by mu
	ended   int           // how many these are; guarded by mu
	burden  int           // see Burden; guarded by mu
}

// NewSlots returns slots for low requests at once, which may come to be high.
func NewSlots(low, high int) *Slots {
	s := &Slots{free: make(chan struct{}, high), low: low, now: low, fixed: low == high}
	for range low {
		s.free <- struct{}{}
	}
	return s
}

// slotsKey is where the context of a call has its Slots, and that of a request the slot that it
// holds.
type slotsKey struct{}

// A slot is that of one request. Requests that are made within it count as parts of it.
type slot struct{ *Slots }

// WithSlots returns a context for a call.
func WithSlots(ctx context.Context, s *Slots) context.Context {
	return context.WithValue(ctx, slotsKey{}, s)
}

// withSlot returns ctx once there is room for another request among those of its call. The
// function must be called at the request's end.
func withSlot(ctx context.Context) (context.Context, func()) {
	s, ok := ctx.Value(slotsKey{}).(*Slots)
	if !ok {
		return ctx, func() {}
	}
	select {
	case <-s.free:
		begun := time.Now()
		return context.WithValue(ctx, slotsKey{}, slot{s}), func() { s.release(time.Since(begun)) }
	case <-ctx.Done():
		return ctx, func() {}
	}
}

// refuse notes that the server is too busy for the request that a context is for.
func refuse(ctx context.Context) {
	if held, ok := ctx.Value(slotsKey{}).(slot); ok {
		held.mu.Lock()
		defer held.mu.Unlock()
		held.setLocked(held.low)
		held.fixed = true
	}
}

// heavy is the burden, in bytes, with which requests become fewer.
const heavy = 1 << 20

// Burden notes that the server has to process so many bytes that a call has sent and waits for,
// such as definitions of kinds; or, if that is negative, that it has. Where it competes for
// processors with many requests, it takes longer than these do.
func Burden(ctx context.Context, bytes int) {
	var s *Slots
	switch held := ctx.Value(slotsKey{}).(type) {
	case *Slots:
		s = held
	case slot:
		s = held.Slots
	default:
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	before := s.burden
	s.burden += bytes
	switch {
	case s.burden >= heavy:
		s.setLocked(s.now)
	case before >= heavy:
		s.setLocked(s.low)
	}
}

// release gives a slot back after a request that took so long.
func (s *Slots) release(took time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.fixed {
		s.judgeLocked(took)
	}
	if s.debt > 0 {
		s.debt--
		return
	}
	s.free <- struct{}{}
}

// Mean times of requests, as parts of the fastest in percent.
const (
	idle = 125 // up to here the server has time for more
	busy = 200 // from here on it has too many
)

// judgeLocked adapts the number of slots, each time that so many requests have ended.
func (s *Slots) judgeLocked(took time.Duration) {
	if s.fastest == 0 || took < s.fastest {
		s.fastest = took
	}
	s.total += took
	if s.ended++; s.ended < s.now {
		return
	}
	switch percent := 100 * s.total / time.Duration(s.ended) / max(1, s.fastest); {
	case percent <= idle:
		s.setLocked(s.now + s.now/2)
	case percent >= busy:
		s.setLocked(s.now - s.now/4)
	}
	s.total, s.ended = 0, 0
}

// setLocked changes the number of slots to n, or the next that is allowed.
func (s *Slots) setLocked(n int) {
	n = max(s.low, min(n, cap(s.free)))
	if s.burden >= heavy {
		n = (s.low + 1) / 2
	}
	for ; s.now < n; s.now++ {
		if s.debt > 0 {
			s.debt--
		} else {
			s.free <- struct{}{}
		}
	}
	for ; s.now > n; s.now-- {
		select {
		case <-s.free:
		default:
			s.debt++
		}
	}
}
