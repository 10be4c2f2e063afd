package natsbus_test

import (
	"fmt"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/platformbus/platform"
	"github.com/platformbus/platform/flux"
	"github.com/platformbus/platform/natsbus"
)

func TestKickFromAnotherBus(t *testing.T) {
	noLeaks(t)
	s := startServer(t, nil)
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
	s := startServer(t, nil)
	var buses []*natsbus.Bus
	for range 3 {
		buses = append(buses, newBus(t, dial(t, s.ClientURL()), quick))
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

// Of many who subscribe at once, not all wait for their claims. Those from before are told
// all the same, even one whose clock is ahead.
func TestKicksInRush(t *testing.T) {
	noLeaks(t)
	const n, skewed, ahead = 500, 20, 500
	s := startServer(t, nil)
	conn := dial(t, s.ClientURL())
	older, newer := newBus(t, conn, quick), newBus(t, dial(t, s.ClientURL()), quick)
	callers := newBus(t, dial(t, s.ClientURL()), natsbus.Options{})
	subscribe := func(b *natsbus.Bus, from int, version string, done chan error) {
		var all sync.WaitGroup
		for i := from; i < n; i++ {
			all.Go(func() {
				b.Subscribe(flux.InstanceID(fmt.Sprint("instance ", i)), &platform.MockPlatform{VersionAnswer: version}, done)
			})
		}
		all.Wait()
	}
	first, second := make(chan error, n+skewed*ahead), make(chan error, n)
	for i := range skewed {
		for range 1 + ahead { // each outbids the one before, by a millisecond
			older.Subscribe(flux.InstanceID(fmt.Sprint("instance ", i)), &platform.MockPlatform{VersionAnswer: "older"}, first)
		}
	}
	subscribe(older, skewed, "older", first)
	require.NoError(t, conn.Flush())
	subscribe(newer, 0, "newer", second)
	for range n + skewed*ahead {
		require.ErrorIs(t, within(t, first, "a kick"), platform.ErrKicked)
	}
	for i := range n {
		version, err := callers.Version(flux.InstanceID(fmt.Sprint("instance ", i)))
		require.NoError(t, err)
		require.Equal(t, "newer", version)
	}
	require.Empty(t, second)
}
