//go:build !unix

package process

import (
	"os"
	"os/exec"
)

// Supported reports whether this system has process groups and pipes that children inherit.
// Without them programs could outlive this process, so Start returns an error. The other
// declarations let importers of this package compile.
const Supported = false

func groupCommand(path string, args []string, _, _ *os.File) *exec.Cmd {
	return exec.Command(path, args...)
}

func terminate(p *os.Process) { p.Kill() }
