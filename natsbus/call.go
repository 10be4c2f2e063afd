package natsbus

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
)

// A call is one that is made from here. The goroutine that makes it drives it; the
// dispatcher tells it what comes.
type call struct {
	link
	tok    string
	inline bool        // the request is in what opens the call
	ticked atomic.Bool // it is time to look at the time

	gone    bool  // guarded by mu; the daemon did not begin it, and never will
	unknown bool  // guarded by mu; the daemon does not know of it
	denied  error // guarded by mu; what the server says of it
}

// When a daemon is being replaced, a call is made again after this time.
const retryAfter = 20 * time.Millisecond

// aloneRetries is how often a call is made again, at once, if a server without peers knows of
// no daemon: all that it knew of when it looked may have been replaced before it got to them.
const aloneRetries = 1

// clusterRetries is how often a call is made again if the server knows of no daemon, but
// is one of a cluster: its peers may have told it of a new subscription only just now.
const clusterRetries = 2

// exchange makes a call, and again as long as it is certain that no daemon began it.
func (b *Bus) exchange(ctx context.Context, h *handle, m *method, req *request, sizeHint int) (answer, error) {
	if err := context.Cause(ctx); err != nil {
		return answer{}, err
	}
	out, err := encode(req, sizeHint, b.options.MaxBody)
	if err != nil {
		return answer{}, fmt.Errorf("%s: %w", m.name, err)
	}
	if out.raw > chunkSize {
		if err := b.quota.take(out.raw); err != nil {
			return answer{}, unavailable(h.inst, "%s: %w", m.name, err)
		}
		defer b.quota.give(out.raw)
	}
	if err := b.begin(); err != nil {
		return answer{}, unavailable(h.inst, "%s: %w", m.name, err)
	}
	defer b.finish()
	b.counters.inFlight[made].Add(1)
	defer b.counters.inFlight[made].Add(-1)

	var deadline time.Time // counts from the first attempt that has failed, however long that took
	for {
		in, err := b.attempt(ctx, h, m, out)
		if !errors.Is(err, errAgain) {
			if err != nil {
				return answer{}, err
			}
			return b.read(h, m, in)
		}
		now := time.Now()
		if deadline.IsZero() {
			deadline = now.Add(b.options.silence())
		}
		if now.After(deadline) {
			return answer{}, unavailable(h.inst, "%s: its daemon is being replaced", m.name)
		}
		select {
		case <-time.After(retryAfter):
		case <-ctx.Done():
			return answer{}, context.Cause(ctx)
		}
	}
}

// begin makes sure that replies are heard, and that there is room for a call.
func (b *Bus) begin() error {
	for {
		heard, err := b.admit()
		if heard || err != nil {
			return err
		}
		if err := b.hearReplies(); err != nil {
			return err
		}
	}
}

// admit notes one more call, if replies are heard.
func (b *Bus) admit() (heard bool, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.closing:
		return false, ErrClosed
	case b.made >= b.options.MaxCalls:
		return false, fmt.Errorf("%d calls are under way, which is the limit", b.options.MaxCalls)
	case b.replies == nil:
		return false, nil
	}
	b.made++
	b.running.Add(1)
	return true, nil
}

// hearReplies subscribes to replies. The server knows of it before it knows of any call,
// since they share the connection.
func (b *Bus) hearReplies() error {
	sub, err := b.conn.ChanSubscribe(b.subject("*", toCaller, b.name, "*"), b.frames)
	if err != nil {
		return b.connectionError(err)
	}
	b.mu.Lock()
	needless := b.replies != nil || b.stopped
	if !needless {
		b.replies = sub
	}
	b.mu.Unlock()
	if needless {
		_ = sub.Unsubscribe() // it fails if the connection is closed
	}
	return nil
}

// forgetReplies has the next call subscribe to replies again.
func (b *Bus) forgetReplies() {
	b.mu.Lock()
	sub := b.replies
	b.replies = nil
	b.mu.Unlock()
	if sub != nil {
		_ = sub.Unsubscribe() // it fails if the connection is closed
	}
}

// finish undoes begin.
func (b *Bus) finish() {
	b.mu.Lock()
	b.made--
	b.mu.Unlock()
	b.running.Done()
}

// read returns what a body says.
func (b *Bus) read(h *handle, m *method, in body) (a answer, err error) {
	if err := in.decode(&a, b.options.MaxBody, &b.quota); err != nil {
		return answer{}, b.lostError(h, m, m.write, fmt.Errorf("the answer cannot be read: %w", err))
	}
	return a, a.Err.err()
}

