package graph

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

type (
	step = Step[string]
	need = dependency[string]
)

// steps returns a graph of n steps, called s0 to s(n-1), without dependencies.
func steps(n int) (*Graph[string], []*step) {
	g := &Graph[string]{}
	for i := range n {
		g.Add(fmt.Sprintf("s%d", i))
	}
	return g, g.steps
}

// randomGraph returns steps with random needs, without cycles unless they are wanted.
func randomGraph(r *rand.Rand, cycles bool) *Graph[string] {
	g := &Graph[string]{}
	for i := range 1 + r.IntN(40) {
		if r.IntN(8) == 0 {
			g.AddBarrier()
		} else {
			g.Add(fmt.Sprintf("s%d", i))
		}
	}
	order := r.Perm(len(g.steps)) // needs go from later to earlier here, which is not the order of the list
	for range r.IntN(3 * len(g.steps)) {
		a, b := r.IntN(len(order)), r.IntN(len(order))
		if !cycles && a < b {
			a, b = b, a
		}
		if a != b {
			s, needed := g.steps[order[a]], g.steps[order[b]]
			s.depend(needed, !s.barrier && !needed.barrier && r.IntN(2) == 0)
		}
	}
	return g
}

// reaches says whether s needs other, directly or by way of others.
func reaches(s, other *step, needs map[*step][]need, seen map[*step]bool) bool {
	for _, n := range needs[s] {
		if n.on == other {
			return true
		}
		if !seen[n.on] {
			seen[n.on] = true
			if reaches(n.on, other, needs, seen) {
				return true
			}
		}
	}
	return false
}

// Whatever the graph: each step is done once or says why not, no more than width at once,
// and none before all that it needs is over. A step that is parked is called again.
func TestRandomGraphs(t *testing.T) {
	for seed := range uint64(1000) {
		synctest.Test(t, func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 1))
			g := randomGraph(r, seed%2 == 0)
			wanted := map[*step][]need{}
			fails, waits := map[*step]bool{}, map[*step]int{}
			for _, s := range g.steps {
				wanted[s] = slices.Clone(s.needs)
				fails[s], waits[s] = r.IntN(6) == 0, max(0, r.IntN(6)-3)
			}
			width := 1 + r.IntN(5)
			var (
				mu      sync.Mutex
				calls   = map[*step]int{} // guarded by mu
				over    = map[*step]bool{}
				running int
			)
			g.Run(t.Context(), width, func(_ context.Context, s *step) error {
				mu.Lock()
				running++
				assert.LessOrEqual(t, running, width)
				calls[s]++
				for _, n := range s.needs {
					if !n.on.barrier && n.on.Err == nil {
						assert.True(t, over[n.on], "seed %d: %v began before %v was over", seed, s.Value, n.on.Value)
					}
				}
				n := calls[s]
				mu.Unlock()
				defer func() {
					mu.Lock()
					defer mu.Unlock()
					running--
					over[s] = n > waits[s]
				}()
				switch {
				case n <= waits[s]:
					return fmt.Errorf("wrapped: %w", &Again{After: time.Duration(n) * time.Second})
				case fails[s]:
					return errors.New("boom")
				default:
					return nil
				}
			})
			for _, s := range g.steps {
				for _, n := range wanted[s] {
					if !slices.Contains(s.needs, n) {
						require.True(t, reaches(n.on, s, wanted, map[*step]bool{}), "seed %d: a need was dropped that is in no cycle", seed)
					}
				}
				if s.barrier {
					require.NoError(t, s.Err, "seed %d: a barrier neither fails nor is skipped", seed)
					continue
				}
				hopeless := slices.ContainsFunc(s.needs, func(n need) bool { return n.hard && n.on.Err != nil })
				require.Equal(t, hopeless, s.Skipped, "seed %d: %v", seed, s.Value)
				switch {
				case hopeless:
					require.Zero(t, calls[s])
					require.True(t, fails[s.Blocker] && !s.Blocker.Skipped, "seed %d: %v names what really failed", seed, s.Value)
					require.True(t, reaches(s, s.Blocker, wanted, map[*step]bool{}), "seed %d: and that it needs", seed)
				case fails[s]:
					require.Equal(t, 1+waits[s], calls[s])
					require.EqualError(t, s.Err, "boom")
				default:
					require.Equal(t, 1+waits[s], calls[s])
					require.NoError(t, s.Err)
				}
			}
		})
		if t.Failed() {
			return
		}
	}
}

