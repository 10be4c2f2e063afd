package simulate

import (
	"cmp"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/platformbus/platform/natsbus/internal/protocol"
	"github.com/platformbus/platform/natsbus/internal/wire"
)

// A Result is what became of a seed.
type Result struct {
	Seed       uint64
	Scenario   string
	Calls      int
	Runs       int
	Answered   int
	Violations []string
	History    []string
}

// Run runs a seed with a fault, or with none. A verbose run keeps its history.
func Run(seed uint64, fault protocol.Fault, verbose bool) Result {
	w := &world{seed: seed, chance: rand.New(rand.NewPCG(seed, 14))}
	w.history = history{world: w, verbose: verbose}
	scenarios := []struct {
		name string
		run  func(*world, protocol.Fault)
	}{{"storm", storm}, {"loss", lossOnly}, {"take-overs", takeOvers}, {"forgery", forgery}, {"freezes", freezes}, {"flapping", flapping}}
	s := scenarios[w.chance.IntN(len(scenarios))]
	s.run(w, fault)
	w.history.check()
	r := Result{Seed: seed, Scenario: s.name, Calls: len(w.history.calls), Runs: w.history.runs, Violations: w.history.violations, History: w.history.lines}
	for _, c := range w.history.calls {
		if c.verdict == protocol.Answered {
			r.Answered++
		}
	}
	return r
}

// all returns the registrations of a process whose calls may go on.
func (p *process) all() []*registration {
	return slices.SortedFunc(maps.Values(p.sessions), func(a, b *registration) int { return cmp.Compare(a.session, b.session) })
}

func sortedCalls(calls map[string]*call) []*call {
	return slices.SortedFunc(maps.Values(calls), func(a, b *call) int { return cmp.Compare(a.id, b.id) })
}

// any returns a process that is not dead, if there is one.
func (w *world) any(of []*process) *process {
	alive := slices.DeleteFunc(slices.Clone(of), func(p *process) bool { return p.dead })
	if len(alive) == 0 {
		return nil
	}
	return alive[w.chance.IntN(len(alive))]
}

// anyCall returns a call to be made.
func (w *world) anyCall(n int) *call {
	size := func() int {
		if w.happens(0.3) {
			return w.chance.IntN(60_000)
		}
		return w.chance.IntN(2000)
	}
	return &call{id: fmt.Sprint("call-", n), inst: instances[w.chance.IntN(len(instances))], write: w.happens(0.7), size: size(), answer: size()}
}

func (w *world) anyServer() *server { return w.servers[w.chance.IntN(len(w.servers))] }

// populate makes processes of two kinds.
func (w *world) populate(services, daemons int, fault protocol.Fault) (s, d []*process) {
	for i := range services {
		s = append(s, newProcess(w, fmt.Sprint("service-", i), fault))
	}
	for i := range daemons {
		d = append(d, newProcess(w, fmt.Sprint("daemon-", i), fault))
	}
	for _, p := range w.processes {
		p.connect(w.anyServer())
	}
	return s, d
}

// storm has everything go wrong, and then waits until it is quiet.
func storm(w *world, fault protocol.Fault) {
	w.weather = weather{
		latency: w.between(10*time.Microsecond, 50*time.Millisecond),
		loss:    []float64{0, 0.01, 0.1}[w.chance.IntN(3)],
		double:  []float64{0, 0.02, 0.3}[w.chance.IntN(3)],
		corrupt: []float64{0, 0, 0.02}[w.chance.IntN(3)],
	}
	newServers(w, 1+w.chance.IntN(3))
	services, daemons := w.populate(1+w.chance.IntN(2), 1+w.chance.IntN(3), fault)
	for _, p := range daemons {
		p.skew = w.between(-10*beat, 10*beat)
	}
	length := w.between(10*beat, 60*beat)
	every := func(mean time.Duration, do func()) {
		var again func()
		again = func() {
			if w.now < length {
				do()
				w.after(w.between(0, 2*mean), again)
			}
		}
		w.after(w.between(0, 2*mean), again)
	}
	for _, p := range daemons {
		for _, inst := range instances {
			p.do(func() { p.register(inst) })
		}
	}
	n := 0
	every(beat/2, func() {
		if p := w.any(services); p != nil {
			n++
			c, cancel := w.anyCall(n), time.Duration(0)
			if w.happens(0.05) {
				cancel = w.between(0, 5*beat)
			}
			p.do(func() { p.make(c, cancel) })
		}
	})
	every(w.between(beat, 20*beat), func() {
		if p := w.any(daemons); p != nil {
			p.do(func() { p.register(instances[w.chance.IntN(len(instances))]) })
		}
	})
	for what, mean := range []time.Duration{w.between(5*beat, 60*beat), w.between(5*beat, 60*beat), w.between(10*beat, 100*beat), w.between(10*beat, 60*beat), 30 * beat} {
		every(mean, func() { w.misfortune(what, daemons) })
	}
	w.runUntil(length)
	w.history.note("it is quiet")
	w.weather = weather{latency: w.weather.latency}
	for _, s := range w.servers {
		s.part(false)
	}
	for _, p := range w.processes {
		p.connect(w.anyServer())
	}
	w.runUntil(length + 200*beat)
}

