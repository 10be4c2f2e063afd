// Package docs_test checks that what the documents show is true: their Go is code of this tree,
// their commands run, and their links lead somewhere.
package docs_test

import (
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/platformbus/platform/internal/controlplane"
	"github.com/platformbus/platform/internal/process"
)

const root = ".."

// limit bounds the commands of a page, which build programs. It is far more than they take.
const limit = 5 * time.Minute

var update = flag.Bool("update", false, "write the Go of the pages anew, from its sources")

var (
	// A block of Go follows a comment that names its file and functions, such as
	// <!-- go: example_test.go deploy -->.
	goBlock    = regexp.MustCompile("(?s)<!-- go: (\\S+) ([^>]*?) -->\n```go\n(.*?)```\n")
	anyGoBlock = regexp.MustCompile("(?m)^```go$")
	// Commands follow a comment that names this file, which runs them, or one that says why
	// they are not run. What they write follows them, with … for what differs.
	runBlock    = regexp.MustCompile("(?s)<!-- run: docs/docs_test.go -->\n```sh\n(.*?)```\n")
	notRunBlock = regexp.MustCompile("(?m)^<!-- not run: \\S.* -->\n```sh$")
	anyRunBlock = regexp.MustCompile("(?m)^```sh$")
	outputBlock = regexp.MustCompile("(?s)<!-- output -->\n```text\n(.*?)```\n")
)

func TestMain(m *testing.M) { os.Exit(controlplane.Main(m)) }

// pages returns the documents that tests hold to all of this: the README, and those in docs.
func pages(t *testing.T) map[string]string {
	t.Helper()
	names, err := filepath.Glob("*.md")
	require.NoError(t, err)
	require.NotEmpty(t, names)
	texts := map[string]string{}
	for _, name := range append(names, filepath.Join(root, "README.md")) {
		text, err := os.ReadFile(name)
		require.NoError(t, err)
		texts[name] = string(text)
	}
	return texts
}

// The Go of the pages is code that is compiled, and mostly run, as part of the tests.
func TestPagesShowTheCode(t *testing.T) {
	blocks := 0
	for name, text := range pages(t) {
		shown := goBlock.FindAllStringSubmatch(text, -1)
		assert.Len(t, shown, len(anyGoBlock.FindAllString(text, -1)), "%s: each block of Go names its source", name)
		for _, block := range shown {
			blocks++
			source := functions(t, block[1], strings.Fields(block[2]))
			assert.LessOrEqual(t, strings.Count(source, "\n"), 40, "%s of %s", block[2], block[1])
			if *update {
				anew := fmt.Sprintf("<!-- go: %s %s -->\n```go\n%s```\n", block[1], block[2], source)
				text = strings.ReplaceAll(text, block[0], anew)
				continue
			}
			assert.Equal(t, source, block[3], "%s shows %s of %s; go test ./docs -run Code -update", name, block[2], block[1])
		}
		if *update {
			require.NoError(t, os.WriteFile(name, []byte(text), 0o644)) //nolint:gosec // a page
		}
	}
	assert.NotZero(t, blocks)
}

// functions returns the text of functions, their comments included.
func functions(t *testing.T, file string, names []string) string {
	t.Helper()
	file = filepath.Join(root, file)
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	set := token.NewFileSet()
	parsed, err := parser.ParseFile(set, file, text, parser.ParseComments)
	require.NoError(t, err)
	found := map[string]string{}
	for _, decl := range parsed.Decls {
		if f, ok := decl.(*ast.FuncDecl); ok {
			begin := f.Pos()
			if f.Doc != nil {
				begin = f.Doc.Pos()
			}
			found[f.Name.Name] = string(text[set.Position(begin).Offset:set.Position(f.End()).Offset]) + "\n"
		}
	}
	var sources []string
	for _, name := range names {
		require.Contains(t, found, name, file)
		sources = append(sources, found[name])
	}
	return strings.Join(sources, "\n")
}

// Each block of commands is run, or says why it is not.
func TestCommandsAreMarked(t *testing.T) {
	for name, text := range pages(t) {
		marked := len(runBlock.FindAllString(text, -1)) + len(notRunBlock.FindAllString(text, -1))
		assert.Equal(t, len(anyRunBlock.FindAllString(text, -1)), marked, "%s: each block of commands is marked", name)
		if outputBlock.MatchString(text) {
			assert.Regexp(t, runBlock, text, "%s has the output of no commands", name)
		}
	}
}

// The commands of each page work, as one script, on a real control plane. They write what the
// page says.
func TestCommandsRun(t *testing.T) {
	scripts, texts := 0, pages(t)
	for _, name := range slices.Sorted(maps.Keys(texts)) {
		text := texts[name]
		blocks := runBlock.FindAllStringSubmatch(text, -1)
		if len(blocks) == 0 {
			continue
		}
		scripts++
		t.Run(strings.TrimSuffix(filepath.Base(name), ".md"), func(t *testing.T) {
			var script string
			for _, block := range blocks {
				script += block[1]
			}
			log := run(t, script)
			for _, block := range outputBlock.FindAllStringSubmatch(text, -1) {
				for line := range strings.Lines(block[1]) {
					pattern := strings.ReplaceAll(regexp.QuoteMeta(strings.TrimRight(line, "\n")), "…", ".*")
					assert.Regexp(t, pattern, log)
				}
			}
		})
	}
	assert.NotZero(t, scripts)
}

