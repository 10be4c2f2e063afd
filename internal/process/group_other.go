//go:build !unix

package process

import (
	"os"
	"os/exec"
)

// Supported says whether this system has what it takes. Without process groups and pipes
// that children inherit nothing could keep the programs from outliving us, so Start
// refuses. The rest is there so that what uses this package compiles.
const Supported = false

func groupCommand(path string, args []string, _, _ *os.File) *exec.Cmd {
	return exec.Command(path, args...)
}

func terminate(p *os.Process) { p.Kill() }
