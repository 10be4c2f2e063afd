package natsbus_test

import (
	"context"
	"errors"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/platformbus/platform"
	"github.com/platformbus/platform/internal/natstest"
	"github.com/platformbus/platform/natsbus"
)

// A slow platform's Sync waits to be let go, or for its context to end.
type slow struct {
	platform.MockPlatform
	ctx     context.Context
	entered chan struct{}
	release chan struct{}
	ended   chan error // why the context ended
}

func newSlow() *slow {
	return &slow{ctx: context.Background(), entered: make(chan struct{}, 64), release: make(chan struct{}), ended: make(chan error, 64)}
}

func (s *slow) WithContext(ctx context.Context) platform.Platform {
	return &slow{MockPlatform: s.MockPlatform, ctx: ctx, entered: s.entered, release: s.release, ended: s.ended}
}

func (s *slow) Sync(platform.SyncDef) error {
	s.entered <- struct{}{}
	select {
	case <-s.release:
		return nil
	case <-s.ctx.Done():
		s.ended <- context.Cause(s.ctx)
		return context.Cause(s.ctx)
	}
}

// busy makes a Sync that the platform is at work on, and returns what that returns. On a busy
// machine quick may lose one before; then another is made.
func (s *slow) busy(t *testing.T, h platform.Platform) <-chan error {
	t.Helper()
	for {
		returned := inBackground(func() error { return h.Sync(platform.SyncDef{}) })
		select {
		case <-s.entered:
			return returned
		case err := <-returned:
			require.ErrorContains(t, err, "its daemon is not answering")
		}
	}
}

// inBackground makes a call, and returns what it returns.
func inBackground(call func() error) <-chan error {
	returned := make(chan error, 1)
	go func() { returned <- call() }()
	return returned
}

func TestNoDaemonIsNoticedAtOnce(t *testing.T) {
	noLeaks(t)
	s := natstest.Start(t, nil)
	b := newBus(t, dial(t, s.ClientURL()), natsbus.Options{Beat: time.Hour})
	err := b.Ping("nobody")
	require.ErrorIs(t, err, platform.ErrPlatformNotAvailable)
	assert.ErrorContains(t, err, `instance "nobody": Ping: no daemon is connected`)
}

func TestDaemonDiesDuringCall(t *testing.T) {
	noLeaks(t)
	s := natstest.Start(t, nil)
	daemonConn := dial(t, s.ClientURL())
	daemons, callers := newBus(t, daemonConn, quick), newBus(t, dial(t, s.ClientURL()), quick)
	p, done := newSlow(), make(chan error, 1)
	daemons.Subscribe("a", p, done)
	returned := p.busy(t, connect(t, callers))
	daemonConn.Close()
	err := within(t, returned, "the error")
	require.ErrorIs(t, err, platform.ErrPlatformNotAvailable)
	require.ErrorContains(t, err, "Sync was begun, and its outcome is unknown")
	require.ErrorIs(t, within(t, done, "the cause"), nats.ErrConnectionClosed)
	require.Error(t, within(t, p.ended, "the end of the call's context"), "nobody waits for it any more")
}

// gate is a network connection that can be made to stand still.
type gate struct {
	net.Conn
	mu sync.RWMutex // held by who wants it to stand still
}

func (g *gate) Read(p []byte) (int, error) {
	n, err := g.Conn.Read(p)
	g.mu.RLock()
	defer g.mu.RUnlock()
	return n, err
}

func (g *gate) Write(p []byte) (int, error) {
	g.mu.RLock()
	defer g.mu.RUnlock()
	return g.Conn.Write(p)
}

func (g *gate) Dial(network, address string) (net.Conn, error) {
	conn, err := net.Dial(network, address)
	g.Conn = conn
	return g, err
}

func TestFrozenDaemonIsNoticed(t *testing.T) {
	noLeaks(t)
	s := natstest.Start(t, nil)
	g := &gate{}
	daemons := newBus(t, dial(t, s.ClientURL(), nats.SetCustomDialer(g)), quick)
	callers := newBus(t, dial(t, s.ClientURL()), quick)
	p := newSlow()
	daemons.Subscribe("a", p, nil)
	h := connect(t, callers)
	returned := p.busy(t, h)
	g.mu.Lock()
	err := within(t, returned, "the error")
	g.mu.Unlock()
	require.ErrorIs(t, err, platform.ErrPlatformNotAvailable)
	require.ErrorContains(t, err, "its outcome is unknown: its daemon is not answering: nothing was heard of it for 500ms")
	within(t, p.ended, "the end of the call's context")
	require.NoError(t, newBus(t, dial(t, s.ClientURL()), brisk).Ping("a"), "the daemon has thawed")
}

