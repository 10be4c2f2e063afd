package natsbus

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/platformbus/platform/flux"
	"github.com/platformbus/platform/natsbus/internal/protocol"
	"github.com/platformbus/platform/natsbus/internal/wire"
)

// An outbound makes calls. The goroutine that makes one drives its machine; the dispatcher
// tells it what comes.
type outbound struct {
	*core
	settle  func() time.Duration     // see protocol.Call.Settle
	calls   map[string]*outboundCall // guarded by mu; by the names that they have now
	replies *nats.Subscription       // guarded by mu
	denials int                      // guarded by mu; how often replies were denied
	denied  error                    // guarded by mu; why they were last
}

// An outboundCall is a call that is made from here.
type outboundCall struct {
	*protocol.Caller // guarded by mu
	signal
	outcome protocol.Outcome // guarded by mu
	due     time.Duration    // guarded by mu; when it must look at the time
}

// settleTime returns for how long a server is asked again that knows of no daemon, of an instance
// that has not been heard of here yet: its peers may have told it of a new subscription only just
// now. One that is in no cluster may still have leaf nodes.
func (c *core) settleTime() time.Duration {
	if c.conn.ConnectedClusterName() == "" {
		return 25 * time.Millisecond
	}
	return 250 * time.Millisecond
}

// exchange makes a call, and again as long as it is certain that no daemon began it.
func (o *outbound) exchange(ctx context.Context, inst flux.InstanceID, m *method, req *wire.Request, origin wire.Origin, sizeHint int) (wire.Answer, error) {
	if err := context.Cause(ctx); err != nil {
		return wire.Answer{}, err
	}
	body, err := wire.Encode(req, sizeHint, o.options.MaxBody)
	if err != nil {
		return wire.Answer{}, fmt.Errorf("%s: %w", m.name, err)
	}
	memory := memory{o.core, wire.Token(inst)}
	if body.Raw > wire.MaxChunk {
		if err := memory.Take(body.Raw); err != nil {
			return wire.Answer{}, unavailable(inst, "%s: %w", m.name, err)
		}
		defer memory.Give(body.Raw)
	}
	replies, err := o.begin(memory.token, m)
	if err != nil {
		return wire.Answer{}, unavailable(inst, "%s: %w", m.name, err)
	}
	defer o.finish(memory.token, m)
	o.counters.inFlight[made].Add(1)
	defer o.counters.inFlight[made].Add(-1)

	outcome := o.run(ctx, replies, protocol.Call{
		Token: memory.token, Method: m.name, Write: m.write, Request: body, Origin: origin.Fit(o.shared.Service), Settle: o.settle(),
	})
	if outcome.Verdict != protocol.Answered {
		return wire.Answer{}, o.lostError(inst, m, outcome)
	}
	var a wire.Answer
	if err := outcome.Answer.Decode(&a, o.options.MaxBody, memory); err != nil {
		outcome = protocol.Outcome{Verdict: protocol.Unknown, Err: fmt.Errorf("the answer cannot be read: %w", err)}
		return wire.Answer{}, o.lostError(inst, m, outcome)
	}
	return a, wire.DecodeError(a.Err)
}

// contextEnded is why a call has no answer whose context has ended. The cause may be any error,
// also one that cannot be compared.
type contextEnded struct{ cause error }

func (e contextEnded) Error() string { return e.cause.Error() }

// lostError is what a call returns that has no answer.
func (o *outbound) lostError(inst flux.InstanceID, m *method, outcome protocol.Outcome) error {
	reason, unknown := outcome.Err, m.write && outcome.Verdict == protocol.Unknown
	if ended, ok := errors.AsType[contextEnded](reason); ok {
		if unknown {
			return fmt.Errorf("%s was begun, and its outcome is unknown: %w", m.name, ended.cause)
		}
		return ended.cause
	}
	if t := o.recentTrouble(); t != nil {
		reason = fmt.Errorf("%w (the NATS connection has reported: %w)", reason, t)
	}
	if unknown {
		return unavailable(inst, "%s was begun, and its outcome is unknown: %w", m.name, reason)
	}
	return unavailable(inst, "%s: %w", m.name, reason)
}

// begin makes sure that replies are heard, by the subscription that it returns, and that there
// is room for a call.
func (o *outbound) begin(token string, m *method) (replies *nats.Subscription, err error) {
	for {
		replies, err := o.admit(token, m)
		if replies != nil || err != nil {
			return replies, err
		}
		if err := o.hearReplies(); err != nil {
			return nil, err
		}
	}
}

// admit notes one more call, if replies are heard.
func (o *outbound) admit(token string, m *method) (replies *nats.Subscription, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case o.closing:
		return nil, ErrClosed
	case o.replies == nil:
		return nil, nil
	case !o.shared.Made[protocol.Class(m.write)].Take(token, 1):
		return nil, fmt.Errorf("%d calls are under way, which is the limit", o.options.MaxCalls)
	}
	o.running.Add(1)
	return o.replies, nil
}

// finish undoes begin.
func (o *outbound) finish(token string, m *method) {
	o.mu.Lock()
	o.shared.Made[protocol.Class(m.write)].Give(token, 1)
	o.mu.Unlock()
	o.running.Done()
}

