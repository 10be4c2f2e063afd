//go:build !unix

package controlplane

import (
	"os"
	"os/exec"
)

// Without process groups and pipes that children inherit nothing could keep the
// programs from outliving us, so Start refuses. The rest is there so that tests
// which use this package compile, and are skipped.
const supported = false

func groupCommand(path string, args []string, _, _ *os.File) *exec.Cmd {
	return exec.Command(path, args...)
}

func (p *process) terminate() { p.cmd.Process.Kill() }

type guard struct{}

func startGuard(string) (*guard, error) { return nil, nil }

func (*guard) stop() error { return nil }
