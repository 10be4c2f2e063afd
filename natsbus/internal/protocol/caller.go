package protocol

import (
	"errors"
	"time"

	"github.com/platformbus/platform/natsbus/internal/wire"
)

// A CallerState is how far a call has come, at the end that makes it.
type CallerState int

// The states of a caller. See the package comment for how they follow each other.
const (
	CallerNew       CallerState = iota
	CallerOpening               // has asked, and nobody has accepted
	CallerPausing               // will ask again
	CallerSending               // is accepted, and has not sent all of the request
	CallerWaiting               // has sent all of it: the call may have begun
	CallerReceiving             // a part of the answer has come
	CallerOver
)

func (s CallerState) String() string {
	return [...]string{"new", "opening", "pausing", "sending", "waiting", "receiving", "over"}[s]
}

// accepted says whether the call is with one daemon.
func (s CallerState) accepted() bool {
	return s == CallerSending || s == CallerWaiting || s == CallerReceiving
}

// An EventKind is what has happened to a call.
type EventKind int

// The events, and which of an Event's fields they have.
const (
	Start        EventKind = iota // of a caller, once
	Received                      // Frame came
	Nobody                        // the server says that nobody has subscribed to what was sent
	Tick                          // the time is that of Output.Due, or later
	Resumed                       // the connection is back
	Disconnected                  // the connection is down, as Err says
	Failed                        // what was to be sent cannot be, or is denied, as Err says
	Cancelled                     // whoever drives the call wants its end, as Err says
)

func (k EventKind) String() string {
	return [...]string{"start", "received", "nobody", "tick", "resumed", "disconnected", "failed", "cancelled"}[k]
}

// An Event is what has happened to a call.
type Event struct {
	Kind  EventKind
	Frame *wire.Frame
	Err   error
}

// A Verdict is what is certain of a call that is over.
type Verdict int

// The verdicts.
const (
	Pending  Verdict = iota // it is not over
	Answered                // it was carried out, or refused, as the answer says
	NotBegun                // no daemon has begun it, or ever will
	Unknown                 // a daemon may have begun it, and may still be at work on it
)

func (v Verdict) String() string {
	return [...]string{"pending", "answered", "not begun", "unknown"}[v]
}

// An Outcome is how a call has ended.
type Outcome struct {
	Verdict Verdict
	Answer  wire.Body // if it is answered
	Err     error     // if it is not, why
}

// An Output is what a step results in.
type Output struct {
	Send  []Message     // in this order
	Due   time.Duration // when a Tick is due next; zero if none is
	Ready bool          // NextChunk may have something
	Outcome
}

// A Call is what a Caller makes.
type Call struct {
	Token   string // of the instance
	Method  string
	Write   bool // it must not be made twice
	Request wire.Body
	Origin  wire.Origin
	// Settle bounds for how long a server is asked again that knows of no daemon, since it
	// may only not know of it yet, or all that it knew of were replaced before it got to them.
	// It is asked again three times in any case. If the instance has answered this bus before,
	// none of that is likely, and the bound a fifth.
	Settle time.Duration
}

// A Caller makes one call, under a new name whenever it is certain that no daemon has begun
// the one before. Only the first daemon that accepts it is sent the request.
type Caller struct {
	endpoint
	Call
	state   CallerState
	session string      // the daemon's
	ticket  wire.Ticket // its own
	proof   wire.Ticket // the ticket's hash
	again   time.Duration
	settled time.Duration // until when no responders are asked again; zero if there were some
	wait    time.Duration // before asking them again
	gone    time.Duration // when it was first certain that an attempt was not begun; zero if never
	inline  bool          // the request is in what opens the call: a small read's is
	direct  bool          // the last frame was the first of the daemon
}

const (
	// replaced is the time after which a daemon that is being replaced is asked again.
	replaced = 20 * time.Millisecond
	// firstWait is the time after which a server is asked again that knows of no daemon.
	firstWait = 2 * time.Millisecond
	// lastSureWait is the wait up to which it is asked in any case, if the instance has not
	// answered before: on a busy machine servers take longer to tell each other, too.
	lastSureWait = 4 * firstWait
)

// NewCaller returns a caller that a Start sets going.
func NewCaller(s *Shared, c Call) *Caller {
	return &Caller{endpoint: endpoint{shared: s, token: c.Token}, Call: c}
}

// Name returns the name of the call now. It changes with a step only.
func (c *Caller) Name() string { return c.call }

// State returns how far the call has come.
func (c *Caller) State() CallerState { return c.state }

// begun says whether the call may have begun.
func (c *Caller) begun() bool {
	return c.state == CallerWaiting || c.state == CallerReceiving || c.state == CallerSending && c.out.complete()
}

