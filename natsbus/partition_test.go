package natsbus_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/platformbus/platform"
	"github.com/platformbus/platform/internal/faultproxy"
	"github.com/platformbus/platform/internal/natstest"
	"github.com/platformbus/platform/natsbus"
)

// partable starts a cluster of three, in which the routes of the third go through proxies.
func partable(t *testing.T) (servers []*server.Server, routes []*faultproxy.Proxy) {
	t.Helper()
	for i := range 3 {
		var to []string
		for _, other := range servers {
			at := other.ClusterAddr().String()
			if i == 2 {
				p, err := faultproxy.Start(at)
				require.NoError(t, err)
				t.Cleanup(p.Close)
				routes = append(routes, p)
				at = p.Addr()
			}
			to = append(to, "nats://"+at)
		}
		servers = append(servers, natstest.Start(t, func(o *server.Options) {
			o.ServerName = fmt.Sprint("server-", i)
			// Servers tell each other of their peers. What they are told of these leads nowhere, or
			// they would go past the proxies.
			o.Cluster = server.ClusterOpts{Name: "test", Host: "127.0.0.1", Port: -1, Advertise: "127.0.0.1:1", PoolSize: -1}
			for _, url := range to {
				o.Routes = append(o.Routes, server.RoutesFromStr(url)...)
			}
		}))
	}
	return servers, routes
}

func TestPartition(t *testing.T) {
	noLeaks(t)
	servers, routes := partable(t)
	joined := func() bool { return servers[0].NumRoutes() == 2 && servers[2].NumRoutes() == 2 }
	require.Eventually(t, joined, limit, time.Millisecond)
	here, there := newBus(t, dial(t, servers[0].ClientURL()), brisk), newBus(t, dial(t, servers[2].ClientURL()), brisk)
	callersHere, callersThere := newBus(t, dial(t, servers[1].ClientURL()), brisk), newBus(t, dial(t, servers[2].ClientURL()), brisk)
	version := func(b *natsbus.Bus) string {
		v, err := b.Version("a")
		if err != nil {
			return err.Error()
		}
		return v
	}
	first, second := make(chan error, 2), make(chan error, 2)
	here.Subscribe("a", &platform.MockPlatform{VersionAnswer: "first"}, first)
	require.Eventually(t, func() bool { return version(callersThere) == "first" }, limit, time.Millisecond, "through the cluster")

	for _, p := range routes {
		p.Refuse(true)
		p.Cut()
	}
	require.Eventually(t, func() bool { return servers[2].NumRoutes() == 0 }, limit, time.Millisecond)
	require.Eventually(t, func() bool { return version(callersThere) != "first" }, limit, time.Millisecond)
	there.Subscribe("a", &platform.MockPlatform{VersionAnswer: "second"}, second)
	for range 20 { // both hold it, each on its side
		require.Equal(t, "first", version(callersHere))
		require.Equal(t, "second", version(callersThere))
	}
	require.Empty(t, first)
	require.Empty(t, second)

	healed := time.Now()
	for _, p := range routes {
		p.Refuse(false)
	}
	require.ErrorIs(t, within(t, first, "the kick"), platform.ErrKicked)
	t.Logf("the earlier was told %v after the partition ended", time.Since(healed))
	require.Eventually(t, joined, limit, time.Millisecond)
	require.Eventually(t, func() bool { return version(callersHere) == "second" }, limit, time.Millisecond)
	for range 20 {
		require.Equal(t, "second", version(callersHere))
		require.Equal(t, "second", version(callersThere))
	}
	assert.Empty(t, first, "it was told once")
	assert.Empty(t, second, "one is left")
}
