package natsbus

import (
	"fmt"
	"runtime"
	"time"

	"github.com/platformbus/platform"
	"github.com/platformbus/platform/flux"
	"github.com/platformbus/platform/natsbus/internal/protocol"
	"github.com/platformbus/platform/natsbus/internal/wire"
)

// subscribe makes p the daemon of the instance, see Bus.Subscribe.
func (r *registry) subscribe(inst flux.InstanceID, p platform.Platform, done chan<- error) {
	switch {
	case inst == "":
		r.deliver(done, fmt.Errorf("subscribe: %w", errNoInstance))
		return
	case p == nil:
		r.deliver(done, errNilPlatform)
		return
	}
	token := wire.Token(inst)
	r.mu.Lock()
	if r.closing {
		r.mu.Unlock()
		r.deliver(done, fmt.Errorf("subscribe: %w", ErrClosed))
		return
	}
	if older := r.registrations.get(token); older != nil {
		r.replace(older, p, done)
		return
	}
	now := time.Now()
	subject := r.subjects.Registration(token)
	if token == string(inst) { // so that they share their memory
		inst = flux.InstanceID(r.subjects.TokenIn(subject))
	}
	of := &registration{inst: inst, number: r.number(), platform: p, done: done, claim: protocol.NewClaim(now, r.now())}
	r.registrations.add(of)
	lingers := r.lingering[token].sub
	delete(r.lingering, token)
	n := pendingSubscription{of, subject}
	install := func() { r.install(n) }
	if r.admission.admits(now, r.options.Beat) {
		r.pending[of] = &pending{ready: make(chan struct{}), answered: make(signal, 1)}
	} else {
		install = r.joinLocked(n)
	}
	r.mu.Unlock()
	if lingers != nil {
		_ = lingers.Unsubscribe() // so that nothing comes twice
	}
	r.options.Metrics.Subscriptions.Add(1)
	install()
}

// number returns one that no other registration has.
func (r *registry) number() uint32 {
	r.numbers++
	return r.numbers
}

// replace puts a registration into the place of another on this bus, whose subscription it
// takes over, or waits for. It unlocks mu.
func (r *registry) replace(older *registration, p platform.Platform, done chan<- error) {
	of := &registration{inst: older.inst, number: r.number(), platform: p, done: done, sub: older.sub}
	of.claim = older.claim.Succeed(time.Now(), r.now())
	older.over, older.sub = true, nil
	r.registrations.remove(of.token())
	r.registrations.add(of)
	gone := r.retireLocked(older)
	out := of.claim.Step(r.shared, r.claimant(of), protocol.Event{Kind: protocol.Tick}, r.now())
	r.claims.add(of, r.ticksUntil(out.Due))
	installed := func() {}
	if pending := r.pending[older]; pending != nil {
		pending.answered.wakeUp()
		installed = func() { <-pending.ready }
	} else if of.sub == nil {
		installed = r.joinLocked() // the batch after that of the older
	}
	r.mu.Unlock()
	_ = r.send(gone...)     // a caller that misses it notices the silence
	_ = r.send(out.Send...) // it is repeated
	r.options.Metrics.IncrKicks(of.inst)
	r.deliver(older.done, platform.ErrKicked)
	installed()
}

// A pendingSubscription is a registration that is to be subscribed.
type pendingSubscription struct {
	*registration
	subject string // of its subscription
}

// An admission bounds how many subscriptions wait for the answer to their claim. A claim on
// a subject that the server does not know yet makes it compare that with the next
// subscriptions, so with many of them claims are left for later.
type admission struct {
	since    time.Time // when the beat began in which those are that waited count
	waited   int       // how many have waited for the answer to their claim in this beat
	underway int       // how many are being made
	last     time.Time // when one was begun last
}

// maxWaiting is how many subscriptions in a beat, beside others, wait for the answer to
// their claim.
const maxWaiting = 8

// admits says whether one more may wait for the answer to its claim.
func (a *admission) admits(now time.Time, beat time.Duration) bool {
	if now.Sub(a.since) >= beat {
		a.since, a.waited = now, 0
	}
	a.last = now
	a.underway++
	if a.underway > 1 && a.waited >= maxWaiting {
		return false
	}
	a.waited++
	return true
}

func (a *admission) leave(n int) { a.underway -= n }

// over says whether no subscription was begun for some time.
func (a *admission) over(now time.Time, beat time.Duration) bool {
	return a.underway == 0 && now.Sub(a.last) > beat/4
}

// pending is what a registration needs while Subscribe waits for the answer to its claim.
type pending struct {
	ready    chan struct{} // closed when it is over
	answered signal        // to the claim
}

