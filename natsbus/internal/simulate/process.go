package simulate

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/platformbus/platform/natsbus/internal/protocol"
	"github.com/platformbus/platform/natsbus/internal/wire"
)

var (
	subjects  = wire.NewSubjects("flux")
	instances = []string{"a", "b"}
)

// beat is that of all processes.
const beat = time.Second

// A process is a service, or a daemon, or both. It does what package natsbus does with the
// state machines.
type process struct {
	world   *world
	name    string
	shared  *protocol.Shared
	skew    time.Duration // of its clock
	lag     time.Duration // of its dispatcher, at most: what has come waits for it
	dead    bool
	frozen  bool
	backlog []func() // what happens to it while it is frozen

	server     *server // that it is connected to; nil if the connection is down
	incarnate  int     // of the connection
	subscribed map[string]bool
	up, down   time.Duration // when what was sent last on the connection arrives

	calls         map[string]*call // by their names now
	registrations map[string]*registration
	sessions      map[string]*registration
}

func newProcess(w *world, name string, fault protocol.Fault) *process {
	names := 0
	p := &process{world: w, name: name, subscribed: map[string]bool{}, calls: map[string]*call{}, registrations: map[string]*registration{}, sessions: map[string]*registration{}}
	p.shared = protocol.NewShared(protocol.Config{
		Subjects: subjects, Service: "service", Bus: strings.ToUpper(name),
		Beat: beat, Silence: 5 * beat,
		MaxBody: 1 << 20, MaxBytes: 256 << 10, MaxCalls: 32, MaxCallsPerInstance: 16, Window: 16 << 10,
		NewName: func() string { names++; return fmt.Sprintf("%s-%d", p.name, names) },
		NewTicket: func() (t wire.Ticket) {
			for i := range t {
				t[i] = byte(w.chance.Uint32())
			}
			return t
		},
		Random: func(below time.Duration) time.Duration { return w.between(0, below-1) },
		Fault:  fault,
	})
	p.shared.Chunk = 4096 << w.chance.IntN(3)
	w.processes = append(w.processes, p)
	p.tick()
	return p
}

// do has something happen to the process, when it is not frozen.
func (p *process) do(f func()) {
	switch {
	case p.dead:
	case p.frozen:
		p.backlog = append(p.backlog, f)
	default:
		f()
		p.world.history.bounded(p)
	}
}

// after has something happen to the process after a time.
func (p *process) after(d time.Duration, f func()) { p.world.after(d, func() { p.do(f) }) }

// freeze has nothing happen to the process for a time.
func (p *process) freeze(d time.Duration) {
	if p.frozen || p.dead {
		return
	}
	p.world.history.note("%s is frozen for %v", p.name, d)
	p.frozen = true
	p.world.after(d, func() {
		p.world.history.note("%s has thawed", p.name)
		p.frozen = false
		backlog := p.backlog
		p.backlog = nil
		for _, f := range backlog {
			p.do(f)
		}
	})
}

// crash ends the process.
func (p *process) crash() {
	p.world.history.note("%s crashes", p.name)
	p.cut()
	p.dead = true
}

// connect connects the process to a server.
func (p *process) connect(s *server) {
	if p.server != nil || p.dead {
		return
	}
	p.server = s
	p.incarnate++
	for _, pattern := range slices.Sorted(maps.Keys(p.subscribed)) {
		s.change(p, pattern, true)
	}
	p.do(func() {
		for _, c := range sortedCalls(p.calls) {
			p.stepCall(c, protocol.Event{Kind: protocol.Resumed})
		}
		for _, r := range p.all() {
			for _, callee := range r.callees() {
				p.handle(r, callee, callee.Step(protocol.Event{Kind: protocol.Resumed}, p.world.now))
			}
			r.plan(p.world.between(0, 3*beat))
		}
	})
}

