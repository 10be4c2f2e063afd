package natsbus

import (
	"errors"
	"fmt"
	"sync"
	"time"
)

// A link is one end of a call: a body goes out and a body comes in, in chunks, and
// both ends beat. What comes is given to it by the bus's dispatcher, which never waits;
// what goes out is sent by the goroutine of the call.
//
// Loss is seen by a gap in what comes, or by a beat that says how much the peer has
// sent. The receiver then says so, and the sender goes back to where it was. No timer
// takes part in that, since a slow link would then make itself slower.
type link struct {
	bus    *Bus
	call   string
	caller bool          // this is the end that makes the call
	wake   chan struct{} // gets a value when there is something to look at; has room for one

	mu      sync.Mutex
	to      string        // guarded by mu; the peer's subject, empty until it is known
	back    string        // guarded by mu; where the server says that nobody is there
	session string        // guarded by mu; the daemon's
	ticket  uint64        // guarded by mu until it is set, and never changes then
	heard   time.Time     // guarded by mu; when a frame came last
	lost    time.Time     // guarded by mu; when nobody was found to be there; zero if that has passed
	beat    time.Duration // guarded by mu; the peer's, or zero
	moved   time.Time     // guarded by mu; when a body made progress
	out     outflow       // guarded by mu
	in      inflow        // guarded by mu
	resumed bool          // guarded by mu; the connection has come back, and a caller's goroutine has not seen it
	closed  bool          // guarded by mu; what still comes is too late
}

// An outflow is a body that is being sent.
type outflow struct {
	body  body
	open  bool  // it may be sent
	next  int   // the chunk to send next
	acked int   // the peer has those before
	sent  int   // those before were sent at least once
	held  int64 // what was taken of the window

	rewoundTo int       // the chunk that was lost last
	rewound   time.Time // when the peer said so
}

// An inflow is a body that is being received.
type inflow struct {
	body     body
	length   int64
	have     int64 // how much of it came
	next     int   // the chunk that must come next
	nacked   bool  // the peer was told that a chunk is lost, and it has not come yet
	done     bool
	reserved int64 // what was taken of the quota
	err      error // what is wrong with it; nothing more is taken
}

func (l *link) wakeUp() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// send sends a frame of the call to the peer.
func (l *link) send(f frame) {
	l.mu.Lock()
	to, back := l.to, l.back
	f.call, f.session, f.ticket, f.beat = l.call, l.session, l.ticket, l.bus.options.Beat.Milliseconds()
	l.mu.Unlock()
	if l.caller {
		f.bus = l.bus.name
	}
	if to != "" {
		_ = l.bus.publish(to, back, f)
	}
}

// hear notes that the peer is there.
func (l *link) hear(f *frame) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.heard, l.lost = time.Now(), time.Time{}
	if f.beat > 0 {
		l.beat = min(time.Duration(f.beat)*time.Millisecond, time.Minute)
	}
}

// nobody notes that the server says that the peer is not there.
func (l *link) nobody() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.lost.IsZero() {
		l.lost = time.Now()
	}
}

// alive returns nil while the peer can be taken to be there, and how it was lost then.
func (l *link) alive(now time.Time) error {
	o := &l.bus.options
	l.mu.Lock()
	defer l.mu.Unlock()
	silence := max(o.silence(), 5*l.beat)
	switch {
	case !l.lost.IsZero() && now.Sub(l.lost) > o.grace():
		return errors.New("its connection is lost")
	case now.Sub(l.heard) > silence:
		return fmt.Errorf("nothing was heard of it for %v", silence)
	case (l.out.open && l.out.acked < l.out.body.chunks() && l.out.body.chunks() > 1 || l.in.next > 0 && !l.in.done) && now.Sub(l.moved) > o.stall():
		return fmt.Errorf("no data came through for %v", o.stall())
	}
	return nil
}

// start lets b be sent.
func (l *link) start(b body) {
	l.mu.Lock()
	l.out = outflow{body: b, open: true}
	l.moved = time.Now()
	l.mu.Unlock()
}

// pump sends what may be sent now.
func (l *link) pump() {
	for {
		l.mu.Lock()
		f, ok := l.nextChunkLocked()
		l.mu.Unlock()
		if !ok {
			return
		}
		l.send(f)
	}
}

func (l *link) nextChunkLocked() (frame, bool) {
	o := &l.out
	if !o.open || l.to == "" || o.next >= o.body.chunks() {
		return frame{}, false
	}
	f := o.body.frame(o.next)
	if o.body.chunks() > 1 {
		// Half of the window is left to others, so that one peer that is slow, or gone, does
		// not hold up all.
		size := int64(len(f.body))
		if o.held+size > max(chunkSize, l.bus.window.size/2) || !l.bus.window.take(size, l) {
			return frame{}, false
		}
		o.held += size
	}
	o.next++
	if o.sent >= o.next {
		l.bus.options.Metrics.Resent.Add(1)
	}
	o.sent = max(o.sent, o.next)
	return f, true
}

// began says whether all of the body was sent, so that the peer may have acted on it.
func (l *link) began() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.out.open && l.out.sent >= l.out.body.chunks()
}

