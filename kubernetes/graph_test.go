package kubernetes

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// namedStep is a step that applies a ConfigMap called so.
func namedStep(index int) *step {
	name := fmt.Sprintf("s%d", index)
	return &step{index: index, object: &target{
		definition: &definition{name: name}, label: "entry " + name,
		key: objectKey{GroupKind: schema.GroupKind{Kind: "ConfigMap"}, namespace: "default", name: name},
	}}
}

// randomSteps returns steps with random needs, without cycles unless they are wanted.
func randomSteps(r *rand.Rand, cycles bool) []*step {
	steps := make([]*step, 1+r.IntN(40))
	for i := range steps {
		steps[i] = namedStep(i)
		if r.IntN(8) == 0 {
			steps[i].object = nil // a barrier
		}
	}
	order := r.Perm(len(steps)) // needs go from later to earlier here, which is not the order of the list
	for range r.IntN(3 * len(steps)) {
		a, b := r.IntN(len(order)), r.IntN(len(order))
		if !cycles && a < b {
			a, b = b, a
		}
		if a != b {
			s, needed := steps[order[a]], steps[order[b]]
			s.need(needed, s.object != nil && needed.object != nil && r.IntN(2) == 0)
		}
	}
	return steps
}

// reaches says whether s needs other, directly or by way of others.
func reaches(s, other *step, needs map[*step][]need, seen map[*step]bool) bool {
	for _, n := range needs[s] {
		if n.step == other {
			return true
		}
		if !seen[n.step] {
			seen[n.step] = true
			if reaches(n.step, other, needs, seen) {
				return true
			}
		}
	}
	return false
}

// namedIn returns the step that an error of one that was skipped blames.
func namedIn(steps []*step, err error) *step {
	for _, s := range steps {
		if s.object != nil && strings.HasSuffix(err.Error(), fmt.Sprintf("not attempted, since %q failed: %v", s.object.label, s)) {
			return s
		}
	}
	return nil
}

// Whatever the graph: each step is done once or says why not, no more than width at once,
// and none before all that it needs is over.
func TestRunOfRandomGraphs(t *testing.T) {
	for seed := range uint64(2000) {
		r := rand.New(rand.NewPCG(seed, 1))
		steps := randomSteps(r, seed%2 == 0)
		wanted := map[*step][]need{}
		fails := map[*step]bool{}
		for _, s := range steps {
			wanted[s] = slices.Clone(s.needs)
			fails[s] = r.IntN(6) == 0
		}
		width := 1 + r.IntN(5)
		var (
			mu      sync.Mutex
			done    = map[*step]int{} // guarded by mu
			over    = map[*step]bool{}
			running int
		)
		run(t.Context(), steps, width, func(_ context.Context, s *step) error {
			mu.Lock()
			running++
			assert.LessOrEqual(t, running, width)
			done[s]++
			for _, n := range s.needs {
				if n.step.object != nil && n.step.err == nil {
					assert.True(t, over[n.step], "seed %d: %v began before %v was over", seed, s, n.step)
				}
			}
			mu.Unlock()
			defer func() {
				mu.Lock()
				defer mu.Unlock()
				running--
				over[s] = true
			}()
			if fails[s] {
				return errors.New("boom")
			}
			return nil
		})
		for _, s := range steps {
			for _, n := range wanted[s] {
				if !slices.Contains(s.needs, n) {
					require.True(t, reaches(n.step, s, wanted, map[*step]bool{}), "seed %d: a need was dropped that is in no cycle", seed)
				}
			}
			if s.object == nil {
				require.NoError(t, s.err, "seed %d: a barrier neither fails nor is skipped", seed)
				continue
			}
			hopeless := slices.ContainsFunc(s.needs, func(n need) bool { return n.hard && n.step.err != nil })
			require.Equal(t, hopeless, s.skipped, "seed %d: %v", seed, s)
			switch {
			case hopeless:
				require.Zero(t, done[s])
				culprit := namedIn(steps, s.err)
				require.True(t, fails[culprit] && done[culprit] == 1, "seed %d: %v names what really failed", seed, s.err)
				require.True(t, reaches(s, culprit, wanted, map[*step]bool{}), "seed %d: and that it needs: %v", seed, s.err)
			case fails[s]:
				require.Equal(t, 1, done[s])
				require.ErrorContains(t, s.err, s.String()+": boom")
			default:
				require.Equal(t, 1, done[s])
				require.NoError(t, s.err)
			}
		}
		if t.Failed() {
			return
		}
	}
}

// In a cycle the order of the list decides; what merely depends on one waits for it.
func TestRunOfACycle(t *testing.T) {
	dependant, a, b, c := namedStep(0), namedStep(1), namedStep(2), namedStep(3)
	dependant.need(b, true)
	a.need(b, true)
	b.need(c, true)
	c.need(a, true)
	var order []string
	run(t.Context(), []*step{dependant, a, b, c}, 1, func(_ context.Context, s *step) error {
		order = append(order, s.object.name)
		return nil
	})
	assert.Equal(t, []string{"s1", "s3", "s2", "s0"}, order)
}

// Of the steps that could begin the first of the list does, also if it could only now.
func TestRunPrefersTheOrderOfTheList(t *testing.T) {
	steps := []*step{namedStep(0), namedStep(1), namedStep(2), namedStep(3)}
	steps[1].need(steps[0], true)
	var order []string
	run(t.Context(), steps, 1, func(_ context.Context, s *step) error {
		order = append(order, s.object.name)
		return nil
	})
	assert.Equal(t, []string{"s0", "s1", "s2", "s3"}, order)
}

// What can be done at once is, up to the width.
func TestRunUsesItsWidth(t *testing.T) {
	const width = 4
	var steps []*step
	for i := range 3 * width {
		steps = append(steps, namedStep(i))
	}
	var together sync.WaitGroup // a step ends only when width of them have begun
	together.Add(width)
	var (
		mu    sync.Mutex
		begun int // guarded by mu
	)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	run(ctx, steps, width, func(ctx context.Context, _ *step) error {
		mu.Lock()
		if begun++; begun <= width {
			together.Done()
		}
		mu.Unlock()
		all := make(chan struct{})
		go func() { together.Wait(); close(all) }()
		select {
		case <-all:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	})
	for _, s := range steps {
		require.NoError(t, s.err, "%v", s)
	}
}

func TestRunEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	steps := []*step{namedStep(0), namedStep(1), namedStep(2), namedStep(3)}
	steps[3].need(steps[1], true)
	run(ctx, steps, 1, func(ctx context.Context, s *step) error {
		if s.index == 0 {
			return nil
		}
		cancel(errors.New("enough"))
		return context.Cause(ctx)
	})
	require.NoError(t, steps[0].err)
	require.EqualError(t, steps[1].err, "apply ConfigMap default/s1: enough")
	assert.False(t, steps[1].skipped)
	require.EqualError(t, steps[2].err, "apply ConfigMap default/s2: not attempted: enough")
	assert.True(t, steps[2].skipped)
	require.EqualError(t, steps[3].err, `apply ConfigMap default/s3: not attempted, since "entry s1" failed: apply ConfigMap default/s1`)
}

func TestRunOfNothing(t *testing.T) {
	run(t.Context(), nil, 16, func(context.Context, *step) error { return errors.New("there is nothing to do") })
}
