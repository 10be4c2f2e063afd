//go:build unix

package controlplane

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/platformbus/platform/internal/controlplane/programs"
)

// goneLimit bounds the time until processes that are not our children disappear.
const goneLimit = 20 * time.Second

// eventually polls a condition that no channel signals: the end of processes that
// are not our children.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	limit := time.After(goneLimit)
	for !holds() {
		select {
		case <-limit:
			t.Fatalf("not within %v: %s", goneLimit, what)
		case <-tick.C:
		}
	}
}

// assertGone waits until no process and no file of a control plane is left.
func assertGone(t *testing.T, r remains) {
	t.Helper()
	for name, group := range r.Groups {
		eventually(t, fmt.Sprintf("process group %d of %s is gone", group, name), func() bool {
			return errors.Is(syscall.Kill(-group, 0), syscall.ESRCH)
		})
	}
	eventually(t, "the data folder is gone: "+r.Dir, func() bool {
		_, err := os.Stat(r.Dir)
		return errors.Is(err, os.ErrNotExist)
	})
}

// needPrograms skips a test that starts programs without Require.
func needPrograms(t *testing.T, names ...string) string {
	t.Helper()
	folder, err := programs.Locate(names...)
	if err != nil {
		endWithout(t, err)
	}
	return folder
}

// useTempDir sets the temporary folder to an empty one for a test. The path of
// t.TempDir is too long for a socket on some systems.
func useTempDir(t *testing.T) {
	t.Helper()
	dir, err := os.MkdirTemp("", "t")
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	t.Setenv("TMPDIR", dir)
}

// TestStartRetriesATakenPort also tests the death of the server, because each start
// of a real one takes seconds.
func TestStartRetriesATakenPort(t *testing.T) {
	small := Options{NoControllerManager: true, NoScheduler: true, NoKwok: true}
	needPrograms(t, small.programs()...)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer taken.Close()
	attempts := 0
	small.port = func() (int, error) {
		if attempts++; attempts == 1 {
			return taken.Addr().(*net.TCPAddr).Port, nil
		}
		return freePort()
	}
	cp, err := Start(context.Background(), small)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, cp.Stop()) })
	assert.Equal(t, 2, attempts)
	left := remainsOf(cp)
	assert.Len(t, left.Groups, 3, "etcd, kube-apiserver and the guard")
	info, err := os.Stat(cp.dir)
	require.NoError(t, err)
	assert.Equal(t, os.ModeDir|0o700, info.Mode())
	for _, file := range []string{"admin.kubeconfig", "server.key", serviceAccountKeyFile, "kube-apiserver.log"} {
		info, err := os.Stat(filepath.Join(cp.dir, file))
		require.NoError(t, err)
		assert.Equal(t, os.FileMode(0o600), info.Mode(), file)
	}
	require.NoError(t, cp.Err())

	require.NoError(t, syscall.Kill(left.Groups["kube-apiserver"], syscall.SIGKILL))
	<-cp.Done()
	assert.ErrorContains(t, cp.Err(), "kube-apiserver ended unexpectedly: signal: killed; the end of the log of kube-apiserver:")

	require.NoError(t, cp.Stop())
	require.NoError(t, cp.Stop(), "a second Stop does nothing")
	assert.ErrorContains(t, cp.Err(), "kube-apiserver", "the first reason stays")
	assertGone(t, left)
}

// TestFailedStartLeavesNothing starts a server that fails after etcd is up, and that
// leaves a child process.
func TestFailedStartLeavesNothing(t *testing.T) {
	real := needPrograms(t, "etcd")
	assets := t.TempDir()
	script := func(name, body string) {
		body = "#!/bin/sh\necho $$ >> " + filepath.Join(assets, "pids") + "\n" + body + "\n"
		require.NoError(t, os.WriteFile(filepath.Join(assets, name), []byte(body), 0o700))
	}
	script("etcd", `exec `+filepath.Join(real, "etcd")+` "$@"`)
	script("kube-apiserver", "sleep 1000 &\necho $! >> "+filepath.Join(assets, "pids")+"\necho there is no reason >&2\nexit 3")
	t.Setenv(programs.AssetsVariable, assets)
	useTempDir(t)

	cp, err := Start(context.Background(), Options{NoControllerManager: true, NoScheduler: true, NoKwok: true})
	assert.Nil(t, cp)
	require.ErrorContains(t, err, "start control plane: wait for kube-apiserver's /readyz: "+
		"kube-apiserver ended unexpectedly: exit status 3; the end of the log of kube-apiserver:\n\tthere is no reason")

	text, err := os.ReadFile(filepath.Join(assets, "pids"))
	require.NoError(t, err)
	pids := strings.Fields(string(text))
	require.Len(t, pids, 3, "etcd, the server and its child")
	for _, text := range pids {
		pid, err := strconv.Atoi(text)
		require.NoError(t, err)
		eventually(t, "process "+text+" is gone", func() bool {
			return errors.Is(syscall.Kill(pid, 0), syscall.ESRCH)
		})
	}
	left, err := os.ReadDir(os.TempDir())
	require.NoError(t, err)
	assert.Empty(t, left, "data folders")
}

