//go:build unix

package process

import (
	"os"
	"os/exec"
	"syscall"
)

// inGroup becomes the program named by its arguments. Before that it leaves a
// shell in the process group which kills the group when file 3 is at its end.
// This works whichever of the two gets to run first, since the end stays there.
//
// The watching shell keeps neither the log nor standard input, but file 4, so
// that the end of that file tells that it is gone as well.
const inGroup = `(read -r _; kill -KILL 0) <&3 >/dev/null 2>&1 & exec "$@" 3<&-`

// Supported says whether this system has what it takes.
const Supported = true

// groupCommand returns a command that runs a program in a process group of its
// own. The group is killed when hold is at its end, and holds member open until
// its last process is gone.
func groupCommand(path string, args []string, hold, member *os.File) *exec.Cmd {
	cmd := exec.Command("/bin/sh", append([]string{"-c", inGroup, "sh", path}, args...)...)
	cmd.ExtraFiles = []*os.File{hold, member} // 3 and 4
	// A group of its own also keeps the terminal's interrupt away from it: the
	// programs end in order, when we end.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	return cmd
}

// terminate asks the program to end. It signals the program alone, not the group,
// because a program that was waited for has a number that may be another's
// already: os.Process knows, the kernel's groups do not. The watching shell is
// the one that kills the group, from within.
func terminate(p *os.Process) {
	p.Signal(syscall.SIGTERM) // an error says that it has ended
}
