//go:build unix

package process

import (
	"context"
	"os"
	"path/filepath"
	"regexp"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// startShell starts a shell with a script, in which HOME is the folder of its log.
func startShell(t *testing.T, script string) *Process {
	t.Helper()
	p, err := Start(Program{Name: "script", Dir: t.TempDir(), Path: "/bin/sh", Args: []string{"-c", script}})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, p.Stop()) })
	return p
}

// Whoever stops a program, at once with others or later, learns how it ended.
func TestStopByMany(t *testing.T) {
	p := startShell(t, "sleep 1000 & exec sleep 1000")
	errs := make([]error, 16)
	var all sync.WaitGroup
	for i := range errs {
		all.Go(func() { errs[i] = p.Stop() })
	}
	all.Wait()
	for _, err := range errs {
		require.NoError(t, err)
	}
	require.NoError(t, p.Stop())
	require.ErrorContains(t, p.ExitError(), "script ended unexpectedly: signal: terminated; its log is empty")
}

// A line counts once it is complete, or the program has ended.
func TestAwaitLine(t *testing.T) {
	p := startShell(t, `mkfifo "$HOME/go"; printf 'port=12'; read -r _ <"$HOME/go"; echo 34; exec sleep 1000`)
	require.Eventually(t, func() bool { log, err := p.Log(); return err == nil && log == "port=12" }, time.Minute, 10*time.Millisecond)
	port := regexp.MustCompile(`port=(\d+)`)
	over, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := p.AwaitLine(over, port)
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorContains(t, err, "the end of the log of script:\n\tport=12")
	require.NoError(t, os.WriteFile(filepath.Join(filepath.Dir(p.log), "go"), []byte("\n"), 0o600))
	match, err := p.AwaitLine(t.Context(), port)
	require.NoError(t, err)
	assert.Equal(t, []string{"port=1234", "1234"}, match)

	p = startShell(t, "printf last; exit 3")
	_, err = p.AwaitLine(t.Context(), regexp.MustCompile("last$"))
	require.NoError(t, err)
	_, err = p.AwaitLine(t.Context(), port)
	require.EqualError(t, err, "script ended unexpectedly: exit status 3; the end of the log of script:\n\tlast")
}
