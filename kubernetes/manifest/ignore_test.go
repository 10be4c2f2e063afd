package manifest_test

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/platformbus/platform/kubernetes/manifest"
)

// ignoreCases are files of patterns, by the folder they are in, and what is left of the files
// in ignoreTree.
var ignoreCases = []struct {
	name     string
	patterns map[string]string
	want     string // each after a space, without .yaml
}{
	{"nothing", nil, all},
	{"blank lines, comments, spaces", map[string]string{".": "\n# a.yaml\n   \n\n"}, all},
	{"a name, anywhere", map[string]string{".": "a.yaml"}, without("a d/a d/e/a d/e/f/a")},
	{"a name at the root", map[string]string{".": "/a.yaml"}, without("a")},
	{"a folder's name, anywhere", map[string]string{".": "e"}, without("d/e/a d/e/b d/e/f/a")},
	{"only folders", map[string]string{".": "e/\na.yaml/"}, without("d/e/a d/e/b d/e/f/a")},
	{"a path", map[string]string{".": "d/a.yaml\ne/b.yaml"}, without("d/a")},
	{"a path with a slash before it", map[string]string{".": "/d/e/"}, without("d/e/a d/e/b d/e/f/a")},
	{"an asterisk", map[string]string{".": "b*.yaml"}, without("b b1 d/e/b")},
	{"an asterisk is for no slash", map[string]string{".": "d/*.yaml"}, without("d/a")},
	{"a question mark", map[string]string{".": "b?.yaml"}, without("b1")},
	{"a class", map[string]string{".": "[a-c].yaml"}, without("a b d/a d/e/a d/e/b d/e/f/a")},
	{"not a class", map[string]string{".": "/[!ac-z].yaml\n/[^a].yaml"}, without("b")},
	{"a class with a name", map[string]string{".": "b[[:digit:]].yaml"}, without("b1")},
	{"a class with odd members", map[string]string{".": "[]a].yaml\nb[\\1-].yaml"}, without("a b1 d/a d/e/a d/e/f/a")},
	{"a class is for no slash", map[string]string{".": "d[+-9]a.yaml\nd[^x]a.yaml"}, all},
	{"two asterisks before", map[string]string{".": "**/e/b.yaml"}, without("d/e/b")},
	{"two asterisks after", map[string]string{".": "d/**"}, without("d/a d/e/a d/e/b d/e/f/a")},
	{"two asterisks after, and one taken in", map[string]string{".": "d/**\n!d/a.yaml"}, without("d/e/a d/e/b d/e/f/a")},
	{"two asterisks between", map[string]string{".": "d/**/a.yaml"}, without("d/a d/e/a d/e/f/a")},
	{"two asterisks between, and more", map[string]string{".": "d/**/f/**/a.yaml"}, without("d/e/f/a")},
	{"asterisks in a name", map[string]string{".": "b**.yaml\n/d/e**/b.yaml"}, without("b b1 d/e/b")},
	{"a name taken in again", map[string]string{".": "*.yaml\n!b*.yaml"}, " b b1 d/e/b"},
	{"the last pattern decides", map[string]string{".": "!a.yaml\na.yaml\n!/a.yaml"}, without("d/a d/e/a d/e/f/a")},
	{"not from a folder that is left out", map[string]string{".": "d/\n!d/a.yaml"}, without("d/a d/e/a d/e/b d/e/f/a")},
	{"all but one folder", map[string]string{".": "/*\n!/d\n/d/*\n!/d/e"}, " d/e/a d/e/b d/e/f/a"},
	{"below", map[string]string{"d": "a.yaml"}, without("d/a d/e/a d/e/f/a")},
	{"below, from there", map[string]string{"d": "/a.yaml\ne/f/"}, without("d/a d/e/f/a")},
	{"below goes before above", map[string]string{".": "a.yaml", "d/e": "!a.yaml"}, without("a d/a")},
	{"below and below that", map[string]string{"d": "*.yaml", "d/e": "!*.yaml", "d/e/f": "*"}, without("d/a d/e/f/a")},
	{"beside", map[string]string{"d/e": "b1.yaml\n*"}, without("d/e/a d/e/b d/e/f/a")},
	{"an escaped number sign and exclamation mark", map[string]string{".": "\\#x.yaml\n\\!x.yaml"}, without("!x #x")},
	{"an escaped asterisk", map[string]string{".": "\\*.yaml\n\\a.yaml"}, without("a d/a d/e/a d/e/f/a")},
	{"spaces at the end", map[string]string{".": "a.yaml  \n/b.yaml\\ "}, without("a d/a d/e/a d/e/f/a")},
	{"Windows line ends", map[string]string{".": "\ufeffa.yaml\r\n/b.yaml\r\n"}, without("a b d/a d/e/a d/e/f/a")},
	{"brackets and dots are themselves", map[string]string{".": "{a,b}.yaml\nb.yam.\n(a).yaml\na+.yaml\n^a.yaml$"}, all},
	{"a slash alone", map[string]string{".": "/\n!\n!/\n"}, all},
}

const (
	ignoreTree = "a b b1 d/a d/e/a d/e/b d/e/f/a !x #x"
	all        = " !x #x a b b1 d/a d/e/a d/e/b d/e/f/a"
)

