package natsbus

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/platformbus/platform"
	"github.com/platformbus/platform/flux"
)

// A seat is an instance's place on this bus. Who subscribes takes it from whoever has
// it, here at once, and elsewhere by a claim: the later epoch wins, and if neither is later,
// the session. Whoever hears a later claim than his own ends; whoever hears an
// earlier one repeats his own. Claims are repeated from time to time, and when the
// connection has come back, so that one is left however the network was parted.
//
// Clocks differ, so a later claim may be from before. A claim says how old it is, and a
// seat that is fresh outbids one that is older than itself.
//
// A bus may have very many, so what only some need at a time is apart.
type seat struct {
	bus    *Bus
	inst   flux.InstanceID
	number uint32 // no other seat of the bus has it
	born   uint32 // when it was taken while it was fresh, in milliseconds since the bus was made

	// What follows is guarded by bus.mu.
	platform platform.Platform
	done     chan<- error // made and closed by the subscriber; nil if it does not want to know
	epoch    uint64
	rpc      *nats.Subscription // to what callers ask, and daemons claim
	desk     *desk              // nil until there is a call
	next     *seat              // in the line that it is in
	due      uint32             // the tick in which it has its turn there
	line     stage              // which line that is
	outbids  uint8              // how often it heard a later claim while it was fresh
	fresh    bool               // whoever held it before may not have heard of it
	over     bool               // no longer in force
}

// An installation is what a seat needs while Subscribe waits for the answer to its claim.
type installation struct {
	ready   chan struct{} // closed when it is over
	call    string        // the claim's name
	answers chan frame    // to the claim
}

// A desk is where calls for a seat are served.
type desk struct {
	listening sync.Mutex         // held while in is made or taken down
	in        *nats.Subscription // guarded by listening; to what callers say; nil if there are no calls

	// What follows is guarded by bus.mu.
	tickets uint64 // given to calls
	reads   int
	writes  int
	calls   map[string]*serving
}

// maxOutbids is how often a seat outbids others.
const maxOutbids = 4

// settledAge is the age of what is not fresh.
const settledAge = 1 << 32

// ageLocked returns for how long the seat is there, in milliseconds.
func (s *seat) ageLocked() int64 {
	if !s.fresh {
		return settledAge
	}
	return int64(s.bus.millis() - s.born)
}

// millis returns the time in milliseconds since the bus was made.
func (b *Bus) millis() uint32 { return uint32(time.Since(b.born).Milliseconds()) }

func (s *seat) tok() string { return token(s.inst) }

// session returns the name of the seat in subjects and claims.
func (s *seat) session() string { return s.bus.place + "-" + strconv.FormatUint(uint64(s.number), 36) }

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
	if s := b.seats[tok]; s != nil {
		older := s.done
		s.platform, s.done, s.born = p, done, b.millis()
		s.epoch = laterEpoch(epochOf(time.Now()), s.epoch+1)
		if s.desk != nil {
			for _, sv := range s.desk.calls {
				sv.replaced = true
			}
		}
		claim, installed := s.claimLocked(), func() {}
		if pending := b.pending[s]; pending != nil {
			installed = func() { <-pending.ready }
		} else if s.line == 0 {
			installed = b.joinLocked() // the batch after that of the seat
		}
		b.mu.Unlock()
		b.options.Metrics.IncrKicks(inst)
		b.deliver(older, platform.ErrKicked)
		s.tell(claim)
		installed()
		return
	}
	now := time.Now()
	b.numbers++
	s := &seat{bus: b, inst: inst, number: b.numbers, born: b.millis(), platform: p, done: done, epoch: epochOf(now), fresh: true}
	b.seats[tok] = s
	if b.rush.admits(now, b.options.Beat) {
		b.pending[s] = &installation{ready: make(chan struct{}), call: newName(), answers: make(chan frame, 4)}
		b.mu.Unlock()
		b.options.Metrics.Subscriptions.Add(1)
		s.install()
		return
	}
	installed := b.joinLocked(s)
	b.mu.Unlock()
	b.options.Metrics.Subscriptions.Add(1)
	installed()
}

// isLater compares epochs as numbers on a circle, of which half lies ahead. So none is
// the last: whatever somebody has claimed with, one more is later, and the numbers that
// are in use come back to the time some day.
func isLater(epoch, than uint64) bool { return int64(epoch-than) > 0 }

// laterEpoch returns the later of the two.
func laterEpoch(a, b uint64) uint64 {
	if isLater(a, b) {
		return a
	}
	return b
}

func epochOf(t time.Time) uint64 { return uint64(t.UnixMilli()) }

func (s *seat) claimLocked() frame {
	return frame{kind: kindClaim, session: s.session(), epoch: s.epoch, age: s.ageLocked()}
}

// outbidLocked returns a claim that is later than one with the epoch given.
func (s *seat) outbidLocked(epoch uint64) frame {
	s.outbids++
	s.epoch = epoch + 1
	claim := s.claimLocked()
	if pending := s.bus.pending[s]; pending != nil {
		claim.call = pending.call
	}
	return claim
}

// tell tells the daemons of the instance.
func (s *seat) tell(claim frame) {
	reply := ""
	if claim.call != "" {
		reply = s.bus.subject(s.tok(), inCall, claim.session, claim.call)
	}
	_ = s.bus.publish(s.bus.subject(s.tok(), toDaemon, methodKick, ""), reply, claim)
}

