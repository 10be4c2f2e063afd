package manifest_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/platformbus/platform/kubernetes/manifest"
)

// folder makes a file system of pairs of a path and a text.
func folder(pairs ...string) fstest.MapFS {
	files := fstest.MapFS{}
	for i := 0; i < len(pairs); i += 2 {
		files[pairs[i]] = &fstest.MapFile{Data: []byte(pairs[i+1])}
	}
	return files
}

// local is a ConfigMap that is local config, or not, by the value.
func local(name, value string) string {
	return cm(name) + "  annotations: {config.kubernetes.io/local-config: " + value + "}\n"
}

func TestLoad(t *testing.T) {
	const values = "image: nginx\nreplicas: 3\n"
	for _, c := range []struct {
		name    string
		fsys    fs.FS
		want    string // source:line:name of each object
		ignored string
	}{
		{"nothing", folder(), "", ""},
		{
			"the order of paths, then of documents",
			folder("b.yaml", cm("b1")+"---\n"+cm("b2"), "a/z.yml", cm("z"), "a.json", `{"apiVersion":"v1","kind":"List","items":[{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"j"}}]}`),
			"a/z.yml:1:z a.json:1:j b.yaml:1:b1 b.yaml:5:b2", "",
		},
		{"other endings", folder("README.md", "# hello", "x.yaml.bak", "{{", "run.sh", "", "X.YAML", cm("x")), "X.YAML:1:x", ""},
		{
			"no manifests", folder("values.yaml", values, "package.json", `{"name":"x"}`, "list.json", `[1]`, "empty.yaml", "# nothing\n", "ci.yaml", "a: [\n"),
			"", "ci.yaml: no document looks like an object, and it cannot be read: document at line 1: line 1: did not find expected node content\n" +
				"empty.yaml: it holds no object\nlist.json: no document has two of apiVersion, kind and metadata\npackage.json: no document has two of apiVersion, kind and metadata\nvalues.yaml: no document has two of apiVersion, kind and metadata",
		},
		{
			"kustomizations", folder("a/kustomization.yaml", "resources: [x.yaml]\n", "b/kustomization.yml", "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\n",
				"c/Kustomization.yaml", "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nmetadata: {name: x}\n", "d.yaml", "apiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\n"),
			"", "a/kustomization.yaml: it is a kustomization, which is not built here\nb/kustomization.yml: it is a kustomization, which is not built here\n" +
				"c/Kustomization.yaml: it is a kustomization, which is not built here\nd.yaml: it is a kustomization, which is not built here",
		},
		{
			"a chart", folder("x/Chart.yaml", "apiVersion: v2\nname: x\n", "x/templates/a.yaml", "apiVersion: v1\nkind: {{ .Kind }}\n", "y.yaml", cm("y1")),
			"y.yaml:1:y1", "x: it is a Helm chart, which is not rendered here",
		},
		{
			"documents that are no manifests, beside one", folder("a.yaml", "replicas: 3\n---\n"+cm("a")+"---\n- x\n---\n# nothing\n---\nkind: A\n---\nnull\n"), "a.yaml:2:a",
			"a.yaml:1: it has fewer than two of apiVersion, kind and metadata\na.yaml:7: it has fewer than two of apiVersion, kind and metadata\n" +
				"a.yaml:11: it has fewer than two of apiVersion, kind and metadata\na.yaml:13: it has fewer than two of apiVersion, kind and metadata",
		},
		{
			"a kustomization beside an object", folder("a.yaml", "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\n---\n"+cm("a"), "kustomization.yaml", "kind: Component\nmetadata: {name: x}\n"), "a.yaml:3:a",
			"a.yaml:1: it is a kustomization, which is not built here\nkustomization.yaml: it is a kustomization, which is not built here",
		},
		{
			"local config", folder("a.yaml", local("a", `"true"`), "b.yaml", cm("b")+"---\n"+local("b2", `""`)+"---\n"+local("b3", `"false"`), "c.yaml", "apiVersion: v1\nkind: ConfigMapList\nitems:\n- metadata: {name: c}\n- metadata: {name: d, namespace: e, annotations: {config.kubernetes.io/local-config: yes please}}\n"),
			"b.yaml:1:b b.yaml:11:b3 c.yaml:1:c",
			"a.yaml: ConfigMap a is not for the cluster, by its annotation config.kubernetes.io/local-config\n" +
				"b.yaml:5: ConfigMap b2 is not for the cluster, by its annotation config.kubernetes.io/local-config\n" +
				"c.yaml: ConfigMap e/d is not for the cluster, by its annotation config.kubernetes.io/local-config",
		},
		{"local config is defined as often as one likes", folder("a.yaml", local("a", `"x"`)+"---\n"+cm("a")+"---\n"+local("a", `"x"`)), "a.yaml:6:a", "a.yaml:1: ConfigMap a is not for the cluster, by its annotation config.kubernetes.io/local-config\na.yaml:11: ConfigMap a is not for the cluster, by its annotation config.kubernetes.io/local-config"},
		{"a List of nothing", folder("a.yaml", "apiVersion: v1\nkind: List\nitems: []\n"), "", "a.yaml: it holds no object"},
		{"hidden", folder(".git/a.yaml", cm("a"), ".b.yaml", cm("b"), ".c", cm("c")), "", ".b.yaml: it is hidden\n.git: it is hidden"},
		{"no regular file", fstest.MapFS{"l.yaml": {Mode: fs.ModeSymlink, Data: []byte("/etc/passwd")}, "p.yaml": {Mode: fs.ModeNamedPipe}}, "", "l.yaml: it is a symbolic link\np.yaml: it is no regular file"},
		{"the same name in other namespaces, groups, kinds", folder("a.yaml", "apiVersion: v1\nkind: Service\nmetadata: {name: a}\n---\napiVersion: v1\nkind: Service\nmetadata: {name: a, namespace: b}\n---\napiVersion: serving.knative.dev/v1\nkind: Service\nmetadata: {name: a}\n"), "a.yaml:1:a a.yaml:4:a a.yaml:8:a", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			objects, ignored, err := manifest.Load(c.fsys)
			require.NoError(t, err)
			var got, others []string
			for _, o := range objects {
				got = append(got, fmt.Sprintf("%s:%d:%s", o.Source, o.Line, o.GetName()))
			}
			for _, i := range ignored {
				others = append(others, i.String())
			}
			assert.Equal(t, c.want, strings.Join(got, " "))
			assert.Equal(t, c.ignored, strings.Join(others, "\n"))
		})
	}
}

