package natsbus_test

import (
	"context"
	"crypto/sha256"
	"fmt"
	"math"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/platformbus/platform"
	"github.com/platformbus/platform/internal/natstest"
	"github.com/platformbus/platform/natsbus"
)

// opened has a service's call of a's Version come to a hostile daemon of a, which gets to know
// the name of the service's bus by that. It does not answer.
func opened(t *testing.T, callers *natsbus.Bus, hostile *nats.Conn) (bus string, returned <-chan error) {
	t.Helper()
	calls := listen(t, hostile, "flux.v1.a.rpc.*")
	returned = inBackground(func() error { return callers.Ping("a") })
	m, err := calls.NextMsg(limit)
	require.NoError(t, err)
	require.NoError(t, calls.Unsubscribe())
	return headOf(t, m.Data)[4].(string), returned
}

// The server closes the connection for good of who publishes on a subject that is too long:
// a tenant must not make the service do that.
func TestOversizedNamesDoNotDisconnectService(t *testing.T) {
	noLeaks(t)
	s := natstest.Start(t, withTenants)
	service := dial(t, s.ClientURL(), as("service"))
	callers := newBus(t, service, natsbus.Options{})
	honest := newBus(t, dial(t, s.ClientURL(), as("b")), natsbus.Options{})
	honest.Subscribe("b", &platform.MockPlatform{}, nil)
	hostile := dial(t, s.ClientURL(), as("a"))
	bus, returned := opened(t, callers, hostile)
	for _, size := range []int{1, 65, 1000, 3990, 4010, 4030} {
		m := nats.NewMsg("flux.v1.a.re.service." + bus + "." + strings.Repeat("x", size))
		m.Data = headed(t, map[int]any{1: "accept", 2: 1, 5: strings.Repeat("S", 64), 6: ticket})
		require.NoError(t, hostile.PublishMsg(m))
	}
	require.NoError(t, hostile.Flush())
	require.NoError(t, callers.Ping("b"))
	require.ErrorIs(t, within(t, returned, "the error"), platform.ErrPlatformNotAvailable)
	assert.Zero(t, service.Reconnects)
	assert.NoError(t, service.LastError())
}

// Whatever epoch somebody has claimed an instance with, a later daemon gets it, and so does the
// one after that.
func TestGiganticEpochs(t *testing.T) {
	noLeaks(t)
	s := natstest.Start(t, withTenants)
	callers := newBus(t, dial(t, s.ClientURL(), as("service")), natsbus.Options{})
	first, second := newBus(t, dial(t, s.ClientURL(), as("a")), brisk), newBus(t, dial(t, s.ClientURL(), as("a")), brisk)
	hostile := dial(t, s.ClientURL(), as("a"))
	now := uint64(time.Now().UnixMilli())
	for _, epoch := range []uint64{1 << 62, 1<<63 - 1, now + math.MaxInt64 - 1000, 0, math.MaxUint64} {
		// It answers each claim that it holds the instance by that epoch.
		held, err := hostile.Subscribe("flux.v1.a.rpc.claim.all", func(m *nats.Msg) {
			if head := headOf(t, m.Data); head[1] == "claim" {
				answer := headed(t, map[int]any{1: "held", 2: 1, 5: "HOSTILE", 14: epoch})
				_ = hostile.Publish(fmt.Sprintf("flux.v1.a.rpc.claim.%v", head[5]), answer)
			}
		})
		require.NoError(t, err)
		require.NoError(t, hostile.Flush())
		one, two := make(chan error, 1), make(chan error, 1)
		first.Subscribe("a", &platform.MockPlatform{VersionAnswer: "one"}, one)
		require.NoError(t, held.Unsubscribe())
		require.NoError(t, hostile.Flush())
		second.Subscribe("a", &platform.MockPlatform{VersionAnswer: "two"}, two)
		require.ErrorIs(t, within(t, one, "the kick"), platform.ErrKicked, "epoch %d", epoch)
		version, err := callers.Version("a")
		require.NoError(t, err)
		require.Equal(t, "two", version)
		require.Empty(t, two)
		first.Subscribe("a", &platform.MockPlatform{}, nil) // for the next round
		require.ErrorIs(t, within(t, two, "the kick"), platform.ErrKicked)
	}
}

