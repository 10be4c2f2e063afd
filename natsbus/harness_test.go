package natsbus_test

import (
	"context"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/platformbus/platform"
	"github.com/platformbus/platform/flux"
	"github.com/platformbus/platform/internal/natstest"
	"github.com/platformbus/platform/natsbus"
)

const limit = natsbus.Limit

func noLeaks(t *testing.T) { natsbus.NoLeaks(t) }

// dial connects to the server. On a busy machine a flood may hold up a ping for longer than
// ConnectOptions wait for its answer.
func dial(t testing.TB, url string, options ...nats.Option) *nats.Conn {
	t.Helper()
	options = append(append(natsbus.ConnectOptions(), nats.PingInterval(time.Hour)), options...)
	conn, err := nats.Connect(url, options...)
	require.NoError(t, err)
	closed := conn.StatusChanged(nats.CLOSED)
	t.Cleanup(func() {
		if !conn.IsClosed() {
			conn.Close()
			<-closed
		}
	})
	return conn
}

// listen subscribes to what a bus sends, or is sent. The server knows of it then.
func listen(t *testing.T, conn *nats.Conn, subject string) *nats.Subscription {
	t.Helper()
	sub, err := conn.SubscribeSync(subject)
	require.NoError(t, err)
	require.NoError(t, conn.Flush())
	return sub
}

// newBus makes a bus, which is closed before its connection.
func newBus(t testing.TB, conn *nats.Conn, options natsbus.Options) *natsbus.Bus {
	t.Helper()
	b, err := natsbus.New(conn, options)
	require.NoError(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), limit)
		defer cancel()
		assert.NoError(t, b.Close(ctx))
	})
	return b
}

// twoEnds has daemons at one end and callers at the other.
type twoEnds struct{ daemons, callers *natsbus.Bus }

var _ platform.MessageBus = twoEnds{}

func (e twoEnds) Connect(inst flux.InstanceID) (platform.Platform, error) {
	return e.callers.Connect(inst)
}
func (e twoEnds) Ping(inst flux.InstanceID) error { return e.callers.Ping(inst) }
func (e twoEnds) Subscribe(inst flux.InstanceID, p platform.Platform, done chan<- error) {
	e.daemons.Subscribe(inst, p, done)
}

// ends makes a bus on each of two connections.
func ends(t testing.TB, daemonURL, callerURL string, options natsbus.Options) twoEnds {
	return twoEnds{
		daemons: newBus(t, dial(t, daemonURL), options),
		callers: newBus(t, dial(t, callerURL), options),
	}
}

// connect returns a handle of the instance "a".
func connect(t testing.TB, b platform.MessageBus) platform.Platform {
	t.Helper()
	p, err := b.Connect("a")
	require.NoError(t, err)
	return p
}

// within waits for a value.
func within[T any](t *testing.T, c <-chan T, what string) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-time.After(limit):
		require.FailNow(t, "not in time: "+what)
	}
	return v
}

// quick notices soon what is lost. On a busy machine it may also take for lost what is there, so
// calls that are to succeed are made by brisk, which beats as often.
var (
	quick = natsbus.Options{Beat: 100 * time.Millisecond}
	brisk = natsbus.Options{Beat: 100 * time.Millisecond, Silence: limit}
)

// startCluster starts three servers that know each other.
func startCluster(t *testing.T) []*server.Server {
	t.Helper()
	var servers []*server.Server
	for i := range 3 {
		servers = append(servers, natstest.Start(t, func(o *server.Options) {
			o.ServerName = string(rune('a' + i))
			o.Cluster = server.ClusterOpts{Name: "test", Host: "127.0.0.1", Port: -1}
			if i > 0 {
				o.Routes = server.RoutesFromStr("nats://" + servers[0].ClusterAddr().String())
			}
		}))
	}
	for _, s := range servers {
		require.Eventually(t, func() bool { return s.NumRoutes() >= 2*4 }, limit, time.Millisecond)
	}
	return servers
}
