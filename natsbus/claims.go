package natsbus

import (
	"math/rand/v2"
	"strings"
	"time"

	"github.com/platformbus/platform"
	"github.com/platformbus/platform/natsbus/internal/protocol"
	"github.com/platformbus/platform/natsbus/internal/wire"
)

// ticks is how often in a beat keepTime looks.
const ticks = 4

// How many claims are made in a beat: of those that are repeated, with very many
// instances each has its turn less often.
const (
	maxFirstClaims    = 10_000
	maxRepeatedClaims = 1_000
)

// onClaim tells a registration of another's claim, or what is said of its own.
func (r *registry) onClaim(a wire.Address, e protocol.Event) {
	r.mu.Lock()
	of := r.registrations.get(a.Token)
	if of == nil || a.Session != wire.AllClaimants && a.Session != r.session(of) || e.Frame != nil && r.isOwn(e.Frame.Session) {
		r.mu.Unlock()
		return
	}
	r.stepClaim(of, e)
}

// isOwn says whether a session is of this bus: one that was here before, perhaps.
func (r *registry) isOwn(session string) bool {
	return strings.HasPrefix(session, r.sessionPrefix)
}

// stepClaim has the claim of a registration that is in force go on. It unlocks mu.
func (r *registry) stepClaim(of *registration, e protocol.Event) {
	out := of.claim.Step(r.shared, r.claimant(of), e, r.now())
	finish := r.settleClaimLocked(of, out)
	r.mu.Unlock()
	if e.Kind == protocol.Received && !out.Lost && r.overloaded() {
		out.Send = nil
	}
	finish()                // before the claimant is told, whose Subscribe then returns
	_ = r.send(out.Send...) // claims are repeated
}

// settleClaimLocked does what a step of a claim has asked for. It returns what must be done
// without the lock.
func (r *registry) settleClaimLocked(of *registration, out protocol.ClaimOutput) (finish func()) {
	finish = func() {}
	p := r.pending[of]
	if out.Settled && p != nil {
		p.answered.wakeUp()
	}
	if out.Lost {
		end := r.endLocked(of, platform.ErrKicked, r.options.Beat)
		return func() {
			r.options.Logger.Info("natsbus: kicked by another daemon", "instance", of.inst)
			r.options.Metrics.IncrKicks(of.inst)
			end()
		}
	}
	if out.Due > 0 && !of.queued && p == nil {
		r.claims.add(of, r.ticksUntil(out.Due))
	}
	return finish
}

// ticksUntil returns how many ticks it is until then.
func (r *registry) ticksUntil(due time.Duration) int {
	return int((due - r.now()) * ticks / r.options.Beat)
}

// makeClaims makes the claims that are due. While the connection is down they wait, since
// they would tell nobody.
func (r *registry) makeClaims(now time.Time) {
	r.mu.Lock()
	r.claims.advance()
	ended := r.admission.over(now, r.options.Beat)
	r.mu.Unlock()
	if !r.conn.IsConnected() {
		return
	}
	for range maxFirstClaims / ticks {
		if !r.makeClaim(func() *registration { return r.claims.takeFirst(ended) }) {
			break
		}
	}
	for range maxRepeatedClaims / ticks {
		if !r.makeClaim(r.claims.take) {
			return
		}
	}
}

// makeClaim makes the claim of the registration that take returns, and says whether there
// was one.
func (r *registry) makeClaim(take func() *registration) bool {
	r.mu.Lock()
	of := take()
	if of == nil {
		r.mu.Unlock()
		return false
	}
	r.stepClaim(of, protocol.Event{Kind: protocol.Tick})
	return true
}

// perClaim is for how long claims are spread when the connection is back, each. Others may
// have been made meanwhile; but if it was the server that was away, all its clients come at
// once, and a claim on a subject that it does not know yet slows down what they subscribe.
const perClaim = 10 * time.Millisecond

// claimAgain has all claims repeated, in a time that grows with how many there are, and after one
// in which other connections can subscribe again, too: to a server, a new subscription costs more
// the more subjects were published to before.
func (r *registry) claimAgain() {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := r.registrations.all()
	each := time.Duration(len(all)) * perClaim
	pause, spread := min(3*r.options.Beat, each/3), min(10*r.options.Beat, r.options.Beat/2+each)
	clear(r.claims.wheel[:])
	for _, of := range all {
		if of.queued && !of.unclaimed {
			r.claims.add(of, 1+int((pause+rand.N(spread))*ticks/r.options.Beat))
		}
	}
}

// A claimQueue has registrations by when their claims are due: those that were never made,
// and a timing wheel of those that are repeated.
type claimQueue struct {
	first line
	wheel [16 * ticks]line // the longest wait is 15 beats
	tick  int
	since int // the tick at which the oldest of first was added
}

// add has a claim be due after some ticks.
func (q *claimQueue) add(of *registration, wait int) {
	wait = max(1, min(wait, len(q.wheel)-1))
	of.queued = true
	q.wheel[(q.tick+wait)%len(q.wheel)].add(of)
}

// addFirst adds one whose claim was never made.
func (q *claimQueue) addFirst(of *registration) {
	if q.first.first == nil {
		q.since = q.tick
	}
	of.queued, of.unclaimed = true, true
	q.first.add(of)
}

// advance goes to the next tick. What is still due stays so.
func (q *claimQueue) advance() {
	late := &q.wheel[q.tick%len(q.wheel)]
	q.tick++
	q.wheel[q.tick%len(q.wheel)].splice(late)
}

// take removes and returns one whose claim is due, or nil.
func (q *claimQueue) take() *registration { return q.wheel[q.tick%len(q.wheel)].take() }

// takeFirst removes and returns one whose claim was never made: any, if no more are being
// subscribed or they have waited for two beats.
func (q *claimQueue) takeFirst(any bool) *registration {
	if !any && q.tick-q.since < 2*ticks {
		return nil
	}
	return q.first.take()
}

// A line has registrations in the order in which they came.
type line struct{ first, last *registration }

func (l *line) add(of *registration) {
	of.next = nil
	if l.first == nil {
		l.first = of
	} else {
		l.last.next = of
	}
	l.last = of
}

// splice puts what is in another line in front, and empties that.
func (l *line) splice(other *line) {
	if other.first == nil {
		return
	}
	if other.last.next = l.first; l.first == nil {
		l.last = other.last
	}
	l.first = other.first
	*other = line{}
}

// take removes and returns the first that is not over.
func (l *line) take() *registration {
	for l.first != nil {
		of := l.first
		l.first, of.next = of.next, nil
		of.queued, of.unclaimed = false, false
		if !of.over {
			return of
		}
	}
	return nil
}