// misfortune has one thing go wrong.
func (w *world) misfortune(what int, daemons []*process) {
	p := w.any(w.processes)
	if p == nil {
		return
	}
	switch what {
	case 0:
		p.cut()
		w.after(w.between(0, 8*beat), func() { p.connect(w.anyServer()) })
	case 1:
		p.freeze(w.between(0, 20*beat))
	case 2:
		if p = w.any(daemons); p != nil && len(w.processes) < 12 {
			p.crash()
			next := newProcess(w, fmt.Sprint("daemon-", len(w.processes)), p.shared.Fault)
			next.skew = w.between(-10*beat, 10*beat)
			next.connect(w.anyServer())
			for _, inst := range instances {
				next.do(func() { next.register(inst) })
			}
		}
	case 3:
		s := w.anyServer()
		s.part(true)
		w.after(w.between(0, 20*beat), func() { s.part(false) })
	case 4:
		p.skew += w.between(-20*beat, 20*beat) // its clock jumps
	}
}

// lossOnly loses messages, and nothing else goes wrong: calls then succeed.
func lossOnly(w *world, fault protocol.Fault) {
	w.weather = weather{latency: w.between(10*time.Microsecond, 20*time.Millisecond)}
	newServers(w, 1)
	services, daemons := w.populate(1, 1, fault)
	for _, inst := range instances {
		daemons[0].register(inst)
	}
	w.runUntil(5 * beat)
	w.weather.loss = 0.02
	n := 20
	for i := range n {
		c := w.anyCall(i)
		w.after(w.between(0, 10*beat), func() { services[0].make(c, 0) })
	}
	w.runUntil(60 * beat)
	w.weather.loss = 0
	w.runUntil(200 * beat)
	for _, c := range w.history.calls {
		if c.verdict != protocol.Answered || c.refused {
			w.history.violate("%s is not answered, though only some messages were lost: %v %v", c.id, c.verdict, c.err)
		}
	}
}

// freezes has a daemon stand still while it is called, for longer than anybody waits for it: some
// of its calls have their request by then, and have not begun.
func freezes(w *world, fault protocol.Fault) {
	w.weather = weather{latency: w.between(time.Millisecond, 50*time.Millisecond)}
	newServers(w, 1)
	services, daemons := w.populate(1, 1, fault)
	for _, inst := range instances {
		daemons[0].register(inst)
	}
	for i := range 40 {
		c := w.anyCall(i)
		w.after(w.between(5*beat, 60*beat), func() { services[0].make(c, 0) })
	}
	for range 6 {
		w.after(w.between(5*beat, 60*beat), func() { daemons[0].freeze(w.between(4*beat, 25*beat)) })
	}
	w.runUntil(250 * beat)
}

// flapping has the connection of a service break again and again, and its daemon crash. Calls
// end all the same.
func flapping(w *world, fault protocol.Fault) {
	w.weather = weather{latency: w.between(10*time.Microsecond, 20*time.Millisecond)}
	newServers(w, 1)
	services, daemons := w.populate(1, 1, fault)
	for _, inst := range instances {
		daemons[0].register(inst)
	}
	for i := range 20 {
		c := w.anyCall(i)
		w.after(w.between(5*beat, 15*beat), func() { services[0].make(c, 0) })
	}
	w.after(w.between(5*beat, 15*beat), daemons[0].crash)
	every := w.between(beat/10, beat)
	for at := 5 * beat; at < 40*beat; at += every {
		w.after(at, services[0].cut)
		w.after(at+w.between(0, every/2), func() { services[0].connect(w.servers[0]) })
	}
	w.runUntil(40 * beat)
	for _, c := range w.history.calls {
		if c.verdict == protocol.Pending {
			w.history.violate("%s has not ended since its daemon crashed: it is %v", c.id, c.caller.State())
		}
	}
	w.runUntil(200 * beat)
}

