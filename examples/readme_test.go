package examples_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const root = ".."

var (
	// A block of Go in the README stands behind a comment that says which declarations of
	// which file it is, as in <!-- go: example_test.go deploy -->.
	markedBlock = regexp.MustCompile("(?s)<!-- go: (\\S+) ([^>]*?) -->\n```go\n(.*?)```\n")
	anyBlock    = regexp.MustCompile("(?m)^```go$")
	link        = regexp.MustCompile(`\]\(([^)#:]+)\)`)
)

// The README's Go is code that is compiled, and mostly run, as part of the tests.
func TestREADMEShowsTheCode(t *testing.T) {
	readme, err := os.ReadFile(filepath.Join(root, "README.md"))
	require.NoError(t, err)
	blocks := markedBlock.FindAllStringSubmatch(string(readme), -1)
	assert.NotEmpty(t, blocks)
	assert.Len(t, blocks, len(anyBlock.FindAll(readme, -1)), "each block of Go is marked with where it comes from")
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

// What the documents lead to is there.
func TestLinksLeadSomewhere(t *testing.T) {
	for _, name := range []string{"README.md", "DESIGN.md", "CHANGELOG.md", "CONTRIBUTING.md"} {
		text, err := os.ReadFile(filepath.Join(root, name))
		require.NoError(t, err)
		for _, match := range link.FindAllStringSubmatch(string(text), -1) {
			_, err := os.Stat(filepath.Join(root, match[1]))
			assert.NoError(t, err, "%s links to %s", name, match[1])
		}
	}
}
