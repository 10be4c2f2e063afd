package graph

import (
	"container/heap"
	"context"
	"errors"
	"slices"
	"sync"
	"time"
)

// Again is the error of a step that is not over and has to wait. The step is parked: it
// holds no worker, and is called again After that time. If the context ends first, it has
// failed, with the error that Ended makes of the context's cause.
type Again struct {
	After time.Duration
	Ended func(cause error) error
}

// Error is for a caller that does not know of Again.
func (*Again) Error() string { return "the step has to wait" }

// Run does every step, in parallel where dependencies allow and at most width at once, and
// returns when all are over; each step's Err then says how it went. It calls do in up to
// width goroutines, several times for a step that returns Again, but never twice at once.
// When ctx ends, steps that have not begun are skipped, those that returned Again fail, and
// those under way are waited for.
func (g *Graph[T]) Run(ctx context.Context, width int, do func(context.Context, *Step[T]) error) {
	g.prepare()
	r := run[T]{ctx: ctx, left: len(g.steps), work: make(chan *Step[T]), done: make(chan outcome[T])}
	var workers sync.WaitGroup
	for range min(width, len(g.steps)) {
		workers.Go(func() {
			for s := range r.work {
				r.done <- outcome[T]{s, do(ctx, s)}
			}
		})
	}
	for _, s := range g.steps {
		if s.open == 0 {
			r.unblocked = append(r.unblocked, s)
		}
	}
	r.loop()
	close(r.work)
	workers.Wait()
}

// A run is a Graph under way. Its fields belong to the goroutine that called Run.
type run[T any] struct {
	ctx       context.Context
	unblocked []*Step[T] // steps whose needs are over, not admitted yet
	ready     queue[T]   // steps that a worker may take, the first in the order on top; they are due at once
	parked    queue[T]   // steps that wait, the first that is due on top
	left      int        // steps that are not over

	work chan *Step[T]   // unbuffered; closed by Run when all steps are over
	done chan outcome[T] // unbuffered
}

// An outcome is what a call of do returned for a step.
type outcome[T any] struct {
	step *Step[T]
	err  error
}

// loop hands out steps, and takes back outcomes, until no step is left.
func (r *run[T]) loop() {
	ended := r.ctx.Done()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		for len(r.unblocked) > 0 {
			s := r.unblocked[0]
			r.unblocked = r.unblocked[1:]
			r.admit(s)
		}
		if r.left == 0 {
			return
		}
		var (
			work chan *Step[T]
			next *Step[T]
			due  <-chan time.Time
		)
		if len(r.ready) > 0 {
			work, next = r.work, r.ready[0].step
		}
		if len(r.parked) > 0 {
			timer.Reset(time.Until(r.parked[0].due))
			due = timer.C
		}
		select {
		case work <- next:
			heap.Pop(&r.ready)
		case o := <-r.done:
			r.take(o)
		case <-due:
			for now := time.Now(); len(r.parked) > 0 && !r.parked[0].due.After(now); {
				e := heap.Pop(&r.parked).(entry[T])
				e.due = time.Time{}
				heap.Push(&r.ready, e)
			}
		case <-ended:
			ended = nil
			r.end()
		}
	}
}

// take notes how a call went.
func (r *run[T]) take(o outcome[T]) {
	var again *Again
	switch {
	case !errors.As(o.err, &again):
		r.finish(o.step, o.err)
	case r.ctx.Err() != nil:
		r.finish(o.step, again.Ended(context.Cause(r.ctx)))
	default:
		heap.Push(&r.parked, entry[T]{step: o.step, due: time.Now().Add(again.After), ended: again.Ended})
	}
}

// admit makes a step whose needs are over ready, or finishes it where there is nothing to do.
func (r *run[T]) admit(s *Step[T]) {
	if blocker := s.failedNeed(); blocker != nil {
		s.Skipped, s.Blocker = true, blocker
		r.finish(s, blocker.Err)
		return
	}
	switch {
	case s.Err != nil: // it had failed before it could begin
		r.finish(s, s.Err)
	case s.barrier:
		r.finish(s, nil)
	case r.ctx.Err() != nil:
		s.Skipped = true
		r.finish(s, context.Cause(r.ctx))
	default:
		heap.Push(&r.ready, entry[T]{step: s})
	}
}

// finish ends a step, and unblocks those that waited for it alone.
func (r *run[T]) finish(s *Step[T], err error) {
	s.Err = err
	r.left--
	for _, next := range s.dependents {
		if next.open--; next.open == 0 {
			r.unblocked = append(r.unblocked, next)
		}
	}
}

// end skips what has not begun, and fails what is parked or was.
func (r *run[T]) end() {
	cause := context.Cause(r.ctx)
	waiting := slices.Concat(r.ready, r.parked)
	r.ready, r.parked = nil, nil
	for _, e := range waiting {
		if e.ended != nil {
			r.finish(e.step, e.ended(cause))
		} else {
			e.step.Skipped = true
			r.finish(e.step, cause)
		}
	}
}

// A queue is a heap of steps: by when they are due, then by their place in the order.
type queue[T any] []entry[T]

type entry[T any] struct {
	step  *Step[T]
	due   time.Time               // zero for a step that is ready
	ended func(cause error) error // see Again; nil for a step that has not begun
}

func (q queue[T]) Len() int { return len(q) }
func (q queue[T]) Less(i, j int) bool {
	if c := q[i].due.Compare(q[j].due); c != 0 {
		return c < 0
	}
	return q[i].step.index < q[j].step.index
}
func (q queue[T]) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *queue[T]) Push(x any)   { *q = append(*q, x.(entry[T])) }
func (q *queue[T]) Pop() any {
	last := len(*q) - 1
	e := (*q)[last]
	(*q)[last] = entry[T]{}
	*q = (*q)[:last]
	return e
}
