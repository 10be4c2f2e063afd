package examples_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/platformbus/platform/internal/controlplane"
	"github.com/platformbus/platform/internal/natstest"
	"github.com/platformbus/platform/internal/process"
	"github.com/platformbus/platform/natsbus"
)

// limit bounds each wait. It is far more than any of them takes.
const limit = time.Minute

func TestMain(m *testing.M) { os.Exit(controlplane.Main(m)) }

// The two smallest programs do the main job: the service applies a file through the daemon.
func TestSmallestPrograms(t *testing.T) {
	cp := controlplane.Require(t)
	namespace := cp.Namespace(t)
	url := "nats://" + natstest.Start(t, nil).Addr().String()
	bin := t.TempDir()
	out, err := exec.Command("go", "build", "-race", "-o", bin, "./daemon", "./service").CombinedOutput()
	require.NoError(t, err, "%s", out)
	run := func(name string, args ...string) *process.Process {
		p, err := process.Start(process.Program{Name: name, Dir: t.TempDir(), Path: filepath.Join(bin, name), Args: args})
		require.NoError(t, err)
		t.Cleanup(func() { assert.NoError(t, p.Stop()) })
		return p
	}

	daemon := run("daemon", url, "shop", cp.Kubeconfig())
	conn, err := nats.Connect(url, natsbus.ConnectOptions()...)
	require.NoError(t, err)
	defer conn.Close()
	bus, err := natsbus.New(conn, natsbus.Options{})
	require.NoError(t, err)
	require.Eventually(t, func() bool { return bus.Ping("shop") == nil }, limit, 50*time.Millisecond, "the daemon answers")
	require.NoError(t, bus.Close(context.Background()))

	manifest := filepath.Join(t.TempDir(), "web.yaml")
	require.NoError(t, os.WriteFile(manifest, []byte("apiVersion: v1\nkind: Service\nmetadata: {name: web, namespace: "+namespace+"}\nspec: {ports: [{port: 80}]}\n"), 0o600))
	service := run("service", url, "shop", manifest)
	within(t, service)
	require.NoError(t, service.State(), service.Tail())
	log, err := service.Log()
	require.NoError(t, err)
	assert.Contains(t, log, namespace+"/web ")

	require.NoError(t, daemon.Signal(syscall.SIGTERM))
	within(t, daemon)
	assert.NoError(t, daemon.State(), "a daemon that is told to end does")

	// Without a daemon the service says so.
	service = run("service", url, "shop", manifest)
	within(t, service)
	var failed *exec.ExitError
	require.True(t, errors.As(service.State(), &failed))
	assert.Equal(t, 1, failed.ExitCode())
	assert.Contains(t, service.Tail(), "no daemon is connected")
}

func within(t *testing.T, p *process.Process) {
	t.Helper()
	select {
	case <-p.Exited():
	case <-time.After(limit):
		require.FailNow(t, "it does not end", p.Tail())
	}
}
