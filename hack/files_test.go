package hack_test

import (
	"os"
	"path"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"

	"github.com/platformbus/platform/internal/controlplane/programs"
)

// load reads a YAML file of the tree. A field that v does not have is an error.
func load(t *testing.T, file string, v any) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", file))
	require.NoError(t, err)
	require.NoError(t, yaml.UnmarshalStrict(text, v), file)
}

// GoReleaser is no tool of this tree, since its module requires several hundred others. So this
// compares its file with the fields that are meant, which keeps misspelt ones out, and with the
// files that it names.
func TestGoReleaserFile(t *testing.T) {
	type build struct {
		ID, Dir, Main, Binary             string
		Env, Goos, Goarch, Flags, Ldflags []string
		ModTimestamp                      string `json:"mod_timestamp"`
	}
	type override struct {
		Goos    string
		Formats []string
	}
	type archive struct {
		Formats         []string
		NameTemplate    string     `json:"name_template"`
		FormatOverrides []override `json:"format_overrides"`
		Files           []string
	}
	var config struct {
		Version     int
		ProjectName string `json:"project_name"`
		Builds      []build
		Archives    []archive
		SBOMs       []struct{ Artifacts string }
		Checksum    struct {
			NameTemplate string `json:"name_template"`
		}
		Release struct {
			Prerelease               string
			ReplaceExistingArtifacts bool `json:"replace_existing_artifacts"`
		}
	}
	load(t, ".goreleaser.yaml", &config)

	assert.Equal(t, 2, config.Version)
	require.Len(t, config.Builds, 1)
	b := config.Builds[0]
	assert.FileExists(t, filepath.Join("..", b.Dir, "go.mod"))
	assert.FileExists(t, filepath.Join("..", b.Dir, b.Main, "main.go"))
	assert.Equal(t, []string{"CGO_ENABLED=0"}, b.Env)
	assert.ElementsMatch(t, []string{"linux", "darwin", "windows"}, b.Goos)
	assert.ElementsMatch(t, []string{"amd64", "arm64"}, b.Goarch)
	assert.Contains(t, b.Flags, "-buildvcs=true", "the program's version comes from the tag")
	require.Len(t, config.Archives, 1)
	for _, file := range config.Archives[0].Files {
		assert.FileExists(t, filepath.Join("..", file))
	}
	assert.Equal(t, []struct{ Artifacts string }{{"archive"}}, config.SBOMs)
	workflow, err := os.ReadFile("../.github/workflows/release.yml")
	require.NoError(t, err)
	assert.Contains(t, string(workflow), "subject-checksums: dist/"+config.Checksum.NameTemplate+"\n")
}

func TestDependabotKnowsAllModules(t *testing.T) {
	var config struct {
		Version int
		Updates []struct {
			Ecosystem   string `json:"package-ecosystem"`
			Directory   string
			Directories []string
			Schedule    struct{ Interval string }
			Groups      map[string]struct{ Patterns []string }
		}
	}
	load(t, ".github/dependabot.yml", &config)
	var modules, known []string
	files := command(t, "..", nil, "git", "ls-files", "--cached", "--others", "--exclude-standard", "*go.mod")
	for file := range strings.Lines(files) {
		modules = append(modules, path.Join("/", path.Dir(strings.TrimSpace(file))))
	}
	for _, u := range config.Updates {
		if u.Ecosystem == "gomod" {
			known = append(known, u.Directories...)
		}
	}
	assert.ElementsMatch(t, modules, known)
}

// actionlint checks the workflows' syntax; these are this project's own rules.
func TestWorkflows(t *testing.T) {
	files, err := filepath.Glob("../.github/workflows/*.yml")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	mod, err := os.ReadFile("../go.mod")
	require.NoError(t, err)
	language := regexp.MustCompile(`(?m)^go (\d+\.\d+)`).FindSubmatch(mod)
	require.NotNil(t, language)
	uses := regexp.MustCompile(`uses: (\S+)`)
	fixed := regexp.MustCompile(`^\./|@(v[0-9]+|[0-9a-f]{40})$`)
	for _, file := range files {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		for _, action := range uses.FindAllSubmatch(text, -1) {
			assert.Regexp(t, fixed, string(action[1]), file)
		}
		for _, version := range regexp.MustCompile(`go-version: (\S+)`).FindAllSubmatch(text, -1) {
			assert.Equal(t, string(language[1])+".x", string(version[1]), file)
		}
		var workflow struct {
			Permissions map[string]string
		}
		require.NoError(t, yaml.Unmarshal(text, &workflow))
		require.NotNil(t, workflow.Permissions, "%s: without permissions it would have the repository's default", file)
		for scope, access := range workflow.Permissions {
			assert.Equal(t, "contents: read", scope+": "+access, "%s: a job that needs more says so itself", file)
		}
		assert.NotContains(t, string(text), "secrets.", file)
		assert.NotContains(t, string(text), "pull_request_target", file)
	}
	ci, err := os.ReadFile("../.github/workflows/ci.yml")
	require.NoError(t, err)
	assert.Contains(t, string(ci), "- run: .ci/run\n")

	if runtime.GOOS == "linux" { // as the workflow's machine
		t.Setenv("XDG_CACHE_HOME", "")
		t.Setenv("HOME", "/home/runner")
		folder, err := programs.CacheFolder()
		require.NoError(t, err)
		assert.Contains(t, string(ci), "path: ~"+strings.TrimPrefix(filepath.Dir(folder), "/home/runner")+"\n")
	}
}