// cut cuts the connection. What is under way is lost.
func (p *process) cut() {
	if p.server == nil {
		return
	}
	p.world.history.note("%s is cut off", p.name)
	for _, pattern := range slices.Sorted(maps.Keys(p.subscribed)) {
		p.server.change(p, pattern, false)
	}
	p.server = nil
	p.incarnate++
	p.do(func() {
		for _, c := range sortedCalls(p.calls) {
			p.stepCall(c, protocol.Event{Kind: protocol.Disconnected, Err: errDown})
		}
	})
}

var errDown = errors.New("the connection is down")

func (p *process) subscribe(pattern string) {
	p.subscribed[pattern] = true
	p.toServer(func(s *server) { s.change(p, pattern, p.subscribed[pattern]) })
}

func (p *process) unsubscribe(pattern string) {
	delete(p.subscribed, pattern)
	p.toServer(func(s *server) { s.change(p, pattern, p.subscribed[pattern]) })
}

// toServer has something happen at the server, after what was sent before.
func (p *process) toServer(do func(*server)) {
	s, incarnate, w := p.server, p.incarnate, p.world
	if s == nil {
		return
	}
	p.up = max(p.up, w.now+w.between(w.weather.latency/2, 2*w.weather.latency))
	w.after(p.up-w.now, func() {
		if p.incarnate == incarnate {
			do(s)
		}
	})
}

// publish sends messages.
func (p *process) publish(messages []protocol.Message) {
	w := p.world
	for _, m := range messages {
		sent := parcel{subject: m.To, back: m.Back, data: m.Frame.AppendTo(nil)}
		if w.history.verbose {
			w.history.note("%s sends %s", p.name, describe(sent))
		}
		if w.happens(w.weather.loss) {
			continue
		}
		if m.Frame.Kind == wire.Data && (m.Frame.Length > 0 || m.Frame.Offset > 0) && w.happens(w.weather.corrupt) {
			sent.data[len(sent.data)-1-w.chance.IntN(len(m.Frame.Body))] ^= 1
		}
		p.toServer(func(s *server) {
			s.pass(sent, p)
			if w.happens(w.weather.double) { // much later, by another way
				again := sent
				again.back = ""
				w.after(w.between(0, 40*beat), func() { s.pass(again, nil) })
			}
		})
	}
}

// deliver has a message come from the server.
func (p *process) deliver(m parcel) {
	w := p.world
	if w.happens(w.weather.loss) {
		return
	}
	incarnate := p.incarnate
	p.down = max(p.down, w.now+w.between(w.weather.latency/2, 2*w.weather.latency)+w.between(0, p.lag))
	w.after(p.down-w.now, func() {
		if p.incarnate == incarnate {
			p.do(func() { p.receive(m) })
		}
	})
}

func (p *process) receive(m parcel) {
	a, _ := subjects.Parse(m.subject) // the server has looked at it
	event := protocol.Event{Kind: protocol.Nobody}
	if !m.nobody {
		f, err := wire.Parse(m.data)
		if err != nil {
			p.world.history.violate("%s is sent what is no frame: %v", p.name, err)
			return
		}
		event = protocol.Event{Kind: protocol.Received, Frame: &f}
	}
	if p.world.history.verbose {
		p.world.history.note("%s hears %s", p.name, describe(m))
	}
	switch a.Direction {
	case wire.Replies:
		if c := p.calls[a.Call]; c != nil && c.inst == a.Token {
			p.stepCall(c, event)
		} else if event.Frame != nil {
			if m, ok := protocol.EndFor(p.shared, a.Token, a.Call, event.Frame); ok {
				p.publish([]protocol.Message{m})
			}
		}
	case wire.InCall:
		if r := p.sessions[a.Session]; r != nil {
			if callee := r.daemon.Call(a.Call); callee != nil {
				p.handle(r, callee, callee.Step(event, p.world.now))
			}
		}
	case wire.Calls:
		p.onCall(a, event)
	case wire.Claims:
		if r := p.registrations[a.Token]; r != nil && (a.Session == wire.AllClaimants || a.Session == r.session) {
			r.step(event)
		}
	}
}

