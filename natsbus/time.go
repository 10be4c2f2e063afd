package natsbus

import (
	"container/heap"
	"math/rand/v2"
	"time"
)

// keepTime beats for all calls that are served, notices that their callers are gone,
// repeats claims, and takes down what is over. Those who make calls are told by tickCalls.
func (b *Bus) keepTime() {
	tick := time.NewTicker(b.options.Beat / 4)
	defer tick.Stop()
	for {
		select {
		case now := <-tick.C:
			b.beatAll(now)
			b.repeatClaims(now)
			b.takeDown(now, false)
		case <-b.stop:
			return
		}
	}
}

// tickCalls has those who make calls look at the time. It does nothing that may block, so
// that they notice that the connection does.
func (b *Bus) tickCalls() {
	tick := time.NewTicker(b.options.Beat / 4)
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

// maxClaims is how many claims are repeated in a beat: with very many instances, each
// has its turn less often.
const maxClaims = 1000

func (b *Bus) repeatClaims(now time.Time) {
	for range maxClaims / 4 {
		b.mu.Lock()
		s := b.agenda.due(now)
		if s == nil {
			b.mu.Unlock()
			return
		}
		claim, over := s.claimLocked(), s.over
		if !over {
			s.repeats++
			b.agenda.add(b.nextClaimLocked(s), s)
		}
		b.mu.Unlock()
		if !over {
			s.tell(claim)
		}
	}
}

// nextClaimLocked returns when the seat's claim is to be repeated: soon at first, and
// then at random, so that not all are at once.
func (b *Bus) nextClaimLocked(s *seat) time.Time {
	beat := b.options.Beat
	wait := 5*beat + rand.N(10*beat)
	if first := []time.Duration{beat / 10, beat / 2, 2 * beat}; s.repeats < len(first) {
		wait = first[s.repeats]
	}
	return time.Now().Add(wait)
}

// claimAgain has all claims repeated soon, since others may have been made while the
// connection was down.
func (b *Bus) claimAgain() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.agenda = b.agenda[:0]
	now := time.Now()
	for _, s := range b.seats {
		if s.ready == nil {
			s.repeats = 1
			b.agenda.add(now, s)
		}
	}
}

// takeDown unsubscribes what is no longer in force and has no calls any more, or, when the
// bus is closed, all of it.
func (b *Bus) takeDown(now time.Time, all bool) {
	b.mu.Lock()
	var silent, idle []*seat
	for s := range b.retired {
		if s.rpc != nil && (all || now.After(s.until)) {
			silent = append(silent, s)
			delete(b.stale, s.rpc)
			if all || len(s.calls) == 0 {
				idle = append(idle, s)
				delete(b.retired, s)
			}
		} else if s.rpc == nil {
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

// An agenda is a heap of seats by when their claims are due.
type agenda []appointment

type appointment struct {
	at   int64 // in nanoseconds since 1970
	seat *seat
}

func (a *agenda) add(at time.Time, s *seat) { heap.Push(a, appointment{at.UnixNano(), s}) }

// due removes and returns a seat that is due, or nil.
func (a *agenda) due(now time.Time) *seat {
	if len(*a) == 0 || (*a)[0].at > now.UnixNano() {
		return nil
	}
	return heap.Pop(a).(appointment).seat
}

func (a agenda) Len() int           { return len(a) }
func (a agenda) Less(i, j int) bool { return a[i].at < a[j].at }
func (a agenda) Swap(i, j int)      { a[i], a[j] = a[j], a[i] }

// Push is for package heap.
func (a *agenda) Push(v any) { *a = append(*a, v.(appointment)) }

// Pop is for package heap.
func (a *agenda) Pop() any {
	last := len(*a) - 1
	v := (*a)[last]
	(*a)[last] = appointment{}
	*a = (*a)[:last]
	return v
}