// A daemon that says only by a beat that it takes part, since its accept was lost, is sent the
// request.
func TestLostAccept(t *testing.T) {
	noLeaks(t)
	s := natstest.Start(t, nil)
	callers := newBus(t, dial(t, s.ClientURL()), brisk)
	daemon := dial(t, s.ClientURL())
	calls := listen(t, daemon, "flux.v1.a.rpc.*")
	in := listen(t, daemon, "flux.v1.a.in.SESSION.*")
	returned := inBackground(func() error { return connect(t, callers).Sync(platform.SyncDef{}) })
	m, err := calls.NextMsg(limit)
	require.NoError(t, err)
	head := headOf(t, m.Data)
	reply := fmt.Sprintf("flux.v1.a.re.service.%v.%v", head[4], head[3])
	require.NoError(t, daemon.Publish(reply, headed(t, map[int]any{1: "beat", 2: 1, 3: head[3], 5: "SESSION", 6: ticket})))
	for {
		m, err := in.NextMsg(limit)
		require.NoError(t, err)
		if headOf(t, m.Data)[1] == "data" {
			break
		}
	}
	require.NoError(t, daemon.Publish(reply, append(headed(t, map[int]any{1: "data", 2: 1, 3: head[3], 5: "SESSION", 6: ticket, 8: true}), 0xa0)))
	require.NoError(t, within(t, returned, "the result"))
}

// A daemon that says only after a long time that it has not begun a call, since it stood
// still, is asked again.
func TestLateGone(t *testing.T) {
	noLeaks(t)
	s := natstest.Start(t, nil)
	const tried = 2 * time.Second // is how long a call is tried for
	callers := newBus(t, dial(t, s.ClientURL()), natsbus.Options{Beat: quick.Beat, Silence: tried})
	daemon := dial(t, s.ClientURL())
	frames := listen(t, daemon, "flux.v1.a.*.>")
	returned := inBackground(func() error { return connect(t, callers).Sync(platform.SyncDef{}) })
	say := func(head, fields map[int]any, body ...byte) {
		fields[2], fields[3], fields[5], fields[6] = 1, head[3], "SESSION", ticket
		require.NoError(t, daemon.Publish(fmt.Sprintf("flux.v1.a.re.service.%v.%v", head[4], head[3]), append(headed(t, fields), body...)))
	}
	var open map[int]any // what opened the call last
	for calls, beats := map[any]bool{}, 0; ; {
		m, err := frames.NextMsg(limit)
		require.NoError(t, err)
		head := headOf(t, m.Data)
		switch {
		case !strings.Contains(m.Subject, ".rpc.") && !strings.Contains(m.Subject, ".in."):
		case head[1] == "open":
			open = head
			calls[head[3]] = true
			say(open, map[int]any{1: "accept"})
		case head[1] == "data" && len(calls) == 2:
			say(open, map[int]any{1: "data", 8: true}, 0xa0)
			require.NoError(t, within(t, returned, "the result"))
			return
		case head[1] == "beat" && len(calls) == 1:
			if beats++; beats < int(tried/quick.Beat)+5 {
				say(open, map[int]any{1: "beat"})
			} else {
				say(open, map[int]any{1: "gone"})
			}
		}
	}
}