// onCall is told of a call that somebody makes.
func (p *process) onCall(a wire.Address, e protocol.Event) {
	if e.Frame == nil || e.Frame.Kind != wire.Open {
		return
	}
	r := p.registrations[a.Token]
	if r == nil {
		p.publish([]protocol.Message{protocol.GoneFor(p.shared, a.Token, e.Frame)})
		return
	}
	callee, out := r.daemon.Open(protocol.Method{Name: a.Method, Known: true, Write: a.Method == "Sync"}, e.Frame, false, p.world.now)
	p.handle(r, callee, out)
}

// make makes a call, which is cancelled after a time if that is not zero.
func (p *process) make(c *call, cancel time.Duration) {
	w := p.world
	c.by = p
	w.history.calls = append(w.history.calls, c)
	method := "Ping"
	if c.write {
		method = "Sync"
	}
	w.history.note("%s calls %s: %s %s, %d bytes", p.name, c.inst, method, c.id, c.size)
	p.subscribe("bus " + p.shared.Bus)
	c.caller = protocol.NewCaller(p.shared, protocol.Call{Token: c.inst, Method: method, Write: c.write, Request: body(c.id, c.size), Settle: 250 * time.Millisecond})
	c.caller.Tag = c
	p.stepCall(c, protocol.Event{Kind: protocol.Start})
	if p.server == nil {
		p.stepCall(c, protocol.Event{Kind: protocol.Disconnected, Err: errDown})
	}
	if cancel > 0 {
		p.after(cancel, func() { p.stepCall(c, protocol.Event{Kind: protocol.Cancelled, Err: errors.New("cancelled")}) })
	}
}

func (p *process) stepCall(c *call, e protocol.Event) {
	before := c.caller.Name()
	out := c.caller.Step(e, p.world.now)
	if name := c.caller.Name(); name != before {
		delete(p.calls, before)
		p.calls[name] = c
	}
	p.publish(out.Send)
	if out.Verdict != protocol.Pending {
		delete(p.calls, c.caller.Name())
		p.world.history.end(c, out.Outcome)
	}
	if out.Ready {
		p.sendChunks(c)
	}
	if out.Due > 0 {
		p.after(out.Due-p.world.now, func() { p.stepCall(c, protocol.Event{Kind: protocol.Tick}) })
	}
	p.unblock()
}

// sendChunks sends the chunks for which there is room.
func (p *process) sendChunks(tag any) {
	next := func() (protocol.Message, bool) { return tag.(*protocol.Callee).NextChunk(p.world.now) }
	if c, ok := tag.(*call); ok {
		next = func() (protocol.Message, bool) { return c.caller.NextChunk(p.world.now) }
	}
	for m, ok := next(); ok; m, ok = next() {
		p.publish([]protocol.Message{m})
	}
}

func (p *process) unblock() {
	for _, tag := range p.shared.Unblocked() {
		p.sendChunks(tag)
	}
}

// handle does what a step of a callee asks for.
func (p *process) handle(r *registration, callee *protocol.Callee, out protocol.CalleeOutput) {
	if callee != nil {
		callee.Tag = callee
	}
	p.publish(out.Send)
	switch out.Task {
	case protocol.Execute:
		p.after(p.world.between(0, 100*time.Millisecond), func() { r.execute(callee) })
	case protocol.CancelRun:
		// A Platform may take some time, or not look at its context at all.
	}
	if out.Ready {
		p.sendChunks(callee)
	}
	p.unblock()
}

// tick has callees look at the time.
func (p *process) tick() {
	p.after(beat/4, func() {
		for _, r := range p.all() {
			for _, callee := range r.callees() {
				p.handle(r, callee, callee.Step(protocol.Event{Kind: protocol.Tick}, p.world.now))
			}
		}
		p.tick()
	})
}
