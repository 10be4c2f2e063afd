package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/platformbus/platform/internal/controlplane"
)

// limit bounds each wait. It is far more than any of them takes.
const limit = 2 * time.Minute

// TestFleet runs the fleet, and the commands that it prints, as they stand. It interrupts one
// fleet, and kills another; of neither is a process or a file left.
func TestFleet(t *testing.T) {
	controlplane.Require(t) // its programs are built
	binaries := t.TempDir()
	out, err := exec.Command("go", "build", "-o", binaries, ".", "../../cmd/platform").CombinedOutput()
	require.NoError(t, err, "%s", out)

	t.Run("until it is interrupted", func(t *testing.T) {
		f := startFleet(t, binaries)
		for _, tt := range []struct{ url, want string }{ // the export needs the sync
			{"/v1/instances", `"error": "ping: `}, // south's
			{"/v1/instances/south", `"error": "ping: `},
			{"/v1/instances/west/services", "stalled: ProgressDeadlineExceeded"},
			{"/v1/instances/east/sync", `"actions": 2`},
			{"/v1/instances/east/export", "name: cart-redis"},
			{"/metrics", "flux_natsbus_calls_total"},
		} {
			f.runUntil(t, `curl .*\d`+tt.url+"$", tt.want)
		}
		health := f.commands(t, "curl .*/healthz")
		require.Len(t, health, 4)
		for i, want := range []string{"ok", "ok", "ok", "the API server cannot be reached"} { // the service, east, west, south
			assert.Contains(t, shell(t, health[i]), want, health[i])
		}
		for _, command := range f.commands(t, "curl .*/metrics") {
			assert.Contains(t, shell(t, command), "flux_bus_kick_total", command)
		}
		assert.Contains(t, shell(t, f.commands(t, "tail ")[0]), "the cluster is offered")
		commands := f.commands(t, ".*/platform (get|plan|sync) ")
		require.Len(t, commands, 4)
		for i, want := range []string{"unwell", "ProgressDeadlineExceeded", " to add", "objects are as the folder says"} {
			assert.Contains(t, shell(t, commands[i]), want, commands[i])
		}

		shell(t, f.commands(t, "kill ")[0])
		f.runUntil(t, `curl .*/v1/instances$`, "no daemon is connected")
		daemon := exec.CommandContext(t.Context(), "/bin/sh", "-c", "exec "+f.commands(t, ".*/platform daemon ")[0])
		require.NoError(t, daemon.Start())
		f.runUntil(t, `curl .*\d/v1/instances/east/export$`, "name: cart-redis")
		require.NoError(t, daemon.Process.Signal(os.Interrupt))
		require.NoError(t, daemon.Wait())

		require.NoError(t, f.cmd.Process.Signal(os.Interrupt))
		require.NoError(t, f.cmd.Wait())
		assert.Equal(t, "[] []", f.left(t))
		text := f.out.text.String()
		assert.Contains(t, text, "daemon-east has ended, and the others go on: daemon-east ended unexpectedly: signal: killed")
		assert.True(t, strings.HasSuffix(text, "No process and no file is left.\n"), text)
	})
	t.Run("until it is killed", func(t *testing.T) {
		f := startFleet(t, binaries)
		require.NoError(t, f.cmd.Process.Kill())
		require.Error(t, f.cmd.Wait())
		require.Eventually(t, func() bool { return f.left(t) == "[] []" }, limit, 50*time.Millisecond)
	})
}

// A running is a fleet that runs as a process.
type running struct {
	cmd *exec.Cmd
	tmp string // its temporary folder, which is in the environment of all that it starts
	out *guideReader

	guide string
}

// guideReader is a buffer that, once it holds the whole guide, sends it. The buffer itself must
// be read only after the process has ended.
type guideReader struct {
	text     bytes.Buffer
	complete chan string // has room for the one
	sent     bool
}

func (r *guideReader) Write(p []byte) (int, error) {
	r.text.Write(p)
	if !r.sent && strings.Contains(r.text.String(), "Ctrl-C ends all of it") {
		r.complete <- r.text.String()
		r.sent = true
	}
	return len(p), nil
}

func startFleet(t *testing.T, binaries string) *running {
	t.Helper()
	tmp, err := os.MkdirTemp("", "fleet-") // the path of t.TempDir is too long for a socket on some systems
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, os.RemoveAll(tmp)) })
	f := &running{
		cmd: exec.CommandContext(t.Context(), filepath.Join(binaries, "fleet"), "-manifests", "../demo/manifests"),
		tmp: tmp,
		out: &guideReader{complete: make(chan string, 1)},
	}
	f.cmd.Env = append(os.Environ(), "TMPDIR="+tmp)
	f.cmd.Stdout, f.cmd.Stderr = f.out, os.Stderr
	require.NoError(t, f.cmd.Start())
	select {
	case f.guide = <-f.out.complete:
	case <-time.After(limit):
		require.FailNow(t, "the fleet does not start")
	}
	return f
}

// commands returns the commands of the guide that match a pattern, as they stand.
func (f *running) commands(t *testing.T, pattern string) []string {
	t.Helper()
	var found []string
	for _, match := range regexp.MustCompile(`(?m)^    (`+pattern+`.*)$`).FindAllStringSubmatch(f.guide, -1) {
		found = append(found, match[1])
	}
	require.NotEmpty(t, found, "%s in\n%s", pattern, f.guide)
	return found
}

// left returns what is in the temporary folder, and the processes that have it in their
// arguments or in their environment.
func (f *running) left(t *testing.T) string {
	t.Helper()
	entries, err := os.ReadDir(f.tmp)
	require.NoError(t, err)
	processes, err := exec.Command("ps", "axeww", "-o", "command").Output()
	require.NoError(t, err)
	return fmt.Sprint(entries, regexp.MustCompile(".*"+f.tmp+".*").FindAllString(string(processes), -1))
}

// runUntil runs the first command of the guide that matches a pattern until its output
// contains a text: a rollout takes a while to stall, and an instance to become unavailable.
func (f *running) runUntil(t *testing.T, pattern, want string) {
	t.Helper()
	command := f.commands(t, pattern)[0]
	require.EventuallyWithT(t, func(c *assert.CollectT) { assert.Contains(c, shell(t, command), want) }, limit, 50*time.Millisecond, command)
}

func shell(t *testing.T, command string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "/bin/sh", "-c", command).CombinedOutput()
	assert.NoError(t, err, "%s: %s", command, out)
	return string(out)
}

func TestArguments(t *testing.T) {
	out, err := exec.Command("go", "run", ".", "up").CombinedOutput()
	require.Error(t, err)
	assert.Contains(t, string(out), `fleet: it takes no arguments, and has ["up"]`)
}