// install subscribes, and has whoever holds the instance elsewhere end.
//
// The claim goes out just before the subscription, since the server then says at once if
// there is nobody. The holder stays subscribed for a while and sends callers on, so no
// call is lost in between. The claim is repeated after the subscription: of two who come
// at once, neither may have seen the other before. The subscription for the answer has no
// wildcard, since with many instances those cost the server much.
func (r *registry) install(n pendingSubscription) {
	of := n.registration
	r.mu.Lock()
	answered := r.pending[of].answered
	r.mu.Unlock()
	defer r.endInstallation(of)
	claimant := r.claimant(of)
	answers, err := r.conn.ChanSubscribe(r.subjects.Claimant(claimant.Token, claimant.Session), r.frames)
	if err == nil { // otherwise reach fails too, and ends whoever has taken the place of this one meanwhile
		defer answers.Unsubscribe() //nolint:errcheck // it fails if the connection is closed
	}
	up := err == nil && r.conn.IsConnected()
	if up {
		r.claimNow(of, protocol.Start)
	}
	r.reach(n)
	if up && r.confirm() {
		timer := time.NewTimer(2 * r.options.Beat)
		defer timer.Stop()
		select {
		case <-answered:
		case <-timer.C:
		case <-r.stop:
		}
	}
	r.claimNow(of, protocol.Resumed)
}

// claimNow makes the claim of a registration, if that is still in force.
func (r *registry) claimNow(of *registration, kind protocol.EventKind) {
	r.mu.Lock()
	if of.over {
		r.mu.Unlock()
		return
	}
	r.stepClaim(of, protocol.Event{Kind: kind})
}

// endInstallation is called when Subscribe waits no more. From now on the claim is repeated.
func (r *registry) endInstallation(of *registration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.admission.leave(1)
	close(r.pending[of].ready)
	delete(r.pending, of)
	if !of.over && !of.queued {
		of.claim.Settle(r.shared, r.now())
		r.claims.add(of, 1)
	}
}

// maxSpare is for how many subscriptions room is kept from one batch to the next.
const maxSpare = 1024

// A batch is subscriptions that are installed in one go, which saves most of the cost.
type batch struct {
	subs      []pendingSubscription // guarded by mu while it is the registry's next
	installed chan struct{}         // closed then
}

// joinLocked adds subscriptions to the next batch, and returns a function that waits until that
// is installed, or installs it.
func (r *registry) joinLocked(more ...pendingSubscription) (installed func()) {
	b := r.batch
	if b != nil {
		b.subs = append(b.subs, more...)
		return func() { <-b.installed }
	}
	b = &batch{subs: append(r.spare, more...), installed: make(chan struct{})}
	r.batch, r.spare = b, nil
	return func() { r.installBatch(b) }
}

// installBatch subscribes a batch, and leaves the claims to the bus's goroutine.
func (r *registry) installBatch(b *batch) {
	runtime.Gosched() // to those who are about to join
	r.batching.Lock()
	defer r.batching.Unlock()
	r.mu.Lock()
	r.batch = nil
	r.mu.Unlock()
	r.reach(b.subs...)
	if r.conn.IsConnected() {
		r.confirm()
	}
	r.mu.Lock()
	r.admission.leave(len(b.subs))
	for _, n := range b.subs {
		if !n.over && !n.queued {
			r.claims.addFirst(n.registration)
		}
	}
	clear(b.subs)
	if cap(b.subs) <= maxSpare {
		r.spare = b.subs[:0]
	}
	r.mu.Unlock()
	close(b.installed)
}

// reach subscribes to the calls and claims of registrations, or of those that have replaced them
// meanwhile.
func (r *registry) reach(subs ...pendingSubscription) {
	for _, n := range subs {
		sub, err := r.conn.ChanSubscribe(n.subject, r.frames)
		r.mu.Lock()
		of := r.registrations.get(n.token())
		if err == nil && of != nil && of.sub == nil {
			of.sub, sub = sub, nil
		}
		r.mu.Unlock()
		switch {
		case err != nil && of != nil:
			r.end(of, fmt.Errorf("subscription ended: %w", r.connectionError(err)))
		case err == nil && sub != nil: // it is needless
			_ = sub.Unsubscribe()
		}
	}
}

// confirm makes sure that the server knows of what was subscribed.
func (r *registry) confirm() bool {
	err := r.conn.FlushTimeout(r.options.Silence)
	if err != nil {
		r.options.Logger.Warn("natsbus: subscriptions not confirmed yet", "err", err)
	}
	return err == nil
}
