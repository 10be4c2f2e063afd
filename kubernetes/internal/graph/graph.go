// Package graph runs steps that depend on each other. It knows nothing of what they do.
package graph

import "slices"

// A Graph is a set of steps in an order, with dependencies between them. The order of Add
// decides wherever dependencies do not. The zero value is empty and ready. A Graph is built
// and run by one goroutine, and run once.
type Graph[T any] struct {
	steps []*Step[T]
}

// A Step is one thing to do. Steps are made by Graph.Add and Graph.AddBarrier.
type Step[T any] struct {
	// Value is what the step is about. A barrier has the zero value.
	Value T
	// Err is why the step failed or was skipped, or nil. It is valid once the step is over.
	Err error
	// Skipped says that the step was not attempted, because Blocker failed or because the
	// context had ended.
	Skipped bool
	// Blocker is the step whose failure, for a reason of its own, made this one be skipped.
	Blocker *Step[T]

	index   int // its place in the order
	barrier bool
	needs   []dependency[T]

	dependents []*Step[T] // the steps that need it; filled in by prepare
	open       int        // how many of needs are not over
}

// A dependency is an edge of the graph.
type dependency[T any] struct {
	on   *Step[T]
	hard bool // if it fails, the step that needs it is skipped
}

// Add appends a step.
func (g *Graph[T]) Add(value T) *Step[T] { return g.add(&Step[T]{Value: value}) }

// AddBarrier appends a step that does nothing but keep what it depends on from what depends
// on it.
func (g *Graph[T]) AddBarrier() *Step[T] { return g.add(&Step[T]{barrier: true}) }

func (g *Graph[T]) add(s *Step[T]) *Step[T] {
	s.index = len(g.steps)
	g.steps = append(g.steps, s)
	return s
}

// Needs makes s wait until other has succeeded. If other fails, s is skipped.
func (s *Step[T]) Needs(other *Step[T]) { s.depend(other, true) }

// Follows makes s wait until other is over, whether it succeeds or not.
func (s *Step[T]) Follows(other *Step[T]) { s.depend(other, false) }

func (s *Step[T]) depend(other *Step[T], hard bool) {
	if other != s {
		s.needs = append(s.needs, dependency[T]{other, hard})
	}
}

// HasDependents says whether another step waits for s. It is valid while the graph runs.
func (s *Step[T]) HasDependents() bool { return len(s.dependents) > 0 }

// failedNeed returns a step whose failure makes s be skipped, or nil.
func (s *Step[T]) failedNeed() *Step[T] {
	for _, n := range s.needs {
		if !n.hard || n.on.Err == nil {
			continue
		}
		if n.on.Blocker != nil {
			return n.on.Blocker
		}
		return n.on
	}
	return nil
}

// prepare fills in the edges' other ends, and breaks cycles: of the steps in one, the first
// in the order no longer waits for the next in it.
func (g *Graph[T]) prepare() {
	for _, s := range g.steps {
		s.open, s.dependents = len(s.needs), nil
	}
	for _, s := range g.steps {
		for _, n := range s.needs {
			n.on.dependents = append(n.on.dependents, s)
		}
	}
	left := map[*Step[T]]bool{}
	var ready []*Step[T]
	for _, s := range g.steps {
		left[s] = true
		if s.open == 0 {
			ready = append(ready, s)
		}
	}
	first := 0 // no step before it is left
	for len(left) > 0 {
		for len(ready) == 0 {
			for !left[g.steps[first]] {
				first++
			}
			s, next := findCycle(g.steps[first], left)
			s.needs = slices.DeleteFunc(s.needs, func(n dependency[T]) bool {
				if n.on == next {
					s.open--
				}
				return n.on == next
			})
			next.dependents = slices.DeleteFunc(next.dependents, func(d *Step[T]) bool { return d == s })
			if s.open == 0 {
				ready = append(ready, s)
			}
		}
		s := ready[len(ready)-1]
		ready = ready[:len(ready)-1]
		delete(left, s)
		for _, next := range s.dependents {
			if next.open--; next.open == 0 && left[next] {
				ready = append(ready, next)
			}
		}
	}
	for _, s := range g.steps {
		s.open = len(s.needs)
	}
}

// findCycle returns the first step, in the order, of a cycle that s leads to, and the step
// that it needs there. All of left need another of left.
func findCycle[T any](s *Step[T], left map[*Step[T]]bool) (first, needed *Step[T]) {
	at := map[*Step[T]]int{}
	var path []*Step[T]
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
		s = s.needs[slices.IndexFunc(s.needs, func(n dependency[T]) bool { return left[n.on] })].on
	}
}
