package natsbus_test

import (
	"bytes"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
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

// isRefused checks that an error says that the connection is closed, and that it is for the
// credentials.
func isRefused(t *testing.T, err error) {
	t.Helper()
	require.ErrorIs(t, err, nats.ErrConnectionClosed)
	require.ErrorIs(t, err, nats.ErrAuthorization)
}

func helpOf(t *testing.T, err error) string {
	t.Helper()
	helpful, ok := errors.AsType[flux.HelpfulError](err)
	require.True(t, ok)
	return helpful.Base().Help
}

// aborting has a connection close once its credentials were refused twice, as it does without
// ConnectOptions.
func aborting(o *nats.Options) error {
	o.IgnoreAuthErrorAbort = false
	return nil
}

// Credentials that a server does not know yet are tried until it does.
func TestCredentialsRefusedForATime(t *testing.T) {
	noLeaks(t)
	options := &server.Options{Host: "127.0.0.1", Port: -1, NoLog: true, NoSigs: true, Users: []*server.User{{Username: "service", Password: "service"}}}
	s := natstest.Start(t, func(o *server.Options) { *o = *options })
	callers, daemons := newBus(t, dial(t, s.ClientURL(), as("service")), brisk), newBus(t, dial(t, s.ClientURL(), nats.UserInfo("a", "hunter2")), brisk)
	done := make(chan error, 1)
	daemons.Subscribe("a", &platform.MockPlatform{}, done)
	var err error
	require.Eventually(t, func() bool { err = daemons.Ping("a"); return errors.Is(err, nats.ErrAuthorization) }, limit, time.Millisecond)
	require.ErrorIs(t, err, platform.ErrPlatformNotAvailable)
	require.ErrorContains(t, err, "the NATS connection is down")
	require.ErrorContains(t, err, s.Addr().String())
	require.NotContains(t, err.Error(), "hunter2")
	assert.Contains(t, helpOf(t, err), "Cannot reach the NATS server", "whose connection is down")
	err = callers.Ping("a")
	require.ErrorIs(t, err, platform.ErrPlatformNotAvailable)
	assert.Contains(t, helpOf(t, err), "Check that the daemon's pod is running")

	next := options.Clone()
	next.Users = append(slices.Clone(options.Users), &server.User{Username: "a", Password: "hunter2"})
	require.NoError(t, s.ReloadOptions(next))
	require.EventuallyWithT(t, func(c *assert.CollectT) { assert.NoError(c, callers.Ping("a")) }, 2*limit, 10*time.Millisecond)
	require.Empty(t, done, "the subscription stays")
}

func TestWrongCredentials(t *testing.T) {
	noLeaks(t)
	s := natstest.Start(t, withTenants)
	wrong := nats.UserInfo("a", "hunter2")
	// Before the server has said so, and after.
	conn := dial(t, s.ClientURL(), wrong, aborting)
	b, done := newBus(t, conn, brisk), make(chan error, 1)
	b.Subscribe("a", &platform.MockPlatform{}, done)
	isRefused(t, within(t, done, "the cause"))
	require.Eventually(t, conn.IsClosed, limit, time.Millisecond)
	for _, later := range []*natsbus.Bus{b, newBus(t, conn, brisk)} {
		later.Subscribe("a", &platform.MockPlatform{}, done)
		isRefused(t, within(t, done, "the cause"))
		err := later.Ping("a")
		require.ErrorIs(t, err, platform.ErrPlatformNotAvailable)
		isRefused(t, err)
		require.NotContains(t, err.Error(), "hunter2")
	}
}

func TestCredentialsRevokedInFlight(t *testing.T) {
	noLeaks(t)
	options := &server.Options{Host: "127.0.0.1", Port: -1, NoLog: true, NoSigs: true}
	withTenants(options)
	s := natstest.Start(t, func(o *server.Options) { *o = *options })
	revoke := func(names ...string) {
		t.Helper()
		next := options.Clone()
		next.Users = nil
		for _, u := range options.Users {
			if !slices.Contains(names, u.Username) {
				next.Users = append(next.Users, u)
			}
		}
		require.NoError(t, s.ReloadOptions(next))
	}
	service := dial(t, s.ClientURL(), as("service"), aborting)
	daemons, callers := newBus(t, dial(t, s.ClientURL(), as("a"), aborting), quick), newBus(t, service, quick)
	others := newBus(t, dial(t, s.ClientURL(), as("b")), quick)
	p, other, done := newSlow(), newSlow(), make(chan error, 1)
	daemons.Subscribe("a", p, done)
	others.Subscribe("b", other, nil)
	h := connect(t, callers)
	hb, err := newBus(t, service, brisk).Connect("b")
	require.NoError(t, err)

	returned := p.busy(t, h)
	revoke("a")
	isRefused(t, within(t, done, "the cause"))
	err = within(t, returned, "the error")
	require.ErrorIs(t, err, platform.ErrPlatformNotAvailable)
	require.ErrorContains(t, err, "Sync was begun, and its outcome is unknown")
	require.Error(t, within(t, p.ended, "the end of the call's context"))

	returned = inBackground(func() error { return hb.Sync(platform.SyncDef{}) })
	within(t, other.entered, "the call")
	revoke("a", "service")
	err = within(t, returned, "the error")
	require.ErrorIs(t, err, platform.ErrPlatformNotAvailable)
	require.ErrorContains(t, err, "Sync was begun, and its outcome is unknown")
	require.ErrorIs(t, err, nats.ErrAuthorization)
	require.Error(t, within(t, other.ended, "the end of the call's context"), "its caller is gone")
	require.ErrorIs(t, hb.Ping(), nats.ErrAuthorization)
}

// A service that may not hear answers is told at each call, and not after five beats.
func TestServiceMayNotHear(t *testing.T) {
	noLeaks(t)
	s := natstest.Start(t, func(o *server.Options) {
		o.Users = []*server.User{
			{Username: "daemon", Password: "daemon"},
			{Username: "service", Password: "service", Permissions: &server.Permissions{Subscribe: &server.SubjectPermission{Deny: []string{"flux.v1.*.re.>"}}}},
		}
	})
	patient := natsbus.Options{Beat: time.Minute}
	newBus(t, dial(t, s.ClientURL(), as("daemon")), patient).Subscribe("a", &platform.MockPlatform{}, nil)
	callers := newBus(t, dial(t, s.ClientURL(), as("service")), patient)
	for range 3 {
		err := within(t, inBackground(func() error { return callers.Ping("a") }), "the denial")
		require.ErrorIs(t, err, platform.ErrPlatformNotAvailable)
		require.ErrorIs(t, err, nats.ErrPermissionViolation)
	}
}

// A daemon that may not answer, or claim, is told so, and not only its log.
func TestDaemonMayNotAnswer(t *testing.T) {
	noLeaks(t)
	for _, denied := range []string{"flux.v1.a.re.>", "flux.v1.a.rpc.claim.*"} {
		s := natstest.Start(t, func(o *server.Options) {
			o.Users = []*server.User{
				{Username: "service", Password: "service"},
				{Username: "a", Password: "a", Permissions: &server.Permissions{Publish: &server.SubjectPermission{Deny: []string{denied}}}},
			}
		})
		daemons, callers := newBus(t, dial(t, s.ClientURL(), as("a")), quick), newBus(t, dial(t, s.ClientURL(), as("service")), quick)
		done := make(chan error, 1)
		daemons.Subscribe("a", &platform.MockPlatform{}, done)
		require.ErrorIs(t, callers.Ping("a"), platform.ErrPlatformNotAvailable)
		err := within(t, done, "the cause")
		require.ErrorIs(t, err, nats.ErrPermissionViolation)
		require.ErrorContains(t, err, "subscription ended: the NATS server denies it")
	}
}

// A recorder keeps what is logged.
type recorder struct {
	mu  sync.Mutex
	buf bytes.Buffer // guarded by mu
}

func (r *recorder) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.buf.Write(p)
}

