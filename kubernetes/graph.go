package kubernetes

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/pkg/errors"

	"github.com/platformbus/platform/kubernetes/internal/redact"
)

// A step is one thing that a Sync does: it applies or deletes one object. A step without
// an object is a barrier, which does nothing but keep what must precede it from what must
// follow it.
type step struct {
	index  int // its place in the Sync's order, which decides wherever nothing else does
	action int // index of the action it belongs to
	place  int // index of its definition in that half of the action
	object *target
	delete bool

	seen      *observation // what was seen of the live object; nil if nothing was
	unchanged bool         // it is certain that to do it would change nothing

	needs  []need  // what must be over before it begins
	before []*step // the steps that need it; filled in by prepare
	open   int     // how many of needs are not over; used by run

	err     error // why it failed or was not attempted; set before it is over
	skipped bool  // it was not attempted
}

// A need is an edge of the graph.
type need struct {
	step *step
	hard bool // if step fails, the one that needs it is not attempted
}

// String names what the step does, as in "apply Deployment default/web".
func (s *step) String() string {
	verb := "apply"
	if s.delete {
		verb = "delete"
	}
	return verb + " " + s.object.key.String()
}

// need makes s wait for other.
func (s *step) need(other *step, hard bool) {
	if other != s {
		s.needs = append(s.needs, need{other, hard})
	}
}

// follows says whether a step before s is about the same object.
func (s *step) follows() bool {
	return slices.ContainsFunc(s.needs, func(n need) bool { return n.step.object != nil && n.step.object.key == s.object.key })
}

// prepare fills in the edges' other ends, and breaks cycles: of the steps in one, the first
// in order no longer waits for the next in it.
func prepare(steps []*step) {
	for _, s := range steps {
		s.open, s.before = len(s.needs), nil
	}
	for _, s := range steps {
		for _, n := range s.needs {
			n.step.before = append(n.step.before, s)
		}
	}
	left := map[*step]bool{}
	var ready []*step
	for _, s := range steps {
		left[s] = true
		if s.open == 0 {
			ready = append(ready, s)
		}
	}
	first := 0 // no step before it is left
	for len(left) > 0 {
		for len(ready) == 0 {
			for !left[steps[first]] {
				first++
			}
			s, next := inCycle(steps[first], left)
			s.needs = slices.DeleteFunc(s.needs, func(n need) bool {
				if n.step == next {
					s.open--
				}
				return n.step == next
			})
			next.before = slices.DeleteFunc(next.before, func(b *step) bool { return b == s })
			if s.open == 0 {
				ready = append(ready, s)
			}
		}
		s := ready[len(ready)-1]
		ready = ready[:len(ready)-1]
		delete(left, s)
		for _, next := range s.before {
			if next.open--; next.open == 0 && left[next] {
				ready = append(ready, next)
			}
		}
	}
	for _, s := range steps {
		s.open = len(s.needs)
	}
}

// inCycle returns the first step, in order, of a cycle that s leads to, and the step that
// it needs there. All of left need another of left.
func inCycle(s *step, left map[*step]bool) (first, needed *step) {
	at := map[*step]int{}
	var path []*step
	for {
		from, passed := at[s]
		if passed {
			cycle := path[from:]
			for i, c := range cycle {
				if first == nil || c.index < first.index {
					first, needed = c, cycle[(i+1)%len(cycle)]
				}
			}
			return first, needed
		}
		at[s] = len(path)
		path = append(path, s)
		s = s.needs[slices.IndexFunc(s.needs, func(n need) bool { return left[n.step] })].step
	}
}

// run does every step, in parallel where needs allow and at most width at once, and
// returns when all are over. Each step's err says how it went. When ctx ends, the steps
// that have not begun are not attempted.
func run(ctx context.Context, steps []*step, width int, do func(context.Context, *step) error) {
	prepare(steps)
	var (
		mu    sync.Mutex
		ready []*step // guarded by mu; in order
		left  = len(steps)
		wake  = sync.NewCond(&mu)
	)
	for _, s := range steps {
		if s.open == 0 {
			ready = append(ready, s)
		}
	}
	worker := func() {
		mu.Lock()
		defer mu.Unlock()
		for {
			for len(ready) == 0 && left > 0 {
				wake.Wait()
			}
			if left == 0 {
				return
			}
			s := ready[0]
			ready = ready[1:]
			mu.Unlock()
			attempt(ctx, s, do)
			mu.Lock()
			left--
			for _, next := range s.before {
				if next.open--; next.open == 0 {
					ready = insert(ready, next)
				}
			}
			wake.Broadcast()
		}
	}
	var workers sync.WaitGroup
	for range min(width, len(steps)) {
		workers.Go(worker)
	}
	workers.Wait()
}

// insert puts s in its place among steps that are in order.
func insert(steps []*step, s *step) []*step {
	at, _ := slices.BinarySearchFunc(steps, s, func(a, b *step) int { return cmp.Compare(a.index, b.index) })
	return slices.Insert(steps, at, s)
}

// attempt does s, unless something that it needs has failed or ctx has ended.
func attempt(ctx context.Context, s *step, do func(context.Context, *step) error) {
	for _, n := range s.needs {
		if n.hard && n.step.err != nil {
			s.skipped, s.err = true, &skippedError{step: s, needed: n.step}
			return
		}
	}
	if s.object == nil {
		return
	}
	if ctx.Err() != nil {
		s.skipped = true
		s.err = fmt.Errorf("%v: not attempted: %w", s, context.Cause(ctx))
		return
	}
	if err := do(ctx, s); err != nil {
		s.err = fmt.Errorf("%v: %w", s, redact.Error(err))
	}
}

// A skippedError says that a step was not attempted, since it needs another that failed.
type skippedError struct{ step, needed *step }

// cut shortens a label, which may be of any length.
func cut(label string) string {
	if most := 200; len(label) > most {
		return label[:most] + "…"
	}
	return label
}

func (e *skippedError) Error() string {
	needed := e.needed
	for deeper := (*skippedError)(nil); errors.As(needed.err, &deeper); {
		needed = deeper.needed // the one that failed for a reason of its own
	}
	return fmt.Sprintf("%v: not attempted, since %q failed: %v", e.step, cut(needed.object.label), needed)
}
