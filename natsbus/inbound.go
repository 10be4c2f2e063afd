package natsbus

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/platformbus/platform"
	"github.com/platformbus/platform/natsbus/internal/protocol"
	"github.com/platformbus/platform/natsbus/internal/wire"
)

// An inbound serves calls. The dispatcher makes one and tells it what comes; once the request
// is complete, a goroutine executes it and sends the answer.
type inbound struct {
	*registry
	pool    workerPool
	serving map[*inboundCall]struct{} // guarded by mu
}

// An inboundCall is a call that is served here.
type inboundCall struct {
	*protocol.Callee // guarded by mu
	signal
	registration *registration
	daemon       *daemon
	platform     platform.Platform
	method       *method
	ctx          context.Context
	cancel       context.CancelCauseFunc
}

// onCall begins a call, or says why it does not.
func (i *inbound) onCall(a wire.Address, f *wire.Frame) {
	m := methods[a.Method]
	known := protocol.Method{Name: a.Method, Known: m != nil, Write: m != nil && m.write}
	i.mu.Lock()
	r := i.registrations.get(a.Token)
	if r == nil || i.closing {
		gone := protocol.GoneFor(i.shared, a.Token, f)
		i.mu.Unlock()
		if f.Call != "" && f.Service != "" && f.Bus != "" {
			_ = i.send(gone) // it asks again
		}
		return
	}
	d := i.daemonLocked(r)
	callee, out := d.Open(known, f, i.overloaded(), i.now())
	c := tagOf(callee)
	if callee != nil && c == nil {
		c = &inboundCall{Callee: callee, signal: make(signal, 1), registration: r, daemon: d, platform: r.platform, method: m}
		c.ctx, c.cancel = context.WithCancelCause(contextOf(i.base, f.Origin))
		callee.Tag = c
		i.serving[c] = struct{}{}
		i.counters.inFlight[served].Add(1)
	}
	i.steppedLocked()
	i.mu.Unlock()
	if m != nil && slices.ContainsFunc(out.Send, isRefusal) {
		i.counters.calls[callLabels{served, m.name, outcomeRefused}].Add(1)
	}
	if callee == nil && i.overloaded() {
		return
	}
	i.carry(c, d, out)
}

func isRefusal(m protocol.Message) bool { return m.Frame.Kind == wire.Refuse }

// tagOf returns the call that a machine is of, or nil.
func tagOf(callee *protocol.Callee) *inboundCall {
	if callee == nil {
		return nil
	}
	c, _ := callee.Tag.(*inboundCall)
	return c
}

// onInCall does what a caller asks of a call that it has with a daemon here.
func (i *inbound) onInCall(a wire.Address, e protocol.Event) {
	i.mu.Lock()
	r := i.sessions[a.Session]
	if r == nil || r.token() != a.Token {
		i.mu.Unlock()
		return
	}
	var c *inboundCall
	if d := i.daemons[r]; d != nil {
		c = tagOf(d.Call(a.Call))
	}
	i.mu.Unlock()
	if c != nil {
		i.step(c, e)
	}
}

// step has a call go on.
func (i *inbound) step(c *inboundCall, e protocol.Event) {
	i.mu.Lock()
	out := c.Step(e, i.now())
	i.steppedLocked()
	i.mu.Unlock()
	i.carry(c, c.daemon, out)
}

// carry does what a step of a call has asked for. The call is nil if none was accepted.
func (i *inbound) carry(c *inboundCall, d *daemon, out protocol.CalleeOutput) {
	for _, m := range out.Send {
		if m.Back != "" {
			if err := i.listen(d); err != nil {
				i.options.Logger.Warn("natsbus: cannot take part in a call", "instance", d.registration.inst, "err", err)
				break
			}
		}
		if err := i.send(m); err != nil && c != nil && i.permanent(err) {
			i.options.Logger.Warn("natsbus: cannot answer", "instance", d.registration.inst, "err", err)
			i.mu.Lock()
			out = c.Step(protocol.Event{Kind: protocol.Failed, Err: err}, i.now())
			i.steppedLocked()
			i.mu.Unlock()
		}
	}
	if c == nil {
		return
	}
	switch out.Task {
	case protocol.Execute:
		i.start(c)
	case protocol.CancelRun:
		i.cancel(c, out.Err)
	}
	i.forgetIfOver(c)
	c.wakeUp()
}

