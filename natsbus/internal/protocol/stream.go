package protocol

import (
	"bytes"
	"errors"
	"fmt"
	"time"

	"github.com/platformbus/platform/natsbus/internal/wire"
)

// A SenderState is how far a body has been sent.
type SenderState int

// The states of a sender.
const (
	SenderIdle    SenderState = iota // nothing may be sent yet
	SenderSending                    // parts were not sent yet, or not acknowledged
	SenderDone                       // the receiver has all of it
)

func (s SenderState) String() string { return [...]string{"idle", "sending", "done"}[s] }

// A sender sends a body in chunks. Loss is seen by the receiver, by a gap or from a beat
// that says how much was sent; the sender then goes back to there. No timer takes part in
// that, since a slow link would then make itself slower.
type sender struct {
	state SenderState
	body  wire.Body
	size  int64
	next  int64 // what is sent next
	acked int64 // the receiver has what is before
	sent  int64 // what is before was sent at least once
	held  int64 // of the window
	path  *path // of a large body, while it is being sent

	probe  int64         // the offset whose acknowledgement shows how long the path is; zero if none is waited for
	probed time.Duration // when what is before it was sent

	moved     time.Duration // when enough was acknowledged to call it progress, or the first was sent after all was
	movedTo   int64         // how much it was then
	rewoundTo int64         // what was lost last
	rewound   time.Duration // when the receiver said so
}

func (s *sender) start(e *endpoint, b wire.Body, now time.Duration) {
	e.turn.last = e.shared.window.turns
	s.leave(e) // a body that it had before
	*s = sender{state: SenderSending, body: b, size: b.Size(), moved: now, rewoundTo: -1}
}

// complete says whether all of the body was sent, so that the receiver may have acted on it.
func (s *sender) complete() bool { return s.state != SenderIdle && s.sent >= s.size }

// underWay says whether the receiver has something to acknowledge. If not, but there is more to
// send, it is this end that waits for room.
func (s *sender) underWay() bool { return s.state == SenderSending && s.sent > s.acked }

// nextChunk returns the next chunk, if there is room for it.
func (s *sender) nextChunk(e *endpoint, now time.Duration) (wire.Frame, bool) {
	if s.state != SenderSending || s.next >= s.size {
		return wire.Frame{}, false
	}
	n := min(e.shared.Chunk, e.peer.chunk)
	if s.size > n {
		if s.path == nil {
			s.path = e.shared.pathOf(e)
		}
		if s.next == 0 && s.path.base == 0 {
			n = wire.MinChunk // it shows how long the path is, without how fast it is
		}
		n = min(n, s.size-s.next)
		inFlight := s.next - s.acked
		if inFlight > 0 && inFlight+n > e.peer.window || !e.shared.window.take(e, n, s.path.growth) {
			return wire.Frame{}, false
		}
		s.held += n
	}
	if !s.underWay() {
		s.moved = now
	}
	f := s.body.Frame(s.next, n)
	if s.next < s.sent {
		e.shared.Resent++
	}
	s.next += int64(len(f.Body))
	if s.next > s.sent {
		s.sent = s.next
		if s.probe == 0 {
			s.probe, s.probed = s.next, now
		}
	}
	return f, true
}

// onAck takes note of what the receiver has, and of what it lacks.
func (s *sender) onAck(e *endpoint, f *wire.Frame, now time.Duration) {
	if s.state != SenderSending || f.Offset > s.sent {
		return
	}
	if f.Offset > s.acked {
		s.release(e, min(s.held, f.Offset-s.acked))
		s.acked = f.Offset
		s.next = max(s.next, s.acked)
		if s.probe > 0 && s.acked >= s.probe {
			if s.path != nil {
				s.path.measure(now - s.probed)
			}
			s.probe = 0
		}
		if s.acked == s.size {
			s.state = SenderDone
			s.leave(e)
		}
		if s.acked >= s.movedTo+wire.MinChunk || s.state == SenderDone {
			s.moved, s.movedTo = now, s.acked
		}
	}
	// A receiver that says again and again that it lacks the same must not have all sent
	// again each time.
	if f.Last && f.Offset >= s.acked && f.Offset < s.next && (f.Offset != s.rewoundTo || now-s.rewound > e.shared.Beat/4) {
		s.release(e, s.held)
		s.next, s.probe = f.Offset, 0
		s.rewoundTo, s.rewound = f.Offset, now
	}
}