// run runs a script in the top folder, and returns what it wrote. It has a cluster in its
// kubeconfig, kubectl, and other ports than a page says, since those may be in use. What it writes
// to bin is removed.
func run(t *testing.T, script string) string {
	t.Helper()
	cp := controlplane.Require(t)
	kubectl, err := controlplane.Program("kubectl")
	require.NoError(t, err)
	top, err := filepath.Abs(root)
	require.NoError(t, err)
	dir := t.TempDir() // is HOME too
	access, err := os.ReadFile(cp.Kubeconfig())
	require.NoError(t, err)
	require.NoError(t, os.Mkdir(filepath.Join(dir, ".kube"), 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(dir, ".kube", "config"), access, 0o600))

	nats, service, daemon := freeAddr(t), freeAddr(t), freeAddr(t)
	script = strings.NewReplacer(
		"--embedded-nats ", "--embedded-nats="+nats+" ", "127.0.0.1:4222", nats,
		"platform service ", "platform service --listen "+service+" ", "127.0.0.1:8080", service,
		"platform daemon ", "platform daemon --listen "+daemon+" ", "127.0.0.1:8081", daemon,
		"bin/", dir+"/bin/",
	).Replace(script)
	env := []string{"GOFLAGS=" + os.Getenv("GOFLAGS"), "PATH=" + filepath.Dir(kubectl) + ":" + os.Getenv("PATH")}
	for _, name := range []string{"GOCACHE", "GOMODCACHE", "GOPATH", "GOPROXY"} {
		value, err := exec.Command("go", "env", name).Output()
		require.NoError(t, err)
		env = append(env, name+"="+strings.TrimSpace(string(value)))
	}
	p, err := process.Start(process.Program{
		Name: "commands", Dir: dir, Path: "/bin/bash", Args: []string{"-e", "-c", "cd " + top + "\n" + script + "wait"}, Env: env})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, p.Stop()) })
	select {
	case <-p.Exited():
	case <-time.After(limit):
		require.FailNow(t, "they do not end", p.Tail())
	}
	log, err := p.Log()
	require.NoError(t, err)
	require.NoError(t, p.State(), log)
	return log
}

// freeAddr returns an address of loopback on which nobody listens now.
func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	return l.Addr().String()
}

// A page has one subject. The README is a landing page.
func TestPagesAreShort(t *testing.T) {
	for name, text := range pages(t) {
		most := 250
		if filepath.Base(name) == "README.md" {
			most = 130
		}
		assert.LessOrEqual(t, strings.Count(text, "\n"), most, name)
	}
}

// The figures in the README, in its table and elsewhere, are those of the benchmarks.
func TestREADMEHasMeasuredFigures(t *testing.T) {
	texts := pages(t)
	figures := regexp.MustCompile(`\d[\d.,]* (?:µs|ms|s|MB)\b(?:, [\d,]+ requests)?`)
	found := figures.FindAllString(texts[filepath.Join(root, "README.md")], -1)
	require.NotEmpty(t, found)
	for _, figure := range found {
		assert.Contains(t, texts["benchmarks.md"], "| "+figure+" |", "docs/benchmarks.md has no such figure")
	}
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

var (
	link    = regexp.MustCompile(`\]\(([^)\s]*)\)`)
	fenced  = regexp.MustCompile("(?ms)^```.*?^```$")
	inline  = regexp.MustCompile("`[^`\n]*`")
	heading = regexp.MustCompile(`(?m)^#+ (.*)$`)
)

// The links of all documents lead to files that exist, and to headings in them.
func TestLinksHaveTargets(t *testing.T) {
	documents := 0
	require.NoError(t, filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && path != root && (strings.HasPrefix(d.Name(), ".") || d.Name() == "bin" || d.Name() == "node_modules"):
			return fs.SkipDir
		case d.IsDir() || filepath.Ext(path) != ".md":
			return nil
		}
		documents++
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		prose := inline.ReplaceAllString(fenced.ReplaceAllString(string(text), ""), "")
		for _, match := range link.FindAllStringSubmatch(prose, -1) {
			if target := match[1]; !strings.Contains(target, ":") {
				assert.NoError(t, check(path, target), "%s links to %s", path, target)
			}
		}
		return nil
	}))
	assert.Greater(t, documents, 5)
}

// check returns an error if the target of a link in a document does not exist.
func check(document, target string) error {
	name, anchor, hasAnchor := strings.Cut(target, "#")
	file := document
	if name != "" {
		file = filepath.Join(filepath.Dir(document), name)
	}
	if _, err := os.Stat(file); err != nil || !hasAnchor {
		return err
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	for _, match := range heading.FindAllStringSubmatch(fenced.ReplaceAllString(string(text), ""), -1) {
		if slug(match[1]) == anchor {
			return nil
		}
	}
	return fmt.Errorf("%s has no heading %q", file, anchor)
}

// slug returns the anchor that GitHub gives a heading.
func slug(heading string) string {
	heading = regexp.MustCompile(`[^\p{L}\p{N}_ -]`).ReplaceAllString(strings.ToLower(heading), "")
	return strings.ReplaceAll(heading, " ", "-")
}
