package natsbus_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/platformbus/platform"
	"github.com/platformbus/platform/flux"
	"github.com/platformbus/platform/internal/natstest"
	"github.com/platformbus/platform/natsbus"
)

func TestKickFromAnotherBus(t *testing.T) {
	noLeaks(t)
	s := natstest.Start(t, nil)
	older, newer, callers := newBus(t, dial(t, s.ClientURL()), natsbus.Options{}), newBus(t, dial(t, s.ClientURL()), natsbus.Options{}), newBus(t, dial(t, s.ClientURL()), natsbus.Options{})
	for round := range 20 {
		inst := flux.InstanceID(fmt.Sprint("instance ", round))
		first, second := make(chan error, 1), make(chan error, 1)
		older.Subscribe(inst, &platform.MockPlatform{VersionAnswer: "older"}, first)
		newer.Subscribe(inst, &platform.MockPlatform{VersionAnswer: "newer"}, second)
		require.Len(t, first, 1, "the older has been told when the newer's Subscribe returns")
		require.ErrorIs(t, <-first, platform.ErrKicked)
		version, err := callers.Version(inst)
		require.NoError(t, err)
		require.Equal(t, "newer", version)
		require.Empty(t, second)
	}
}

// Whoever subscribes at once, one is left.
func TestKickRaces(t *testing.T) {
	noLeaks(t)
	s := natstest.Start(t, nil)
	var buses []*natsbus.Bus
	for range 3 {
		buses = append(buses, newBus(t, dial(t, s.ClientURL()), brisk))
	}
	callers := newBus(t, dial(t, s.ClientURL()), natsbus.Options{})
	for round := range 50 {
		inst := flux.InstanceID(fmt.Sprint("instance ", round))
		ended := make(chan int, 10)
		var all sync.WaitGroup
		for i, b := range buses {
			all.Go(func() {
				done := make(chan error, 1)
				b.Subscribe(inst, &platform.MockPlatform{VersionAnswer: fmt.Sprint(i)}, done)
				go func() {
					if err := <-done; assert.Error(t, err) {
						ended <- i
					}
				}()
			})
		}
		all.Wait()
		left := map[string]bool{"0": true, "1": true, "2": true}
		for range 2 {
			delete(left, fmt.Sprint(within(t, ended, "a kick")))
		}
		require.Len(t, left, 1)
		version, err := callers.Version(inst)
		require.NoError(t, err)
		require.True(t, left[version], "%q answers, and %v is left", version, left)
		require.Empty(t, ended)
	}
}

// awaitSettled waits until the claims of n instances have settled.
func awaitSettled(t *testing.T, claims *nats.Subscription, n int) {
	t.Helper()
	for settled := map[string]bool{}; len(settled) < n; {
		m, err := claims.NextMsg(limit)
		require.NoError(t, err)
		if age := headOf(t, m.Data)[15]; fmt.Sprint(age) == fmt.Sprint(1<<40) {
			settled[m.Subject] = true
		}
	}
}

// Of many who subscribe at once, not all wait for their claims. Those from before are told
// all the same, even some whose clock is ahead.
func TestKicksInRush(t *testing.T) {
	noLeaks(t)
	const n, skewed, ahead = 500, 5, 3000
	s := natstest.Start(t, nil)
	older, newer := newBus(t, dial(t, s.ClientURL()), brisk), newBus(t, dial(t, s.ClientURL()), natsbus.Options{
		Beat: 3 * time.Second, // on a busy machine those from before must have answered in less than two
	})
	callers := newBus(t, dial(t, s.ClientURL()), natsbus.Options{})
	claims := listen(t, dial(t, s.ClientURL()), "flux.v1.*.rpc.claim.all")
	inst := func(i int) flux.InstanceID { return flux.InstanceID(fmt.Sprint("instance ", i)) }
	subscribe := func(b *natsbus.Bus, version string, done chan error) {
		var all sync.WaitGroup
		for i := range n {
			all.Go(func() { b.Subscribe(inst(i), &platform.MockPlatform{VersionAnswer: version}, done) })
		}
		all.Wait()
	}
	first, second := make(chan error, n+skewed*ahead), make(chan error, n)
	subscribe(older, "older", first)
	for i := range skewed {
		for range ahead { // each outbids the one before, by a millisecond
			older.Subscribe(inst(n/2+i), &platform.MockPlatform{VersionAnswer: "older"}, first)
		}
	}
	awaitSettled(t, claims, n) // what has come just now might be newer
	subscribe(newer, "newer", second)
	for range n + skewed*ahead {
		select {
		case err := <-first:
			require.ErrorIs(t, err, platform.ErrKicked)
		case err := <-second:
			require.NoError(t, err, "who has come last stays")
		case <-time.After(limit):
			require.FailNow(t, "not in time: a kick")
		}
	}
	for i := range n {
		version, err := callers.Version(inst(i))
		require.NoError(t, err)
		require.Equal(t, "newer", version)
	}
	require.Empty(t, second)
}