// Step has the call go on.
func (c *Caller) Step(e Event, now time.Duration) (out Output) {
	if c.state == CallerOver {
		return out
	}
	switch e.Kind {
	case Start:
		c.open(&out, now)
	case Received:
		c.onFrame(&out, e.Frame, now)
	case Nobody:
		c.onNobody(&out, now)
	case Tick:
		c.onTick(&out, now)
	case Resumed: // as often as the connection breaks: that must not keep a lost peer alive
		switch {
		case c.lost(&out, now):
		case c.state.accepted():
			c.send(&out, c.resume(now)...)
		default:
			c.ask(&out, now)
		}
	case Disconnected:
		if !c.state.accepted() {
			c.end(&out, Outcome{Verdict: NotBegun, Err: e.Err})
		}
	case Failed, Cancelled:
		c.lose(&out, e.Err)
	}
	out.Due = c.due(now)
	out.Ready = c.state == CallerSending || c.state == CallerWaiting
	return out
}

// due returns when the call must look at the time.
func (c *Caller) due(now time.Duration) time.Duration {
	switch c.state {
	case CallerPausing:
		return c.again
	case CallerOver:
		return 0
	}
	if c.peer.state == peerAbsent && now < c.graceEnds() {
		return min(c.beatAt, c.graceEnds())
	}
	return c.beatAt
}

// NextChunk returns the next chunk of the request, if one may be sent now.
func (c *Caller) NextChunk(now time.Duration) (Message, bool) {
	if c.state != CallerSending && c.state != CallerWaiting {
		return Message{}, false
	}
	f, ok := c.out.nextChunk(&c.endpoint, now)
	if !ok {
		return Message{}, false
	}
	if c.out.complete() {
		c.state = CallerWaiting
	}
	return c.message(f), true
}

// message addresses a frame to the daemon that has accepted the call.
func (c *Caller) message(f wire.Frame) Message {
	f.Ticket = c.proof
	return Message{c.to, c.back, f}
}

func (c *Caller) send(out *Output, frames ...wire.Frame) {
	for _, f := range frames {
		out.Send = append(out.Send, c.message(f))
	}
}

// open makes the call under a new name.
func (c *Caller) open(out *Output, now time.Duration) {
	c.call = c.shared.NewName()
	c.back = c.shared.Subjects.Reply(c.token, c.shared.Service, c.shared.Bus, c.call)
	c.peer, c.settled = newPeer(now), 0
	c.inline = !c.Write && c.Request.Size() <= c.shared.Chunk
	c.ask(out, now)
}

// ask asks whoever is there.
func (c *Caller) ask(out *Output, now time.Duration) {
	c.state, c.beatAt, c.peer.state = CallerOpening, now+c.shared.Beat, peerHeard
	f := wire.Frame{Kind: wire.Open}
	if c.inline {
		f = c.Request.Frame(0, wire.MaxChunk)
		f.Kind = wire.Open
	}
	f = c.announce(f)
	f.Call, f.Service, f.Bus, f.Origin = c.call, c.shared.Service, c.shared.Bus, c.Origin
	out.Send = append(out.Send, Message{c.shared.Subjects.Call(c.token, c.Method), c.back, f})
}

// pause has the caller ask again after a time.
func (c *Caller) pause(now, wait time.Duration) {
	if c.state != CallerPausing {
		c.state, c.again = CallerPausing, now+wait
	}
}

var (
	errNoDaemon = errors.New("no daemon is connected")
	errReplaced = errors.New("its daemon is being replaced")
)

func (c *Caller) onNobody(out *Output, now time.Duration) {
	switch {
	case c.state.accepted():
		c.absent(now)
	case c.state == CallerOpening:
		seen := c.shared.seen.has(c.token)
		if c.settled == 0 {
			c.settled, c.wait = now+c.Settle, firstWait
			if seen {
				c.settled = now + c.Settle/5
			}
		}
		if now+c.wait > c.settled && (seen || c.wait > lastSureWait) {
			c.end(out, Outcome{Verdict: NotBegun, Err: errNoDaemon})
			return
		}
		c.pause(now, c.wait)
		c.wait *= 2
	}
}

func (c *Caller) onTick(out *Output, now time.Duration) {
	switch {
	case c.lost(out, now) || now < c.due(now):
	case c.state.accepted():
		c.send(out, c.beat(now))
	default:
		c.ask(out, now)
	}
}

// lost ends the call if its daemon is lost, and says whether it is.
func (c *Caller) lost(out *Output, now time.Duration) bool {
	err := c.alive(now)
	if err == nil {
		return false
	}
	switch fault := c.shared.Fault; {
	case fault == RetryOnSilence && c.state == CallerWaiting, fault == RetryUnknown && c.state == CallerReceiving:
		c.again = now
		c.restart(out, now)
	default:
		c.lose(out, lostDaemon{err})
	}
	return true
}

