package natsbus_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/platformbus/platform"
	"github.com/platformbus/platform/internal/natstest"
	"github.com/platformbus/platform/natsbus"
)

// takeOver has n subscriptions of the instance "a" take over from each other, on a bus at
// each of the servers in turn, while callers at the last make Syncs. It checks that one is
// left, and that what was carried out is what succeeded. taken is called after each.
func takeOver(t *testing.T, servers []*server.Server, n int, taken func(i int, done []chan error)) {
	t.Helper()
	var buses []*natsbus.Bus
	for i := range 3 {
		buses = append(buses, newBus(t, dial(t, servers[i%len(servers)].ClientURL()), natsbus.Options{}))
	}
	callers := newBus(t, dial(t, servers[len(servers)-1].ClientURL()), natsbus.Options{})
	l, h, stop := newLedger(), connect(t, callers), make(chan struct{})
	p := l.platform()
	done := make([]chan error, n)
	for i := range done {
		done[i] = make(chan error, 2)
	}
	buses[0].Subscribe("a", p, done[0])
	require.Eventually(t, func() bool { return h.Ping() == nil }, limit, time.Millisecond, "the callers' server knows of it")
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				call := l.sync
				if i%2 == 0 {
					call = l.apply
				}
				// On a busy machine it may be replaced for 5 s on end; and a daemon may have many calls
				// that it has accepted, and of which it does not know yet that another was chosen.
				if err := call(h, nil); err != nil {
					assert.Regexp(t, "its daemon is being replaced|calls are under way, which is the limit of its daemon", err.Error())
				}
			}
		})
	}
	began := time.Now()
	for i := 1; i < n && !t.Failed(); i++ {
		buses[i%len(buses)].Subscribe("a", p, done[i])
		taken(i, done)
	}
	t.Logf("%d take-overs took %v", n-1, time.Since(began))
	close(stop)
	all.Wait()
	require.False(t, t.Failed())
	left := func() (left []int) {
		for i := range done {
			if len(done[i]) == 0 {
				left = append(left, i)
			}
		}
		return left
	}
	require.Eventually(t, func() bool { return len(left()) == 1 }, limit, time.Millisecond, "one is left")
	holder := left()[0]
	l.check(t)
	l.mu.Lock()
	successes := 0
	for _, outcome := range l.outcome {
		if outcome == "ok" {
			successes++
		}
	}
	assert.Len(t, l.ran, successes, "executions equal successes")
	assert.Positive(t, successes)
	l.mu.Unlock()
	for i := range done {
		if i == holder {
			require.Empty(t, done[i])
			continue
		}
		require.ErrorIs(t, <-done[i], platform.ErrKicked)
		require.Empty(t, done[i], "it is told once")
	}
	// Once the other buses are closed, it still answers.
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	for i, b := range buses {
		if i != holder%len(buses) {
			require.NoError(t, b.Close(ctx))
		}
	}
	require.NoError(t, h.Ping())
}

func TestTakeOversUnderLoad(t *testing.T) {
	noLeaks(t)
	takeOver(t, []*server.Server{natstest.Start(t, nil)}, 1001, func(i int, done []chan error) {
		assert.Len(t, done[i-1], 1, "%d: the holder has been told when the next one's Subscribe returns", i)
		assert.Empty(t, done[i], "%d: the later claim holds it", i)
	})
}

// Servers learn of a subscription at another only some time later, so that two may hold
// it for a moment.
func TestTakeOversInCluster(t *testing.T) {
	noLeaks(t)
	takeOver(t, startCluster(t), 1001, func(int, []chan error) {})
}
