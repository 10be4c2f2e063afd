package natsbus_test

import (
	"context"
	"log/slog"
	"math"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	stdprometheus "github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/platformbus/platform"
	"github.com/platformbus/platform/internal/natstest"
	"github.com/platformbus/platform/natsbus"
)

// A slow reader's Ping waits as a slow platform's Sync does.
type slowReader struct{ *slow }

func (s slowReader) WithContext(ctx context.Context) platform.Platform {
	return slowReader{s.slow.WithContext(ctx).(*slow)}
}

func (s slowReader) Ping() error { return s.Sync(platform.SyncDef{}) }

// Beyond a limit there is a clear error at once, and up to it calls go on.
func TestLimits(t *testing.T) {
	noLeaks(t)
	s := natstest.Start(t, nil)
	write := func(h platform.Platform) error { return h.Sync(platform.SyncDef{}) }
	large := noise(1 << 20)
	for name, tt := range map[string]struct {
		daemons, callers natsbus.Options
		busy             int // how many calls fit
		call             func(platform.Platform) error
		over             func(platform.Platform) error // the call that does not fit; call if nil
		want             string
		refused          string // the method that the daemons' metrics count as refused; none if empty
	}{
		"calls made": {
			callers: natsbus.Options{MaxCalls: 2}, busy: 2, call: write,
			want: `instance "a": Sync: 2 calls are under way, which is the limit`,
		},
		"calls served": {
			daemons: natsbus.Options{MaxCalls: 2}, busy: 2, call: write,
			want:    `instance "a": Sync: 2 calls are under way, which is the limit of its daemon for all instances`,
			refused: "Sync",
		},
		"writes served": {
			daemons: natsbus.Options{MaxCallsPerInstance: 2}, busy: 2, call: write,
			want:    `instance "a": Sync: 2 such calls are under way, which is the limit of its daemon`,
			refused: "Sync",
		},
		"reads served": {
			daemons: natsbus.Options{MaxCallsPerInstance: 2}, busy: 2, call: platform.Platform.Ping,
			want:    `instance "a": Ping: 2 such calls are under way, which is the limit of its daemon`,
			refused: "Ping",
		},
		"bytes sent": {
			callers: natsbus.Options{MaxBytes: 1<<20 - 1}, busy: 1, call: write,
			over: func(h platform.Platform) error {
				return h.Sync(platform.SyncDef{Actions: []platform.SyncAction{{Apply: large}}})
			},
			want: `over what is left of the limit of 1048575 for all calls together`,
		},
		"bytes served": {
			daemons: natsbus.Options{MaxBytes: 1<<20 - 1}, busy: 1, call: write,
			over: func(h platform.Platform) error {
				return h.Sync(platform.SyncDef{Actions: []platform.SyncAction{{Apply: large}}})
			},
			want: `Sync was not begun, since its request cannot be read: body of`,
		},
		"bytes answered": {
			daemons: natsbus.Options{MaxBytes: 1<<20 - 1}, busy: 1, call: write,
			over: func(h platform.Platform) error { _, err := h.Export(); return err },
			want: `Export: the result was lost: body of`,
		},
		"bytes received": {
			callers: natsbus.Options{MaxBytes: 1<<20 - 1}, busy: 1, call: write,
			over: func(h platform.Platform) error { _, err := h.Export(); return err },
			want: `Export: the answer cannot be read: body of`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			tt.daemons.Beat, tt.callers.Beat = time.Hour, time.Hour // nothing is sent again
			registry := stdprometheus.NewRegistry()
			var err error
			tt.daemons.Metrics, err = natsbus.NewMetrics(registry)
			require.NoError(t, err)
			daemons, callers := newBus(t, dial(t, s.ClientURL()), tt.daemons), newBus(t, dial(t, s.ClientURL()), tt.callers)
			p := slowReader{newSlow()}
			p.ExportAnswer = large
			daemons.Subscribe("a", p, nil)
			h := connect(t, callers)
			var returned []<-chan error
			for range tt.busy {
				returned = append(returned, inBackground(func() error { return tt.call(h) }))
				within(t, p.entered, "the call")
			}
			if tt.over == nil {
				tt.over = tt.call
			}
			err = within(t, inBackground(func() error { return tt.over(h) }), "the error")
			require.ErrorContains(t, err, tt.want)
			refused := func(labels map[string]string) float64 {
				labels["side"], labels["outcome"] = "served", "refused"
				return gathered(t, registry, "flux_natsbus_calls_total", labels)
			}
			if tt.refused == "" {
				assert.Zero(t, refused(map[string]string{}))
			} else {
				assert.InDelta(t, 1, refused(map[string]string{"method": tt.refused}), 0)
				assert.InDelta(t, 1, refused(map[string]string{}), 0)
			}
			close(p.release)
			for _, r := range returned {
				require.NoError(t, within(t, r, "the result"))
			}
			require.EventuallyWithT(t, func(c *assert.CollectT) { assert.NoError(c, tt.call(h)) }, limit, time.Millisecond, "there is room again")
		})
	}
}

