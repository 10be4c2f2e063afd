package manifests_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/platformbus/platform/internal/controlplane"
)

const (
	tree  = "../../.."
	chart = "../../chart"
)

// limit bounds each wait. It is far more than any of them takes.
const limit = time.Minute

func TestMain(m *testing.M) {
	code := controlplane.Main(m)
	if built.dir != "" {
		os.RemoveAll(built.dir)
	}
	os.Exit(code)
}

// built holds the program.
var built struct {
	once sync.Once
	dir  string
	err  error
}

// program returns the path of the program, built from this tree.
func program(t *testing.T) string {
	t.Helper()
	built.once.Do(func() {
		if built.dir, built.err = os.MkdirTemp("", "platform-"); built.err != nil {
			return
		}
		top, err := filepath.Abs(tree)
		if err != nil {
			built.err = err
			return
		}
		build := exec.Command("go", "build", "-o", built.dir, "./cmd/platform")
		build.Dir = top
		build.Env = append(os.Environ(), "GOWORK="+filepath.Join(top, "go.work"))
		if out, err := build.CombinedOutput(); err != nil {
			built.err = fmt.Errorf("%w: %s", err, out)
		}
	})
	require.NoError(t, built.err)
	return filepath.Join(built.dir, "platform")
}

// run runs the program with exactly this environment, and returns what it wrote and its exit code.
func run(t *testing.T, env []string, args ...string) (output string, code int) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), program(t), args...)
	cmd.Dir = t.TempDir()
	cmd.Env = append([]string{"HOME=" + cmd.Dir}, env...)
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil {
		require.NoError(t, err)
	}
	return string(out), cmd.ProcessState.ExitCode()
}