func TestLoadRefuses(t *testing.T) {
	const three = "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\n---\n"
	for _, c := range []struct {
		name string
		fsys fs.FS
		want string
	}{
		{"no file system", nil, "there is no file system"},
		{"malformed, with line", folder("a/b.yaml", three+"spec: [\n"), "a/b.yaml: document at line 4: line 5: did not find expected node content"},
		{"malformed as a whole", folder("b.yaml", "apiVersion: v1\nkind: [\n"), "b.yaml: document at line 1: line 2: did"},
		{"malformed JSON", folder("b.json", `{"apiVersion":"v1","kind":"Pod",,}`), "b.json: document at line 1"},
		{"a kind alone beside a name", folder("b.yaml", three+"kind: Pod\nmetadata: {name: a}\n"), "b.yaml: document at line 4: apiVersion is missing"},
		{"two documents", folder("b.yaml", "apiVersion: v1\nkind: [\n---\n"+three+"kind: Pod\nmetadata: {}\n"), "b.yaml: document at line 1: line 2: did not find expected node content; b.yaml: document at line 7: apiVersion is missing"},
		{"local config without a name", folder("b.yaml", "apiVersion: v1\nkind: A\nmetadata: {annotations: {config.kubernetes.io/local-config: x}}\n"), "metadata.name is missing"},
		{"a pattern that is malformed", folder(".platformignore", "# x\n[a\n", "a.yaml", cm("a")), ".platformignore: line 2: the pattern has a [ without its ]"},
		{"a pattern that is malformed, below", folder("a/.platformignore", "a\\", "a/a.yaml", cm("a")), "a/.platformignore: line 1: the pattern ends in a backslash"},
		{"a class that does not exist", folder(".platformignore", "[[:abc:]]", "a.yaml", cm("a")), "a class of characters that does not exist"},
		{"a pattern that is not UTF-8", folder(".platformignore", "\xff", "a.yaml", cm("a")), "the pattern is not UTF-8"},
		{"a long pattern", folder(".platformignore", strings.Repeat("a", 513)), ".platformignore: line 1: the pattern has more than 512 bytes"},
		{"many patterns", folder(".platformignore", strings.Repeat("#\nz\n", 600), "a/.platformignore", strings.Repeat("b\n", 401), "b/.platformignore", strings.Repeat("b\n", 400)), "a/.platformignore: line 401: more than 1000 patterns apply to one folder"},
		{"a large file of patterns", folder(".platformignore", strings.Repeat("#", 1<<20+1)), ".platformignore: the file has more than 1 MiB"},
		{"a link to patterns", fstest.MapFS{".platformignore": {Mode: fs.ModeSymlink, Data: []byte("x")}, "x": {}}, ".platformignore: it is no regular file"},
		{"a lost kind", folder("b.yaml", "apiVersion: v1\nmetadata: {name: a}\n"), "b.yaml: document at line 1: kind is missing"},
		{"a lost apiVersion", folder("b.yaml", "kind: Pod\nmetadata: {name: a}\n"), "b.yaml: document at line 1: apiVersion is missing"},
		{"a lost name", folder("b.yaml", "kind: Pod\napiVersion: v1\n"), "b.yaml: document at line 1: Pod: metadata is missing"},
		{"a template", folder("b.yaml", "apiVersion: v1\nkind: {{ .Kind }}\n"), "was never rendered"},
		{"UTF-16", folder("b.yaml", "\xff\xfea\x00"), "b.yaml: line 1: the text is UTF-16"},
		{"twice in two files", folder("a.yaml", cm("x"), "b/c.yaml", three+cm("x")), "b/c.yaml:4: ConfigMap x is defined a second time, first at a.yaml:1"},
		{"twice in one file", folder("a.yaml", cm("x")+"---\n"+cm("x")), "a.yaml:5: ConfigMap x is defined a second time, first at a.yaml:1"},
		{"twice in two versions", folder("a.yaml", "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: d, namespace: ns}\n", "b.yaml", "apiVersion: apps/v1beta1\nkind: Deployment\nmetadata: {name: d, namespace: ns}\n"), "b.yaml:1: Deployment ns/d is defined a second time, first at a.yaml:1"},
		{"all of them", folder("a.yaml", "apiVersion: v1\nkind: [\n", "b.yaml", cm("x"), "c.yaml", cm("x")+"---\nkind: A\napiVersion: v1\n"), "a.yaml: document at line 1: line 2: did not find expected node content; c.yaml:1: ConfigMap x is defined a second time, first at b.yaml:1; c.yaml: document at line 5: A: metadata is missing"},
		{"too large", folder("a.yaml", strings.Repeat("#", 16<<20+1)), "a.yaml: the file has more than 16 MiB"},
		{"an odd name", folder("a\nb.yaml", "apiVersion: v1\nkind: [\n"), `"a\nb.yaml": document at line 1`},
		{"not readable", unreadable{folder("a.yaml", cm("a"), "b.yaml", cm("b"))}, "a.yaml: open: no luck; b.yaml: open: no luck"},
	} {
		t.Run(c.name, func(t *testing.T) {
			objects, _, err := manifest.Load(c.fsys)
			require.ErrorContains(t, err, c.want)
			assert.NotContains(t, err.Error(), "\n", "one line")
			assert.Nil(t, objects)
		})
	}
}

