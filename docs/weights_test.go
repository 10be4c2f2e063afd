package docs_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// What each package brings to those who import it is what docs/weights.md says.
func TestWeights(t *testing.T) {
	text, err := os.ReadFile("weights.md")
	require.NoError(t, err)
	rows := regexp.MustCompile("(?m)^\\| `(\\S+)` \\| (\\d+) \\| (\\d+\\.\\d) MB \\|").FindAllStringSubmatch(string(text), -1)
	require.Len(t, rows, 5)
	const module = "github.com/platformbus/platform"
	for _, row := range rows {
		pkg := module + strings.TrimSuffix("/"+row[1], "/platform")
		t.Run(row[1], func(t *testing.T) {
			modules, packages := dependencies(t, pkg)
			assert.Equal(t, row[2], strconv.Itoa(len(modules)), "modules: %q", modules)
			for _, never := range []string{"github.com/stretchr/testify", "go.uber.org/goleak", "github.com/nats-io/nats-server/v2", "go.opentelemetry.io/otel/sdk", "github.com/spf13/cobra"} {
				assert.NotContains(t, modules, never)
			}
			if row[1] != "kubernetes" {
				for _, p := range packages {
					assert.False(t, strings.HasPrefix(p, "k8s.io/client-go/") && p != "k8s.io/client-go/kubernetes/scheme", p)
				}
			}
			if row[1] != "natsbus" {
				assert.NotContains(t, modules, "github.com/nats-io/nats.go")
			}
			if row[1] == "flux" {
				assert.NotContains(t, packages, "testing")
			}
			said, err := strconv.ParseFloat(row[3], 64)
			require.NoError(t, err)
			assert.InEpsilon(t, said, programSize(t, pkg), 0.1, "MB of a program")
		})
	}
}

// dependencies returns the modules and packages that a program needs for a package.
func dependencies(t *testing.T, pkg string) (modules, packages []string) {
	t.Helper()
	out, err := goCommand(t, "list", "-deps", "-f", "{{.ImportPath}} {{with .Module}}{{.Path}}{{end}}", pkg).Output()
	require.NoError(t, err)
	for line := range strings.Lines(string(out)) {
		p, m, _ := strings.Cut(strings.TrimSpace(line), " ")
		packages = append(packages, p)
		if m != "" && !strings.HasPrefix(m, "github.com/platformbus/") {
			modules = append(modules, m)
		}
	}
	slices.Sort(modules)
	return slices.Compact(modules), packages
}

// programSize returns the size in MB, for linux/amd64 and without symbols, of a program that
// imports a package and does nothing.
func programSize(t *testing.T, pkg string) float64 {
	t.Helper()
	dir, err := os.MkdirTemp(".", "_weight-") // in the module, whose versions count, and not in ./...
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	source := "package main\n\nimport _ \"" + pkg + "\"\n\nfunc main() {}\n"
	require.NoError(t, os.WriteFile(filepath.Join(dir, "main.go"), []byte(source), 0o600))
	program := filepath.Join(t.TempDir(), "program")
	out, err := goCommand(t, "build", "-trimpath", "-ldflags", "-s -w", "-o", program, "./"+dir).CombinedOutput()
	require.NoError(t, err, "%s", out)
	info, err := os.Stat(program)
	require.NoError(t, err)
	return float64(info.Size()) / 1e6
}

func goCommand(t *testing.T, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(t.Context(), "go", args...)
	cmd.Env = append(os.Environ(), "GOWORK=off", "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64")
	return cmd
}