func TestCancelReachesTheDaemon(t *testing.T) {
	noLeaks(t)
	s := natstest.Start(t, nil)
	b := ends(t, s.ClientURL(), s.ClientURL(), brisk)
	p := newSlow()
	b.Subscribe("a", p, nil)
	why := errors.New("changed my mind")
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	h := platform.WithContext(context.Background(), platform.WithContext(ctx, connect(t, b)))
	returned := inBackground(func() error { return h.Sync(platform.SyncDef{}) })
	within(t, p.entered, "the call")
	cancel(why)
	err := within(t, returned, "the error")
	require.ErrorIs(t, err, why)
	require.ErrorContains(t, err, "outcome is unknown")
	within(t, p.ended, "the end of the call's context")
	require.ErrorIs(t, h.Ping(), why)
	require.NoError(t, b.Ping("a"))
}

// The cause of a context may be an error that cannot be compared, as those of errgroup.WithContext.
func TestCancelWithAnyCause(t *testing.T) {
	noLeaks(t)
	s := natstest.Start(t, nil)
	b := ends(t, s.ClientURL(), s.ClientURL(), brisk)
	p := newSlow()
	b.Subscribe("a", slowReader{p}, nil)
	failed := platform.SyncError{"web": platform.ErrNoMatching}
	for _, why := range []error{failed, platform.FatalError{Err: failed}} {
		ctx, cancel := context.WithCancelCause(t.Context())
		h := platform.WithContext(ctx, connect(t, b))
		returned := inBackground(h.Ping)
		within(t, p.entered, "the call")
		cancel(why)
		assert.Equal(t, why, within(t, returned, "the error"))
		within(t, p.ended, "the end of the call's context")
	}
}

// Reads are made however many writes are, whichever limit these meet.
func TestReadsDoNotWaitForSyncs(t *testing.T) {
	noLeaks(t)
	s := natstest.Start(t, nil)
	for name, tt := range map[string]struct {
		options natsbus.Options
		limit   int
		refusal string
	}{
		"of an instance": {natsbus.Options{MaxCallsPerInstance: 2}, 2, "2 such calls are under way, which is the limit"},
		"of a bus":       {natsbus.Options{MaxCalls: 8}, 8, "8 calls are under way, which is the limit"},
	} {
		t.Run(name, func(t *testing.T) {
			b := ends(t, s.ClientURL(), s.ClientURL(), tt.options)
			p := newSlow()
			b.Subscribe("a", p, nil)
			h := connect(t, b)
			var returned []<-chan error
			for range tt.limit {
				returned = append(returned, inBackground(func() error { return h.Sync(platform.SyncDef{}) }))
				within(t, p.entered, "the call")
			}
			require.NoError(t, h.Ping())
			err := h.Sync(platform.SyncDef{})
			require.ErrorIs(t, err, platform.ErrPlatformNotAvailable)
			require.ErrorContains(t, err, tt.refusal)
			close(p.release)
			for _, r := range returned {
				require.NoError(t, within(t, r, "the result"))
			}
		})
	}
}

func TestServerRestart(t *testing.T) {
	noLeaks(t)
	s := natstest.Start(t, nil)
	port := s.Addr().(*net.TCPAddr).Port
	url := s.ClientURL()
	b := ends(t, url, url, natsbus.Options{})
	p, done := newSlow(), make(chan error, 1)
	b.Subscribe("a", p, done)
	h := connect(t, b)
	returned := inBackground(func() error { return h.Sync(platform.SyncDef{}) })
	within(t, p.entered, "the call")
	s.Shutdown()
	s.WaitForShutdown()
	require.ErrorIs(t, h.Ping(), platform.ErrPlatformNotAvailable, "the connection is down")
	close(p.release) // it is answered while the connection is down
	natstest.Start(t, func(o *server.Options) { o.Port = port })
	require.NoError(t, within(t, returned, "the result, which was kept"))
	require.Empty(t, p.entered, "it was made once")
	require.EventuallyWithT(t, func(c *assert.CollectT) { assert.NoError(c, h.Ping()) }, limit, 10*time.Millisecond)
	require.Empty(t, done)
}

func TestBodyOverTheLimit(t *testing.T) {
	noLeaks(t)
	s := natstest.Start(t, nil)
	b := ends(t, s.ClientURL(), s.ClientURL(), natsbus.Options{MaxBody: 1000})
	b.Subscribe("a", &platform.MockPlatform{ExportAnswer: make([]byte, 2000)}, nil)
	h := connect(t, b)
	err := h.Sync(platform.SyncDef{Actions: []platform.SyncAction{{Apply: make([]byte, 2000)}}})
	require.ErrorContains(t, err, "Sync: body of 20")
	require.ErrorContains(t, err, "bytes is over the limit of 1000")
	_, err = h.Export()
	require.ErrorContains(t, err, "Export: the result was lost: body of 20")
	require.NoError(t, h.Ping())
}