// A file of many documents that are no manifests does not flood the report.
func TestLoadReportsABoundedNumberOfDocuments(t *testing.T) {
	objects, ignored, err := manifest.Load(folder("a.yaml", cm("a")+strings.Repeat("---\nx: 1\n", 1000)))
	require.NoError(t, err)
	assert.Len(t, objects, 1)
	require.Len(t, ignored, 101)
	assert.Equal(t, manifest.Ignored{Path: "a.yaml", Why: "900 more of its documents and objects are left out"}, ignored[100])

	_, _, err = manifest.Load(folder("a.yaml", strings.Repeat("---\nkind: A\nmetadata: [\n", 1000)))
	require.ErrorContains(t, err, "more")
}

// What is no manifest takes nothing from what others may hold.
func TestLoadPassesOverWhatIsTooLarge(t *testing.T) {
	objects, ignored, err := manifest.Load(folder("a.yaml", "a: ["+strings.Repeat("1,", 1<<20)+"]", "b.yaml", "a: ["+strings.Repeat("1,", 1<<20)+"]", "c.yaml", cm("c")))
	require.NoError(t, err)
	assert.Len(t, objects, 1)
	assert.Len(t, ignored, 2)
}

// A folder that is not there must not be taken for an empty one: a Plan would delete all.
func TestLoadOfAFolderThatIsNotThere(t *testing.T) {
	there := t.TempDir()
	missing := filepath.Join(there, "missing")
	_, _, err := manifest.Load(os.DirFS(missing))
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.EqualError(t, err, "the folder "+missing+": stat: no such file or directory")

	file := filepath.Join(there, "file.yaml")
	require.NoError(t, os.WriteFile(file, []byte(cm("a")), 0o600))
	_, _, err = manifest.Load(os.DirFS(file))
	require.ErrorContains(t, err, "the folder "+file+": ")

	sub, err := fs.Sub(folder("a/b.yaml", cm("b")), "c")
	require.NoError(t, err)
	_, _, err = manifest.Load(sub)
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.ErrorContains(t, err, "the root folder: ")

	_, _, err = manifest.Load(noFolder{})
	require.EqualError(t, err, "the root folder: open /srv/manifests: no luck", "the file system's own path")
	_, _, err = manifest.Load(noList{os.DirFS(there)})
	require.EqualError(t, err, "the root folder: readdir: no luck")
	_, _, err = manifest.Load(onlyAFile{os.DirFS(there)})
	require.EqualError(t, err, "the root folder: it is no folder")
}

