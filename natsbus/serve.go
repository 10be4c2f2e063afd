package natsbus

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/platformbus/platform"
)

// A serving is a call that is served here. The dispatcher makes it and tells it what
// comes; once the request is complete, a goroutine carries it out and sends the answer.
type serving struct {
	link
	seat     *seat
	desk     *desk
	platform platform.Platform
	method   *method
	ctx      context.Context
	cancel   context.CancelCauseFunc
	inline   bool // its request was in what opened it

	begun    bool      // guarded by bus.mu; the goroutine was started
	replaced bool      // guarded by bus.mu; the seat has another Platform by now
	beatAt   time.Time // when to beat next; belongs to keepTime
}

// onOpen begins a call, or says why it does not. It is asked again until the caller has
// heard of it, so what is there already answers again.
func (b *Bus) onOpen(from *nats.Subscription, tok, name string, f *frame) {
	if f.call == "" || f.bus == "" {
		return
	}
	m := methods[name]
	b.mu.Lock()
	s := b.seats.get(tok)
	if s != nil && slices.Contains(b.stale[tok], from) {
		b.mu.Unlock()
		return // it comes on the subscription in force too, or is sent again until it does
	}
	if s == nil || b.closing {
		b.mu.Unlock()
		b.reply(tok, f, frame{kind: kindGone})
		return
	}
	if f.version > protocolVersion {
		b.mu.Unlock()
		b.refuse(tok, f, platform.UpgradeNeededError(fmt.Errorf("the daemon knows version %d of the protocol, and was asked in version %d", protocolVersion, f.version)))
		return
	}
	if m == nil {
		b.mu.Unlock()
		b.refuse(tok, f, platform.UpgradeNeededError(fmt.Errorf("the daemon does not know the method %s", name)))
		return
	}
	sv := b.deskLocked(s).calls[f.call]
	if sv == nil {
		var err error
		if sv, err = b.admitLocked(s, m, f); err != nil {
			b.mu.Unlock()
			if !b.flooded() {
				b.refuse(tok, f, unavailable(s.inst, "%s: %w", name, err))
			}
			return
		}
		b.mu.Unlock()
		if sv.inline {
			sv.onData(f)
			b.carryOn(sv)
			return
		}
	} else {
		b.mu.Unlock()
		sv.hear(f)
	}
	if err := b.listen(sv); err != nil {
		b.options.Logger.Warn("natsbus: cannot take part in a call", "instance", s.inst, "err", err)
		return
	}
	sv.setBack()
	if sv.inline {
		sv.send(frame{kind: kindBeat})
	} else {
		sv.send(frame{kind: kindAccept})
	}
}

// setBack lets the server say on the seat's subscription that the caller is not there.
func (sv *serving) setBack() {
	sv.mu.Lock()
	sv.back = sv.bus.subject(sv.seat.tok(), inCall, sv.session, sv.call)
	sv.mu.Unlock()
}

// admitLocked notes a new call, if there is room for it. Reads and writes have limits of
// their own, so that reads never wait for writes.
func (b *Bus) admitLocked(s *seat, m *method, f *frame) (*serving, error) {
	d := b.deskLocked(s)
	under := &d.reads
	if m.write {
		under = &d.writes
	}
	switch {
	case *under >= b.options.MaxCallsPerInstance:
		return nil, fmt.Errorf("%d such calls are under way, which is the limit of its daemon", b.options.MaxCallsPerInstance)
	case len(b.serving) >= b.options.MaxCalls:
		return nil, fmt.Errorf("%d calls are under way, which is the limit of its daemon for all instances", b.options.MaxCalls)
	}
	*under++
	d.tickets++
	now := time.Now()
	sv := &serving{seat: s, desk: d, platform: s.platform, method: m, inline: f.last && !m.write, beatAt: now.Add(b.options.Beat)}
	sv.link = link{
		bus: b, call: f.call, wake: make(chan struct{}, 1),
		to: b.subject(s.tok(), toCaller, f.bus, f.call), session: b.session(s), ticket: d.tickets,
		heard: now, moved: now, beat: min(time.Duration(f.beat)*time.Millisecond, time.Minute),
	}
	sv.ctx, sv.cancel = context.WithCancelCause(b.base)
	d.calls[f.call] = sv
	b.serving[sv] = struct{}{}
	b.counters.inFlight[served].Add(1)
	return sv, nil
}

// drop forgets a call.
func (b *Bus) drop(sv *serving, cause error) {
	b.mu.Lock()
	b.forgetLocked(sv)
	b.mu.Unlock()
	sv.cancel(cause)
	sv.close()
}

// forgetLocked has nothing more come for a call, and its place free.
func (b *Bus) forgetLocked(sv *serving) {
	if _, there := b.serving[sv]; !there {
		return
	}
	delete(b.serving, sv)
	d := sv.desk
	delete(d.calls, sv.call)
	if sv.method.write {
		d.writes--
	} else {
		d.reads--
	}
	b.counters.inFlight[served].Add(-1)
}

// reply sends to a caller with whom there is no call.
func (b *Bus) reply(tok string, to *frame, f frame) {
	if to.bus == "" || to.call == "" {
		return
	}
	f.call, f.session, f.ticket = to.call, to.session, to.ticket
	_ = b.publish(b.subject(tok, toCaller, to.bus, to.call), "", f)
}

// refuse answers a call that is not begun.
func (b *Bus) refuse(tok string, to *frame, err error) {
	out, encodeErr := encode(answer{Err: toWire(err)}, 0, b.options.MaxBody)
	if encodeErr == nil {
		b.reply(tok, to, out.frame(0))
	}
}

