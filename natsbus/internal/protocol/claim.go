package protocol

import (
	"math"
	"time"

	"github.com/platformbus/platform/natsbus/internal/wire"
)

// A ClaimState is what a daemon knows of its registration.
type ClaimState uint8

// The states of a claim. See the package comment for how they follow each other.
const (
	ClaimAsking  ClaimState = iota // has not heard yet what the present holder says
	ClaimFresh                     // is confirmed; an older holder may still not have heard of it
	ClaimSettled                   // holds the instance, as far as anybody has said
	ClaimLost                      // another daemon holds it
)

func (s ClaimState) String() string {
	return [...]string{"asking", "fresh", "settled", "lost"}[s]
}

// A Claim is one registration's part in who holds an instance: of two claims the later one
// wins, by epoch, or by session if neither is later. Whoever hears a later one than its own
// ends, and whoever hears an earlier one says that it holds the instance. Claims are
// repeated, so that one is left however the network was parted.
//
// An epoch is the time at the claimant, in milliseconds. Clocks differ, so of two claims the
// later one may be from before. A claim therefore says whether it is still asking, which
// one that was there before is not: who is asking outbids who is not. Of two that both
// are, one that is older by far is outbid. Ages are no finer than that, since messages
// take time: two that came at once would each take the other for the older.
//
// A claim that is asking ends only if it is told so in answer to it: what else it hears may
// be from a daemon that has ended since.
//
// A bus may have very many claims, so a Claim has little in it.
type Claim struct {
	epoch   uint64
	born    time.Duration
	state   ClaimState
	repeats uint8
	outbids uint8
}

// A Claimant says whose claim it is.
type Claimant struct{ Token, Session string }

// A ClaimOutput is what a step results in.
type ClaimOutput struct {
	Send    []Message
	Due     time.Duration // when to repeat the claim by a Tick; zero if that has not changed
	Settled bool          // nobody need be waited for any more
	Lost    bool          // the registration has ended
}

// NewClaim returns a claim to an instance, at a time by the wall clock.
func NewClaim(wall time.Time, now time.Duration) Claim {
	return Claim{epoch: uint64(wall.UnixMilli()), born: now}
}

// Succeed returns the claim of a registration that takes the place of c's at this bus.
func (c *Claim) Succeed(wall time.Time, now time.Duration) Claim {
	next := NewClaim(wall, now)
	next.state = ClaimFresh
	if !isLater(next.epoch, c.epoch) {
		next.epoch = c.epoch + 1
	}
	return next
}

// State returns what is known of the registration.
func (c *Claim) State() ClaimState { return c.state }

// isLater compares epochs as numbers on a circle, of which half lies ahead. So none is
// the last: whatever somebody has claimed with, one more is later, and the numbers that
// are in use come back to the time some day.
func isLater(epoch, than uint64) bool { return int64(epoch-than) > 0 }

const (
	// settledAge is the age of a claim that has settled.
	settledAge = 1 << 40
	// maxOutbids bounds what a claimant says that somebody outbids again and again.
	maxOutbids = 8
	// freshRepeats is how often a claim is repeated until it settles: by then whoever holds
	// the instance has had time to answer.
	freshRepeats = 3
)

// Step has the claim go on. Start makes it; Received is a claim or what is said of this one;
// Nobody says that there is no other daemon; Tick and Resumed repeat it.
func (c *Claim) Step(s *Shared, by Claimant, e Event, now time.Duration) (out ClaimOutput) {
	if c.state == ClaimLost {
		return out
	}
	switch e.Kind {
	case Start:
		c.claim(s, by, &out, now)
	case Tick:
		c.claim(s, by, &out, now)
		out.Due = now + c.next(s)
	case Resumed:
		c.claim(s, by, &out, now)
	case Nobody:
		c.confirm(s, &out, now)
	case Received:
		if e.Frame.Session == "" || e.Frame.Session == by.Session {
			return out
		}
		switch e.Frame.Kind {
		case wire.Ended:
			c.confirm(s, &out, now)
		case wire.Held, wire.Claim:
			c.hear(s, by, e.Frame, &out, now)
		}
	}
	return out
}