// leave gives back what a body has taken to be sent.
func (s *sender) leave(e *endpoint) {
	s.release(e, s.held)
	if s.path != nil {
		e.shared.leavePath(e.token)
		s.path = nil
	}
}

func (s *sender) release(e *endpoint, n int64) {
	s.held -= n
	e.shared.window.give(e.token, n)
}

// A ReceiverState is how far a body has come.
type ReceiverState int

// The states of a receiver.
const (
	ReceiverIdle     ReceiverState = iota // nothing has come
	ReceiverPartial                       // a part has
	ReceiverComplete                      // all of it has
	ReceiverFailed                        // it can never be complete
)

func (s ReceiverState) String() string {
	return [...]string{"idle", "partial", "complete", "failed"}[s]
}

// A receiver takes a body in chunks.
type receiver struct {
	state    ReceiverState
	body     wire.Body
	length   int64
	have     int64 // how much of it came
	nacked   bool  // the sender was told that something is lost, and it has not come yet
	reserved int64 // of the memory
	err      error // why it failed

	moved   time.Duration // when enough came to call it progress
	movedTo int64
}

// onData takes a chunk, and returns what to say of it, if anything.
func (r *receiver) onData(e *endpoint, f *wire.Frame, now time.Duration) (ack wire.Frame, send bool) {
	fault := e.shared.Fault
	switch {
	case r.state == ReceiverFailed:
		return wire.Frame{}, false
	case r.state == ReceiverComplete || f.Offset+int64(len(f.Body)) <= r.have && r.have > 0:
		return r.ack(), true
	case f.Offset > r.have && fault != IgnoreGaps:
		if r.nacked {
			return wire.Frame{}, false
		}
		r.nacked = true
		return r.loss(), true
	}
	r.nacked = false
	if r.err = r.take(e, f); r.err != nil {
		r.state = ReceiverFailed
		return wire.Frame{}, false
	}
	if r.have >= r.movedTo+wire.MinChunk || r.state == ReceiverComplete {
		r.moved, r.movedTo = now, r.have
	}
	// What fits into one frame is answered, not acknowledged.
	return r.ack(), r.state == ReceiverPartial || f.Offset > 0
}

func (r *receiver) ack() wire.Frame { return wire.Frame{Kind: wire.Ack, Offset: r.have} }

// loss says what has come, and that what was sent behind it is lost.
func (r *receiver) loss() wire.Frame { return wire.Frame{Kind: wire.Ack, Offset: r.have, Last: true} }

// take adds the chunk that is next, or of which a part is.
func (r *receiver) take(e *endpoint, f *wire.Frame) error {
	size := int64(len(f.Body))
	if r.state == ReceiverIdle {
		r.length, r.body.Zstd, r.body.Raw = f.Length, f.Zstd, f.Raw
		if f.Last {
			r.length = size
		}
		for _, size := range []int64{r.length, r.body.Raw} {
			if size > e.shared.MaxBody {
				return wire.SizeError(size, e.shared.MaxBody)
			}
		}
	}
	end := f.Offset + size
	switch {
	case e.shared.Fault == IgnoreGaps:
	case end > r.length || f.Last && end != r.length:
		return fmt.Errorf("body does not have the %d bytes that it was said to have", r.length)
	case size < wire.MinChunk && !f.Last:
		return fmt.Errorf("body has a chunk of %d bytes, which is too small", size)
	case f.Last && f.Offset > 0 && f.Digest == nil:
		return errors.New("body has no digest")
	}
	if f.Offset > 0 || !f.Last { // what came in one frame is there anyway
		if !e.shared.Memory.Take(e.token, size) {
			return MemoryError(size, e.shared.MaxBytes)
		}
		r.reserved += size
	}
	fresh := f.Body[max(0, r.have-f.Offset):]
	r.body.Data = append(r.body.Data, fresh)
	r.have += int64(len(fresh))
	r.body.Digest = f.Digest
	r.state = ReceiverPartial
	if f.Last {
		r.state = ReceiverComplete
		if e.shared.Fault == IgnoreDigest || e.shared.Fault == IgnoreGaps {
			r.body.Digest = bytes.Clone(nil)
		}
	}
	return nil
}

// MemoryError says that there is no memory for a body.
func MemoryError(size, limit int64) error {
	return fmt.Errorf("body of %d bytes is over what is left of the limit of %d for all calls together", size, limit)
}