// errAgain says that a call was certainly not begun, and may be made again.
var errAgain = errors.New("again")

// lostError is what a call returns that has no answer.
func (b *Bus) lostError(h *handle, m *method, begun bool, reason error) error {
	if t := b.recentTrouble(); t != nil {
		reason = fmt.Errorf("%w (the NATS connection has reported: %w)", reason, t)
	}
	if m.write && begun {
		return unavailable(h.inst, "%s was begun, and its outcome is unknown: %w", m.name, reason)
	}
	return unavailable(h.inst, "%s: %w", m.name, reason)
}

var errNoDaemon = errors.New("no daemon is connected")

// connectionDown returns an error if nothing can be sent now.
func (b *Bus) connectionDown() error {
	if status := b.conn.Status(); status != nats.CONNECTED && status != nats.DRAINING_SUBS {
		return b.connectionError(fmt.Errorf("the NATS connection is down: %v", status))
	}
	return nil
}

// attempt makes a call once. Only the first daemon that accepts it is sent the request.
func (b *Bus) attempt(ctx context.Context, h *handle, m *method, out body) (_ body, err error) {
	if down := b.connectionDown(); down != nil {
		return body{}, b.lostError(h, m, false, down)
	}
	id := newName()
	c := &call{tok: h.tok, inline: !m.write && out.chunks() == 1}
	now := time.Now()
	beatAt := now.Add(b.options.Beat)
	c.link = link{bus: b, call: id, wake: make(chan struct{}, 1), caller: true, heard: now}
	c.back = b.subject(h.tok, toCaller, b.name, id)
	open := frame{kind: kindOpen}
	if c.inline {
		open = out.frame(0)
		open.kind = kindOpen
	} else {
		c.out.body = out
	}
	open.call, open.bus, open.beat = id, b.name, b.options.Beat.Milliseconds()
	opening := b.subject(h.tok, toDaemon, m.name, "")

	b.mu.Lock()
	b.calls[id] = c
	b.mu.Unlock()
	answered := false
	defer func() {
		b.mu.Lock()
		delete(b.calls, id)
		b.mu.Unlock()
		if !answered || !c.inline {
			c.send(frame{kind: kindEnd}) // what is under way there is cancelled, what is kept is let go
		}
		c.close()
	}()

	if err := b.publish(opening, c.back, open); err != nil {
		return body{}, b.lostError(h, m, false, b.connectionError(err))
	}
	var again <-chan time.Time
	retries, wait := aloneRetries, time.Duration(0)
	if b.conn.ConnectedClusterName() != "" {
		retries, wait = clusterRetries, retryAfter
	}
	for {
		select {
		case <-c.wake:
		case <-again:
			again = nil
			c.forgetLoss()
			_ = b.publish(opening, c.back, open)
		case <-ctx.Done():
			return body{}, cancelled(m, c.began(), context.Cause(ctx))
		case <-b.base.Done():
			return body{}, b.lostError(h, m, c.began(), ErrClosed)
		}
		if in, bad, over := c.received(); over {
			if bad != nil {
				return body{}, b.lostError(h, m, c.began(), fmt.Errorf("the answer cannot be read: %w", bad))
			}
			answered = in.digest == nil
			return in, nil
		}
		if c.ticked.Swap(false) {
			now := time.Now()
			if err := c.alive(now); err != nil {
				return body{}, b.lostError(h, m, c.began(), fmt.Errorf("its daemon is not answering: %w", err))
			}
			if !now.Before(beatAt) {
				beatAt = now.Add(b.options.Beat)
				if !c.sendBeatIfAccepted(now) {
					if down := b.connectionDown(); down != nil {
						return body{}, b.lostError(h, m, false, down)
					}
					_ = b.publish(opening, c.back, open)
				}
			}
		}
		if c.isResumed() && !c.resumeIfAccepted() {
			c.forgetLoss()
			_ = b.publish(opening, c.back, open)
		}
		accepted, gone, unknown, lost, denied := c.state()
		switch {
		case denied != nil:
			return body{}, b.lostError(h, m, c.began(), denied)
		case lost && !accepted && retries > 0:
			if again == nil {
				retries--
				again = time.After(wait)
			}
		case lost && !accepted:
			return body{}, b.lostError(h, m, false, errNoDaemon)
		case gone && accepted:
			return body{}, errAgain
		case gone && again == nil:
			again = time.After(retryAfter)
		case unknown && m.write && c.began():
			return body{}, b.lostError(h, m, true, errors.New("its daemon knows nothing of it any more"))
		case unknown:
			return body{}, errAgain
		}
		c.pump()
	}
}

