package natsbus_test

import (
	"fmt"
	"sync"
	"sync/atomic"
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
	callers := newBus(t, dial(t, s.ClientURL()), quick)
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

// counted counts what is carried out.
type counted struct {
	platform.MockPlatform
	syncs *atomic.Int64
}

func (c *counted) Sync(platform.SyncDef) error {
	c.syncs.Add(1)
	return nil
}

// During take-overs every Sync that is answered was made once, and none fails.
func TestTakeOversUnderLoad(t *testing.T) {
	noLeaks(t)
	s := startServer(t, nil)
	var buses []*natsbus.Bus
	for range 3 {
		buses = append(buses, newBus(t, dial(t, s.ClientURL()), natsbus.Options{}))
	}
	callers := newBus(t, dial(t, s.ClientURL()), natsbus.Options{})
	var made, syncs atomic.Int64
	p := &counted{syncs: &syncs}
	buses[0].Subscribe("a", p, nil)
	h := connect(t, callers)
	stop := make(chan struct{})
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if assert.NoError(t, h.Sync(platform.SyncDef{})) {
					made.Add(1)
				}
			}
		})
	}
	for i := range 100 {
		buses[(i+1)%len(buses)].Subscribe("a", p, nil)
	}
	close(stop)
	all.Wait()
	assert.Equal(t, made.Load(), syncs.Load())
	assert.Positive(t, made.Load())
}
