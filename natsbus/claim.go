package natsbus

import (
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/platformbus/platform"
	"github.com/platformbus/platform/flux"
)

// A seat is an instance's place on this bus. Who subscribes takes it from whoever has
// it, here at once, and elsewhere by a claim: the later epoch wins, and between equal
// ones the session. Whoever hears a later claim than his own ends; whoever hears an
// earlier one repeats his own. Claims are repeated from time to time, and when the
// connection has come back, so that one is left however the network was parted.
type seat struct {
	bus     *Bus
	inst    flux.InstanceID
	tok     string
	session string

	listening sync.Mutex         // held while in is made or taken down
	in        *nats.Subscription // guarded by listening; nil until it is needed

	// What follows is guarded by bus.mu.
	occ     *occupant
	epoch   uint64
	over    bool               // no longer in force
	until   time.Time          // when it is over: when it stops sending callers elsewhere
	rpc     *nats.Subscription // to what callers ask, and daemons claim
	ready   chan struct{}      // closed when the seat has been installed, and then nil
	outbid  int                // how often it heard a later claim while it was being installed
	answers chan frame         // to the claim with which it is being installed, and then nil
	repeats int                // of the claim
	tickets uint64             // given to calls
	reads   int
	writes  int
	calls   map[string]*serving
}

// maxOutbid is how often a seat that is being installed outbids others.
const maxOutbid = 4

// An occupant is a subscription: a Platform, until it has ended.
type occupant struct {
	platform platform.Platform
	done     chan<- error // made and closed by the subscriber; nil if it does not want to know
	over     bool         // guarded by bus.mu; no call begins any more
}