func (r *recorder) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.buf.String()
}

// What an operator must know is logged, and neither payloads nor credentials.
func TestLogs(t *testing.T) {
	noLeaks(t)
	s := natstest.Start(t, withTenants)
	log := &recorder{}
	options := brisk
	options.Logger = slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	proxy, url := startProxy(t, s)
	service := newBus(t, dial(t, strings.Replace(url, "nats://", "nats://service:service@", 1)), options)
	daemon := newBus(t, dial(t, strings.Replace(url, "nats://", "nats://a:a@", 1)), options)
	done := make(chan error, 2)
	const secret = "payload-that-nobody-may-see"
	daemon.Subscribe("a", &platform.MockPlatform{VersionAnswer: secret, ExportAnswer: []byte(secret)}, done)
	h := connect(t, service)
	version, err := h.Version()
	require.NoError(t, err)
	require.Equal(t, secret, version)
	require.NoError(t, h.Sync(platform.SyncDef{Actions: []platform.SyncAction{{ResourceID: secret, Apply: platform.ResourceDef(secret)}}}))
	hostile := dial(t, s.ClientURL(), as("a"))
	for _, data := range [][]byte{[]byte(secret), append(headed(t, map[int]any{1: 5, 2: secret}), secret...), headed(t, map[int]any{1: "open", 2: 1, 3: secret + "." + secret})} {
		require.NoError(t, hostile.Publish("flux.v1.a.rpc.claim.all", data))
	}
	require.NoError(t, hostile.Flush())
	daemon.Subscribe("b", &platform.MockPlatform{}, done)
	require.ErrorIs(t, within(t, done, "the denial"), nats.ErrPermissionViolation)
	proxy.Cut()
	require.EventuallyWithT(t, func(c *assert.CollectT) { assert.NoError(c, h.Ping()) }, limit, time.Millisecond)
	other := newBus(t, dial(t, s.ClientURL(), as("a")), options)
	other.Subscribe("a", &platform.MockPlatform{}, nil)
	require.ErrorIs(t, within(t, done, "the kick"), platform.ErrKicked)
	wrong := newBus(t, dial(t, s.ClientURL(), nats.UserInfo("a", "hunter2"), aborting), options)
	wrong.Subscribe("a", &platform.MockPlatform{}, done)
	isRefused(t, within(t, done, "the cause"))
	for _, want := range []string{
		"frame left alone", "Permissions Violation for Subscription", "the NATS connection is down", "the NATS connection is back",
		"kicked by another daemon", "the NATS connection is closed for good", "Authorization Violation",
	} {
		require.Eventually(t, func() bool { return strings.Contains(strings.ToLower(log.String()), strings.ToLower(want)) }, limit, time.Millisecond, want)
	}
	for _, never := range []string{secret, "hunter2", "service:service", "a:a@"} {
		assert.NotContains(t, log.String(), never)
	}
}
