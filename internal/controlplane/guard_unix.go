//go:build unix

package controlplane

import (
	"fmt"
	"io"
	"os/exec"
	"syscall"
)

// onceGone removes a folder at the end of file of its standard input. The programs
// that write there are being killed at that moment, so it may need several tries.
const onceGone = `read -r _; n=0
while [ -e "$1" ] && [ $n -lt 10 ]; do sleep 1; rm -rf -- "$1"; n=$((n+1)); done`

// A guard is a shell that removes a folder if this process ends without removing it.
type guard struct {
	cmd      *exec.Cmd
	lifeline io.Closer
}

func startGuard(folder string) (*guard, error) {
	cmd := exec.Command("/bin/sh", "-c", onceGone, "sh", folder)
	cmd.Dir = "/" // so that the guard does not use a folder that is removed
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	lifeline, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the guard of %s: %w", folder, err)
	}
	return &guard{cmd, lifeline}, nil
}

// stop ends the guard: at once if the folder is gone, and otherwise after some tries
// to remove it.
func (g *guard) stop() error {
	g.lifeline.Close()
	return g.cmd.Wait()
}
