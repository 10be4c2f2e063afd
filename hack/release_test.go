// Package hack_test checks the release: the script, and the files that say how it is built.
package hack_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const (
	library = "github.com/platformbus/platform"
	version = "v0.987.6"
)

// A clone is a repository with one commit: the files of this working tree, whether they are
// committed or not, and a CHANGELOG that has the version.
type clone struct {
	dir string
	env []string
}

func newClone(t *testing.T) *clone {
	t.Helper()
	c := &clone{dir: filepath.Join(t.TempDir(), "platform")}
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "GIT_") && !strings.HasPrefix(v, "GO") && !strings.HasPrefix(v, "RELEASE_CHECK=") {
			c.env = append(c.env, v)
		}
	}
	// Every module that the tree needs is in the module cache already: this test was built from it.
	modules := strings.TrimSpace(command(t, "..", nil, "go", "env", "GOMODCACHE"))
	c.env = append(c.env,
		"GIT_CONFIG_GLOBAL="+os.DevNull, "GIT_CONFIG_NOSYSTEM=1",
		"GIT_AUTHOR_NAME=A", "GIT_AUTHOR_EMAIL=a@localhost", "GIT_COMMITTER_NAME=A", "GIT_COMMITTER_EMAIL=a@localhost",
		"GOMODCACHE="+modules, "GOPROXY=off", "GOTOOLCHAIN=local", "GOFLAGS=-buildvcs=false",
	)
	files := command(t, "..", nil, "git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
	for _, file := range strings.Split(strings.TrimRight(files, "\x00"), "\x00") {
		content, err := os.ReadFile(filepath.Join("..", file))
		if os.IsNotExist(err) {
			continue // deleted, and not committed yet
		}
		require.NoError(t, err)
		info, err := os.Stat(filepath.Join("..", file))
		require.NoError(t, err)
		if file == "CHANGELOG.md" {
			content = append([]byte("## "+version+" (2026-11-27)\n\n- A change.\n\n"), content...)
		}
		to := filepath.Join(c.dir, file)
		require.NoError(t, os.MkdirAll(filepath.Dir(to), 0o755))
		require.NoError(t, os.WriteFile(to, content, info.Mode().Perm()))
	}
	c.run(t, "git", "init", "--quiet", "--initial-branch=main")
	c.run(t, "git", "add", "--all")
	c.run(t, "git", "commit", "--quiet", "--message=tree")
	return c
}

// command runs a command that must succeed, and returns what it prints to its standard output.
func command(t *testing.T, dir string, env []string, name string, args ...string) string {
	t.Helper()
	var stderr strings.Builder
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Dir, cmd.Env, cmd.Stderr = dir, env, &stderr
	out, err := cmd.Output()
	require.NoError(t, err, "%s %s: %s", name, args, &stderr)
	return string(out)
}

func (c *clone) run(t *testing.T, name string, args ...string) string {
	t.Helper()
	return command(t, c.dir, c.env, name, args...)
}

// release runs the script with check in place of make check test, and returns all that it prints.
func (c *clone) release(t *testing.T, check string, args ...string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), filepath.Join(c.dir, "hack/release"), args...)
	cmd.Env = append(slices.Clone(c.env), "RELEASE_CHECK="+check)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func (c *clone) write(t *testing.T, file, content string) {
	t.Helper()
	require.NoError(t, os.WriteFile(filepath.Join(c.dir, file), []byte(content), 0o644))
}

func (c *clone) read(t *testing.T, file string) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(c.dir, file))
	require.NoError(t, err)
	return string(content)
}

// state returns all that a release changes.
func (c *clone) state(t *testing.T) string {
	t.Helper()
	return c.run(t, "git", "show-ref", "--head") + c.run(t, "git", "status", "--porcelain")
}

