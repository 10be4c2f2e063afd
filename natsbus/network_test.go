package natsbus_test

import (
	"bytes"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	stdprometheus "github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/platformbus/platform"
	"github.com/platformbus/platform/internal/faultproxy"
	"github.com/platformbus/platform/internal/natstest"
	"github.com/platformbus/platform/natsbus"
)

// startProxy starts a proxy in front of a server, and returns it and its URL.
func startProxy(t *testing.T, s *server.Server) (*faultproxy.Proxy, string) {
	t.Helper()
	p, err := faultproxy.Start(s.Addr().String())
	require.NoError(t, err)
	t.Cleanup(p.Close)
	return p, "nats://" + p.Addr()
}

// What a bad network does to calls. What comes through when is reported.
func TestNetwork(t *testing.T) {
	noLeaks(t)
	t.Run("at once", func(t *testing.T) {
		t.Run("TCP cut every 700 ms", cutEvery700ms)
		t.Run("2 percent of frames lost", framesLost)
		t.Run("2 MiB per second", slowLink)
		t.Run("server restarted", serverRestarted)
	})
}

// A traffic makes calls of every kind until it is stopped.
type traffic struct {
	ledger   *ledger
	exported []byte // what an Export returns
	stop     chan struct{}
	all      sync.WaitGroup
	answered [5]atomic.Int64 // by kind
	failed   [5]atomic.Int64
}

var kinds = [5]string{"Ping", "small Apply", "small Sync", "large Sync", "large Export"}

func startTraffic(t *testing.T, h platform.Platform, l *ledger, exported []byte) *traffic {
	tr := &traffic{ledger: l, exported: exported, stop: make(chan struct{})}
	large := noise(1 << 20)
	for i, call := range []func() error{
		h.Ping,
		func() error { return l.apply(h, nil) },
		func() error { return l.sync(h, nil) },
		func() error { return l.sync(h, large) },
		func() error {
			got, err := h.Export()
			assert.True(t, err != nil || bytes.Equal(exported, got), "what arrives is what was sent")
			return err
		},
	} {
		tr.all.Go(func() {
			for {
				select {
				case <-tr.stop:
					return
				default:
				}
				if err := call(); err == nil {
					tr.answered[i].Add(1)
				} else {
					if tr.failed[i].Add(1) == 1 {
						t.Logf("%s: the first error: %v", kinds[i], err)
					}
					assert.ErrorIs(t, err, platform.ErrPlatformNotAvailable, kinds[i])
				}
				select { // so that small calls do not only make the logs long
				case <-tr.stop:
				case <-time.After(5 * time.Millisecond):
				}
			}
		})
	}
	return tr
}

// forget has only those calls count that are answered from now on.
func (tr *traffic) forget() {
	for i := range tr.answered {
		tr.answered[i].Store(0)
	}
}

// end waits until calls of each kind were answered, stops, and reports.
func (tr *traffic) end(t *testing.T, calls int64) {
	t.Helper()
	began := time.Now()
	assert.Eventually(t, func() bool {
		for i := range tr.answered {
			if tr.answered[i].Load() < calls {
				return false
			}
		}
		return true
	}, 2*limit, 10*time.Millisecond, "calls of each kind come through")
	took := time.Since(began)
	close(tr.stop)
	tr.all.Wait()
	for i, kind := range kinds {
		t.Logf("%s: %d answered, %d failed in %v", kind, tr.answered[i].Load(), tr.failed[i].Load(), took)
	}
	tr.ledger.check(t)
}

func cutEvery700ms(t *testing.T) {
	t.Parallel()
	s := natstest.Start(t, nil)
	proxy, url := startProxy(t, s)
	registry := stdprometheus.NewRegistry()
	metrics, err := natsbus.NewMetrics(registry)
	require.NoError(t, err)
	b := ends(t, url, url, natsbus.Options{Metrics: metrics})
	l, done, exported := newLedger(), make(chan error, 1), noise(2<<20)
	p := l.platform()
	p.ExportAnswer = exported
	b.Subscribe("a", p, done)
	tr := startTraffic(t, connect(t, b), l, exported)
	stop := proxy.CutEvery(700 * time.Millisecond) // the daemon's and the caller's
	assert.Eventually(t, func() bool { return gathered(t, registry, "flux_natsbus_reconnects_total", nil) >= 2 }, limit, time.Millisecond)
	tr.forget()
	tr.end(t, 2)
	stop()
	require.EventuallyWithT(t, func(c *assert.CollectT) { assert.NoError(c, b.Ping("a")) }, limit, 10*time.Millisecond)
	require.Empty(t, done, "the subscription stays")
}