func without(names string) string {
	left := slices.DeleteFunc(strings.Fields(all), func(name string) bool { return slices.Contains(strings.Fields(names), name) })
	return " " + strings.Join(left, " ")
}

func TestPlatformIgnore(t *testing.T) {
	for _, c := range ignoreCases {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			writeTree(t, dir, ".platformignore", c.patterns)
			objects, ignored, err := manifest.Load(os.DirFS(dir))
			require.NoError(t, err)
			got := ""
			for _, o := range objects {
				got += " " + strings.TrimSuffix(o.Source, ".yaml")
			}
			assert.Equal(t, c.want, got)
			if c.want != all {
				assert.NotEmpty(t, ignored)
			}
			for _, i := range ignored {
				assert.Contains(t, i.Why, ".platformignore leaves it out, in line ")
			}
		})
	}
}

// What the tests above expect is what git does.
func TestPlatformIgnoreIsAsGitIgnores(t *testing.T) {
	git, err := exec.LookPath("git")
	if err != nil && os.Getenv("PLATFORM_REQUIRE_CLUSTER") != "1" {
		t.Skip("git is not in PATH")
	}
	require.NoError(t, err)
	for _, c := range ignoreCases {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			run := func(args ...string) string {
				cmd := exec.Command(git, append([]string{"-C", dir, "-c", "core.excludesFile="}, args...)...)
				cmd.Env = slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "GIT_") }) // as in a hook
				cmd.Env = append(cmd.Env, "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null")
				out, err := cmd.Output()
				var failed *exec.ExitError
				if errors.As(err, &failed) {
					t.Fatalf("git %v: %s", args, failed.Stderr)
				}
				require.NoError(t, err)
				return string(out)
			}
			run("init", "-q")
			writeTree(t, dir, ".gitignore", c.patterns)
			got := ""
			names := strings.Split(strings.TrimSuffix(run("ls-files", "-z", "--others", "--exclude-standard", "--", "*.yaml"), "\x00"), "\x00")
			slices.Sort(names)
			for _, name := range names {
				got += " " + strings.TrimSuffix(name, ".yaml")
			}
			assert.Equal(t, c.want, got)
		})
	}
}

// writeTree writes ignoreTree, and files of patterns.
func writeTree(t *testing.T, dir, ignoreFile string, patterns map[string]string) {
	t.Helper()
	for _, name := range strings.Fields(ignoreTree) {
		path := filepath.Join(dir, name+".yaml")
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
		require.NoError(t, os.WriteFile(path, []byte(cm(strings.NewReplacer("/", "-", "!", "1", "#", "2").Replace(name))), 0o600))
	}
	for folder, text := range patterns {
		require.NoError(t, os.WriteFile(filepath.Join(dir, folder, ignoreFile), []byte(text), 0o600))
	}
}

// The reason names the file of patterns, and what is left out is not looked at.
func TestPlatformIgnoreIsReported(t *testing.T) {
	objects, ignored, err := manifest.Load(folder(
		".platformignore", "# other tools'\nchart/\n", "chart/Chart.yaml", "{{", "chart/.platformignore", "[",
		"a/.platformignore", "\nb.yaml\nno.txt\n", "a/b.yaml", "kind: [\nmetadata: [", "a/no.txt", "", "a/c.yaml", cm("c"), "b.yaml", cm("b"),
		"d/.platformignore", "*", "d/e.yaml", cm("e")))
	require.NoError(t, err)
	assert.Len(t, objects, 2)
	assert.Equal(t, []manifest.Ignored{
		{Path: "a/b.yaml", Why: "a/.platformignore leaves it out, in line 2"},
		{Path: "chart", Why: ".platformignore leaves it out, in line 2"},
		{Path: "d/e.yaml", Why: "d/.platformignore leaves it out, in line 1"},
	}, ignored)
}

// A file of patterns that cannot be read fails the whole: what it names would be applied.
func TestPlatformIgnoreThatCannotBeRead(t *testing.T) {
	_, _, err := manifest.Load(unreadableIgnore{folder("a/.platformignore", "b.yaml", "a/b.yaml", cm("b"))})
	require.ErrorIs(t, err, errNoLuck)
	require.EqualError(t, err, "a/.platformignore: open: no luck")
}

type unreadableIgnore struct{ fs.FS }

func (u unreadableIgnore) Open(name string) (fs.File, error) {
	if strings.HasSuffix(name, ".platformignore") {
		if _, err := fs.Stat(u.FS, name); err != nil {
			return nil, err
		}
		return nil, &fs.PathError{Op: "open", Path: name, Err: errNoLuck}
	}
	return u.FS.Open(name)
}

// FuzzPlatformIgnore checks that no pattern makes Load panic or lose a file without a word.
func FuzzPlatformIgnore(f *testing.F) {
	for _, c := range ignoreCases {
		for _, text := range c.patterns {
			f.Add([]byte(text))
		}
	}
	f.Fuzz(func(t *testing.T, patterns []byte) {
		objects, ignored, err := manifest.Load(folder(".platformignore", string(patterns), "a.yaml", cm("a"), "d/b.yaml", cm("b"), "d/e/[c].yaml", cm("c")))
		if err != nil {
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("the error runs over several lines: %q", err)
			}
			return
		}
		if len(objects) != 3 && len(ignored) == 0 {
			t.Errorf("%d objects, and nothing is ignored", len(objects))
		}
	})
}
