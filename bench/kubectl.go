package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"syscall"
	"time"

	"github.com/platformbus/platform/bench/contender"
	"github.com/platformbus/platform/internal/controlplane"
)

// kubectl runs a new process for each phase. It caches the API server's kinds in its home
// folder.
type kubectl struct {
	program, kubeconfig, home string
	args                      []string
}

func startKubectl(a access, args ...string) (*kubectl, error) {
	program, err := controlplane.Program("kubectl")
	if err != nil {
		return nil, err
	}
	home, err := os.MkdirTemp("", "bench-kubectl-")
	if err != nil {
		return nil, err
	}
	return &kubectl{program, a.kubeconfig, home, args}, nil
}

func (k *kubectl) do(ctx context.Context, _, dir string) (contender.Measurement, error) {
	command := exec.CommandContext(ctx, k.program, slices.Concat(k.args, []string{"-f", dir})...)
	command.Env = []string{"HOME=" + k.home, contender.KubeconfigVariable + "=" + k.kubeconfig, "PATH=" + os.Getenv("PATH")}
	begin := time.Now()
	_, err := command.Output()
	took := time.Since(begin)
	var failed *exec.ExitError
	if errors.As(err, &failed) {
		return contender.Measurement{}, fmt.Errorf("kubectl: %w: %s", err, failed.Stderr)
	} else if err != nil {
		return contender.Measurement{}, err
	}
	state := command.ProcessState
	usage := state.SysUsage().(*syscall.Rusage) // its type on every Unix
	return contender.Measurement{
		MS:        contender.Milliseconds(took),
		CPUMS:     contender.Milliseconds(state.UserTime() + state.SystemTime()),
		PeakRSSMB: float64(usage.Maxrss) / 1024,
	}, nil
}

func (k *kubectl) close() error { return os.RemoveAll(k.home) }