// confirm ends the wait for the holder's answer.
func (c *Claim) confirm(s *Shared, out *ClaimOutput, now time.Duration) {
	if c.state == ClaimAsking {
		c.state = ClaimFresh
		out.Due = now + s.Beat/4
	}
	out.Settled = true
}

// Settle is called when nobody waits for the holder's answer any more.
func (c *Claim) Settle(s *Shared, now time.Duration) (out ClaimOutput) {
	if c.state == ClaimAsking {
		c.confirm(s, &out, now)
	}
	return out
}

// claim says that the instance is held.
func (c *Claim) claim(s *Shared, by Claimant, out *ClaimOutput, now time.Duration) {
	f := c.frame(s, wire.Claim, by, now)
	out.Send = append(out.Send, Message{s.Subjects.Claim(by.Token), s.Subjects.Claimant(by.Token, by.Session), f})
}

// next returns after which time the claim is repeated: soon at first, and then at random, so
// that not all are at once.
func (c *Claim) next(s *Shared) time.Duration {
	if s.Fault == NeverRepeatClaims {
		return math.MaxInt64 / 2
	}
	if c.state != ClaimSettled {
		c.repeats++
		if c.repeats < freshRepeats {
			return s.Beat << c.repeats / 4
		}
		c.state = ClaimSettled
	}
	return 5*s.Beat + s.Random(10*s.Beat)
}

// frame returns what says of the claim what others must know.
func (c *Claim) frame(s *Shared, kind wire.Kind, by Claimant, now time.Duration) wire.Frame {
	f := wire.Frame{Kind: kind, Session: by.Session, Epoch: c.epoch, Age: settledAge, Asking: c.state == ClaimAsking}
	if c.state != ClaimSettled || s.Fault == HoldersOutbid {
		f.Age = (now - c.born).Microseconds()
	}
	return f
}

// hear compares another's claim with this one.
func (c *Claim) hear(s *Shared, by Claimant, f *wire.Frame, out *ClaimOutput, now time.Duration) {
	later := isLater(f.Epoch, c.epoch) || !isLater(c.epoch, f.Epoch) && f.Session > by.Session
	if s.Fault == LowerClaimWins {
		later = f.Epoch < c.epoch || f.Epoch == c.epoch && f.Session > by.Session && f.Kind == wire.Claim
	}
	claimant := s.Subjects.Claimant(by.Token, f.Session)
	switch {
	case later && c.outbids < maxOutbids && c.precedes(s, f, now):
		c.outbids++
		if s.Fault != NeverOutbid {
			c.epoch = f.Epoch + 1
		}
		c.claim(s, by, out, now)
	case later && f.Kind == wire.Claim && c.state == ClaimAsking && s.Fault != CompareAges:
		c.claim(s, by, out, now)
	case later:
		c.state, out.Lost, out.Settled = ClaimLost, true, true
		out.Send = append(out.Send, Message{To: claimant, Frame: wire.Frame{Kind: wire.Ended, Session: by.Session}})
	case f.Kind == wire.Claim: // and not what holds by an epoch that was outbid already
		out.Send = append(out.Send, Message{To: claimant, Frame: c.frame(s, wire.Held, by, now)})
	}
}

// precedes says whether the claim must outbid a later one.
func (c *Claim) precedes(s *Shared, f *wire.Frame, now time.Duration) bool {
	age := now - c.born
	older := f.Age >= settledAge || time.Duration(f.Age)*time.Microsecond > age+s.Beat/4
	switch s.Fault {
	case HoldersOutbid:
		return true
	case CompareAges:
		return c.state != ClaimSettled && f.Age > age.Microseconds()
	}
	switch c.state {
	case ClaimAsking:
		return !f.Asking || older
	case ClaimFresh:
		return !f.Asking && older
	}
	return false
}