// takeOvers has daemons take an instance from each other, each as soon as the one before has
// it, with clocks that differ. The last must hold it each time.
func takeOvers(w *world, fault protocol.Fault) {
	w.weather = weather{latency: w.between(2*time.Microsecond, 200*time.Microsecond)}
	newServers(w, 1)
	_, daemons := w.populate(0, 3, fault)
	if w.happens(0.5) {
		for _, p := range daemons {
			p.skew = w.between(-5*beat, 5*beat)
		}
	}
	if w.happens(0.5) {
		for _, p := range daemons {
			p.lag = w.between(0, 20*time.Millisecond)
		}
	}
	w.runUntil(w.between(beat, 2*beat))
	var before *registration
	for i := range 60 {
		p := daemons[i%len(daemons)]
		r := p.register("a")
		if r == nil {
			w.history.violate("%s still holds the instance that another has taken", p.name)
			return
		}
		for began := w.now; !r.settled && w.now < began+3*beat; {
			w.runUntil(w.now + 10*time.Microsecond)
		}
		if r.over {
			w.history.violate("%s is kicked %v after it has subscribed, though nobody has since", r.name, w.now-r.since)
			return
		}
		if before != nil && !before.over {
			w.history.violate("%s holds the instance, and %s before it was not told", r.name, before.name)
			return
		}
		before = r
		if w.happens(0.2) {
			w.runUntil(w.now + w.between(0, 8*beat))
		}
	}
	w.runUntil(w.now + 30*beat)
	if before.over {
		w.history.violate("%s is kicked, though nobody has subscribed since", before.name)
	}
}

// forgery has somebody with the credentials of a daemon say whatever it likes of the calls
// that another daemon of the instance serves. It hears what that hears.
func forgery(w *world, fault protocol.Fault) {
	w.weather = weather{latency: w.between(10*time.Microsecond, time.Millisecond)}
	newServers(w, 1)
	services, daemons := w.populate(1, 1, fault)
	for _, inst := range instances {
		daemons[0].register(inst)
	}
	w.runUntil(5 * beat)
	spy := newProcess(w, "spy", protocol.NoFault)
	spy.connect(w.servers[0])
	for session := range daemons[0].sessions {
		spy.subscribe("session " + session)
	}
	w.runUntil(6 * beat)
	for i := range 20 {
		c := w.anyCall(i)
		w.after(w.between(0, 10*beat), func() { services[0].make(c, 0) })
	}
	spy.overhear(services[0])
	w.runUntil(300 * beat)
	for _, c := range w.history.calls {
		if c.verdict != protocol.Answered || c.refused {
			w.history.violate("%s is not answered, though all that happens is that somebody lies: %v %v", c.id, c.verdict, c.err)
		}
	}
}

// overhear forges frames for the calls of a service that have been accepted.
func (p *process) overhear(service *process) {
	w := p.world
	var forge func()
	forge = func() {
		for _, c := range sortedCalls(service.calls) {
			if state := c.caller.State(); state == protocol.CallerNew || state == protocol.CallerOpening || state == protocol.CallerPausing {
				continue // it might accept the call itself, as any daemon of the instance may
			}
			for r := range maps.Values(w.processes[1].sessions) {
				if r.inst != c.inst {
					continue
				}
				f := wire.Frame{Kind: []wire.Kind{wire.Gone, wire.Data, wire.Refuse, wire.Ack, wire.Accept, wire.End}[w.chance.IntN(6)], Session: r.session, Last: true}
				if w.happens(0.5) {
					f.Ticket = wire.Ticket{1}
				}
				f.Body = body("forged", 10).Data[0]
				p.publish([]protocol.Message{{To: subjects.Reply(c.inst, "service", service.shared.Bus, c.caller.Name()), Frame: f}})
			}
		}
		if w.now < 40*beat {
			w.after(w.between(0, beat/4), forge)
		}
	}
	forge()
}
