//go:build unix

package process

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
)

// guardFolder makes a folder, says so, and removes it at the end of file of its standard input.
// The programs that write there are being killed at that moment: one of them may still write,
// or make the folder again, so it is removed until it stays away for a second.
const guardFolder = `umask 077; mkdir -- "$1" || exit; echo; read -r _
for n in 1 2 3 4 5 6 7 8 9 10; do [ -e "$1" ] || exit 0; rm -rf -- "$1" 2>/dev/null; sleep 1; done`

// A Folder is a temporary folder that only its owner can read. It is removed by Remove, or by a
// shell when this process ends for any reason: see [MkdirTemp].
type Folder struct {
	path     string
	guard    *exec.Cmd
	lifeline io.Closer
}

// MkdirTemp makes a folder in the temporary folder, with a name that begins with prefix. The
// shell that removes it is the one that makes it, so that a SIGKILL at any time leaves nothing.
func MkdirTemp(prefix string) (*Folder, error) {
	path := filepath.Join(os.TempDir(), prefix+strconv.FormatUint(uint64(rand.Uint32()), 36))
	f := &Folder{path: path, guard: exec.Command("/bin/sh", "-c", guardFolder, "sh", path)}
	f.guard.Dir = "/" // so that the guard does not use a folder that is removed
	f.guard.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	var failure bytes.Buffer
	f.guard.Stderr = &failure
	made, err := f.guard.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if f.lifeline, err = f.guard.StdinPipe(); err != nil {
		return nil, err
	}
	if err := f.guard.Start(); err != nil {
		return nil, fmt.Errorf("start the guard of %s: %w", path, err)
	}
	if _, err := made.Read(make([]byte, 1)); err != nil {
		f.lifeline.Close()
		return nil, fmt.Errorf("make a temporary folder: %w: %s", f.guard.Wait(), bytes.TrimSpace(failure.Bytes()))
	}
	return f, nil
}

// Path returns the path of the folder.
func (f *Folder) Path() string { return f.path }

// Guard returns the ID of the shell that removes the folder, and of its process group.
func (f *Folder) Guard() int { return f.guard.Process.Pid }

// Remove removes the folder, and returns when the shell has ended too. It must be called once.
func (f *Folder) Remove() error {
	err := os.RemoveAll(f.path)
	f.lifeline.Close()
	if failed := f.guard.Wait(); err == nil {
		err = failed
	}
	return err
}
