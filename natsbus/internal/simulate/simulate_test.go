package simulate

import (
	"flag"
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/platformbus/platform/natsbus/internal/protocol"
)

var (
	seeds = flag.Uint64("seeds", defaultSeeds, "how many seeds TestSeeds runs")
	first = flag.Uint64("first", 1, "the first of them")
	only  = flag.Uint64("seed", 0, "the only seed that TestSeeds runs, with its history; 0 is none")
	fault = flag.Int("fault", 0, "the fault that -seed is run with")
)

// No seed breaks a promise.
func TestSeeds(t *testing.T) {
	if *only > 0 {
		r := Run(*only, protocol.Fault(*fault), true)
		for _, line := range r.History {
			fmt.Fprintln(os.Stdout, line)
		}
		require.Empty(t, r.Violations)
		return
	}
	began := time.Now()
	var next, calls, runs, answered atomic.Uint64
	var mu sync.Mutex
	var failed []Result
	var workers sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		workers.Go(func() {
			for i := next.Add(1); i <= *seeds; i = next.Add(1) {
				r := Run(*first+i-1, protocol.NoFault, false)
				calls.Add(uint64(r.Calls))
				runs.Add(uint64(r.Runs))
				answered.Add(uint64(r.Answered))
				if len(r.Violations) > 0 {
					mu.Lock()
					failed = append(failed, r)
					mu.Unlock()
				}
			}
		})
	}
	workers.Wait()
	t.Logf("%d seeds, %.0f a second: %d calls, %d answered, carried out %d times", *seeds, float64(*seeds)/time.Since(began).Seconds(), calls.Load(), answered.Load(), runs.Load())
	for i, r := range failed {
		if i == 10 {
			t.Errorf("and %d more", len(failed)-i)
			break
		}
		t.Errorf("seed %d (%s), run it again with -run TestSeeds -seed %d:\n%s", r.Seed, r.Scenario, r.Seed, strings.Join(r.Violations, "\n"))
	}
	if len(failed) > 0 {
		t.Log(strings.Join(Run(failed[0].Seed, protocol.NoFault, true).History, "\n"))
	}
	assert.Greater(t, answered.Load(), calls.Load()/2, "most calls succeed")
}

// Each broken variant of the protocol is found.
func TestFaultsAreFound(t *testing.T) {
	for _, fault := range protocol.Faults() {
		t.Run(fmt.Sprint(int(fault)), func(t *testing.T) {
			t.Parallel()
			const most = 20_000
			for seed := uint64(1); seed <= most; seed++ {
				if r := Run(seed, fault, false); len(r.Violations) > 0 {
					t.Logf("found by seed %d (%s): %s", seed, r.Scenario, r.Violations[0])
					return
				}
			}
			t.Errorf("not found in %d seeds", most)
		})
	}
}

// A seed gives the same history each time.
func TestSeedsAreReproducible(t *testing.T) {
	for seed := uint64(1); seed <= 50; seed++ {
		require.Equal(t, Run(seed, protocol.NoFault, true), Run(seed, protocol.NoFault, true), "seed %d", seed)
	}
}
