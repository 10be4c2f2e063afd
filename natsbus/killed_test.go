package natsbus_test

import (
	"context"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/platformbus/platform"
	"github.com/platformbus/platform/internal/natstest"
	"github.com/platformbus/platform/natsbus"
)

func syncOf(id string) platform.SyncDef {
	return platform.SyncDef{Actions: []platform.SyncAction{{ResourceID: id}}}
}

// The processes of daemons and callers are killed, frozen and thawed. What is noticed when
// is reported, with a beat of a second.
func TestProcesses(t *testing.T) {
	noLeaks(t)
	t.Run("at once", func(t *testing.T) { // the parent waits for all
		t.Run("daemon is killed", daemonIsKilled)
		t.Run("daemon is frozen", daemonIsFrozen)
		t.Run("daemon is replaced while frozen", daemonIsReplacedWhileFrozen)
		t.Run("caller is killed", callerIsKilled)
	})
}

func daemonIsKilled(t *testing.T) {
	t.Parallel()
	url := natstest.Start(t, nil).ClientURL()
	callers := newBus(t, dial(t, url), natsbus.Options{})
	daemon := startChild(t, "daemon", url)
	daemon.says(t, "ready")
	h := connect(t, callers)
	returned := inBackground(func() error { return h.Sync(syncOf("wait")) })
	daemon.says(t, "ran wait")
	killed := time.Now()
	require.NoError(t, daemon.Kill())
	err := within(t, returned, "the error")
	t.Logf("killed during a call: noticed after %v: %v", time.Since(killed), err)
	require.ErrorIs(t, err, platform.ErrPlatformNotAvailable)
	require.ErrorContains(t, err, "Sync was begun, and its outcome is unknown: its daemon is not answering")
	called := time.Now()
	err = h.Sync(syncOf("later"))
	t.Logf("none at all: noticed after %v: %v", time.Since(called), err)
	require.ErrorIs(t, err, platform.ErrPlatformNotAvailable)
	require.ErrorContains(t, err, "no daemon is connected")
	require.NotContains(t, err.Error(), "unknown")
	startChild(t, "daemon", url).says(t, "ready")
	require.NoError(t, h.Sync(syncOf("last")))
}

func daemonIsFrozen(t *testing.T) {
	t.Parallel()
	url := natstest.Start(t, nil).ClientURL()
	callers := newBus(t, dial(t, url), natsbus.Options{})
	daemon := startChild(t, "daemon", url)
	daemon.says(t, "ready")
	h := connect(t, callers)
	before := inBackground(func() error { return h.Sync(syncOf("wait")) })
	daemon.says(t, "ran wait")
	frozen := time.Now()
	daemon.freeze(t)
	during := inBackground(func() error { return h.Sync(syncOf("during")) })
	read := inBackground(h.Ping)
	err := within(t, before, "the error")
	t.Logf("frozen during a call: noticed after %v: %v", time.Since(frozen), err)
	require.ErrorContains(t, err, "Sync was begun, and its outcome is unknown: its daemon is not answering: nothing was heard of it for 5s")
	err = within(t, during, "the error")
	t.Logf("called while frozen: noticed after %v: %v", time.Since(frozen), err)
	require.ErrorIs(t, err, platform.ErrPlatformNotAvailable)
	require.NotContains(t, err.Error(), "unknown", "it was not begun")
	require.ErrorIs(t, within(t, read, "the error"), platform.ErrPlatformNotAvailable)

	require.NoError(t, daemon.Signal(syscall.SIGCONT))
	require.NoError(t, h.Ping(), "it has thawed")
	require.NoError(t, h.Sync(syncOf("after")))
	said := daemon.says(t, "ran after")
	assert.Contains(t, said, "cancelled wait")
	assert.NotContains(t, said, "ran during", "what was meant for it earlier")
}

func daemonIsReplacedWhileFrozen(t *testing.T) {
	t.Parallel()
	url := natstest.Start(t, nil).ClientURL()
	callers, others := newBus(t, dial(t, url), natsbus.Options{}), newBus(t, dial(t, url), natsbus.Options{})
	frozen := startChild(t, "daemon", url)
	frozen.says(t, "ready")
	frozen.freeze(t)
	lost := inBackground(func() error { return connect(t, callers).Sync(syncOf("nobody")) })
	require.Error(t, within(t, lost, "the error"))
	l, done := newLedger(), make(chan error, 1)
	others.Subscribe("a", l.platform(), done)
	h := connect(t, newBus(t, dial(t, url), brisk))
	for range 20 { // both are subscribed
		require.NoError(t, l.sync(h, nil))
	}
	require.NoError(t, frozen.Signal(syscall.SIGCONT))
	said := frozen.says(t, "done "+platform.ErrKicked.Error())
	assert.Empty(t, said, "it runs nothing, neither what was meant for it nor what the other ran")
	require.NoError(t, l.sync(h, nil))
	l.check(t)
	require.Empty(t, done)
	require.NoError(t, frozen.Kill())
	for line := range frozen.lines {
		assert.Fail(t, "the one that was kicked says: "+line)
	}
}

func callerIsKilled(t *testing.T) {
	t.Parallel()
	url := natstest.Start(t, nil).ClientURL()
	daemons := newBus(t, dial(t, url), natsbus.Options{})
	p := newSlow()
	daemons.Subscribe("a", p, nil)
	caller := startChild(t, "caller", url)
	within(t, p.entered, "the call")
	killed := time.Now()
	require.NoError(t, caller.Kill())
	cause := within(t, p.ended, "the end of the call's context")
	t.Logf("caller killed: its call was cancelled after %v: %v", time.Since(killed), cause)
	require.Error(t, cause)
	require.NotErrorIs(t, cause, context.Canceled, "the cause is named")
	require.NoError(t, daemons.Ping("a"))
}