// Subscribe makes p the daemon of the instance, see platform.MessageBus. When it
// returns, the server knows of it, and a daemon that was there before, on whichever bus,
// has been told to end, or has not answered for two beats.
//
// While the connection is down, it returns at once; the subscription is in force when
// the connection is back. Besides what platform.MessageBus says, a subscription ends if
// the server denies it, if the connection is closed, and with ErrClosed.
func (b *Bus) Subscribe(inst flux.InstanceID, p platform.Platform, done chan<- error) {
	next := &occupant{platform: p, done: done}
	switch {
	case inst == "":
		b.deliver(next, fmt.Errorf("subscribe: %w", errNoInstance))
		return
	case p == nil:
		b.deliver(next, errNilPlatform)
		return
	}
	tok := token(inst)
	b.mu.Lock()
	if b.closing {
		b.mu.Unlock()
		b.deliver(next, fmt.Errorf("subscribe: %w", ErrClosed))
		return
	}
	if s := b.seats[tok]; s != nil {
		older, ready := s.occ, s.ready
		older.over = true
		s.occ = next
		s.epoch = laterEpoch(epochNow(), s.epoch+1)
		claim := s.claimLocked()
		b.mu.Unlock()
		b.options.Metrics.IncrKicks(inst)
		b.deliver(older, platform.ErrKicked)
		s.tell(claim)
		if ready != nil {
			<-ready
		}
		return
	}
	s := &seat{
		bus: b, inst: inst, tok: tok, session: newName(), occ: next, epoch: epochNow(),
		ready: make(chan struct{}), answers: make(chan frame, 4),
	}
	b.seats[tok] = s
	b.mu.Unlock()
	b.options.Metrics.Subscriptions.Add(1)
	s.install()
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

func epochNow() uint64 { return uint64(time.Now().UnixMilli()) }

func (s *seat) claimLocked() frame { return frame{kind: kindClaim, session: s.session, epoch: s.epoch} }

// tell tells the daemons of the instance.
func (s *seat) tell(claim frame) {
	reply := ""
	if claim.call != "" {
		reply = s.bus.subject(s.tok, inCall, s.session, claim.call)
	}
	_ = s.bus.publish(s.bus.subject(s.tok, toDaemon, methodKick, ""), reply, claim)
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
	claimed := newName()
	answers, err := b.conn.ChanSubscribe(b.subject(s.tok, inCall, s.session, claimed), b.frames)
	if err != nil {
		b.endSeat(s, nil, fmt.Errorf("subscription ended: %w", b.connectionError(err)))
		s.installed()
		return
	}
	defer answers.Unsubscribe() //nolint:errcheck // it fails if the connection is closed
	up := b.conn.IsConnected()
	b.mu.Lock()
	claim := s.claimLocked()
	b.mu.Unlock()
	claim.call = claimed
	if up {
		s.tell(claim)
	}
	rpc, err := b.conn.ChanSubscribe(b.subject(s.tok, toDaemon, "*", ""), b.frames)
	if err != nil {
		b.endSeat(s, nil, fmt.Errorf("subscription ended: %w", b.connectionError(err)))
		s.installed()
		return
	}
	b.mu.Lock()
	s.rpc = rpc
	needless := []*nats.Subscription{}
	for sub, older := range b.stale {
		if older.tok == s.tok {
			needless = append(needless, sub)
			delete(b.stale, sub)
		}
	}
	if s.over {
		needless = append(needless, rpc)
	}
	b.mu.Unlock()
	for _, sub := range needless {
		_ = sub.Unsubscribe()
	}
	if up {
		if err := b.conn.FlushTimeout(b.options.silence()); err != nil {
			b.options.Logger.Warn("natsbus: subscription not confirmed yet", "instance", s.inst, "err", err)
		} else {
			s.await(claim)
		}
	}
	b.mu.Lock()
	claim = s.claimLocked()
	over := s.over
	b.mu.Unlock()
	if !over {
		s.tell(claim)
	}
	s.installed()
}

// installed ends the installation. From now on the claim is repeated.
func (s *seat) installed() {
	b := s.bus
	b.mu.Lock()
	ready := s.ready
	s.ready, s.answers = nil, nil
	if !s.over {
		b.agenda.add(b.nextClaimLocked(s), s)
	}
	b.mu.Unlock()
	close(ready)
}

// await waits until the holder has ended, or there is none. A holder whose epoch is
// later, since its clock is, is outbid.
func (s *seat) await(claim frame) {
	b := s.bus
	timer := time.NewTimer(2 * b.options.Beat)
	defer timer.Stop()
	for outbid := 0; ; {
		select {
		case f := <-s.answers:
			if f.kind != kindHeld {
				return
			}
			b.mu.Lock()
			higher := isLater(f.epoch+1, s.epoch)        // otherwise the answer is to come yet
			if s.over || higher && outbid == maxOutbid { // who has ended must not outbid anyone
				b.mu.Unlock()
				return
			}
			if higher {
				s.epoch = f.epoch + 1
				claim.epoch = s.epoch
			}
			b.mu.Unlock()
			if higher {
				outbid++
				s.tell(claim)
			}
		case <-timer.C:
			return
		case <-b.stop:
			return
		}
	}
}

// answer gives what came to the claim of a seat that is being installed.
func (s *seat) answer(f frame) {
	s.bus.mu.Lock()
	defer s.bus.mu.Unlock()
	if s.answers == nil {
		return
	}
	select {
	case s.answers <- f:
	default:
	}
}

// onClaim compares a claim with the one that is held here.
func (b *Bus) onClaim(from *nats.Subscription, tok string, f *frame) {
	b.mu.Lock()
	s := b.seats[tok]
	if s == nil || b.stale[from] != nil || f.kind != kindClaim || f.session == "" || f.session == s.session {
		b.mu.Unlock()
		return
	}
	mine := s.claimLocked()
	later := isLater(f.epoch, mine.epoch) || f.epoch == mine.epoch && f.session > mine.session
	if later && s.answers != nil && s.outbid < maxOutbid {
		// The holder said so before it knew of this seat, which is newer: outbid it. It may also be
		// somebody who has come at the same time, and then one of both tires of it first.
		s.outbid++
		b.mu.Unlock()
		s.answer(frame{kind: kindHeld, epoch: f.epoch})
		if f.call != "" {
			_ = b.publish(b.subject(tok, inCall, f.session, f.call), "", frame{kind: kindHeld, call: f.call, session: s.session, epoch: mine.epoch})
		}
		return
	}
	finish := func() {}
	if later {
		finish = b.endSeatLocked(s, platform.ErrKicked, b.options.Beat)
	}
	b.mu.Unlock()
	if later {
		b.options.Logger.Info("natsbus: kicked by another daemon", "instance", s.inst)
		b.options.Metrics.IncrKicks(s.inst)
		finish()
	}
	switch {
	case f.call != "" && later:
		_ = b.publish(b.subject(tok, inCall, f.session, f.call), "", frame{kind: kindEnded, call: f.call, session: s.session})
	case f.call != "":
		_ = b.publish(b.subject(tok, inCall, f.session, f.call), "", frame{kind: kindHeld, call: f.call, session: s.session, epoch: mine.epoch})
	case !later && !b.flooded():
		s.tell(mine)
	}
}

// endSeat ends the seat's subscription, if it is still in force and that of occ, unless
// nil.
func (b *Bus) endSeat(s *seat, occ *occupant, cause error) {
	b.mu.Lock()
	if s.over || occ != nil && s.occ != occ {
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
	last, rpc := s.occ, s.rpc
	s.over, last.over = true, true
	s.until = time.Now().Add(linger)
	delete(b.seats, s.tok)
	b.retired[s] = struct{}{}
	if rpc != nil && linger > 0 {
		b.stale[rpc] = s
	}
	return func() {
		if rpc != nil && linger == 0 {
			_ = rpc.Unsubscribe()
		}
		b.options.Metrics.Subscriptions.Add(-1)
		b.deliver(last, cause)
	}
}

// listen makes sure that the seat hears what callers say during calls. The server knows
// of it before it knows of what is sent afterwards.
func (s *seat) listen() error {
	s.listening.Lock()
	defer s.listening.Unlock()
	if s.in != nil {
		return nil
	}
	s.bus.mu.Lock()
	stopped := s.bus.stopped
	s.bus.mu.Unlock()
	if stopped { // a call was cut off, and nothing may be left on the connection
		return ErrClosed
	}
	in, err := s.bus.conn.ChanSubscribe(s.bus.subject(s.tok, inCall, s.session, "*"), s.bus.frames)
	if err != nil {
		return err
	}
	s.in = in
	s.bus.mu.Lock()
	s.bus.sessions[s.session] = s
	s.bus.mu.Unlock()
	return nil
}

// unlisten undoes listen, unless there are calls, or all is to be taken down.
func (s *seat) unlisten(all bool) {
	s.listening.Lock()
	defer s.listening.Unlock()
	s.bus.mu.Lock()
	busy := len(s.calls) > 0 && !all
	if !busy {
		delete(s.bus.sessions, s.session)
	}
	s.bus.mu.Unlock()
	if !busy && s.in != nil {
		_ = s.in.Unsubscribe()
		s.in = nil
	}
}