// hearReplies subscribes to replies. The server knows of it before it knows of any call,
// since they share the connection.
func (o *outbound) hearReplies() error {
	o.mu.Lock()
	denials := o.denials
	o.mu.Unlock()
	sub, err := o.conn.ChanSubscribe(o.subjects.Reply("*", o.shared.Service, o.shared.Bus, "*"), o.frames)
	if err != nil {
		return o.connectionError(err)
	}
	o.mu.Lock()
	needless := o.replies != nil || o.stopped
	if o.denials != denials { // already
		needless, err = true, o.denied
	}
	if !needless {
		o.replies = sub
	}
	o.mu.Unlock()
	if needless {
		_ = sub.Unsubscribe() // it fails if the connection is closed
	}
	return err
}

// forgetReplies has the next call subscribe to replies again, since the server denies them.
func (o *outbound) forgetReplies(denied error) {
	o.mu.Lock()
	sub := o.replies
	o.replies = nil
	o.denials, o.denied = o.denials+1, denied
	o.mu.Unlock()
	if sub != nil {
		_ = sub.Unsubscribe() // it fails if the connection is closed
	}
}

// deniedSince returns why a subscription to replies was denied, or nil if it was not.
func (o *outbound) deniedSince(replies *nats.Subscription) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.replies == replies {
		return nil
	}
	return o.denied
}

// run drives the machine of a call until it is over. Its replies come by a subscription.
func (o *outbound) run(ctx context.Context, replies *nats.Subscription, call protocol.Call) protocol.Outcome {
	if down := o.connectionDown(); down != nil {
		return protocol.Outcome{Verdict: protocol.NotBegun, Err: down}
	}
	c := &outboundCall{Caller: protocol.NewCaller(o.shared, call), signal: make(signal, 1)}
	c.Tag = c
	o.step(c, protocol.Event{Kind: protocol.Start})
	if err := o.deniedSince(replies); err != nil { // before the call could be told
		o.step(c, protocol.Event{Kind: protocol.Failed, Err: err})
	}
	timer := time.NewTimer(o.options.Beat)
	defer timer.Stop()
	for {
		o.sendChunks(c)
		o.mu.Lock()
		outcome, due := c.outcome, c.due
		o.mu.Unlock()
		if outcome.Verdict != protocol.Pending {
			return outcome
		}
		timer.Reset(due - o.now())
		select {
		case <-c.signal:
		case <-timer.C:
			o.step(c, protocol.Event{Kind: protocol.Tick})
		case <-ctx.Done():
			o.step(c, protocol.Event{Kind: protocol.Cancelled, Err: contextEnded{context.Cause(ctx)}})
		case <-o.base.Done():
			o.step(c, protocol.Event{Kind: protocol.Cancelled, Err: ErrClosed})
		}
	}
}

// sendChunks sends the chunks for which there is room.
func (o *outbound) sendChunks(c *outboundCall) {
	for {
		o.mu.Lock()
		m, ok := c.NextChunk(o.now())
		o.steppedLocked()
		o.mu.Unlock()
		if !ok {
			return
		}
		if err := o.send(m); err != nil {
			o.unsent(c, err)
		}
	}
}

// step has a call go on, and sends what comes of it.
func (o *outbound) step(c *outboundCall, e protocol.Event) {
	o.mu.Lock()
	before := c.Name()
	out := c.Step(e, o.now())
	if name := c.Name(); name != before || out.Verdict != protocol.Pending {
		delete(o.calls, before)
		if out.Verdict == protocol.Pending {
			o.calls[name] = c
		}
	}
	if out.Verdict != protocol.Pending {
		c.outcome = out.Outcome
	}
	c.due = out.Due
	over := c.outcome.Verdict != protocol.Pending
	o.steppedLocked()
	o.mu.Unlock()
	if err := o.send(out.Send...); err != nil && !over {
		o.unsent(c, err)
	}
	if over || out.Ready || e.Kind != protocol.Tick {
		c.wakeUp()
	}
}

// unsent tells a call that what it has sent is not on its way.
func (o *outbound) unsent(c *outboundCall, err error) {
	kind := protocol.Disconnected
	if o.permanent(err) {
		kind = protocol.Failed
	}
	o.step(c, protocol.Event{Kind: kind, Err: o.connectionError(err)})
}

// onReply tells a call what came for it.
func (o *outbound) onReply(a wire.Address, e protocol.Event) {
	if a.Service != o.shared.Service || a.Bus != o.shared.Bus {
		return
	}
	o.mu.Lock()
	c := o.calls[a.Call]
	o.mu.Unlock()
	if c != nil && c.Token == a.Token {
		o.step(c, e)
		return
	}
	if e.Kind != protocol.Received || o.overloaded() {
		return
	}
	// A daemon that has not heard that the call is over.
	if m, ok := protocol.EndFor(o.shared, a.Token, a.Call, e.Frame); ok {
		_ = o.send(m) // it says so again if it has not heard
	}
}

// stepAll has the calls go on for which which returns true.
func (o *outbound) stepAll(e protocol.Event, which func(*outboundCall) bool) {
	o.mu.Lock()
	var calls []*outboundCall
	for _, c := range o.calls {
		if which == nil || which(c) {
			calls = append(calls, c)
		}
	}
	o.mu.Unlock()
	for _, c := range calls {
		o.step(c, e)
	}
}