// TestStartObeysItsContext starts a server that never becomes ready.
func TestStartObeysItsContext(t *testing.T) {
	real := needPrograms(t, "etcd")
	assets := t.TempDir()
	require.NoError(t, os.Symlink(filepath.Join(real, "etcd"), filepath.Join(assets, "etcd")))
	// It also ignores the request to end, so that it must be killed.
	require.NoError(t, os.WriteFile(filepath.Join(assets, "kube-apiserver"),
		[]byte("#!/bin/sh\ntrap '' TERM\necho I am slow; touch $0.started\nwhile :; do sleep 1000; done"), 0o700))
	t.Setenv(programs.AssetsVariable, assets)
	useTempDir(t)

	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		defer cancel()
		eventually(t, "the server has started", func() bool {
			_, err := os.Stat(filepath.Join(assets, "kube-apiserver.started"))
			return err == nil
		})
	}()
	_, err := Start(ctx, Options{NoControllerManager: true, NoScheduler: true, NoKwok: true})
	require.ErrorIs(t, err, context.Canceled)
	assert.ErrorContains(t, err, "wait for kube-apiserver's /readyz")
	assert.ErrorContains(t, err, "I am slow")
	left, err := os.ReadDir(os.TempDir())
	require.NoError(t, err)
	assert.Empty(t, left, "data folders")
}

// TestKilledParentLeavesNothing runs beside the shared control plane, and so also
// shows that two can run at once.
func TestKilledParentLeavesNothing(t *testing.T) {
	Require(t)
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childVariable+"=1")
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		cmd.Process.Kill()
		assert.Error(t, cmd.Wait(), "it was killed")
	})

	var left remains
	require.NoError(t, json.NewDecoder(bufio.NewReader(out)).Decode(&left))
	require.Len(t, left.Groups, 6, "five programs and the guard")
	for name, group := range left.Groups {
		require.NoError(t, syscall.Kill(-group, 0), name)
	}
	require.NoError(t, cmd.Process.Kill())
	assertGone(t, left)
}

// recorder is a testing.TB that records how the test was ended.
type recorder struct {
	testing.TB
	ended, text string
}

func (r *recorder) Helper()      {}
func (r *recorder) Name() string { return "TestOfSomeone" }

func (r *recorder) end(how, text string) {
	r.ended, r.text = how, text
	panic(r) // like runtime.Goexit, but the same goroutine can recover it
}
func (r *recorder) Fatal(args ...any)                 { r.end("fatal", fmt.Sprint(args...)) }
func (r *recorder) Fatalf(format string, args ...any) { r.end("fatal", fmt.Sprintf(format, args...)) }
func (r *recorder) Skipf(format string, args ...any)  { r.end("skip", fmt.Sprintf(format, args...)) }

func TestRequireWithoutPrograms(t *testing.T) {
	for _, tt := range []struct{ variable, ended string }{
		{"", "skip"},
		{"1", "fatal"},
	} {
		t.Run(tt.ended, func(t *testing.T) {
			t.Setenv(RequireVariable, tt.variable)
			r := &recorder{TB: t}
			func() {
				defer func() { recover() }()
				endWithout(r, &programs.MissingError{Programs: []string{"etcd", "kwok"}, Folders: []string{"/nowhere"}})
			}()
			assert.Equal(t, tt.ended, r.ended)
			for _, part := range []string{"TestOfSomeone", "etcd, kwok", "/nowhere", "make controlplane", "KUBEBUILDER_ASSETS"} {
				assert.Contains(t, r.text, part)
			}
		})
	}
}

func TestNamespacePrefix(t *testing.T) {
	assert.Equal(t, "t-sync-reports-every-failure-", namespacePrefix("TestSync/reports_every_failure"))
	assert.LessOrEqual(t, len(namespacePrefix("Test"+strings.Repeat("x", 100)))+5, 63)
}

func TestOptionsNameThePrograms(t *testing.T) {
	all := append(Options{}.programs(), "kubectl")
	assert.ElementsMatch(t, programs.Names(), all)
	assert.Equal(t, []string{"etcd", "kube-apiserver"}, Options{NoControllerManager: true, NoScheduler: true, NoKwok: true}.programs())
	assert.False(t, slices.Contains(Options{NoKwok: true}.programs(), "kwok"))
}