// sendBeat tells the peer that this end is there, and how much it has sent. If nothing
// came back for some time, what was sent no longer counts against the window.
func (l *link) sendBeat(now time.Time) {
	l.mu.Lock()
	f := frame{kind: kindBeat, seq: l.out.next}
	var given int64
	if l.out.held > 0 && now.Sub(l.moved) > l.bus.options.grace() {
		given, l.out.held = l.out.held, 0
	}
	l.mu.Unlock()
	l.bus.window.give(given)
	l.send(f)
}

// resume tells the peer where this end is, when the connection has come back: what was
// under way is lost.
func (l *link) resume(now time.Time) {
	l.mu.Lock()
	receiving := l.in.next > 0 && !l.in.done
	l.in.nacked = l.in.nacked || receiving
	lost := frame{kind: kindAck, seq: l.in.next, last: true}
	l.mu.Unlock()
	if receiving {
		l.send(lost)
	}
	l.sendBeat(now)
}

// onAck takes note of what the peer has, and of what it lacks.
func (l *link) onAck(f *frame) {
	l.mu.Lock()
	o := &l.out
	if !o.open || f.seq > o.sent {
		l.mu.Unlock()
		return
	}
	var given int64
	if f.seq > o.acked {
		given = min(o.held, int64(f.seq-o.acked)*chunkSize)
		o.acked, l.moved = f.seq, time.Now()
		o.next = max(o.next, o.acked)
		if o.acked == o.body.chunks() {
			given = o.held
		}
	}
	// A peer that says again and again that it lacks the same chunk must not have all sent
	// again each time.
	if now := time.Now(); f.last && f.seq >= o.acked && f.seq < o.next &&
		(f.seq != o.rewoundTo || now.Sub(o.rewound) > l.bus.options.Beat/4) {
		given, o.next = o.held, f.seq
		o.rewoundTo, o.rewound = f.seq, now
	}
	o.held -= given
	l.mu.Unlock()
	l.bus.window.give(given)
	l.wakeUp()
}

// onBeat tells the peer what came, if it has sent anything.
func (l *link) onBeat(f *frame) {
	if f.seq == 0 {
		return
	}
	l.mu.Lock()
	ack := frame{kind: kindAck, seq: l.in.next, last: f.seq > l.in.next && !l.in.done}
	l.mu.Unlock()
	l.send(ack)
}

// onData takes a chunk, and says whether the body has become complete or impossible by
// it.
func (l *link) onData(f *frame) (over bool) {
	l.mu.Lock()
	in := &l.in
	var ack frame
	switch {
	case in.err != nil || l.closed:
		l.mu.Unlock()
		return false
	case in.done || f.seq < in.next:
		ack = frame{kind: kindAck, seq: in.next}
	case f.seq > in.next:
		if in.nacked {
			l.mu.Unlock()
			return false
		}
		in.nacked = true
		ack = frame{kind: kindAck, seq: in.next, last: true}
	default:
		in.nacked = false
		if in.err = l.takeLocked(f); in.err != nil {
			l.mu.Unlock()
			return true
		}
		l.moved = time.Now()
		over = in.done
		ack = frame{kind: kindAck, seq: in.next}
	}
	l.mu.Unlock()
	if ack.seq != 1 || !over { // what fits into one frame is answered, not acknowledged
		l.send(ack)
	}
	return over
}

// takeLocked adds the chunk that is next.
func (l *link) takeLocked(f *frame) error {
	in, o := &l.in, &l.bus.options
	if f.seq == 0 {
		in.length, in.body.zstd, in.body.raw = f.length, f.zstd, f.raw
		if f.last {
			in.length = int64(len(f.body))
		}
		for _, size := range []int64{in.length, in.body.raw} {
			if size > o.MaxBody {
				return sizeError(size, o.MaxBody)
			}
		}
	}
	size := int64(len(f.body))
	have := in.have + size
	switch {
	case have > in.length || f.last && have != in.length:
		return fmt.Errorf("body does not have the %d bytes that it was said to have", in.length)
	case size < minChunk && !f.last:
		return fmt.Errorf("body has a chunk of %d bytes, which is too small", size)
	case f.last && f.seq > 0 && f.digest == nil:
		return errors.New("body has no digest")
	}
	if f.seq > 0 || !f.last { // what came in one frame is there anyway
		if err := l.bus.quota.take(size); err != nil {
			return err
		}
		in.reserved += size
	}
	in.body.data, in.have = append(in.body.data, f.body), have
	in.next++
	in.done, in.body.digest = f.last, f.digest
	l.bus.countBytes(received, len(f.body))
	return nil
}

// received returns the body that came, once, or what is wrong with it.
func (l *link) received() (body, error, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.in.err != nil {
		return body{}, l.in.err, true
	}
	if !l.in.done {
		return body{}, nil, false
	}
	b := l.in.body
	l.in.body.data = nil
	return b, nil, true
}

// close gives back what the call has taken.
func (l *link) close() {
	l.mu.Lock()
	held, reserved := l.out.held, l.in.reserved
	l.out, l.in.reserved, l.in.body, l.closed = outflow{}, 0, body{}, true
	l.mu.Unlock()
	l.bus.window.give(held)
	l.bus.quota.give(reserved)
}