// noFolder is a file system that has no root.
type noFolder struct{}

func (noFolder) Open(string) (fs.File, error) {
	return nil, &fs.PathError{Op: "open", Path: "/srv/manifests", Err: errNoLuck}
}

// noList is a file system whose folders cannot be read.
type noList struct{ fs.FS }

func (noList) ReadDir(name string) ([]fs.DirEntry, error) {
	return nil, &fs.PathError{Op: "readdir", Path: name, Err: errNoLuck}
}

// onlyAFile is a file system whose root is a file.
type onlyAFile struct{ fs.FS }

func (o onlyAFile) Open(string) (fs.File, error) { return o.FS.Open("file.yaml") }

// A folder as people have them, with a chart, a kustomization, and files for other tools.
func TestLoadOfAMixedFolder(t *testing.T) {
	objects, ignored, err := manifest.Load(os.DirFS("../testdata/cases/folder"))
	require.NoError(t, err)
	var got, others []string
	for _, o := range objects {
		got = append(got, o.Source)
	}
	for _, i := range ignored {
		others = append(others, i.String())
	}
	assert.Equal(t, []string{"app/web.yaml", "json.yaml"}, got)
	assert.Equal(t, []string{
		"catalog-info.yaml: .platformignore leaves it out, in line 1",
		"chart: it is a Helm chart, which is not rendered here",
		"empty.yaml: it holds no object",
		"local.yaml: ConfigMap fn-config is not for the cluster, by its annotation config.kubernetes.io/local-config",
		"overlays/kustomization.yaml: it is a kustomization, which is not built here",
		"overlays/patch.yaml: no document has two of apiVersion, kind and metadata",
		"values.yaml: no document has two of apiVersion, kind and metadata",
	}, others)
}