func TestFatalEndsSubscription(t *testing.T) {
	noLeaks(t)
	s := natstest.Start(t, nil)
	b := ends(t, s.ClientURL(), s.ClientURL(), brisk)
	done := make(chan error, 1)
	b.Subscribe("a", &platform.MockPlatform{PingError: platform.FatalError{Err: errors.New("boom")}}, done)
	err := b.Ping("a")
	_, fatal := errors.AsType[platform.FatalError](err)
	assert.True(t, fatal)
	require.EqualError(t, err, "boom")
	_, fatal = errors.AsType[platform.FatalError](within(t, done, "the cause"))
	assert.True(t, fatal)
	require.ErrorIs(t, b.Ping("a"), platform.ErrPlatformNotAvailable)
}

type oldDaemon struct{ platform.PlatformV4 }

func TestDaemonOfVersion4(t *testing.T) {
	noLeaks(t)
	s := natstest.Start(t, nil)
	b := ends(t, s.ClientURL(), s.ClientURL(), natsbus.Options{})
	b.Subscribe("a", platform.PlatformFromV4(oldDaemon{&platform.MockPlatform{VersionAnswer: "4"}}), nil)
	h := connect(t, b)
	_, err := h.Export()
	require.ErrorIs(t, err, platform.ErrUpgradeNeeded)
	require.ErrorIs(t, h.Sync(platform.SyncDef{}), platform.ErrUpgradeNeeded)
	version, err := h.Version()
	require.NoError(t, err)
	assert.Equal(t, "4", version)
}

func TestErrorsKeepTheirTypes(t *testing.T) {
	noLeaks(t)
	s := natstest.Start(t, nil)
	b := ends(t, s.ClientURL(), s.ClientURL(), natsbus.Options{})
	mock := &platform.MockPlatform{}
	b.Subscribe("a", mock, nil)
	h := connect(t, b)
	mock.SyncError = platform.SyncError{
		"refused": platform.ErrNoMatchingService, "lost": platform.UnavailableError(errors.New("gone")), "nil": nil,
	}
	err := h.Sync(platform.SyncDef{})
	require.EqualError(t, err, mock.SyncError.Error())
	syncing, ok := errors.AsType[platform.SyncError](err)
	require.True(t, ok)
	assert.Len(t, syncing, 3)
	require.ErrorIs(t, syncing["refused"], platform.ErrNoMatchingService)
	require.ErrorIs(t, syncing["lost"], platform.ErrPlatformNotAvailable)
	require.NoError(t, syncing["nil"])

	mock.ApplyError = context.DeadlineExceeded
	err = h.Apply(nil)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	assert.Equal(t, platform.ClusterError(err), err, "it is a ClusterError")
	var none *platform.FatalError
	mock.PingError = none
	require.EqualError(t, h.Ping(), "no cause given")
}

func TestCloseDrains(t *testing.T) {
	noLeaks(t)
	s := natstest.Start(t, nil)
	daemons, callers := newBus(t, dial(t, s.ClientURL()), brisk), newBus(t, dial(t, s.ClientURL()), brisk)
	hasty := newBus(t, dial(t, s.ClientURL()), quick) // which does not ask for long
	p, done := newSlow(), make(chan error, 1)
	daemons.Subscribe("a", p, done)
	returned := inBackground(func() error { return connect(t, callers).Sync(platform.SyncDef{}) })
	within(t, p.entered, "the call")
	closed := inBackground(func() error { return daemons.Close(context.Background()) })
	require.Eventually(t, func() bool { return hasty.Ping("a") != nil }, limit, time.Millisecond, "nothing new begins")
	require.Empty(t, returned)
	close(p.release)
	require.NoError(t, within(t, returned, "the result"))
	require.NoError(t, within(t, closed, "the end"))
	require.ErrorIs(t, within(t, done, "the cause"), natsbus.ErrClosed)
	unready := make(chan error)
	daemons.Subscribe("a", p, unready)
	require.ErrorIs(t, within(t, unready, "the cause"), natsbus.ErrClosed)
}

func TestCloseCutsOff(t *testing.T) {
	noLeaks(t)
	s := natstest.Start(t, nil)
	b := newBus(t, dial(t, s.ClientURL()), brisk)
	p := newSlow()
	b.Subscribe("a", p, nil)
	h := connect(t, b)
	returned := inBackground(func() error { return h.Sync(platform.SyncDef{}) })
	within(t, p.entered, "the call")
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	err := b.Close(ctx)
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorContains(t, err, "2 calls under way were cut off")
	require.ErrorIs(t, within(t, returned, "the error"), natsbus.ErrClosed)
	require.ErrorIs(t, within(t, p.ended, "the end of the call"), natsbus.ErrClosed)
	require.ErrorIs(t, h.Ping(), platform.ErrPlatformNotAvailable)
}
