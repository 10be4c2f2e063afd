package natsbus

import (
	"math/rand/v2"
	"slices"
	"time"

	"github.com/nats-io/nats.go"
)

// ticks is how often in a beat keepTime and tickCalls look.
const ticks = 4

// keepTime beats for all calls that are served, notices that their callers are gone,
// repeats claims, and takes down what is over. Those who make calls are told by tickCalls.
func (b *Bus) keepTime() {
	tick := time.NewTicker(b.options.Beat / ticks)
	defer tick.Stop()
	for {
		select {
		case now := <-tick.C:
			b.beatAll(now)
			b.makeClaims(now)
			b.takeDown(now, false)
		case <-b.stop:
			return
		}
	}
}

// tickCalls has those who make calls look at the time. It does nothing that may block, so
// that they notice that the connection does.
func (b *Bus) tickCalls() {
	tick := time.NewTicker(b.options.Beat / ticks)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			b.mu.Lock()
			for _, c := range b.calls {
				c.ticked.Store(true)
				c.wakeUp()
			}
			b.mu.Unlock()
		case <-b.stop:
			return
		}
	}
}

func (b *Bus) beatAll(now time.Time) {
	b.mu.Lock()
	all := make([]*serving, 0, len(b.serving))
	for sv := range b.serving {
		all = append(all, sv)
	}
	b.mu.Unlock()
	for _, sv := range all {
		if err := sv.alive(now); err != nil {
			b.end(sv, err)
			continue
		}
		if now.Before(sv.beatAt) {
			continue
		}
		sv.beatAt = now.Add(b.options.Beat)
		if sv.seat.listen() == nil {
			sv.setBack(sv.seat)
			sv.sendBeat(now)
		}
	}
}

// resumeAll has calls go on as soon as the connection is back.
func (b *Bus) resumeAll() {
	b.mu.Lock()
	all := make([]*serving, 0, len(b.serving))
	for sv := range b.serving {
		all = append(all, sv)
	}
	for _, c := range b.calls {
		c.mu.Lock()
		c.resumed = true
		c.mu.Unlock()
		c.wakeUp()
	}
	b.mu.Unlock()
	for _, sv := range all {
		if sv.seat.listen() == nil {
			sv.setBack(sv.seat)
			sv.resume(time.Now())
		}
	}
}

// How many claims are made in a beat: of those that are repeated, with very many
// instances each has its turn less often.
const (
	maxFirstClaims    = 10_000
	maxRepeatedClaims = 1_000
)

// makeClaims makes the claims that are due.
func (b *Bus) makeClaims(now time.Time) {
	up := b.conn.IsConnected()
	b.mu.Lock()
	b.tick++
	over := b.rush.over(now, b.options.Beat)
	b.mu.Unlock()
	for range maxFirstClaims / ticks {
		if !b.makeClaim(up, over, unclaimed, unclaimed) {
			break
		}
	}
	for range maxRepeatedClaims / ticks {
		if !b.makeClaim(up, false, repeatedOnce, settled) {
			return
		}
	}
}

// makeClaim makes a claim that is due, or any, of the stages given, and says whether there
// was one. Claims that are made while the connection is not up tell nobody.
func (b *Bus) makeClaim(up, any bool, from, to stage) bool {
	b.mu.Lock()
	var s *seat
	for at := from; at <= to && s == nil; at++ {
		s = b.lines[at].take(b.tick, any)
	}
	if s == nil {
		b.mu.Unlock()
		return false
	}
	claim := s.claimLocked()
	if s.line == repeatedThrice && up {
		s.fresh = false // by then the holder has had time to answer
	}
	b.enqueueLocked(s, min(s.line+1, settled))
	b.mu.Unlock()
	s.tell(claim)
	return true
}

// claimAgain has all claims repeated soon, since others may have been made while the
// connection was down.
func (b *Bus) claimAgain() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.lines = [stages]line{}
	for _, s := range b.seats {
		if s.line != 0 {
			b.enqueueLocked(s, unclaimed)
			s.due = b.tick
		}
	}
}

// A stage is how far a seat has come with its claim.
type stage uint8

const (
	_            stage = iota // who subscribes is still at it
	unclaimed                 // it is to be made when the rush is over
	repeatedOnce              // it is to be repeated, for the first time
	repeatedTwice
	repeatedThrice
	settled
	stages
)

// enqueueLocked puts a seat that is in no line into that of a stage. A claim is repeated
// soon at first, and then at random, so that not all are at once.
func (b *Bus) enqueueLocked(s *seat, at stage) {
	wait := [stages]uint32{unclaimed: 2 * ticks, repeatedOnce: 1, repeatedTwice: ticks / 2, repeatedThrice: 2 * ticks, settled: 5*ticks + rand.Uint32N(10*ticks)}
	s.line, s.due = at, b.tick+wait[at]
	b.lines[at].add(s)
}

// A line has seats in the order in which they came.
type line struct{ first, last *seat }

func (l *line) add(s *seat) {
	s.next = nil
	if l.first == nil {
		l.first = s
	} else {
		l.last.next = s
	}
	l.last = s
}

// take removes and returns the first seat that is not over, if its turn has come or any
// will do.
func (l *line) take(tick uint32, any bool) *seat {
	s := l.first
	for s != nil && s.over {
		s = s.next
	}
	l.first = s
	if s == nil || int32(tick-s.due) < 0 && !any {
		return nil
	}
	l.first, s.next = s.next, nil
	return s
}

// takeDown unsubscribes what is no longer in force and has no calls any more, or, when the
// bus is closed, all of it.
func (b *Bus) takeDown(now time.Time, all bool) {
	b.mu.Lock()
	var silent, idle []*seat
	for s, until := range b.retired {
		if s.rpc != nil {
			if !all && !now.After(until) {
				continue
			}
			silent = append(silent, s)
			tok := s.tok()
			b.stale[tok] = slices.DeleteFunc(b.stale[tok], func(sub *nats.Subscription) bool { return sub == s.rpc })
			if len(b.stale[tok]) == 0 {
				delete(b.stale, tok)
			}
		}
		if all || s.desk == nil || len(s.desk.calls) == 0 {
			idle = append(idle, s)
			delete(b.retired, s)
		}
	}
	b.mu.Unlock()
	for _, s := range silent {
		_ = s.rpc.Unsubscribe() // it may be done already
	}
	for _, s := range idle {
		s.unlisten(all)
	}
}