// await waits until the holder has ended, or there is none. A holder whose epoch is
// later, since its clock is, is outbid.
func (s *seat) await(pending *installation) {
	b := s.bus
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
			if s.over || higher && !s.mayOutbidLocked(&f) {
				b.mu.Unlock()
				return
			}
			var claim frame
			if higher {
				claim = s.outbidLocked(f.epoch)
			}
			b.mu.Unlock()
			if higher {
				s.tell(claim)
			}
		case <-timer.C:
			return
		case <-b.stop:
			return
		}
	}
}

// mayOutbidLocked says whether a claim that is later may be from before the seat all the
// same. While Subscribe waits it is taken for that: it may just be old news. If it is from
// somebody who has come at the same time, one of both tires of it first.
func (s *seat) mayOutbidLocked(claim *frame) bool {
	return s.outbids < maxOutbids && (s.bus.pending[s] != nil || s.fresh && claim.age > s.ageLocked())
}

// answer gives what came to the claim of a seat that is being installed.
func (s *seat) answer(f frame) {
	s.bus.mu.Lock()
	defer s.bus.mu.Unlock()
	pending := s.bus.pending[s]
	if pending == nil || pending.call != f.call {
		return
	}
	select {
	case pending.answers <- f:
	default:
	}
}

// onClaim compares a claim with the one that is held here.
func (b *Bus) onClaim(from *nats.Subscription, tok string, f *frame) {
	b.mu.Lock()
	s := b.seats[tok]
	own := strings.HasPrefix(f.session, b.place) // or of a seat that was here before
	if s == nil || own || slices.Contains(b.stale[tok], from) || f.kind != kindClaim || f.session == "" {
		b.mu.Unlock()
		return
	}
	mine := s.claimLocked()
	answer := frame{kind: kindHeld, call: f.call, session: mine.session}
	later := isLater(f.epoch, mine.epoch) || !isLater(mine.epoch, f.epoch) && f.session > mine.session
	outbids := later && s.mayOutbidLocked(f)
	finish := func() {}
	switch {
	case outbids:
		mine = s.outbidLocked(f.epoch)
	case later:
		answer.kind = kindEnded
		finish = b.endSeatLocked(s, platform.ErrKicked, b.options.Beat)
	}
	b.mu.Unlock()
	if answer.kind == kindEnded {
		b.options.Logger.Info("natsbus: kicked by another daemon", "instance", s.inst)
		b.options.Metrics.IncrKicks(s.inst)
		finish()
	} else {
		answer.epoch, answer.age = mine.epoch, mine.age
	}
	if f.call != "" {
		_ = b.publish(b.subject(tok, inCall, f.session, f.call), "", answer)
	}
	if outbids || f.call == "" && answer.kind == kindHeld && !b.flooded() {
		s.tell(mine)
	}
}

// endSeat ends the seat's subscription, if it is still in force.
func (b *Bus) endSeat(s *seat, cause error) {
	b.mu.Lock()
	if s.over {
		b.mu.Unlock()
		return
	}
	finish := b.endSeatLocked(s, cause, 0)
	b.mu.Unlock()
	finish()
}

// endSeatLocked ends a seat that is in force, but for what is to be done without the
// lock, which it returns. For as long as linger says, callers who still ask here are
// told to ask again.
func (b *Bus) endSeatLocked(s *seat, cause error, linger time.Duration) (finish func()) {
	done, rpc := s.done, s.rpc
	s.over = true
	delete(b.seats, s.tok())
	b.retired[s] = time.Now().Add(linger)
	if rpc != nil && linger > 0 {
		b.stale[s.tok()] = append(b.stale[s.tok()], rpc)
	}
	return func() {
		if rpc != nil && linger == 0 {
			_ = rpc.Unsubscribe()
		}
		b.options.Metrics.Subscriptions.Add(-1)
		b.deliver(done, cause)
	}
}

// listen makes sure that the seat, which has a call, hears what callers say during calls.
// The server knows of it before it knows of what is sent afterwards.
func (s *seat) listen() error {
	b := s.bus
	b.mu.Lock()
	d := s.desk
	b.mu.Unlock()
	d.listening.Lock()
	defer d.listening.Unlock()
	if d.in != nil {
		return nil
	}
	b.mu.Lock()
	down := b.stopped || s.over && len(d.calls) == 0
	b.mu.Unlock()
	if down { // it is taken down, or will be, and nothing may be left on the connection
		return errGone
	}
	session := s.session()
	in, err := b.conn.ChanSubscribe(b.subject(s.tok(), inCall, session, "*"), b.frames)
	if err != nil {
		return err
	}
	d.in = in
	b.mu.Lock()
	b.sessions[session] = s
	b.mu.Unlock()
	return nil
}

// unlisten undoes listen, unless there are calls, or all is to be taken down.
func (s *seat) unlisten(all bool) {
	b := s.bus
	b.mu.Lock()
	d := s.desk
	b.mu.Unlock()
	if d == nil {
		return
	}
	d.listening.Lock()
	defer d.listening.Unlock()
	b.mu.Lock()
	busy := len(d.calls) > 0 && !all
	if !busy {
		delete(b.sessions, s.session())
	}
	b.mu.Unlock()
	if !busy && d.in != nil {
		_ = d.in.Unsubscribe()
		d.in = nil
	}
}