// What daemons and services say of bodies may be wrong, or a lie.
func TestBodiesThatLie(t *testing.T) {
	noLeaks(t)
	s := natstest.Start(t, nil)
	callers := newBus(t, dial(t, s.ClientURL()), brisk)
	conn := dial(t, s.ClientURL())
	calls := listen(t, conn, "flux.v1.a.rpc.Export")
	digest := make([]byte, 32)
	half := noise(5000)
	for want, chunks := range map[string][]map[int]any{
		"body does not match its digest":                             {{1: "data", 9: 10000, 10: 10000}, {1: "data", 7: 5000, 8: true, 12: digest}},
		"body does not have the 7500 bytes that it was said to have": {{1: "data", 9: 7500, 10: 7500}, {1: "data", 7: 5000, 8: true, 12: digest}},
		"body does not have the 15000 bytes":                         {{1: "data", 9: 15000, 10: 15000}, {1: "data", 7: 5000, 8: true, 12: digest}},
		"body of 1099511627776 bytes is over the limit":              {{1: "data", 9: 1 << 40}},
		"body cannot be decompressed":                                {{1: "data", 8: true, 10: 20000, 11: true}},
		"body cannot be decoded":                                     {{1: "data", 8: true}},
	} {
		returned := inBackground(func() error {
			_, err := connect(t, callers).Export()
			return err
		})
		m, err := calls.NextMsg(limit)
		require.NoError(t, err)
		head := headOf(t, m.Data)
		for _, chunk := range chunks {
			chunk[2], chunk[3], chunk[5], chunk[6] = 1, head[3], "SESSION", ticket
			body := half
			if want == "body cannot be decoded" {
				body = []byte{0x81, 0x01} // an array, where a map must be
			}
			require.NoError(t, conn.Publish(fmt.Sprintf("flux.v1.a.re.service.%v.%v", head[4], head[3]), append(headed(t, chunk), body...)))
		}
		err = within(t, returned, "the error")
		require.ErrorIs(t, err, platform.ErrPlatformNotAvailable)
		require.ErrorContains(t, err, "Export: the answer cannot be read: "+want)
	}

	// And what a service says: nothing is begun.
	daemons, l := newBus(t, conn, brisk), newLedger()
	require.NoError(t, calls.Unsubscribe())
	daemons.Subscribe("a", l.platform(), nil)
	replies := listen(t, conn, "flux.v1.a.re.service.BUS.*")
	require.NoError(t, conn.Publish("flux.v1.a.rpc.Sync", headed(t, map[int]any{1: "open", 2: 1, 3: "CALL", 4: "BUS", 16: "service"})))
	m, err := replies.NextMsg(limit)
	require.NoError(t, err)
	accept := headOf(t, m.Data)
	require.Equal(t, "accept", accept[1])
	proof := sha256.Sum256(accept[6].([]byte))
	data := headed(t, map[int]any{1: "data", 2: 1, 6: proof[:16], 8: true, 10: 1 << 20, 11: true})
	require.NoError(t, conn.Publish(fmt.Sprintf("flux.v1.a.in.%v.CALL", accept[5]), append(data, half...)))
	for {
		m, err := replies.NextMsg(limit)
		require.NoError(t, err)
		if headOf(t, m.Data)[1] == "data" {
			assert.Contains(t, string(m.Data), "Sync was not begun, since its request cannot be read: body cannot be decompressed")
			break
		}
	}
	require.NoError(t, conn.Publish(fmt.Sprintf("flux.v1.a.in.%v.CALL", accept[5]), headed(t, map[int]any{1: "end", 2: 1, 6: proof[:16]})))
	assert.Empty(t, l.ran)
}

// A chunk does not keep the NATS headers that came with it, which nobody counts.
func TestHeadersAreNotKept(t *testing.T) {
	noLeaks(t)
	s := natstest.Start(t, nil)
	callers := newBus(t, dial(t, s.ClientURL()), brisk)
	hostile := dial(t, s.ClientURL())
	calls, said := listen(t, hostile, "flux.v1.a.rpc.Export"), listen(t, hostile, "flux.v1.a.in.SESSION.*")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	returned := inBackground(func() error {
		_, err := platform.WithContext(ctx, connect(t, callers)).Export()
		return err
	})
	open, err := calls.NextMsg(limit)
	require.NoError(t, err)
	head := headOf(t, open.Data)
	const n, size = 100, 4 << 10
	before := heapInUse()
	for i := range n {
		m := nats.NewMsg(fmt.Sprintf("flux.v1.a.re.service.%v.%v", head[4], head[3]))
		m.Header.Set("Long", strings.Repeat("x", 400<<10))
		m.Data = append(headed(t, map[int]any{1: "data", 2: 1, 3: head[3], 5: "SESSION", 6: ticket, 7: i * size, 9: (n + 1) * size}), make([]byte, size)...)
		require.NoError(t, hostile.PublishMsg(m))
	}
	for fmt.Sprint(head[7]) != fmt.Sprint(n*size) { // what the caller has taken
		m, err := said.NextMsg(limit)
		require.NoError(t, err)
		head = headOf(t, m.Data)
	}
	grown := heapInUse() - before
	t.Logf("%d chunks of %d KiB: the heap is %d KiB larger", n, size>>10, grown>>10)
	assert.Less(t, grown, int64(16<<20))
	cancel()
	require.ErrorIs(t, within(t, returned, "the end"), context.Canceled)
}

