package protocol

import (
	"errors"
	"time"

	"github.com/platformbus/platform/natsbus/internal/wire"
)

// A CalleeState is how far a call has come, at the daemon's end.
type CalleeState int

// The states of a callee. See the package comment for how they follow each other.
const (
	CalleeAccepted  CalleeState = iota // waits for the request
	CalleeReady                        // has the request, which is being decoded
	CalleeExecuting                    // the Platform is at work on it
	CalleeAbandoned                    // it still is, and nobody waits for the answer
	CalleeAnswering                    // sends the answer, until the caller has it
	CalleeOver                         // never begins, or has ended
)

func (s CalleeState) String() string {
	return [...]string{"accepted", "ready", "executing", "abandoned", "answering", "over"}[s]
}

// A Task is what a step asks the driver of a callee to do.
type Task int

// The tasks.
const (
	NoTask    Task = iota
	Execute        // decode Request, ask Begin, make the call, and report by Answer
	CancelRun      // cancel what Execute has begun, as Err says
)

// A CalleeOutput is what a step results in.
type CalleeOutput struct {
	Send  []Message
	Ready bool // NextChunk may have something
	Task  Task
	Err   error // why Task is CancelRun
}

// A Callee is a call that a daemon serves. It begins once, for a caller that has its ticket,
// and only while the registration is in force.
type Callee struct {
	endpoint
	Method string
	daemon *Daemon
	write  bool
	inline bool // the request was in what opened it
	quiet  bool // nothing was said to the caller yet
	state  CalleeState
	ticket wire.Ticket
	proof  wire.Ticket // the ticket's hash
	answer int64       // what the answer takes of the memory
}

// Token returns the token of the instance.
func (c *Callee) Token() string { return c.token }

// State returns how far the call has come.
func (c *Callee) State() CalleeState { return c.state }

var (
	// ErrGone is why a call is not begun: the daemon that was to does not hold the instance.
	ErrGone = errors.New("the daemon's subscription is over")
	// ErrEnded is why a call is cancelled whose caller no longer waits.
	ErrEnded = errors.New("the caller has ended the call")
)

// Step has the call go on. It knows the events Received, Nobody, Tick, Resumed, and Failed.
func (c *Callee) Step(e Event, now time.Duration) (out CalleeOutput) {
	if c.state == CalleeOver {
		return out
	}
	switch e.Kind {
	case Received:
		c.onFrame(&out, e.Frame, now)
	case Nobody:
		c.absent(now)
	case Tick:
		if err := c.alive(now); err != nil {
			c.lose(&out, err)
		} else if now >= c.beatAt {
			c.send(&out, c.beat(now))
		}
	case Resumed:
		c.send(&out, c.resume(now)...)
	case Failed:
		c.lose(&out, e.Err)
	}
	out.Ready = c.state == CalleeAnswering
	return out
}

// NextChunk returns the next chunk of the answer, if one may be sent now.
func (c *Callee) NextChunk(now time.Duration) (Message, bool) {
	if c.state != CalleeAnswering {
		return Message{}, false
	}
	f, ok := c.out.nextChunk(&c.endpoint, now)
	if !ok {
		return Message{}, false
	}
	if c.shared.Fault == ForgetAnswer && c.out.complete() {
		defer c.end()
	}
	return c.message(f), true
}

// Request returns the request, once.
func (c *Callee) Request() (wire.Body, error) {
	body := c.in.body
	if c.shared.Fault != BeginTwice {
		c.in.body = wire.Body{}
	}
	return body, c.in.err
}

// Begin says whether the call may begin now, which must follow at once. It does not if the
// registration, the caller, or the call has ended since Execute was asked for.
func (c *Callee) Begin(now time.Duration) (ok bool, out CalleeOutput) {
	if c.state != CalleeReady && (c.shared.Fault != BeginTwice || c.state != CalleeExecuting) {
		return false, out
	}
	if c.refused(now) {
		c.refuse(&out)
		if c.shared.Fault != ExecuteGone {
			return false, out
		}
	}
	c.state = CalleeExecuting
	return true, out
}

