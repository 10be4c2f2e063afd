package manifests_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"debug/elf"
	"go/version"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/client/llb/sourceresolver"
	"github.com/moby/buildkit/frontend/dockerfile/dockerfile2llb"
	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	"github.com/moby/patternmatcher"
	"github.com/moby/patternmatcher/ignorefile"
	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/mod/modfile"
)

const dockerfile = "../../Dockerfile"

// anyImage answers for images that cannot be fetched here: they are empty.
type anyImage struct{}

func (anyImage) ResolveImageConfig(_ context.Context, ref string, _ sourceresolver.Opt) (string, digest.Digest, []byte, error) {
	config := []byte(`{"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers"}}`)
	return ref, digest.FromBytes(config), config, nil
}

// Docker's own checks of Dockerfiles find nothing.
func TestDockerfileLint(t *testing.T) {
	text, err := os.ReadFile(dockerfile)
	require.NoError(t, err)
	lint := func(text []byte) (warnings []string) {
		none := llb.Scratch()
		source := llb.NewSourceMap(&none, "Dockerfile", "Dockerfile", text)
		var err error
		source.Definition, err = none.Marshal(t.Context())
		require.NoError(t, err)
		results, err := dockerfile2llb.DockerfileLint(t.Context(), text, dockerfile2llb.ConvertOpt{MetaResolver: anyImage{}, SourceMap: source})
		require.NoError(t, err)
		if results.Error != nil {
			warnings = append(warnings, results.Error.Message)
		}
		for _, w := range results.Warnings {
			warnings = append(warnings, w.RuleName+": "+w.Detail)
		}
		return warnings
	}
	assert.Empty(t, lint(text))
	withShell := bytes.Replace(text, []byte(`ENTRYPOINT ["/platform"]`), []byte(`ENTRYPOINT /platform`), 1)
	assert.Len(t, lint(withShell), 1, "the checks are carried out")
}

// stages returns the stages of the Dockerfile, and the defaults of the arguments before them.
func stages(t *testing.T) (list []instructions.Stage, args map[string]string) {
	t.Helper()
	text, err := os.ReadFile(dockerfile)
	require.NoError(t, err)
	tree, err := parser.Parse(bytes.NewReader(text))
	require.NoError(t, err)
	list, before, err := instructions.Parse(tree.AST, nil)
	require.NoError(t, err)
	args = map[string]string{}
	for _, command := range before {
		for _, arg := range command.Args {
			args[arg.Key] = arg.ValueString()
		}
	}
	return list, args
}

// The image is built with the Go of go.mod, or later fixes of it, and runs as the user of the manifests.
func TestDockerfileStages(t *testing.T) {
	list, args := stages(t)
	require.Len(t, list, 2)
	text, err := os.ReadFile(filepath.Join(tree, "cmd/go.mod"))
	require.NoError(t, err)
	mod, err := modfile.ParseLax("go.mod", text, nil)
	require.NoError(t, err)
	wanted, has := "go"+mod.Go.Version, "go"+args["GO_VERSION"]
	assert.Equal(t, version.Lang(wanted), version.Lang(has))
	assert.GreaterOrEqual(t, version.Compare(has, wanted), 0, "%s, of which go.mod wants %s", has, wanted)
	assert.Equal(t, "golang:${GO_VERSION}", list[0].BaseName)
	assert.Equal(t, "$BUILDPLATFORM", list[0].Platform)

	var user string
	var entrypoint []string
	labels := map[string]bool{}
	for _, command := range list[1].Commands {
		switch c := command.(type) {
		case *instructions.UserCommand:
			user = c.User
		case *instructions.EntrypointCommand:
			entrypoint = c.CmdLine
			assert.False(t, c.PrependShell, "there is no shell")
		case *instructions.LabelCommand:
			for _, label := range c.Labels {
				labels[label.Key] = true
			}
		case *instructions.RunCommand:
			assert.Fail(t, "there is no shell", c.String())
		}
	}
	assert.Equal(t, "65532:65532", user)
	assert.Equal(t, []string{"/platform"}, entrypoint)
	for _, label := range []string{"title", "description", "source", "licenses", "version", "revision"} {
		assert.Contains(t, labels, "org.opencontainers.image."+label)
	}
}

// copyContext copies what Docker would send to the builder.
func copyContext(t *testing.T, to string) {
	t.Helper()
	file, err := os.Open(dockerfile + ".dockerignore")
	require.NoError(t, err)
	defer file.Close()
	patterns, err := ignorefile.ReadAll(file)
	require.NoError(t, err)
	ignored, err := patternmatcher.New(patterns)
	require.NoError(t, err)
	require.NoError(t, filepath.WalkDir(tree, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(tree, path)
		switch {
		case err != nil:
			return err
		case name == ".git" && entry.IsDir():
			return filepath.SkipDir
		case entry.IsDir():
			return os.MkdirAll(filepath.Join(to, name), 0o700)
		}
		ignore, err := ignored.MatchesOrParentMatches(name)
		if err != nil || ignore || !entry.Type().IsRegular() {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, name), text, 0o600)
	}))
}

// The Dockerfile's command builds the program from the files that .dockerignore leaves, for another
// architecture too; in another folder it gives the same bytes.
func TestDockerfileBuildsTheSame(t *testing.T) {
	list, _ := stages(t)
	var command string
	for _, c := range list[0].Commands {
		if c, ok := c.(*instructions.RunCommand); ok {
			require.Empty(t, command, "one command builds")
			command = strings.Join(c.CmdLine, " ")
		}
	}
	require.Contains(t, command, " -o /out/platform ")

	build := func(arch string) string {
		dir := t.TempDir()
		copyContext(t, filepath.Join(dir, "src"))
		file := filepath.Join(dir, "platform")
		cmd := exec.CommandContext(t.Context(), "sh", "-c", strings.Replace(command, " -o /out/platform ", " -o "+file+" ", 1))
		cmd.Dir = filepath.Join(dir, "src")
		cmd.Env = append(os.Environ(), "GOWORK=", "GOFLAGS=", "GOTOOLCHAIN=local", "CGO_ENABLED=0", "TARGETOS=linux", "TARGETARCH="+arch, "VERSION=1.2.3")
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, string(out))
		return file
	}
	hash := func(file string) [sha256.Size]byte {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		assert.NotContains(t, string(text), filepath.Dir(file), "the folder is not in the program")
		return sha256.Sum256(text)
	}
	first, second := build("arm64"), build("arm64")
	assert.Equal(t, hash(first), hash(second))
	binary, err := elf.Open(second)
	require.NoError(t, err)
	defer binary.Close()
	assert.Equal(t, elf.EM_AARCH64, binary.Machine)
	libraries, err := binary.ImportedLibraries()
	assert.NoError(t, err)
	assert.Empty(t, libraries, "it is linked statically, and needs nothing of the image")

	if runtime.GOOS == "linux" {
		out, err := exec.CommandContext(t.Context(), build(runtime.GOARCH), "--version").CombinedOutput()
		require.NoError(t, err, string(out))
		assert.Contains(t, string(out), "1.2.3")
	}
}
