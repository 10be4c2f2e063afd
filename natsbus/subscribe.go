package natsbus

import (
	"fmt"
	"runtime"
	"time"

	"github.com/platformbus/platform"
	"github.com/platformbus/platform/flux"
)

// Subscribe makes p the daemon of the instance, see platform.MessageBus. When it
// returns, the server knows of it, and a daemon that was there before, on whichever bus,
// has been told to end, or has not answered for two beats. Of many subscriptions made
// beside each other, those beyond 8 in a beat do not wait for that: daemons from before
// are told when no more are being made, or after two beats, ten thousand in a beat.
//
// While the connection is down, it returns at once; the subscription is in force when
// the connection is back. Besides what platform.MessageBus says, a subscription ends if
// the server denies it, if the connection is closed, and with ErrClosed.
func (b *Bus) Subscribe(inst flux.InstanceID, p platform.Platform, done chan<- error) {
	switch {
	case inst == "":
		b.deliver(done, fmt.Errorf("subscribe: %w", errNoInstance))
		return
	case p == nil:
		b.deliver(done, errNilPlatform)
		return
	}
	tok := token(inst)
	b.mu.Lock()
	if b.closing {
		b.mu.Unlock()
		b.deliver(done, fmt.Errorf("subscribe: %w", ErrClosed))
		return
	}
	if s := b.seats.get(tok); s != nil {
		older := s.done
		s.platform, s.done, s.born = p, done, b.millis()
		s.epoch = laterEpoch(epochOf(time.Now()), s.epoch+1)
		if d := b.desks[s]; d != nil {
			for _, sv := range d.calls {
				sv.replaced = true
			}
		}
		claim, installed := b.claimLocked(s), func() {}
		if pending := b.pending[s]; pending != nil {
			installed = func() { <-pending.ready }
		} else if s.line == 0 {
			installed = b.joinLocked() // the batch after that of the seat
		}
		b.mu.Unlock()
		b.options.Metrics.IncrKicks(inst)
		b.deliver(older, platform.ErrKicked)
		b.tell(s, claim)
		installed()
		return
	}
	now := time.Now()
	subject := b.subject(tok, toDaemon, "*", "")
	if tok == string(inst) { // so that they share their memory
		inst = flux.InstanceID(subject[len(b.root):][:len(tok)])
	}
	b.numbers++
	s := &seat{inst: inst, number: b.numbers, born: b.millis(), platform: p, done: done, epoch: epochOf(now), fresh: true}
	b.seats.add(s)
	n := newcomer{s, subject}
	install := func() { b.install(n) }
	if b.rush.admits(now, b.options.Beat) {
		b.pending[s] = &installation{ready: make(chan struct{}), call: newName(), answers: make(chan frame, 4)}
	} else {
		install = b.joinLocked(n)
	}
	b.mu.Unlock()
	b.options.Metrics.Subscriptions.Add(1)
	install()
}

// A newcomer is a seat that is to be subscribed.
type newcomer struct {
	*seat
	subject string // of its subscription
}

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

// An installation is what a seat needs while Subscribe waits for the answer to its claim.
type installation struct {
	ready   chan struct{} // closed when it is over
	call    string        // the claim's name
	answers chan frame    // to the claim
}

// install subscribes, and has whoever holds the instance elsewhere end.
//
// The claim goes out just before the subscription, since the server then says at once if
// there is nobody. The holder stays subscribed for a while and sends callers on, so no
// call is lost in between. The claim is repeated after the subscription: of two who come
// at once, neither may have seen the other before. The subscription for the answer has no
// wildcard, since with many instances those cost the server much.
func (b *Bus) install(n newcomer) {
	s := n.seat
	defer b.endInstallation(s)
	b.mu.Lock()
	claim, pending := b.claimLocked(s), b.pending[s]
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
		b.tell(s, claim)
	}
	b.reach(n)
	if up && b.confirm() {
		b.await(s, pending)
	}
	b.mu.Lock()
	claim = b.claimLocked(s)
	over := s.over
	b.mu.Unlock()
	if !over {
		b.tell(s, claim)
	}
}

// await waits until the holder has ended, or there is none. A holder whose epoch is
// later, since its clock is, is outbid.
func (b *Bus) await(s *seat, pending *installation) {
	timer := time.NewTimer(2 * b.options.Beat)
	defer timer.Stop()
	for {
		select {
		case f := <-pending.answers:
			if f.kind != kindHeld {
				return
			}
			b.mu.Lock()
			higher := isLater(f.epoch+1, s.epoch) // otherwise the answer is to come yet
			if s.over || higher && !b.mayOutbidLocked(s, &f) {
				b.mu.Unlock()
				return
			}
			var claim frame
			if higher {
				claim = b.outbidLocked(s, f.epoch)
			}
			b.mu.Unlock()
			if higher {
				b.tell(s, claim)
			}
		case <-timer.C:
			return
		case <-b.stop:
			return
		}
	}
}

// answerClaim gives what came to the claim of a seat that is being installed.
func (b *Bus) answerClaim(s *seat, f frame) {
	b.mu.Lock()
	defer b.mu.Unlock()
	pending := b.pending[s]
	if pending == nil || pending.call != f.call {
		return
	}
	select {
	case pending.answers <- f:
	default:
	}
}

// endInstallation is called when Subscribe waits no more. From now on the claim is repeated.
func (b *Bus) endInstallation(s *seat) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.rush.leave(1)
	close(b.pending[s].ready)
	delete(b.pending, s)
	if !s.over {
		b.enqueueLocked(s, repeatedOnce)
	}
}

// maxSpare is for how many newcomers room is kept from one batch to the next.
const maxSpare = 1024

// A batch is newcomers that are installed in one go, which saves most of the cost.
type batch struct {
	newcomers []newcomer    // guarded by bus.mu while it is the bus's next
	installed chan struct{} // closed then
}

// joinLocked adds newcomers to the next batch, and returns a function that waits until that
// is installed, or installs it.
func (b *Bus) joinLocked(newcomers ...newcomer) (installed func()) {
	all := b.batch
	if all != nil {
		all.newcomers = append(all.newcomers, newcomers...)
		return func() { <-all.installed }
	}
	all = &batch{newcomers: append(b.spare, newcomers...), installed: make(chan struct{})}
	b.batch, b.spare = all, nil
	return func() { b.installBatch(all) }
}

// installBatch subscribes a batch, and leaves the claims to the bus's goroutine.
func (b *Bus) installBatch(all *batch) {
	runtime.Gosched() // to those who are about to join
	b.batching.Lock()
	defer b.batching.Unlock()
	b.mu.Lock()
	b.batch = nil
	b.mu.Unlock()
	b.reach(all.newcomers...)
	if b.conn.IsConnected() {
		b.confirm()
	}
	b.mu.Lock()
	b.rush.leave(len(all.newcomers))
	for _, n := range all.newcomers {
		if !n.over {
			b.enqueueLocked(n.seat, unclaimed)
		}
	}
	clear(all.newcomers)
	if cap(all.newcomers) <= maxSpare {
		b.spare = all.newcomers[:0]
	}
	b.mu.Unlock()
	close(all.installed)
}

// reach has callers and daemons reach the newcomers.
func (b *Bus) reach(newcomers ...newcomer) {
	for _, n := range newcomers {
		s := n.seat
		rpc, err := b.conn.ChanSubscribe(n.subject, b.frames)
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
