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
				"empty.yaml: it holds no object\nlist.json: no document has an apiVersion and a kind\npackage.json: no document has an apiVersion and a kind\nvalues.yaml: no document has an apiVersion and a kind",
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
		{"one document is no object", folder("b.yaml", three+"replicas: 3\n"), "b.yaml: document at line 4: apiVersion is missing"},
		{"a lost kind", folder("b.yaml", "apiVersion: v1\nmetadata: {name: a}\n"), "b.yaml: document at line 1: kind is missing"},
		{"a lost apiVersion", folder("b.yaml", "kind: Pod\nmetadata: {name: a}\n"), "b.yaml: document at line 1: apiVersion is missing"},
		{"a lost name", folder("b.yaml", "kind: Pod\napiVersion: v1\n"), "b.yaml: document at line 1: Pod: metadata is missing"},
		{"a template", folder("b.yaml", "apiVersion: v1\nkind: {{ .Kind }}\n"), "was never rendered"},
		{"UTF-16", folder("b.yaml", "\xff\xfea\x00"), "b.yaml: line 1: the text is UTF-16"},
		{"twice in two files", folder("a.yaml", cm("x"), "b/c.yaml", three+cm("x")), "b/c.yaml:4: ConfigMap x is defined a second time, first at a.yaml:1"},
		{"twice in one file", folder("a.yaml", cm("x")+"---\n"+cm("x")), "a.yaml:5: ConfigMap x is defined a second time, first at a.yaml:1"},
		{"twice in two versions", folder("a.yaml", "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: d, namespace: ns}\n", "b.yaml", "apiVersion: apps/v1beta1\nkind: Deployment\nmetadata: {name: d, namespace: ns}\n"), "b.yaml:1: Deployment ns/d is defined a second time, first at a.yaml:1"},
		{"all of them", folder("a.yaml", "apiVersion: v1\nkind: [\n", "b.yaml", cm("x"), "c.yaml", cm("x")+"---\n{}\n"), "a.yaml: document at line 1: line 2: did not find expected node content; c.yaml: document at line 5: apiVersion is missing"},
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
		told := map[string]bool{}
		for _, i := range ignored {
			told[i.Path] = true
		}
		for _, o := range objects {
			if o.Source != "a.yaml" && o.Source != "b.json" || o.Line < 1 {
				t.Errorf("an object from %s:%d", o.Source, o.Line)
			}
			if told[o.Source] {
				t.Errorf("%s is ignored and read", o.Source)
			}
			told[o.Source] = false
		}
		if len(told) != 2 && len(objects) > 0 && len(ignored) > 0 {
			t.Errorf("of two files, neither objects nor a reason: %v %v", objects, ignored)
		}
	})
}