// flood sends n frames, which another connection is to make of their number, and returns how
// much larger the heap is then.
func flood(t *testing.T, conn *nats.Conn, n int, frame func(i int) (subject string, head map[int]any)) (grown int64) {
	t.Helper()
	before := heapInUse()
	for i := range n {
		subject, head := frame(i)
		require.NoError(t, conn.Publish(subject, headed(t, head)))
	}
	require.NoError(t, conn.FlushTimeout(6*limit)) // with the race detector on a busy machine it takes that long
	return heapInUse() - before
}

// heapInUse returns how many bytes of the heap are in use.
func heapInUse() int64 {
	runtime.GC()
	runtime.GC() // what a sync.Pool holds outlives the first
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// keepPinging pings the instance "b" until end is called, which fails the test if one was not
// answered.
func keepPinging(callers *natsbus.Bus) (end func(t *testing.T)) {
	stop, ended := make(chan struct{}), make(chan error, 1)
	pings, slowest := 0, time.Duration(0)
	go func() {
		for {
			asked := time.Now()
			if err := callers.Ping("b"); err != nil {
				ended <- err
				return
			}
			slowest = max(slowest, time.Since(asked))
			pings++
			select {
			case <-stop:
				ended <- nil
				return
			default:
			}
		}
	}()
	return func(t *testing.T) {
		t.Helper()
		close(stop)
		require.NoError(t, within(t, ended, "the last Ping"), "others are answered")
		t.Logf("%d Pings of another instance meanwhile, the slowest took %v", pings, slowest)
	}
}

// Very many calls are opened with one daemon, none of them ever goes on. It takes a bounded
// number, and answers others on the same bus.
func TestManyOpenCalls(t *testing.T) {
	noLeaks(t)
	s := natstest.Start(t, nil)
	b := ends(t, s.ClientURL(), s.ClientURL(), natsbus.Options{Silence: limit})
	b.Subscribe("a", &platform.MockPlatform{}, nil)
	b.Subscribe("b", &platform.MockPlatform{}, nil)
	end := keepPinging(b.callers)
	const n = 200_000
	grown := flood(t, dial(t, s.ClientURL()), n, func(i int) (string, map[int]any) {
		return "flux.v1.a.rpc.Sync", map[int]any{1: "open", 2: 1, 3: fmt.Sprint("CALL", i), 4: "BUS", 16: "service"}
	})
	t.Logf("%d calls opened: the heap is %d KiB larger", n, grown>>10)
	end(t)
	assert.Less(t, grown, int64(64<<20))
	require.NoError(t, b.Ping("a"), "reads have room of their own")
}

// A tenant floods the service with answers to calls that there are not, and its peers with
// claims.
func TestFloods(t *testing.T) {
	noLeaks(t)
	s := natstest.Start(t, withTenants)
	callers := newBus(t, dial(t, s.ClientURL(), as("service")), natsbus.Options{Silence: limit})
	daemonA, daemonB := newBus(t, dial(t, s.ClientURL(), as("a")), natsbus.Options{}), newBus(t, dial(t, s.ClientURL(), as("b")), natsbus.Options{})
	hostile := dial(t, s.ClientURL(), as("a"))
	bus, returned := opened(t, callers, hostile)
	require.Error(t, within(t, returned, "the error"))
	done := make(chan error, 1)
	daemonA.Subscribe("a", &platform.MockPlatform{}, done)
	daemonB.Subscribe("b", &platform.MockPlatform{}, nil)
	for name, frame := range map[string]func(i int) (string, map[int]any){
		"answers": func(i int) (string, map[int]any) {
			return fmt.Sprintf("flux.v1.a.re.service.%s.CALL%d", bus, i), map[int]any{1: "accept", 2: 1, 5: "SESSION", 6: ticket}
		},
		"claims": func(i int) (string, map[int]any) { // earlier ones
			return "flux.v1.a.rpc.claim.all", map[int]any{1: "claim", 2: 1, 3: "CLAIM", 5: fmt.Sprint("SESSION", i), 14: i}
		},
	} {
		const n = 100_000
		end := keepPinging(callers)
		grown := flood(t, hostile, n, frame)
		t.Logf("%d %s: the heap is %d KiB larger", n, name, grown>>10)
		assert.Less(t, grown, int64(64<<20))
		end(t)
		require.NoError(t, callers.Ping("a"))
		require.Empty(t, done)
	}
}
