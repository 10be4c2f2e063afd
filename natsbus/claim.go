package natsbus

import (
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/platformbus/platform"
)

// isLater compares epochs as numbers on a circle, of which half lies ahead. So none is
// the last: whatever somebody has claimed with, one more is later, and the numbers that
// are in use come back to the time some day.
func isLater(epoch, than uint64) bool { return int64(epoch-than) > 0 }

// laterEpoch returns the later of the two.
func laterEpoch(a, b uint64) uint64 {
	if isLater(a, b) {
		return a
	}
	return b
}

func epochOf(t time.Time) uint64 { return uint64(t.UnixMilli()) }

func (b *Bus) claimLocked(s *seat) frame {
	return frame{kind: kindClaim, session: b.session(s), epoch: s.epoch, age: b.ageLocked(s)}
}

// settledAge is the age of what is not fresh.
const settledAge = 1 << 32

// ageLocked returns for how long the seat is there, in milliseconds.
func (b *Bus) ageLocked(s *seat) int64 {
	if !s.fresh {
		return settledAge
	}
	return int64(b.millis() - s.born)
}

// millis returns the time in milliseconds since the bus was made.
func (b *Bus) millis() uint32 { return uint32(time.Since(b.born).Milliseconds()) }

// outbidLocked returns a claim that is later than one with the epoch given.
func (b *Bus) outbidLocked(s *seat, epoch uint64) frame {
	s.outbids++
	s.epoch = epoch + 1
	claim := b.claimLocked(s)
	if pending := b.pending[s]; pending != nil {
		claim.call = pending.call
	}
	return claim
}

// tell tells the daemons of the instance.
func (b *Bus) tell(s *seat, claim frame) {
	reply := ""
	if claim.call != "" {
		reply = b.subject(s.tok(), inCall, claim.session, claim.call)
	}
	_ = b.publish(b.subject(s.tok(), toDaemon, methodKick, ""), reply, claim)
}

// maxOutbids is how often a seat outbids others.
const maxOutbids = 4

// mayOutbidLocked says whether a claim that is later may be from before the seat all the
// same. While Subscribe waits it is taken for that: it may just be old news. If it is from
// somebody who has come at the same time, one of both tires of it first.
func (b *Bus) mayOutbidLocked(s *seat, claim *frame) bool {
	return s.outbids < maxOutbids && (b.pending[s] != nil || s.fresh && claim.age > b.ageLocked(s))
}

// onClaim compares a claim with the one that is held here.
func (b *Bus) onClaim(from *nats.Subscription, tok string, f *frame) {
	b.mu.Lock()
	s := b.seats.get(tok)
	own := strings.HasPrefix(f.session, b.place) // or of a seat that was here before
	if s == nil || own || slices.Contains(b.stale[tok], from) || f.kind != kindClaim || f.session == "" {
		b.mu.Unlock()
		return
	}
	mine := b.claimLocked(s)
	answer := frame{kind: kindHeld, call: f.call, session: mine.session}
	later := isLater(f.epoch, mine.epoch) || !isLater(mine.epoch, f.epoch) && f.session > mine.session
	outbids := later && b.mayOutbidLocked(s, f)
	finish := func() {}
	switch {
	case outbids:
		mine = b.outbidLocked(s, f.epoch)
	case later:
		answer.kind = kindEnded
		finish = b.endSeatLocked(s, platform.ErrKicked, b.options.Beat)
	}
	b.mu.Unlock()
	if answer.kind == kindEnded {
		b.options.Logger.Info("natsbus: kicked by another daemon", "instance", s.inst)
		b.options.Metrics.IncrKicks(s.inst)
		finish()
	} else {
		answer.epoch, answer.age = mine.epoch, mine.age
	}
	if f.call != "" {
		_ = b.publish(b.subject(tok, inCall, f.session, f.call), "", answer)
	}
	if outbids || f.call == "" && answer.kind == kindHeld && !b.flooded() {
		b.tell(s, mine)
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
	claim := b.claimLocked(s)
	if s.line == repeatedThrice && up {
		s.fresh = false // by then the holder has had time to answer
	}
	b.enqueueLocked(s, min(s.line+1, settled))
	b.mu.Unlock()
	b.tell(s, claim)
	return true
}

// claimAgain has all claims repeated soon, since others may have been made while the
// connection was down.
func (b *Bus) claimAgain() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.lines = [stages]line{}
	for _, s := range b.seats.all() {
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
