package protocol

import (
	"errors"
	"fmt"
	"time"

	"github.com/platformbus/platform/natsbus/internal/wire"
)

// An endpoint is one end of a call: it knows its peer, sends a body to it, and receives one.
type endpoint struct {
	Tag any // of whoever drives the call

	shared *Shared
	token  string // the instance's
	call   string
	to     string // the peer's subject; empty until it is known
	back   string // where the server says that the peer is not there
	peer   peer
	beatAt time.Duration // when to beat next
	out    sender
	in     receiver
	turn   turn
}

// A peer is what is known of the other end.
type peer struct {
	state  peerState
	heard  time.Duration // when a frame came last
	lost   time.Duration // when the server said that it is not there
	beat   time.Duration // its own
	chunk  int64
	window int64
	rtt    time.Duration // of its connection to its server
}

// A peerState is what the last sign of a peer says.
type peerState int

const (
	peerHeard  peerState = iota // it has spoken
	peerAbsent                  // the server says that it is not there; it may only be reconnecting
)

const (
	// maxPeerBeat bounds for how long a peer is believed to say nothing.
	maxPeerBeat = time.Minute
	// maxRTT bounds how long a peer's path to its server is believed to be.
	maxRTT = time.Second
)

func newPeer(now time.Duration) peer {
	return peer{heard: now, chunk: wire.MaxChunk, window: wire.MaxChunk}
}

// hear notes that the peer is there, and what it says of itself.
func (e *endpoint) hear(f *wire.Frame, now time.Duration) {
	e.peer.state, e.peer.heard = peerHeard, now
	if f.Beat > 0 {
		e.peer.beat = min(time.Duration(f.Beat)*time.Millisecond, maxPeerBeat)
	}
	if f.Chunk > 0 {
		e.peer.chunk = max(wire.MinChunk, min(wire.MaxChunk, f.Chunk))
	}
	if f.Window > 0 {
		e.peer.window = f.Window
	}
	if f.RTT > 0 {
		e.peer.rtt = min(time.Duration(f.RTT)*time.Millisecond, maxRTT)
	}
}

// absent notes that the server says that the peer is not there.
func (e *endpoint) absent(now time.Duration) {
	if e.peer.state != peerAbsent {
		e.peer.state, e.peer.lost = peerAbsent, now
	}
}

// graceEnds returns when a peer that is absent is lost.
func (e *endpoint) graceEnds() time.Duration { return e.peer.lost + e.shared.grace() }

// silence returns for how long the peer may say nothing.
func (e *endpoint) silence() time.Duration { return max(e.shared.Silence, 5*e.peer.beat) }

// alive returns nil while the peer can be taken to be there, and how it was lost then.
func (e *endpoint) alive(now time.Duration) error {
	stalled := e.out.underWay() && e.out.size > e.peer.chunk && now-e.out.moved > e.shared.stall() ||
		e.in.state == ReceiverPartial && now-e.in.moved > e.shared.stall()
	switch {
	case e.shared.Fault == NoTimeLimit:
		return nil
	case e.peer.state == peerAbsent && now >= e.graceEnds():
		return errors.New("its connection is lost")
	case now-e.peer.heard > e.silence():
		return fmt.Errorf("nothing was heard of it for %v", e.silence())
	case stalled:
		return fmt.Errorf("no data came through for %v", e.shared.stall())
	}
	return nil
}

// announce adds to a frame what the peer must know of this end.
func (e *endpoint) announce(f wire.Frame) wire.Frame {
	f.Beat = e.shared.Beat.Milliseconds()
	f.Chunk, f.Window, f.RTT = e.shared.Chunk, maxGrowth*e.shared.Window, e.shared.RTT.Milliseconds()
	return f
}

// beat returns a frame that says that this end is there, and how much it has sent. If nothing
// came back for some time, what was sent no longer counts against the window.
func (e *endpoint) beat(now time.Duration) wire.Frame {
	e.beatAt = now + e.shared.Beat
	if e.out.held > 0 && now-e.out.moved > e.shared.grace() {
		e.out.release(e, e.out.held)
	}
	return e.announce(wire.Frame{Kind: wire.Beat, Offset: e.out.next})
}

// resume returns what tells the peer where this end is when the connection has come back:
// what was under way is lost.
func (e *endpoint) resume(now time.Duration) []wire.Frame {
	frames := []wire.Frame{e.beat(now)}
	if e.in.state == ReceiverPartial {
		e.in.nacked = true
		frames = append(frames, e.in.loss())
	}
	return frames
}

// onStream takes a frame of the bodies, and returns what to say to it.
func (e *endpoint) onStream(f *wire.Frame, now time.Duration) []wire.Frame {
	switch f.Kind {
	case wire.Ack:
		e.out.onAck(e, f, now)
	case wire.Data:
		if ack, send := e.in.onData(e, f, now); send {
			return []wire.Frame{ack}
		}
	case wire.Beat:
		if f.Offset == 0 { // it has sent nothing
			return nil
		}
		ack := e.in.ack()
		ack.Last = f.Offset > e.in.have && e.in.state != ReceiverComplete
		if e.shared.Fault == AckBeforeReceipt {
			ack.Offset, ack.Last = f.Offset, false
		}
		return []wire.Frame{ack}
	}
	return nil
}

// close gives back what the call has taken.
func (e *endpoint) close() {
	e.shared.window.leave(e)
	e.out.leave(e)
	e.shared.Memory.Give(e.token, e.in.reserved)
	e.out, e.in = sender{}, receiver{}
	e.to, e.back = "", ""
}