type unreadable struct{ fs.FS }

var errNoLuck = errors.New("no luck")

func (u unreadable) Open(name string) (fs.File, error) {
	if strings.HasSuffix(name, ".yaml") {
		return nil, &fs.PathError{Op: "open", Path: name, Err: errNoLuck}
	}
	return u.FS.Open(name)
}

func TestLoadErrorsAreInTheChain(t *testing.T) {
	_, _, err := manifest.Load(unreadable{folder("a.yaml", cm("a"), "b.yaml", cm("b"))})
	require.ErrorIs(t, err, errNoLuck)
}

func TestLoadBoundsTheNumberOfObjects(t *testing.T) {
	if testing.Short() {
		t.Skip("it parses more than 100,000 objects")
	}
	var b strings.Builder
	b.WriteString(`{"apiVersion":"v1","kind":"ConfigMapList","items":[{"metadata":{"name":"first"}}`)
	for i := range 100_000 {
		fmt.Fprintf(&b, `,{"metadata":{"name":"n%d"}}`, i)
	}
	b.WriteString("]}")
	_, _, err := manifest.Load(folder("a.json", b.String()))
	require.EqualError(t, err, "a.json: the files have more than 100000 objects together")
}

// A link out of the folder is not followed, whatever the file system would do.
func TestLoadDoesNotLeaveTheFolder(t *testing.T) {
	outside, inside := t.TempDir(), t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(outside, "a.yaml"), []byte(cm("a")), 0o600))
	require.NoError(t, os.Symlink(filepath.Join(outside, "a.yaml"), filepath.Join(inside, "a.yaml")))
	require.NoError(t, os.Symlink(outside, filepath.Join(inside, "sub")))
	objects, ignored, err := manifest.Load(os.DirFS(inside))
	require.NoError(t, err)
	assert.Empty(t, objects)
	assert.Equal(t, []manifest.Ignored{{Path: "a.yaml", Why: "it is a symbolic link"}}, ignored)
}

func FuzzLoad(f *testing.F) {
	f.Add([]byte(cm("a")), []byte("image: nginx\n"))
	f.Add([]byte("apiVersion: v1\nkind: {{\n"), []byte(`{"kind":`))
	f.Add([]byte("\ufeff---\n"), []byte("\xff\xfe"))
	f.Fuzz(func(t *testing.T, yaml, json []byte) {
		objects, ignored, err := manifest.Load(fstest.MapFS{"a.yaml": {Data: yaml}, "b.json": {Data: json}})
		if err != nil {
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("the error runs over several lines: %q", err)
			}
			if len(objects) > 0 {
				t.Errorf("objects beside the error %v", err)
			}
			return
		}
		told := map[string]bool{} // of each file
		for _, i := range ignored {
			name, _, _ := strings.Cut(i.Path, ":")
			told[name] = true
		}
		for _, o := range objects {
			if o.Source != "a.yaml" && o.Source != "b.json" || o.Line < 1 {
				t.Errorf("an object from %s:%d", o.Source, o.Line)
			}
			told[o.Source] = true
		}
		if len(told) != 2 {
			t.Errorf("of two files, neither objects nor a reason: %v %v", objects, ignored)
		}
	})
}