// start has a goroutine execute a call, for which Close waits, unless the bus is closing.
func (i *inbound) start(c *inboundCall) {
	i.mu.Lock()
	closing := i.closing
	if !closing {
		i.running.Add(1)
	}
	i.mu.Unlock()
	if closing {
		_ = i.begin(c) // which refuses it
		return
	}
	i.pool.add(func() {
		defer i.running.Done()
		i.execute(c)
	})
}

// begin says whether a call may begin now, and tells the caller if it may not.
func (i *inbound) begin(c *inboundCall) bool {
	i.mu.Lock()
	begun, out := c.Begin(i.now())
	i.steppedLocked()
	i.mu.Unlock()
	i.carry(c, c.daemon, out)
	return begun
}

// cancel ends the context of a call. If Close cuts off the calls that are under way, that is the
// cause for all of them, though the callers among them may say sooner that they have ended theirs.
func (i *inbound) cancel(c *inboundCall, cause error) {
	if closed := context.Cause(i.base); closed != nil {
		cause = closed
	}
	c.cancel(cause)
}

// forgetIfOver forgets a call that is over.
func (i *inbound) forgetIfOver(c *inboundCall) {
	i.mu.Lock()
	_, there := i.serving[c]
	over := there && c.State() == protocol.CalleeOver
	if over {
		delete(i.serving, c)
	}
	i.mu.Unlock()
	if over {
		i.counters.inFlight[served].Add(-1)
		i.cancel(c, protocol.ErrEnded)
	}
}

// execute makes the call and sends its answer, which is kept until the caller has it.
func (i *inbound) execute(c *inboundCall) {
	defer i.forgetIfOver(c)
	a, err := i.call(c)
	if errors.Is(err, errNotBegun) {
		return
	}
	i.countCall(served, c.method.name, err)
	a.Err = wire.EncodeError(err)
	body, err := wire.EncodeAnswer(a, i.options.MaxBody)
	if err == nil {
		err = i.answer(c, body)
	} else {
		err = fmt.Errorf("%s: the result was lost: %w", c.method.name, err)
	}
	if err != nil {
		body, err = wire.Encode(wire.Answer{Err: wire.EncodeError(err)}, 0, i.options.MaxBody)
		if err == nil {
			err = i.answer(c, body)
		}
		if err != nil {
			i.options.Logger.Warn("natsbus: a result is lost", "instance", c.registration.inst, "method", c.method.name, "err", err)
		}
	}
	a = wire.Answer{}
	for i.sendChunks(c); i.answering(c); i.sendChunks(c) {
		select {
		case <-c.signal:
		case <-c.ctx.Done(): // the bus is closed
			i.step(c, protocol.Event{Kind: protocol.Failed, Err: context.Cause(c.ctx)})
		}
	}
}

func (i *inbound) answering(c *inboundCall) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	return c.State() == protocol.CalleeAnswering
}

// answer hands an answer to the machine. The error is that there is no memory for it.
func (i *inbound) answer(c *inboundCall, body wire.Body) error {
	i.mu.Lock()
	out, err := c.Answer(body, i.now())
	i.steppedLocked()
	i.mu.Unlock()
	if err != nil {
		return unavailable(c.registration.inst, "%s: the result was lost: %w", c.method.name, err)
	}
	i.carry(c, c.daemon, out)
	return nil
}