func framesLost(t *testing.T) {
	t.Parallel()
	s := natstest.Start(t, nil)
	toDaemon, daemonURL := startProxy(t, s)
	toCaller, callerURL := startProxy(t, s)
	toDaemon.Drop(0.02, 1)
	toCaller.Drop(0.02, 2)
	registry := stdprometheus.NewRegistry()
	metrics, err := natsbus.NewMetrics(registry)
	require.NoError(t, err)
	b := ends(t, daemonURL, callerURL, natsbus.Options{Silence: limit, Metrics: metrics})
	l, exported := newLedger(), noise(2<<20)
	p := l.platform()
	p.ExportAnswer = exported
	b.Subscribe("a", p, nil)
	tr := startTraffic(t, connect(t, b), l, exported)
	tr.end(t, 5)
	for i, kind := range kinds {
		assert.Zero(t, tr.failed[i].Load(), "what is lost is sent again: %s", kind)
	}
	for _, proxy := range []*faultproxy.Proxy{toDaemon, toCaller} {
		passed, dropped := proxy.Dropped()
		t.Logf("%d messages passed, %d were lost", passed, dropped)
		assert.Positive(t, dropped)
	}
	assert.Positive(t, gathered(t, registry, "flux_natsbus_chunks_resent_total", nil))
}

func slowLink(t *testing.T) {
	t.Parallel()
	s := natstest.Start(t, nil)
	toDaemon, daemonURL := startProxy(t, s)
	b := ends(t, daemonURL, s.ClientURL(), brisk)
	l, exported := newLedger(), noise(4<<20)
	p := l.platform()
	p.ExportAnswer = exported
	b.Subscribe("a", p, nil)
	toDaemon.Limit(2 << 20)
	h := connect(t, b)
	began := time.Now()
	large := inBackground(func() error {
		got, err := h.Export()
		if err == nil {
			assert.True(t, bytes.Equal(exported, got))
			err = l.sync(h, exported)
		}
		return err
	})
	pings, slowest := 0, time.Duration(0)
	for waiting := true; waiting; {
		select {
		case err := <-large:
			require.NoError(t, err)
			waiting = false
		default:
			asked := time.Now()
			require.NoError(t, h.Ping(), "small calls get in between")
			slowest = max(slowest, time.Since(asked))
			pings++
		}
	}
	t.Logf("4 MiB each way took %v at 2 MiB/s; %d Pings meanwhile, the slowest took %v", time.Since(began), pings, slowest)
	assert.Greater(t, pings, 3)
	l.check(t)
}

func serverRestarted(t *testing.T) {
	t.Parallel()
	s := natstest.Start(t, nil)
	port, url := s.Addr().(*net.TCPAddr).Port, s.ClientURL()
	b := ends(t, url, url, natsbus.Options{})
	l, done, exported := newLedger(), make(chan error, 1), noise(2<<20)
	p := l.platform()
	p.ExportAnswer = exported
	b.Subscribe("a", p, done)
	h := connect(t, b)
	tr := startTraffic(t, h, l, exported)
	require.Eventually(t, func() bool { return tr.answered[4].Load() > 0 }, limit, time.Millisecond)
	s.Shutdown()
	s.WaitForShutdown()
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		assert.ErrorContains(c, h.Ping(), "to "+url, "the error names the server")
	}, limit, time.Millisecond)
	natstest.Start(t, func(o *server.Options) { o.Port = port })
	back := time.Now()
	require.EventuallyWithT(t, func(c *assert.CollectT) { assert.NoError(c, h.Ping()) }, limit, time.Millisecond)
	t.Logf("the first call succeeded %v after the server was back", time.Since(back))
	tr.forget()
	tr.end(t, 2)
	require.Empty(t, done)
}

// Nothing passes, and no connection breaks: both ends notice, and go on when it passes.
func TestLinkStandsStill(t *testing.T) {
	noLeaks(t)
	s := natstest.Start(t, nil)
	toDaemon, daemonURL := startProxy(t, s)
	b := ends(t, daemonURL, s.ClientURL(), quick)
	p, done := newSlow(), make(chan error, 1)
	b.Subscribe("a", p, done)
	h := connect(t, b)
	returned := p.busy(t, h)
	toDaemon.Stall()
	err := within(t, returned, "the error")
	require.ErrorContains(t, err, "Sync was begun, and its outcome is unknown: its daemon is not answering: nothing was heard of it for 500ms")
	require.Error(t, within(t, p.ended, "the end of the call's context"))
	err = h.Sync(platform.SyncDef{})
	require.ErrorIs(t, err, platform.ErrPlatformNotAvailable)
	require.NotContains(t, err.Error(), "unknown")
	toDaemon.Resume()
	require.NoError(t, newBus(t, dial(t, s.ClientURL()), brisk).Ping("a"))
	require.Empty(t, p.entered, "what was meant for it earlier is not begun")
	require.Empty(t, done)
}