// refused says whether the call must never begin. If this process, or its connection, stood
// still, the caller may have given up, and what it asked for then must not be done now.
func (c *Callee) refused(now time.Duration) bool {
	fault := c.shared.Fault
	return c.daemon.state != DaemonServing && fault != BeginAfterEnd || c.alive(now) != nil && fault != BeginLate
}

// refuse tells the caller that the call was not begun and never will be.
func (c *Callee) refuse(out *CalleeOutput) {
	c.send(out, wire.Frame{Kind: wire.Gone})
	if c.shared.Fault != ExecuteGone {
		c.end()
	}
}

// Answer has the answer sent: of what the call has returned, or that it was not begun, since
// its request could not be read. It returns an error if there is no memory for it.
func (c *Callee) Answer(body wire.Body, now time.Duration) (out CalleeOutput, err error) {
	switch c.state {
	case CalleeExecuting, CalleeReady:
	case CalleeAbandoned:
		c.end()
		return out, nil
	default:
		return out, nil
	}
	if size := body.Size(); size > c.peer.chunk {
		if !c.shared.Memory.Take(c.token, size) {
			return out, MemoryError(size, c.shared.MaxBytes)
		}
		c.answer = size
	}
	c.state = CalleeAnswering
	c.out.start(&c.endpoint, body, now)
	if c.inline && c.quiet && body.Size() <= min(c.peer.chunk, c.shared.Chunk) {
		// The caller knows of no daemon yet, and asks again if the answer is lost.
		m, _ := c.NextChunk(now)
		m.Back = ""
		out.Send = append(out.Send, m)
		c.end()
		return out, nil
	}
	out.Ready = true
	return out, nil
}

// message addresses a frame to the caller.
func (c *Callee) message(f wire.Frame) Message {
	f.Session, f.Ticket = c.daemon.session, c.ticket
	return Message{c.to, c.back, f}
}

func (c *Callee) send(out *CalleeOutput, frames ...wire.Frame) {
	c.quiet = c.quiet && len(frames) == 0
	for _, f := range frames {
		out.Send = append(out.Send, c.message(f))
	}
}

// onOpen answers a caller that asks again, since it has not heard of the first answer.
func (c *Callee) onOpen(out *CalleeOutput, f *wire.Frame, now time.Duration) {
	c.hear(f, now)
	kind := wire.Accept
	if c.inline {
		kind = wire.Beat
	}
	answer := c.beat(now)
	answer.Kind = kind
	c.send(out, answer)
}

func (c *Callee) onFrame(out *CalleeOutput, f *wire.Frame, now time.Duration) {
	if f.Ticket != c.proof && c.shared.Fault != BeginWithoutTicket {
		return
	}
	if c.state == CalleeAccepted && c.refused(now) {
		if c.refuse(out); c.shared.Fault != ExecuteGone {
			return
		}
	}
	c.hear(f, now)
	switch {
	case f.Kind == wire.End:
		c.lose(out, ErrEnded)
		return
	case c.state == CalleeAbandoned:
		return
	}
	c.send(out, c.onStream(f, now)...)
	switch {
	case c.state == CalleeAccepted && (c.in.state == ReceiverComplete || c.in.state == ReceiverFailed):
		c.state = CalleeReady
		out.Task = Execute
	case c.shared.Fault == BeginTwice && f.Last && f.Kind == wire.Data && c.state == CalleeExecuting:
		out.Task = Execute
	case c.state == CalleeAnswering && c.out.state == SenderDone && c.shared.Fault == AckBeforeReceipt:
		c.end()
	}
}

// lose ends the call of a caller that no longer waits. What was begun keeps its place until
// the Platform has returned.
func (c *Callee) lose(out *CalleeOutput, err error) {
	if c.state == CalleeExecuting || c.state == CalleeAbandoned {
		c.state = CalleeAbandoned
		out.Task, out.Err = CancelRun, err
		return
	}
	if c.state == CalleeAnswering || c.state == CalleeReady {
		out.Task, out.Err = CancelRun, err
	}
	c.end()
}

// end is the only way to CalleeOver. The call's place is free at once.
func (c *Callee) end() {
	c.shared.Memory.Give(c.token, c.answer)
	c.answer = 0
	c.close()
	c.state = CalleeOver
	c.daemon.remove(c)
}
