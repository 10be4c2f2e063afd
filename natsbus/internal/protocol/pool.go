package protocol

import (
	"slices"
	"time"

	"github.com/platformbus/platform/natsbus/internal/wire"
)

// alpha is how much of what is free an instance may hold.
const alpha = 8

// A Pool is a limited resource that instances share. Each may hold eight times what is
// free: alone it gets eight ninths, and however many hold all they may, something is left
// for the next. (These are the dynamic thresholds of Choudhury and Hahne, for buffers that
// the ports of a switch share.)
type Pool struct {
	limit int64
	used  int64
	held  map[string]int64 // by instance
}

// NewPool returns one of which nothing is used.
func NewPool(limit int64) Pool { return Pool{limit: limit, held: map[string]int64{}} }

// Used returns how much of the pool is used.
func (p *Pool) Used() int64 { return p.used }

// Take takes n for an instance, and says whether there was that much for it: the last of the n is
// what must not exceed its share. An instance that holds nothing may take what is there.
func (p *Pool) Take(inst string, n int64) bool {
	free := p.limit - (p.used + n - 1) // when all but the last are taken
	if free < 1 || p.held[inst]+n > max(n, alpha*free) {
		return false
	}
	p.add(inst, n)
	return true
}

func (p *Pool) add(inst string, n int64) {
	p.used += n
	if p.held[inst] += n; p.held[inst] == 0 {
		delete(p.held, inst)
	}
}

// Give gives back what was taken.
func (p *Pool) Give(inst string, n int64) {
	if n != 0 {
		p.add(inst, -n)
	}
}

// A window is the bytes that are sent and not acknowledged. Each instance has room for two chunks
// whatever others hold, so one that does not acknowledge costs itself only. The calls of an instance
// take turns.
type window struct {
	Pool
	base      int64
	turns     int64       // how often something was taken
	waiting   []*endpoint // have found no room; each once
	unblocked []any       // their tags, once it is worth trying again
}

// A turn is when an endpoint may take from a window.
type turn struct {
	last    int64 // of the window's turns; when it has taken something last
	waiting bool  // it is among those that wait
	told    bool  // that there may be room, and has not tried again
}

// take takes n bytes for e, where the path needs the window to be larger by a factor.
func (w *window) take(e *endpoint, n int64, growth int64) bool {
	held := w.held[e.token]
	if held+n > max(2*wire.MaxChunk, alpha*(w.base*growth-w.used)) || held > 0 && w.othersFirst(e) {
		if !e.turn.waiting {
			w.waiting = append(w.waiting, e)
		}
		e.turn.waiting, e.turn.told = true, false
		return false
	}
	w.leave(e)
	w.turns++
	e.turn.last = w.turns
	w.add(e.token, n)
	return true
}

// othersFirst says whether another call of the instance waits that was served longer ago.
func (w *window) othersFirst(e *endpoint) bool {
	return slices.ContainsFunc(w.waiting, func(other *endpoint) bool {
		return other.token == e.token && other.turn.last < e.turn.last
	})
}

// leave notes that e does not wait any more.
func (w *window) leave(e *endpoint) {
	if e.turn.waiting {
		w.waiting = slices.DeleteFunc(w.waiting, func(other *endpoint) bool { return other == e })
		e.turn.waiting = false
	}
}

// give gives back n bytes, and tells those that wait. Who was told before and has not tried again
// does not wait any more, so that it holds up nobody.
func (w *window) give(inst string, n int64) {
	if n == 0 {
		return
	}
	w.Give(inst, n)
	w.waiting = slices.DeleteFunc(w.waiting, func(e *endpoint) bool {
		e.turn.waiting = !e.turn.told
		return e.turn.told
	})
	for _, e := range w.waiting {
		e.turn.told = true
		w.unblocked = append(w.unblocked, e.Tag)
	}
}

// A path is what is known of the way to an instance, from how long it takes until a chunk is
// acknowledged. All large bodies that are sent there at the same time share it: each would take the
// queue that the others make for a longer path.
type path struct {
	base    time.Duration // the shortest; zero if it is not known
	growth  int64         // how many times the window is needed
	senders int
}

const (
	shortPath = 10 * time.Millisecond // on which the window suffices
	maxGrowth = 16
)

// newPath returns a path of which it is known how long a message takes to the servers of both ends
// and back; zero if that is not known. It may be longer, but not shorter.
func newPath(servers time.Duration) *path {
	p := &path{growth: 1}
	if servers >= shortPath {
		p.measure(servers)
	}
	return p
}

// pathOf returns the path of one more large body, which e sends.
func (s *Shared) pathOf(e *endpoint) *path {
	p := s.paths[e.token]
	if p == nil {
		p = newPath(s.RTT + e.peer.rtt)
		s.paths[e.token] = p
	}
	p.senders++
	return p
}

// leavePath undoes pathOf. A path that nobody uses is forgotten: the next daemon of the instance may
// be elsewhere.
func (s *Shared) leavePath(token string) {
	p := s.paths[token]
	if p.senders--; p.senders == 0 {
		delete(s.paths, token)
	}
}

// measure notes that a chunk was acknowledged after a time. A path on which that takes much
// longer than at best has a queue, which a larger window would only make longer.
func (p *path) measure(took time.Duration) {
	if took = max(took, 1); p.base == 0 || took < p.base {
		p.base = took
	}
	if took > 2*p.base+5*shortPath {
		p.growth = max(1, p.growth/2)
	} else {
		p.growth = min(maxGrowth, max(1, int64(p.base/shortPath)))
	}
}