// sendChunks sends the chunks for which there is room.
func (i *inbound) sendChunks(c *inboundCall) {
	for {
		i.mu.Lock()
		m, ok := c.NextChunk(i.now())
		i.steppedLocked()
		i.mu.Unlock()
		if !ok {
			return
		}
		i.carry(c, c.daemon, protocol.CalleeOutput{Send: []protocol.Message{m}})
	}
}

// errNotBegun says that a call must not be begun any more.
var errNotBegun = errors.New("not begun")

// call makes the call itself.
func (i *inbound) call(c *inboundCall) (a wire.Answer, err error) {
	i.mu.Lock()
	ready := c.State() == protocol.CalleeReady
	body, err := c.Request()
	i.mu.Unlock()
	if !ready { // its caller has ended it
		return a, errNotBegun
	}
	var req wire.Request
	if err == nil {
		err = body.Decode(&req, i.options.MaxBody, memory{i.core, c.Token()})
	}
	if err != nil {
		return a, fmt.Errorf("%s was not begun, since its request cannot be read: %w", c.method.name, err)
	}
	if !i.begin(c) {
		return a, errNotBegun
	}
	a, err = c.method.call(platform.WithContext(c.ctx, c.platform), &req)
	if _, fatal := platform.AsFatal(err); fatal {
		err = withoutNil(err)
		i.end(c.registration, err)
	}
	return a, err
}

// withoutNil returns err, or a FatalError that can be read if err is a nil pointer to one.
func withoutNil(err error) error {
	if p, ok := err.(*platform.FatalError); ok && p == nil { //nolint:errorlint // what is around a nil pointer can stay
		return platform.FatalError{}
	}
	return err
}

// stepAll has all calls go on.
func (i *inbound) stepAll(e protocol.Event) {
	i.mu.Lock()
	all := make([]*inboundCall, 0, len(i.serving))
	for c := range i.serving {
		all = append(all, c)
	}
	i.mu.Unlock()
	for _, c := range all {
		i.step(c, e)
	}
}

// A daemon serves the calls for a registration.
type daemon struct {
	*protocol.Daemon // guarded by mu
	registration     *registration
	listener         listener
}

// daemonLocked returns what serves the calls for a registration that is in force.
func (r *registry) daemonLocked(of *registration) *daemon {
	d := r.daemons[of]
	if d == nil {
		session := r.session(of)
		d = &daemon{registration: of, Daemon: protocol.NewDaemon(r.shared, of.inst, session)}
		d.listener.subject = r.subjects.InCall(of.token(), session, "*")
		r.daemons[of] = d
		r.sessions[session] = of
	}
	return d
}

var errDown = errors.New("the registration is taken down")

// listen makes sure that what callers say during calls is heard. The server knows of it before
// it knows of what is sent afterwards.
func (r *registry) listen(d *daemon) error {
	return d.listener.open(func() (*nats.Subscription, error) {
		r.mu.Lock()
		down := r.daemons[d.registration] != d
		r.mu.Unlock()
		if down { // it is taken down, or will be, and nothing may be left on the connection
			return nil, errDown
		}
		return r.conn.ChanSubscribe(d.listener.subject, r.frames)
	})
}

// takeDown unsubscribes what is no longer in force and has no calls any more, or, when the
// bus is closed, all of it.
func (r *registry) takeDown(now time.Time, all bool) {
	r.mu.Lock()
	var silent []*nats.Subscription
	var idle []*daemon
	for token, l := range r.lingering {
		if all || now.After(l.until) {
			silent = append(silent, l.sub)
			delete(r.lingering, token)
		}
	}
	for of := range r.retired {
		d := r.daemons[of]
		if all || d == nil || d.Calls() == 0 {
			delete(r.retired, of)
			delete(r.daemons, of)
			if d != nil {
				delete(r.sessions, r.session(of))
				idle = append(idle, d)
			}
		}
	}
	r.mu.Unlock()
	for _, sub := range silent {
		_ = sub.Unsubscribe() // it may be done already
	}
	for _, d := range idle {
		d.listener.close()
	}
}