// A lostDaemon is why a daemon is taken for lost.
type lostDaemon struct{ reason error }

func (e lostDaemon) Error() string { return "its daemon is not answering: " + e.reason.Error() }
func (e lostDaemon) Unwrap() error { return e.reason }

func (c *Caller) onFrame(out *Output, f *wire.Frame, now time.Duration) {
	fault := c.shared.Fault
	c.direct = !c.state.accepted()
	if c.direct {
		switch {
		case f.Kind == wire.Refuse:
			c.end(out, Outcome{Verdict: Answered, Answer: bodyOf(f)})
			return
		case f.Kind == wire.Gone:
			c.settled = 0 // there is somebody
			c.pause(now, replaced)
			return
		case f.Session == "" || f.Ticket.IsZero() || f.Kind != wire.Accept && f.Kind != wire.Beat && (f.Kind != wire.Data || !c.inline):
			return
		}
		c.accept(f, now)
	}
	switch from := f.Session == c.session && f.Ticket == c.ticket; {
	case from:
	case fault == BelieveAnyGone && f.Kind == wire.Gone, fault == BelieveAnyAnswer && f.Kind == wire.Data:
	case fault == AcceptTwice && f.Kind == wire.Accept:
		c.accept(f, now)
	default:
		if m, ok := EndFor(c.shared, c.token, c.call, f); ok {
			out.Send = append(out.Send, m)
		}
		return
	}
	c.hear(f, now)
	if f.Kind == wire.Gone {
		c.restart(out, now)
		return
	}
	c.send(out, c.onStream(f, now)...)
	switch c.in.state {
	case ReceiverPartial:
		c.state = CallerReceiving
	case ReceiverComplete:
		c.end(out, Outcome{Verdict: Answered, Answer: c.in.body})
	case ReceiverFailed:
		c.lose(out, unreadable{c.in.err})
	}
}

// An unreadable answer is one that can never be complete.
type unreadable struct{ reason error }

func (e unreadable) Error() string { return "the answer cannot be read: " + e.reason.Error() }
func (e unreadable) Unwrap() error { return e.reason }

// accept notes which daemon the call is with.
func (c *Caller) accept(f *wire.Frame, now time.Duration) {
	c.shared.seen.add(c.token)
	c.session, c.ticket, c.proof = f.Session, f.Ticket, f.Ticket.Hash()
	c.to = c.shared.Subjects.InCall(c.token, c.session, c.call)
	c.beatAt = now + c.shared.Beat
	if c.inline {
		c.state = CallerWaiting
	} else {
		c.state = CallerSending
		c.out.start(&c.endpoint, c.Request, now)
	}
}

// restart makes the call under a new name, after it is certain that it was not begun under
// the present one.
func (c *Caller) restart(out *Output, now time.Duration) {
	if c.gone == 0 {
		c.gone = now
	}
	if now-c.gone > c.shared.Silence {
		c.end(out, Outcome{Verdict: NotBegun, Err: errReplaced})
		return
	}
	c.close()
	c.open(out, now)
	out.Send = nil
	c.pause(now, replaced)
}

// lose ends the call without an answer.
func (c *Caller) lose(out *Output, err error) {
	verdict := NotBegun
	if c.begun() {
		verdict = Unknown
	}
	c.end(out, Outcome{Verdict: verdict, Err: err})
}

// end is the only way to CallerOver. What is under way at the daemon is cancelled, and what
// it keeps is let go.
func (c *Caller) end(out *Output, o Outcome) {
	if c.state.accepted() && (!c.direct || o.Verdict != Answered) {
		c.send(out, wire.Frame{Kind: wire.End})
	}
	out.Outcome = o
	c.state = CallerOver
	c.close()
}

// bodyOf returns the body that is in one frame.
func bodyOf(f *wire.Frame) wire.Body {
	return wire.Body{Data: wire.Buffers{f.Body}, Raw: f.Raw, Zstd: f.Zstd}
}

// EndFor returns what tells a daemon that takes part in a call that the call, or its part in
// it, is over, in answer to a frame of it.
func EndFor(s *Shared, token, call string, f *wire.Frame) (Message, bool) {
	if f.Session == "" || f.Ticket.IsZero() || f.Kind != wire.Accept && f.Kind != wire.Beat && f.Kind != wire.Data {
		return Message{}, false
	}
	return Message{To: s.Subjects.InCall(token, f.Session, call), Frame: wire.Frame{Kind: wire.End, Ticket: f.Ticket.Hash()}}, true
}