// refuseBegin says of a call whose request is not complete that it never will begin.
func (b *Bus) refuseBegin(sv *serving) {
	sv.send(frame{kind: kindGone})
	b.drop(sv, errGone)
}

var (
	errGone   = errors.New("the daemon's subscription is over")
	errCaller = errors.New("the caller has ended the call")
)

// onInCall does what a caller asks of a call that it has with a daemon here.
func (b *Bus) onInCall(tok, session, id string, f *frame) {
	b.mu.Lock()
	s := b.seatLocked(tok, session)
	if s == nil {
		b.mu.Unlock()
		return
	}
	var sv *serving
	if d := b.desks[s]; d != nil {
		sv = d.calls[id]
	}
	begun := sv != nil && sv.begun
	b.mu.Unlock()
	f.call, f.session = id, session
	switch {
	case f.kind == kindHeld || f.kind == kindEnded:
		b.answerClaim(s, *f)
		return
	case sv == nil || sv.ticket != f.ticket:
		if f.kind != kindEnd {
			b.reply(tok, f, frame{kind: kindUnknown})
		}
		return
	}
	if !begun && sv.alive(time.Now()) != nil {
		// This process, or its connection, stood still. The caller has given up since, and
		// what it asked for then must not be done now.
		b.refuseBegin(sv)
		return
	}
	sv.hear(f)
	switch f.kind {
	case kindData:
		if sv.onData(f) {
			b.carryOn(sv)
		}
	case kindAck:
		sv.onAck(f)
	case kindBeat:
		sv.onBeat(f)
	case kindEnd:
		b.end(sv, errCaller)
	}
}

// seatLocked returns the seat that has a token and a session, or nil. It may be over, and
// have calls still.
func (b *Bus) seatLocked(tok, session string) *seat {
	if s := b.seats.get(tok); s != nil && b.session(s) == session {
		return s
	}
	if s := b.sessions[session]; s != nil && s.tok() == tok {
		return s
	}
	return nil
}

// end cancels a call. One that has no goroutine is forgotten at once, any other when its
// Platform has returned.
func (b *Bus) end(sv *serving, cause error) {
	sv.cancel(cause)
	b.mu.Lock()
	begun := sv.begun
	if !begun {
		b.forgetLocked(sv) // so that it does not begin meanwhile
	}
	b.mu.Unlock()
	if !begun {
		sv.close()
	}
}

// carryOn carries out a call whose request is complete, unless its subscription has
// ended since: then it is certain that it never begins.
func (b *Bus) carryOn(sv *serving) {
	b.mu.Lock()
	if _, there := b.serving[sv]; sv.begun || !there {
		b.mu.Unlock()
		return
	}
	if sv.seat.over || sv.replaced || b.closing {
		b.mu.Unlock()
		b.refuseBegin(sv)
		return
	}
	sv.begun = true
	b.running.Add(1)
	b.mu.Unlock()
	b.crew.add(func() { // Close waits for it
		defer b.running.Done()
		b.carryOut(sv)
	})
}

// carryOut makes the call and sends its answer, which it keeps until the caller has it.
func (b *Bus) carryOut(sv *serving) {
	a, err := b.callPlatform(sv)
	b.countCall(served, sv.method.name, err)
	a.Err = toWire(err)
	out, encodeErr := encodeAnswer(a, b.options.MaxBody)
	if encodeErr != nil {
		out, _ = encode(answer{Err: toWire(fmt.Errorf("%s: the result was lost: %w", sv.method.name, encodeErr))}, 0, b.options.MaxBody)
	}
	a = answer{}
	if size := int64(out.data.size()); out.chunks() > 1 {
		if err := b.quota.take(size); err != nil {
			out, _ = encode(answer{Err: toWire(unavailable(sv.seat.inst, "%s: the result was lost: %w", sv.method.name, err))}, 0, b.options.MaxBody)
		} else {
			defer b.quota.give(size)
		}
	}
	if sv.inline && out.chunks() == 1 {
		if context.Cause(sv.ctx) == nil {
			sv.send(out.frame(0))
		}
		b.drop(sv, nil)
		return
	}
	defer b.drop(sv, nil)
	if err := b.listen(sv); err != nil {
		b.options.Logger.Warn("natsbus: a result is lost", "instance", sv.seat.inst, "method", sv.method.name, "err", err)
		return
	}
	sv.setBack()
	sv.start(out)
	for sv.pump(); context.Cause(sv.ctx) == nil; sv.pump() {
		select {
		case <-sv.wake:
		case <-sv.ctx.Done():
		}
	}
}

// callPlatform makes the call itself.
func (b *Bus) callPlatform(sv *serving) (a answer, err error) {
	in, err, _ := sv.received()
	var req request
	if err == nil {
		err = in.decode(&req, b.options.MaxBody, &b.quota)
	}
	if err != nil {
		return answer{}, fmt.Errorf("%s was not begun, since its request cannot be read: %w", sv.method.name, err)
	}
	a, err = sv.method.call(platform.WithContext(sv.ctx, sv.platform), &req)
	if _, fatal := asFatal(err); fatal {
		err = withoutNil(err)
		finish := func() {}
		b.mu.Lock()
		if !sv.replaced && !sv.seat.over {
			finish = b.endSeatLocked(sv.seat, err, 0)
		}
		b.mu.Unlock()
		finish()
	}
	return a, err
}