// cancelled is what a call returns whose context has ended.
func cancelled(m *method, begun bool, cause error) error {
	if m.write && begun {
		return fmt.Errorf("%s was begun, and its outcome is unknown: %w", m.name, cause)
	}
	return cause
}

// state returns what the dispatcher has told the call.
func (c *call) state() (accepted, gone, unknown, lost bool, denied error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	gone, c.gone = c.gone, false
	return c.session != "", gone, c.unknown, !c.lost.IsZero(), c.denied
}

// forgetLoss gives the server another chance to know a daemon.
func (c *call) forgetLoss() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.session == "" {
		c.lost = time.Time{}
	}
}

// sendBeatIfAccepted says that the caller is there, if it is known to whom.
func (c *call) sendBeatIfAccepted(now time.Time) bool {
	c.mu.Lock()
	accepted := c.session != ""
	c.mu.Unlock()
	if accepted {
		c.sendBeat(now)
	}
	return accepted
}

func (c *call) isResumed() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	resumed := c.resumed
	c.resumed = false
	return resumed
}

// resumeIfAccepted tells the daemon that the connection is back, if it is known to whom.
func (c *call) resumeIfAccepted() bool {
	c.mu.Lock()
	accepted := c.session != ""
	c.mu.Unlock()
	if accepted {
		c.resume(time.Now())
	}
	return accepted
}

// onReply gives a frame to the call that it is for.
func (b *Bus) onReply(tok, id string, f *frame) {
	b.mu.Lock()
	c := b.calls[id]
	b.mu.Unlock()
	if c == nil || c.tok != tok {
		// A daemon that has not heard that the call is over.
		b.letGo(tok, id, f)
		return
	}
	if !c.isFrom(f) {
		b.letGo(tok, id, f)
		return
	}
	switch f.kind {
	case kindGone, kindUnknown:
		c.mu.Lock()
		c.gone = c.gone || f.kind == kindGone
		c.unknown = c.unknown || f.kind == kindUnknown
		c.mu.Unlock()
		c.wakeUp()
		return
	}
	c.hear(f)
	if f.session != "" && !c.inline {
		// It has accepted the call, even if accept itself was lost.
		c.mu.Lock()
		opens := !c.out.open
		if opens {
			c.out.open, c.moved = true, time.Now()
		}
		c.mu.Unlock()
		if opens {
			c.wakeUp()
		}
	}
	switch f.kind {
	case kindAck:
		c.onAck(f)
	case kindBeat:
		c.onBeat(f)
	case kindData:
		if c.onData(f) {
			c.wakeUp()
		}
	}
}

// isFrom says whether the frame is from the daemon that the call is with, which is the
// first that accepts it, or says that it is at work on it. A frame without a session
// refuses the call, or says that it was not begun.
func (c *call) isFrom(f *frame) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.session == "" {
		if f.session != "" && f.kind != kindGone && f.kind != kindUnknown {
			c.session, c.ticket = f.session, f.ticket
			c.to = c.bus.subject(c.tok, inCall, f.session, c.call)
		}
		return true
	}
	return f.session == c.session && f.ticket == c.ticket
}

// letGo tells a daemon that takes part in a call that the call, or its part in it, is over.
func (b *Bus) letGo(tok, id string, f *frame) {
	if b.flooded() || f.session == "" || f.kind != kindAccept && f.kind != kindBeat && f.kind != kindData {
		return
	}
	_ = b.publish(b.subject(tok, inCall, f.session, id), "",
		frame{kind: kindEnd, call: id, bus: b.name, session: f.session, ticket: f.ticket})
}

// failCalls has the calls that are for a token, or all if it is empty, return err.
func (b *Bus) failCalls(tok string, err error) {
	b.mu.Lock()
	var failed []*call
	for _, c := range b.calls {
		if tok == "" || c.tok == tok {
			failed = append(failed, c)
		}
	}
	b.mu.Unlock()
	for _, c := range failed {
		c.mu.Lock()
		c.denied = err
		c.mu.Unlock()
		c.wakeUp()
	}
}
