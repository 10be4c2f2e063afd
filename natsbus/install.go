package natsbus

import (
	"fmt"
	"runtime"
	"time"
)

// A rush is the subscriptions that are being made. A claim on a subject that the server
// does not know yet makes it compare that with the next subscriptions, so with many of
// them claims are left for later.
type rush struct {
	since    time.Time // when the beat began in which those are that waited count
	waited   int       // how many have waited for the answer to their claim in this beat
	underway int       // how many are being made
	last     time.Time // when one was begun last
}

// maxWaiting is how many subscriptions in a beat, beside others, wait for the answer to
// their claim.
const maxWaiting = 8

// admits says whether one more may wait for the answer to its claim.
func (r *rush) admits(now time.Time, beat time.Duration) bool {
	if now.Sub(r.since) >= beat {
		r.since, r.waited = now, 0
	}
	r.last = now
	r.underway++
	if r.underway > 1 && r.waited >= maxWaiting {
		return false
	}
	r.waited++
	return true
}

func (r *rush) leave(n int) { r.underway -= n }

// over says whether no subscription was begun for some time.
func (r *rush) over(now time.Time, beat time.Duration) bool {
	return r.underway == 0 && now.Sub(r.last) > beat/4
}

// install subscribes, and has whoever holds the instance elsewhere end.
//
// The claim goes out just before the subscription, since the server then says at once if
// there is nobody. The holder stays subscribed for a while and sends callers on, so no
// call is lost in between. The claim is repeated after the subscription: of two who come
// at once, neither may have seen the other before. The subscription for the answer has no
// wildcard, since with many instances those cost the server much.
func (s *seat) install() {
	b := s.bus
	defer s.installed()
	b.mu.Lock()
	claim, pending := s.claimLocked(), b.pending[s]
	b.mu.Unlock()
	claim.call = pending.call
	answers, err := b.conn.ChanSubscribe(b.subject(s.tok(), inCall, claim.session, claim.call), b.frames)
	if err != nil {
		b.endSeat(s, fmt.Errorf("subscription ended: %w", b.connectionError(err)))
		return
	}
	defer answers.Unsubscribe() //nolint:errcheck // it fails if the connection is closed
	up := b.conn.IsConnected()
	if up {
		s.tell(claim)
	}
	b.subscribe([]*seat{s})
	if up && b.confirm() {
		s.await(pending)
	}
	b.mu.Lock()
	claim = s.claimLocked()
	over := s.over
	b.mu.Unlock()
	if !over {
		s.tell(claim)
	}
}

// installed ends the installation. From now on the claim is repeated.
func (s *seat) installed() {
	b := s.bus
	b.mu.Lock()
	defer b.mu.Unlock()
	b.rush.leave(1)
	close(b.pending[s].ready)
	delete(b.pending, s)
	if !s.over {
		b.enqueueLocked(s, repeatedOnce)
	}
}

// A batch is seats that are installed in one go, which saves most of the cost.
type batch struct {
	seats     []*seat       // guarded by bus.mu while it is the bus's next
	installed chan struct{} // closed then
}

// joinLocked adds seats to the next batch, and returns a function that waits until that is
// installed, or installs it.
func (b *Bus) joinLocked(seats ...*seat) (installed func()) {
	all := b.batch
	if all != nil {
		all.seats = append(all.seats, seats...)
		return func() { <-all.installed }
	}
	all = &batch{seats: seats, installed: make(chan struct{})}
	b.batch = all
	return func() { b.install(all) }
}

// install subscribes a batch, and leaves the claims to the bus's goroutine.
func (b *Bus) install(all *batch) {
	runtime.Gosched() // to those who are about to join
	b.batching.Lock()
	defer b.batching.Unlock()
	b.mu.Lock()
	b.batch = nil
	b.mu.Unlock()
	b.subscribe(all.seats)
	if b.conn.IsConnected() {
		b.confirm()
	}
	b.mu.Lock()
	b.rush.leave(len(all.seats))
	for _, s := range all.seats {
		if !s.over {
			b.enqueueLocked(s, unclaimed)
		}
	}
	b.mu.Unlock()
	close(all.installed)
}

// subscribe has callers and daemons reach the seats.
func (b *Bus) subscribe(seats []*seat) {
	for _, s := range seats {
		rpc, err := b.conn.ChanSubscribe(b.subject(s.tok(), toDaemon, "*", ""), b.frames)
		if err != nil {
			b.endSeat(s, fmt.Errorf("subscription ended: %w", b.connectionError(err)))
			continue
		}
		b.mu.Lock()
		s.rpc = rpc
		needless := b.stale[s.tok()]
		delete(b.stale, s.tok())
		if s.over {
			needless = append(needless, rpc)
		}
		b.mu.Unlock()
		for _, sub := range needless {
			_ = sub.Unsubscribe()
		}
	}
}

// confirm makes sure that the server knows of what was subscribed.
func (b *Bus) confirm() bool {
	err := b.conn.FlushTimeout(b.options.silence())
	if err != nil {
		b.options.Logger.Warn("natsbus: subscriptions not confirmed yet", "err", err)
	}
	return err == nil
}
