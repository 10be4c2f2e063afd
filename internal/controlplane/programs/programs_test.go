package programs_test

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/platformbus/platform/internal/controlplane/programs"
)

// TestVersionsArePinned compares the constants, which are part of the name of the
// cache folder, with the versions that are built.
func TestVersionsArePinned(t *testing.T) {
	for _, tt := range []struct{ file, module, version string }{
		{"hack/controlplane/go.mod", "k8s.io/kubernetes", programs.KubernetesVersion},
		{"hack/controlplane/go.mod", "go.etcd.io/etcd/server/v3", programs.EtcdVersion},
		{"hack/controlplane/kwok/go.mod", "sigs.k8s.io/kwok", programs.KwokVersion},
	} {
		t.Run(tt.module, func(t *testing.T) {
			text, err := os.ReadFile(filepath.Join("../../..", tt.file))
			require.NoError(t, err)
			found := regexp.MustCompile(`(?m)^\s+` + regexp.QuoteMeta(tt.module) + ` (v\S+)`).FindSubmatch(text)
			require.NotNil(t, found, "%s does not require %s", tt.file, tt.module)
			assert.Equal(t, string(found[1]), tt.version, "%s pins %s %s: change the constant too", tt.file, tt.module, found[1])
		})
	}
}

// TestModulesNameThePrograms detects a program that no tool directive pins, sooner than
// a build, which takes minutes.
func TestModulesNameThePrograms(t *testing.T) {
	for _, p := range programs.All() {
		text, err := os.ReadFile(filepath.Join("../../..", p.Module, "go.mod"))
		require.NoError(t, err)
		assert.Regexp(t, `(?m)^(tool |\s+)`+regexp.QuoteMeta(p.Package)+`$`, string(text), "tool directives in %s", p.Module)
	}
}

func TestLocate(t *testing.T) {
	cache, err := programs.CacheFolder()
	require.NoError(t, err)
	assets := t.TempDir()
	t.Setenv(programs.AssetsVariable, assets)

	const neither = "no-such-program" // whatever has been built on this machine
	_, err = programs.Locate(neither)
	var missing *programs.MissingError
	require.ErrorAs(t, err, &missing)
	assert.Equal(t, []string{neither}, missing.Programs)
	assert.Equal(t, []string{assets, cache}, missing.Folders)
	assert.ErrorContains(t, err, "make controlplane")
	assert.ErrorContains(t, err, "KUBEBUILDER_ASSETS")

	file := filepath.Join(assets, neither)
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	_, err = programs.Locate(neither)
	require.Error(t, err, "a file that is not executable is not a program")

	require.NoError(t, os.Chmod(file, 0o700))
	folder, err := programs.Locate(neither)
	require.NoError(t, err)
	assert.Equal(t, assets, folder)
}