func TestRelease(t *testing.T) {
	c := newClone(t)
	before := c.state(t)

	out, err := c.release(t, "false", "-n", version)
	require.NoError(t, err, out)
	assert.Contains(t, out, "+ go mod edit -require="+library+"@"+version+" cmd/go.mod\n")
	assert.Contains(t, out, "+ bash -c false\n")
	assert.Contains(t, out, "+ git tag --annotate --message cmd/"+version+" cmd/"+version+"\n")
	assert.Equal(t, before, c.state(t), "a dry run changes nothing")

	// The check runs on what will be committed: the workspace loads, and cmd/go.mod is tidy.
	out, err = c.release(t, "git diff --stat && hack/tidy-cmd -diff && go list -deps ./cmd/platform", version)
	require.NoError(t, err, out)
	assert.Contains(t, out, "2 files changed")
	assert.Contains(t, out, "\n"+library+"/natsbus\n")
	assert.Contains(t, out, "to publish it: git push --atomic origin HEAD "+version+" cmd/"+version+"\n")

	assert.Empty(t, c.run(t, "git", "status", "--porcelain"))
	assert.Equal(t, "cmd/"+version+"\n"+version+"\n", c.run(t, "git", "tag", "--points-at", "HEAD"))
	assert.Equal(t, "cmd/go.mod\ngo.work\n", c.run(t, "git", "diff", "--name-only", "HEAD~"))
	assert.Contains(t, c.read(t, "cmd/go.mod"), "\t"+library+" "+version+"\n")
	assert.Contains(t, c.read(t, "go.work"), "\nreplace "+library+" "+version+" => ./\n")

	t.Run("the programs can be installed", func(t *testing.T) { testInstall(t, c) })

	t.Run("the next release", func(t *testing.T) {
		const next = "v0.987.7-rc.1"
		c.write(t, "CHANGELOG.md", "## "+next+"\n\n- More.\n\n"+c.read(t, "CHANGELOG.md"))
		c.run(t, "git", "commit", "--quiet", "--all", "--message=changes")
		out, err := c.release(t, "go list ./cmd/platform", next)
		require.NoError(t, err, out)
		assert.Equal(t, "\n- More.\n\n", c.run(t, "hack/release-notes", next))
		assert.Contains(t, c.read(t, "cmd/go.mod"), "\t"+library+" "+next+"\n")
		assert.Equal(t, 1, strings.Count(c.read(t, "go.work"), "replace "+library), "of the last version, and no other")
	})
}

// go install …@version refuses a module that has a replace directive. Here the go command takes
// this project's modules from the clone, by git, and others from the module cache.
func testInstall(t *testing.T, c *clone) {
	install := func(version string) (string, error) {
		cmd := exec.CommandContext(t.Context(), "go", "install", "-n", library+"/cmd/platform@"+version)
		cmd.Dir = t.TempDir()
		shared := strings.TrimSpace(c.run(t, "go", "env", "GOMODCACHE"))
		cmd.Env = append(slices.Clone(c.env),
			"GOMODCACHE="+filepath.Join(t.TempDir(), "modules"), "GOFLAGS=-modcacherw",
			"GOPROXY=file://"+filepath.ToSlash(shared)+"/cache/download", "GONOPROXY="+library, "GOSUMDB=off",
			"GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=url."+c.dir+".insteadOf", "GIT_CONFIG_VALUE_0=https://"+library,
		)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	out, err := install(version)
	require.NoError(t, err, out)
	assert.Contains(t, out, library+"/cmd@"+version)
	assert.Contains(t, out, library+"@"+version, "the library is the one that was tagged")

	const replaced = "v0.987.6-replaced"
	c.run(t, "git", "checkout", "--quiet", "-b", "replaced")
	c.run(t, "go", "mod", "edit", "-replace="+library+"=..", "cmd/go.mod")
	c.run(t, "git", "commit", "--quiet", "--all", "--message=replace")
	c.run(t, "git", "tag", "cmd/"+replaced)
	c.run(t, "git", "checkout", "--quiet", "main")
	out, err = install(replaced)
	require.Error(t, err, out)
	assert.Contains(t, out, "replace directives")
}

func TestReleaseRefuses(t *testing.T) {
	c := newClone(t)
	c.run(t, "git", "tag", "cmd/v0.987.8")
	c.write(t, "CHANGELOG.md", "## v0.987.8\n\n- A.\n\n## v0.986.10\n\n- B.\n\n## v0.985.0\n\n"+c.read(t, "CHANGELOG.md"))
	c.run(t, "git", "commit", "--quiet", "--all", "--message=changes")
	before := c.state(t)
	for _, test := range []struct {
		name  string
		check string
		args  []string
		says  string
	}{
		{"no version", "true", nil, "usage: hack/release"},
		{"an unknown flag", "true", []string{"-x", version}, "usage: hack/release"},
		{"no v", "true", []string{version[1:]}, "is not a version"},
		{"two numbers", "true", []string{"v0.987"}, "is not a version"},
		{"the version of what is not released", "true", []string{"v0.0.0"}, "not released"},
		{"a version that needs another module path", "true", []string{"v2.0.0"}, "/cmd/v2"},
		{"a shorter version has changes", "true", []string{"v0.987.60"}, `a heading "## v0.987.60"`},
		{"a longer version has changes", "true", []string{"v0.986.1"}, `a heading "## v0.986.1"`},
		{"a heading without changes", "true", []string{"v0.985.0"}, `a heading "## v0.985.0"`},
		{"one of the tags exists", "true", []string{"v0.987.8"}, "the tag cmd/v0.987.8 exists"},
		{"the check fails", "echo checked && false", []string{version}, "\nchecked\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			out, err := c.release(t, test.check, test.args...)
			require.Error(t, err, out)
			assert.Contains(t, out, test.says)
			assert.Equal(t, before, c.state(t))
		})
	}
	t.Run("the tree is not clean", func(t *testing.T) {
		c.write(t, "left.txt", "")
		for _, args := range [][]string{{version}, {"-n", version}} {
			out, err := c.release(t, "true", args...)
			require.Error(t, err, out)
			assert.Contains(t, out, "not clean:\n?? left.txt\n")
		}
	})
}