// A limit may be as large as can be.
func TestHugeLimits(t *testing.T) {
	noLeaks(t)
	s := natstest.Start(t, nil)
	b := ends(t, s.ClientURL(), s.ClientURL(), natsbus.Options{
		Silence: math.MaxInt64, MaxBody: math.MaxInt64, MaxBytes: math.MaxInt64, MaxCalls: math.MaxInt, MaxCallsPerInstance: math.MaxInt, Window: math.MaxInt64,
	})
	p, large := newSlow(), noise(1<<20)
	p.ExportAnswer = large
	b.Subscribe("a", p, nil)
	h := connect(t, b)
	var returned []<-chan error
	for range 2 {
		returned = append(returned, inBackground(func() error {
			return h.Sync(platform.SyncDef{Actions: []platform.SyncAction{{Apply: large}}})
		}))
		within(t, p.entered, "the call")
	}
	got, err := h.Export()
	require.NoError(t, err)
	assert.Equal(t, large, got)
	close(p.release)
	for _, r := range returned {
		require.NoError(t, within(t, r, "the result"))
	}
}

// Each metric changes with what it is of. TestNetwork has the chunks sent again.
func TestMetricsOfCalls(t *testing.T) {
	noLeaks(t)
	s := natstest.Start(t, nil)
	registry := stdprometheus.NewRegistry()
	metrics, err := natsbus.NewMetrics(registry)
	require.NoError(t, err)
	proxy, url := startProxy(t, s)
	b := ends(t, url, s.ClientURL(), natsbus.Options{Metrics: metrics})
	value := func(name string, labels ...string) float64 {
		pairs := map[string]string{}
		for i := 0; i < len(labels); i += 2 {
			pairs[labels[i]] = labels[i+1]
		}
		return gathered(t, registry, name, pairs)
	}
	p := newSlow()
	p.ExportAnswer = noise(1 << 20)
	b.Subscribe("a", p, nil)
	assert.InDelta(t, 1, value("flux_natsbus_subscriptions"), 0)
	h := connect(t, b)
	returned := inBackground(func() error { return h.Sync(platform.SyncDef{}) })
	within(t, p.entered, "the call")
	assert.InDelta(t, 1, value("flux_natsbus_calls_in_flight", "side", "made"), 0)
	assert.InDelta(t, 1, value("flux_natsbus_calls_in_flight", "side", "served"), 0)
	close(p.release)
	require.NoError(t, within(t, returned, "the result"))
	require.Eventually(t, func() bool { return value("flux_natsbus_calls_in_flight") == 0 }, limit, time.Millisecond)
	for _, side := range []string{"made", "served"} {
		assert.InDelta(t, 1, value("flux_natsbus_calls_total", "side", side, "method", "Sync", "outcome", "ok"), 0)
	}
	before := value("flux_natsbus_body_bytes_total", "direction", "received")
	_, err = h.Export()
	require.NoError(t, err)
	assert.GreaterOrEqual(t, value("flux_natsbus_body_bytes_total", "direction", "received")-before, float64(1<<20))
	assert.GreaterOrEqual(t, value("flux_natsbus_body_bytes_total", "direction", "sent"), float64(1<<20))

	p.PingError = assert.AnError
	require.Error(t, h.Ping())
	for _, side := range []string{"made", "served"} {
		assert.InDelta(t, 1, value("flux_natsbus_calls_total", "side", side, "method", "Ping", "outcome", "error"), 0)
	}
	require.Zero(t, value("flux_natsbus_reconnects_total"))
	proxy.Cut()
	require.Eventually(t, func() bool { return value("flux_natsbus_reconnects_total") == 1 }, limit, time.Millisecond)
	other := newBus(t, dial(t, s.ClientURL()), natsbus.Options{Metrics: metrics})
	other.Subscribe("a", p, nil)
	require.Eventually(t, func() bool { return value("flux_bus_kick_total") == 1 && value("flux_natsbus_subscriptions") == 1 }, limit, time.Millisecond)
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	require.NoError(t, other.Close(ctx))
	assert.Zero(t, value("flux_natsbus_subscriptions"))
}

