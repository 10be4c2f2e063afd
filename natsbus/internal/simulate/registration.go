package simulate

import (
	"errors"
	"time"

	"github.com/platformbus/platform/flux"
	"github.com/platformbus/platform/natsbus/internal/protocol"
	"github.com/platformbus/platform/natsbus/internal/wire"
)

// A registration is a process that has subscribed an instance.
type registration struct {
	process *process
	name    string
	inst    string
	session string
	since   time.Duration // when it was made
	settled bool          // it has waited for the holder before it
	claim   protocol.Claim
	daemon  *protocol.Daemon
	over    bool
}

// register subscribes an instance.
func (p *process) register(inst string) *registration {
	w := p.world
	if p.registrations[inst] != nil {
		return nil
	}
	session := p.shared.NewName()
	r := &registration{process: p, name: p.name + "/" + session, inst: inst, session: session, since: w.now}
	r.claim = protocol.NewClaim(time.UnixMilli(1<<40).Add(w.now+p.skew), w.now)
	r.daemon = protocol.NewDaemon(p.shared, flux.InstanceID(inst), session)
	w.history.note("%s subscribes %s as %s", p.name, inst, session)
	w.history.holders = append(w.history.holders, r)
	p.registrations[inst], p.sessions[session] = r, r
	p.subscribe("claimant " + session)
	p.subscribe("session " + session)
	r.step(protocol.Event{Kind: protocol.Start})
	p.subscribe("instance " + inst)
	p.after(2*beat, func() { r.finish(r.claim.Settle(p.shared, w.now)) })
	return r
}

// step has the claim go on.
func (r *registration) step(e protocol.Event) {
	r.finish(r.claim.Step(r.process.shared, protocol.Claimant{Token: r.inst, Session: r.session}, e, r.process.world.now))
}

func (r *registration) finish(out protocol.ClaimOutput) {
	p := r.process
	if out.Lost {
		p.world.history.lost(r)
		ended := r.daemon.End()
		delete(p.registrations, r.inst)
		p.after(beat, func() {
			if p.registrations[r.inst] == nil {
				p.unsubscribe("instance " + r.inst)
			}
		})
		p.publish(ended.Send)
		p.unblock()
	}
	p.publish(out.Send)
	if out.Settled && !r.settled {
		r.settled = true
		p.unsubscribe("claimant " + r.session)
	}
	if out.Due > 0 {
		r.plan(out.Due - p.world.now)
	}
}

// plan has the claim repeated after a time.
func (r *registration) plan(d time.Duration) {
	if d > time.Hour || r.over {
		return
	}
	r.process.after(d, func() {
		if !r.over {
			r.step(protocol.Event{Kind: protocol.Tick})
		}
	})
}

// execute carries out a call.
func (r *registration) execute(callee *protocol.Callee) {
	p := r.process
	w := p.world
	request, err := callee.Request()
	text := ""
	if err == nil {
		text, err = open(&request)
		if err != nil && !errors.Is(err, errDamaged) && callee.State() == protocol.CalleeReady {
			w.history.violate("%s: a request is wrong: %v", r.name, err)
		}
	}
	if err != nil {
		r.answer(callee, body(unread, 100))
		return
	}
	ok, out := callee.Begin(w.now)
	p.handle(r, callee, out)
	if !ok {
		return
	}
	c := w.history.begin(text, r)
	if c == nil {
		return
	}
	took := w.between(0, beat/2)
	if w.happens(0.1) {
		took = w.between(0, 20*beat)
	}
	p.after(took, func() { r.answer(callee, body("answer to "+text, c.answer)) })
}

func (r *registration) answer(callee *protocol.Callee, b wire.Body) {
	out, err := callee.Answer(b, r.process.world.now)
	if err != nil {
		out, err = callee.Answer(body(unread, 100), r.process.world.now)
	}
	if err != nil {
		r.process.world.history.violate("%s: no room to say that there is no room: %v", r.name, err)
	}
	r.process.handle(r, callee, out)
}

func (r *registration) callees() []*protocol.Callee { return r.daemon.All() }
