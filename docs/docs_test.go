// Package docs_test checks that what the documents show is true: their Go is code of this tree,
// and their commands run.
package docs_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/platformbus/platform/internal/controlplane"
	"github.com/platformbus/platform/internal/process"
)

const root = ".."

// limit bounds each wait. It is far more than any of them takes.
const limit = time.Minute

var (
	// A block of Go in the README follows a comment that names its file and declarations,
	// such as <!-- go: example_test.go deploy -->.
	markedBlock = regexp.MustCompile("(?s)<!-- go: (\\S+) ([^>]*?) -->\n```go\n(.*?)```\n")
	// Commands follow a comment that names this file, which runs them.
	commands = regexp.MustCompile("(?s)<!-- run: docs/docs_test.go -->\n```sh\n(.*?)```\n")
	anyBlock = regexp.MustCompile("(?m)^```go$")
	link     = regexp.MustCompile(`\]\(([^)#:]+)\)`)
)

// The README's Go is code that is compiled, and mostly run, as part of the tests.
func TestREADMEShowsTheCode(t *testing.T) {
	readme, err := os.ReadFile(filepath.Join(root, "README.md"))
	require.NoError(t, err)
	blocks := markedBlock.FindAllStringSubmatch(string(readme), -1)
	assert.NotEmpty(t, blocks)
	assert.Len(t, blocks, len(anyBlock.FindAll(readme, -1)), "each block of Go names its source")
	for _, block := range blocks {
		file, names, shown := block[1], strings.Fields(block[2]), block[3]
		var sources []string
		for _, name := range names {
			source, err := function(filepath.Join(root, file), name)
			require.NoError(t, err)
			sources = append(sources, source)
		}
		assert.Equal(t, strings.Join(sources, "\n"), shown, "%s of %s", names, file)
		assert.LessOrEqual(t, strings.Count(shown, "\n"), 40)
	}
}

// The README's commands work. They run with other ports, since the usual ones may be in use.
func TestREADMECommandsRun(t *testing.T) {
	cp := controlplane.Require(t)
	readme, err := os.ReadFile(filepath.Join(root, "README.md"))
	require.NoError(t, err)
	match := commands.FindSubmatch(readme)
	require.NotNil(t, match)
	top, err := filepath.Abs(root)
	require.NoError(t, err)

	nats, service, daemon := freeAddr(t), freeAddr(t), freeAddr(t)
	dir, script := t.TempDir(), string(match[1])
	for _, change := range [][2]string{
		{" --embedded-nats ", " --embedded-nats=" + nats + " --listen " + service + " "},
		{"platform daemon ", "platform daemon --listen " + daemon + " "},
		{"127.0.0.1:4222", nats}, {"127.0.0.1:8080", service}, {"127.0.0.1:8081", daemon},
		{"~/.kube/config", cp.Kubeconfig()}, {"bin/", dir + "/"}, {">cluster.yaml", ">" + dir + "/cluster.yaml"},
	} {
		require.Contains(t, script, change[0])
		script = strings.ReplaceAll(script, change[0], change[1])
	}
	env := []string{"GOFLAGS=" + os.Getenv("GOFLAGS")}
	for _, name := range []string{"GOCACHE", "GOMODCACHE", "GOPATH", "GOPROXY"} {
		value, err := exec.Command("go", "env", name).Output()
		require.NoError(t, err)
		env = append(env, name+"="+strings.TrimSpace(string(value)))
	}
	p, err := process.Start(process.Program{
		Name: "readme", Dir: dir, Path: "/bin/bash", Args: []string{"-e", "-c", "cd " + top + "\n" + script + "wait"}, Env: env})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, p.Stop()) })
	select {
	case <-p.Exited():
	case <-time.After(5 * limit): // it builds the programs
		require.FailNow(t, "it does not end", p.Tail())
	}
	log, err := p.Log()
	require.NoError(t, err)
	require.NoError(t, p.State(), log)
	for _, want := range []string{"ok\n", `"connected": true`, `"services": []`, `"actions": 2`, `"actions": 1`} {
		assert.Contains(t, log, want)
	}
	assert.NotContains(t, log, `"error"`)
	exported, err := os.ReadFile(filepath.Join(dir, "cluster.yaml"))
	require.NoError(t, err)
	assert.Contains(t, string(exported), "name: cart-redis")
}

// freeAddr returns an address of loopback on which nobody listens now.
func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	return l.Addr().String()
}

// function returns the text of a function, its comment included.
func function(file, name string) (string, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}
	set := token.NewFileSet()
	parsed, err := parser.ParseFile(set, file, text, parser.ParseComments)
	if err != nil {
		return "", err
	}
	for _, decl := range parsed.Decls {
		f, ok := decl.(*ast.FuncDecl)
		if !ok || f.Name.Name != name {
			continue
		}
		begin := f.Pos()
		if f.Doc != nil {
			begin = f.Doc.Pos()
		}
		return string(text[set.Position(begin).Offset:set.Position(f.End()).Offset]) + "\n", nil
	}
	return "", fmt.Errorf("%s has no function %s", file, name)
}

// The tests that SECURITY.md names exist.
func TestSECURITYNamesItsTests(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, "SECURITY.md"))
	require.NoError(t, err)
	named := regexp.MustCompile("`((?:Test|Fuzz)\\w+)`").FindAllStringSubmatch(string(text), -1)
	require.NotEmpty(t, named)
	tests := map[string]bool{}
	require.NoError(t, filepath.WalkDir(root, func(path string, _ os.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		source, err := os.ReadFile(path)
		for _, match := range regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`).FindAllSubmatch(source, -1) {
			tests[string(match[1])] = true
		}
		return err
	}))
	for _, match := range named {
		assert.True(t, tests[match[1]], "there is no test %s", match[1])
	}
}

// The targets of links in the documents exist.
func TestLinksHaveTargets(t *testing.T) {
	names := []string{"README.md", "DESIGN.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md"}
	entries, err := os.ReadDir(".")
	require.NoError(t, err)
	for _, entry := range entries {
		if filepath.Ext(entry.Name()) == ".md" {
			names = append(names, filepath.Join("docs", entry.Name()))
		}
	}
	require.Greater(t, len(names), 5)
	for _, name := range names {
		text, err := os.ReadFile(filepath.Join(root, name))
		require.NoError(t, err)
		for _, match := range link.FindAllStringSubmatch(string(text), -1) {
			_, err := os.Stat(filepath.Join(root, filepath.Dir(name), match[1]))
			assert.NoError(t, err, "%s links to %s", name, match[1])
		}
	}
}