// A blocker is a log handler at which whoever logs something stands still.
type blocker struct {
	slog.Handler
	blocked chan struct{} // gets one for each who does
	free    chan struct{}
}

func (b blocker) Handle(context.Context, slog.Record) error {
	b.blocked <- struct{}{}
	<-b.free
	return nil
}

// A bus that does not keep up with what comes has its connection report that it is a slow
// consumer, which callers are told.
func TestSlowConsumerIsNamed(t *testing.T) {
	noLeaks(t)
	s := natstest.Start(t, nil)
	stuck := blocker{slog.NewTextHandler(nil, &slog.HandlerOptions{Level: slog.LevelDebug}), make(chan struct{}, 100_000), make(chan struct{})}
	reported := make(chan error, 1000)
	conn := dial(t, s.ClientURL(), nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { reported <- err }))
	callers := newBus(t, conn, natsbus.Options{Beat: quick.Beat, Silence: 2 * time.Second, Logger: slog.New(stuck)})
	newBus(t, dial(t, s.ClientURL()), brisk).Subscribe("a", &platform.MockPlatform{}, nil)
	calls := listen(t, conn, "flux.v1.a.rpc.Ping")
	h := connect(t, callers)
	require.NoError(t, h.Ping())
	open, err := calls.NextMsg(limit)
	require.NoError(t, err)
	flooding := dial(t, s.ClientURL())
	subject := "flux.v1.a.re.service." + headOf(t, open.Data)[4].(string) + ".CALL"
	for range 20_000 { // more than wait for a bus
		require.NoError(t, flooding.Publish(subject, []byte("no frame")))
	}
	require.NoError(t, flooding.Flush())
	within(t, stuck.blocked, "the bus standing still")
	within(t, stuck.blocked, "the report")
	err = h.Sync(platform.SyncDef{})
	close(stuck.free)
	require.ErrorIs(t, err, platform.ErrPlatformNotAvailable)
	require.ErrorContains(t, err, "its daemon is not answering: nothing was heard of it for 2s")
	require.ErrorIs(t, err, nats.ErrSlowConsumer)
	require.ErrorIs(t, within(t, reported, "the report"), nats.ErrSlowConsumer, "the handler that was there before is told too")
	require.EventuallyWithT(t, func(c *assert.CollectT) { assert.NoError(c, callers.Ping("a")) }, limit, time.Millisecond)
}

// Close leaves nothing on the connection, also if it cuts off calls that then go on.
func TestCloseLeavesNoSubscription(t *testing.T) {
	noLeaks(t)
	s := natstest.Start(t, nil)
	conn := dial(t, s.ClientURL())
	b := newBus(t, conn, brisk)
	p := newStubborn()
	b.Subscribe("a", p, nil)
	returned := inBackground(func() error { return connect(t, b).Sync(platform.SyncDef{}) })
	within(t, p.entered, "the call")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, b.Close(ctx), context.Canceled)
	require.ErrorIs(t, within(t, returned, "the error"), natsbus.ErrClosed)
	require.Zero(t, conn.NumSubscriptions())
	close(p.release)
	require.NoError(t, within(t, p.ended, "the call"))
	require.NoError(t, conn.Flush())
	require.Zero(t, conn.NumSubscriptions())
}

// A stubborn platform's Sync does not heed its context.
type stubborn struct{ *slow }

func newStubborn() stubborn { return stubborn{newSlow()} }

func (s stubborn) WithContext(context.Context) platform.Platform { return s }

func (s stubborn) Sync(platform.SyncDef) error {
	s.entered <- struct{}{}
	<-s.release
	s.ended <- nil
	return nil
}