func inOrder(t *testing.T, g *Graph[string]) []string {
	t.Helper()
	var order []string
	g.Run(t.Context(), 1, func(_ context.Context, s *step) error {
		order = append(order, s.Value)
		return nil
	})
	return order
}

// In a cycle the order of the list decides; what merely depends on one waits for it.
func TestCycle(t *testing.T) {
	g, s := steps(4)
	s[0].Needs(s[2])
	s[1].Needs(s[2])
	s[2].Needs(s[3])
	s[3].Needs(s[1])
	assert.Equal(t, []string{"s1", "s3", "s2", "s0"}, inOrder(t, g))
}

// Of the steps that could begin the first of the list does, also if it could only now.
func TestOrderOfTheList(t *testing.T) {
	g, s := steps(4)
	s[1].Needs(s[0])
	assert.Equal(t, []string{"s0", "s1", "s2", "s3"}, inOrder(t, g))
}

func TestWidthIsUsed(t *testing.T) {
	const width = 4
	synctest.Test(t, func(t *testing.T) {
		g, _ := steps(3 * width)
		begin := time.Now()
		g.Run(t.Context(), width, func(context.Context, *step) error {
			time.Sleep(time.Second) // of the bubble
			return nil
		})
		assert.Equal(t, 3*time.Second, time.Since(begin))
	})
}

// More steps wait than there are workers, and what does not depend on them goes on.
func TestParkedStepsHoldNoWorker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, s := steps(40)
		s[39].Needs(s[0])
		var (
			mu    sync.Mutex
			ready bool     // guarded by mu
			order []string // guarded by mu
		)
		g.Run(t.Context(), 2, func(_ context.Context, s *step) error {
			mu.Lock()
			defer mu.Unlock()
			if s.index < 30 && !ready {
				return &Again{After: time.Second}
			}
			order = append(order, s.Value)
			ready = ready || s.index == 38
			return nil
		})
		assert.ElementsMatch(t, []string{"s30", "s31", "s32", "s33", "s34", "s35", "s36", "s37", "s38"}, order[:9])
		assert.Len(t, order, 40)
		for _, s := range s {
			assert.NoError(t, s.Err)
		}
	})
}

func TestContextEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(t.Context())
		g, s := steps(5)
		s[3].Needs(s[1])
		s[4].Needs(s[0])
		g.Run(ctx, 1, func(ctx context.Context, s *step) error {
			switch s.index {
			case 0:
				return &Again{After: time.Hour, Ended: func(cause error) error { return fmt.Errorf("waited in vain: %w", cause) }}
			case 1:
				cancel(errors.New("enough"))
			}
			return context.Cause(ctx)
		})
		assert.EqualError(t, s[0].Err, "waited in vain: enough")
		assert.False(t, s[0].Skipped)
		assert.EqualError(t, s[1].Err, "enough")
		assert.False(t, s[1].Skipped)
		assert.EqualError(t, s[2].Err, "enough")
		assert.True(t, s[2].Skipped)
		assert.Nil(t, s[2].Blocker)
		assert.Equal(t, s[1], s[3].Blocker)
		assert.Equal(t, s[0], s[4].Blocker)
	})
}

// A step that has begun, and could go on if a worker were free, is not skipped when the context
// ends: it says what it waited for.
func TestContextEndsBeforeAWorkerIsFree(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(t.Context())
		g, s := steps(3)
		g.Run(ctx, 1, func(_ context.Context, s *step) error {
			if s.index == 0 {
				return &Again{After: time.Second, Ended: func(cause error) error { return fmt.Errorf("waited in vain: %w", cause) }}
			}
			time.Sleep(time.Minute) // of the bubble
			cancel(errors.New("enough"))
			return nil
		})
		assert.EqualError(t, s[0].Err, "waited in vain: enough")
		assert.False(t, s[0].Skipped)
		assert.NoError(t, s[1].Err)
		assert.True(t, s[2].Skipped)
	})
}

// A step with an error from before is not attempted, and what needs it is skipped.
func TestStepThatHasFailedBefore(t *testing.T) {
	g, s := steps(3)
	s[1].Err = errors.New("of an unknown kind")
	s[2].Needs(s[1])
	assert.Equal(t, []string{"s0"}, inOrder(t, g))
	assert.EqualError(t, s[1].Err, "of an unknown kind")
	assert.Equal(t, s[1], s[2].Blocker)
}

func TestEmptyGraph(t *testing.T) {
	(&Graph[int]{}).Run(t.Context(), 16, func(context.Context, *Step[int]) error { panic("there is nothing to do") })
}
