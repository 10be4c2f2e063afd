package natsbus

import (
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

// tickCalls has those who make calls look at the time. It does nothing with the connection,
// so that they notice if that stands still.
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
		if b.listen(sv) == nil {
			sv.setBack()
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
		if b.listen(sv) == nil {
			sv.setBack()
			sv.resume(time.Now())
		}
	}
}

// takeDown unsubscribes what is no longer in force and has no calls any more, or, when the
// bus is closed, all of it.
func (b *Bus) takeDown(now time.Time, all bool) {
	b.mu.Lock()
	var silent []*seat
	idle := map[*seat]*desk{}
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
		d := b.desks[s]
		if all || d == nil || len(d.calls) == 0 {
			delete(b.retired, s)
			delete(b.desks, s)
			if d != nil {
				idle[s] = d
			}
		}
	}
	b.mu.Unlock()
	for _, s := range silent {
		_ = s.rpc.Unsubscribe() // it may be done already
	}
	for s, d := range idle {
		b.unlisten(s, d)
	}
}
