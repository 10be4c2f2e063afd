//go:build unix

package process

import (
	"os"
	"os/exec"
	"syscall"
)

// inGroup replaces itself with the program named by its arguments. Before that it
// starts a shell in the process group, which kills the group at the end of file 3.
// It does not matter which of the two runs first, since the end of file persists.
//
// The watching shell does not keep the log or standard input open, but it keeps
// file 4, so that the end of that file shows that the shell has exited too.
const inGroup = `(read -r _; kill -KILL 0) <&3 >/dev/null 2>&1 & exec "$@" 3<&-`

// Supported reports whether this system has process groups and pipes that children inherit.
const Supported = true

// groupCommand returns a command that runs a program in a process group of its
// own. The group is killed at the end of file of hold, and keeps member open until
// its last process has exited.
func groupCommand(path string, args []string, hold, member *os.File) *exec.Cmd {
	cmd := exec.Command("/bin/sh", append([]string{"-c", inGroup, "sh", path}, args...)...)
	cmd.ExtraFiles = []*os.File{hold, member} // 3 and 4
	// A group of its own also does not receive the terminal's interrupt: the
	// programs end in order, when this process ends.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	return cmd
}

// terminate asks the program to end. It signals only the program, not the group:
// after a wait the number may belong to another process, which os.Process tracks and
// the kernel's groups do not. The watching shell kills the group, from within.
func terminate(p *os.Process) {
	p.Signal(syscall.SIGTERM) // an error means that it has ended
}
