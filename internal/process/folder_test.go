//go:build unix

package process

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// childVariable makes this test binary a process that makes a folder, prints its path and its
// guard, and waits to be killed.
const childVariable = "PROCESS_TEST_CHILD"

func TestMain(m *testing.M) {
	if os.Getenv(childVariable) != "1" {
		os.Exit(m.Run())
	}
	folder, err := MkdirTemp("process-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(folder.Path(), folder.Guard())
	select {}
}

func TestFolder(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	folder, err := MkdirTemp("process-")
	require.NoError(t, err)
	assert.Equal(t, os.TempDir(), filepath.Dir(folder.Path()))
	info, err := os.Stat(folder.Path())
	require.NoError(t, err)
	assert.Equal(t, os.ModeDir|0o700, info.Mode())
	require.NoError(t, os.WriteFile(filepath.Join(folder.Path(), "file"), nil, 0o600))
	require.NoError(t, folder.Remove())
	assert.NoDirExists(t, folder.Path())
	require.ErrorIs(t, syscall.Kill(folder.Guard(), 0), syscall.ESRCH)

	t.Setenv("TMPDIR", folder.Path())
	_, err = MkdirTemp("process-")
	require.ErrorContains(t, err, "make a temporary folder: exit status 1: mkdir: ")
}

// A folder of a process that was killed is removed, and then its guard ends.
func TestFolderOfAKilledProcess(t *testing.T) {
	child := exec.CommandContext(t.Context(), os.Args[0])
	child.Env = append(os.Environ(), childVariable+"=1", "TMPDIR="+t.TempDir())
	child.Stderr = os.Stderr
	out, err := child.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, child.Start())
	var path string
	var guard int
	_, err = fmt.Fscan(out, &path, &guard)
	require.NoError(t, err)
	require.DirExists(t, path)
	require.NoError(t, child.Process.Kill())
	_, err = io.Copy(io.Discard, out)
	require.NoError(t, err)
	require.Error(t, child.Wait())

	require.Eventually(t, func() bool { return errors.Is(syscall.Kill(guard, 0), syscall.ESRCH) }, time.Minute, 10*time.Millisecond)
	assert.NoDirExists(t, path)
}
