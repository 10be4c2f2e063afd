package kubernetes_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/platformbus/platform/kubernetes"
)

// What a hostile text may take: a floor, which is for as many values as any text may hold, and
// a multiple of its size.
const (
	hostileFloorKB = 160 << 10
	hostileFactor  = 64
)

const (
	aConfigMap = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n"
	aPod       = "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec:\n"
)

// A hostileText is an input that once took far more than its size.
type hostileText struct {
	name string
	text string
	says string // in the error, if it must be one
}

func hostileTexts() []hostileText {
	big := strings.Repeat("x", 200<<10)
	times := func(n int, s string) string { return strings.Repeat(s, n) }
	numbered := func(n int, format string) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, format, i)
		}
		return b.String()
	}
	const far = "stand for far more than its size"
	const many = "values"
	return []hostileText{
		{"a scalar, aliased", aConfigMap + "data:\n  a: &a " + big + "\n" + numbered(30_000/3, "  b%d: *a\n"), far},
		{"a scalar in a list, aliased", aConfigMap + "a: &a " + big + "\nb: [" + times(30_000, "*a,") + "]", far},
		{"a key, aliased", aConfigMap + "a: &a " + big + "\nb: [" + times(10_000, "{*a : 1},") + "]", far},
		{"a map, aliased", aConfigMap + "a: &a {" + numbered(2_000, "k%d: 1, ") + "}\nb: [" + times(20_000, "*a,") + "]", far},
		{"maps, merged", aConfigMap + "a: &a {" + numbered(2_000, "k%d: 1, ") + "}\nb: [" + times(20_000, "{<<: *a},") + "]", far},
		{"aliases of aliases", bomb(), far},
		{"a kind, aliased, of Lists in Lists", "apiVersion: v1\na: &a " + big + "List\nkind: *a\nitems:\n" + "- {apiVersion: v1, kind: *a, items: [" + times(300, "{apiVersion: v1, kind: *a, items: [") + times(301, "]}"), ""},
		{"%TAG lines", numbered(20_000, "%%TAG !a%d! x\n") + "---\n" + aConfigMap, "more than 100 directives"},
		{"a long %TAG, used", "%TAG !a! " + big + "\n---\n" + aConfigMap + "a: [" + times(20_000, "!a!x 1,") + "]", "directive of more than 1 KiB"},
		{"a %TAG, used", "%TAG !a! " + times(900, "x") + "\n---\n" + aConfigMap + "a: [" + times(20_000, "!a!x 1,") + "]", far},
		{"lists in lists", aConfigMap + "a: " + times(9_000, "[") + times(9_000, "]"), "deep"},
		{"lists in lists, too deep for the decoder", aConfigMap + "a: " + times(200_000, "["), "exceeded max depth"},
		{"lists in lists in blocks", aConfigMap + "a:\n  " + times(100_000, "- "), "exceeded max depth"},
		{"maps in maps", aConfigMap + "a: " + times(9_000, "{a: ") + times(9_000, "}"), "deep"},
		{"JSON, lists in lists", `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"},"a":` + times(9_000, "[") + times(9_000, "]") + "}", "deep"},
		{"JSON, empty objects", `{"apiVersion":"v1","kind":"List","items":[` + times(1<<20, "{},") + "{}]}", "apiVersion is missing"},
		{"JSON, many empty objects", `{"apiVersion":"v1","kind":"List","items":[` + times(5<<20, "{},") + "{}]}", many},
		{"JSON, small objects", `{"apiVersion":"v1","kind":"List","items":[` + times(1<<20, `{"":0},`) + "{}]}", "apiVersion is missing"},
		{"JSON, a key many times", `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"},"a":{` + times(60_000, `"k":1,`) + `"k":1}}`, "duplicate"},
		{"YAML, empty objects", "apiVersion: v1\nkind: List\nitems: [" + times(5<<20, "{},") + "]", many},
		{"YAML, keys without values", aConfigMap + "a: {" + numbered(1_200_000, "%d,") + "}", many},
		{"YAML, keys without values, as many as there may be", aConfigMap + "a: {" + numbered(450_000, "%d,") + "}", ""},
		{"YAML, empty lines of a list", aConfigMap + "a:\n" + times(1<<20, "-\n"), many},
		{"maps of one key", aConfigMap + "a: [" + times(180_000, "{a},") + "]", many},
		{"maps of one key, in documents", times(8, "---\n"+aConfigMap+"a: ["+times(100_000, "{a},")+"]\n"), many},
		{"a long key of bytes that are quoted, twice", aConfigMap + "a: &a \"" + times(1<<20, "\u00a0") + "\"\nb: {" + times(9, "*a : 1,") + "}", far},
		{"keys of one map", aConfigMap + "data:\n" + numbered(60_000, "  k%d: ''\n"), ""},
		{"a key many times", aConfigMap + "data:\n" + times(60_000, "  k: ''\n"), "already set"},
		{"a long key many times", aConfigMap + "a: &a " + big + "\nb: {" + times(20_000, "*a : 1,") + "}", far},
		{"a map for a key", aConfigMap + "? {" + numbered(20_000, "k%d: 1, ") + "}\n: 1", "invalid map key"},
		{"documents", times(60_000, "---\n{}\n"), "apiVersion"},
		{"objects that are wrong", times(50_000, "---\nkind: A\n"), "apiVersion"},
		{"a long word", aConfigMap + "a: " + times(8<<20, "x"), ""},
		{"quotes", aConfigMap + "a: \"" + times(2<<20, `\x41`), "unexpected end of stream"},
		{"flow on one line", aPod + "  containers: [" + numbered(8_000, "{name: c%d, image: 'x:1'},") + "]", ""},
		{"images by alias", aPod + "  containers: [{name: c, image: &a 'x:1'}," + numbered(8_000, "{name: c%d, image: *a},") + "]", ""},
	}
}

// Whatever a text holds, to read it takes no more than a multiple of its size, in every
// method that reads one. Each is called in a process of its own, whose memory is limited.
func TestHostileTexts(t *testing.T) {
	w := newEnv(t, kubernetes.Options{})
	require.NoError(t, w.Sync(def(apply("web", deployment("web", "x:1"), service("web", "web")))))
	program := hostileProgram(t)
	var table strings.Builder
	for _, method := range []string{"parse", "load", "plan-current", "plan-desired", "images", "sync", "apply"} {
		for _, c := range hostileTexts() {
			t.Run(method+"/"+c.name, func(t *testing.T) {
				got := callHostile(t, w, program, method, c.text)
				fmt.Fprintf(&table, "%-14s %-45s %8d KB in %8.1f MB, %6.2f s: %.100s\n", method, c.name, len(c.text)>>10, float64(got.KB)/1024, got.Seconds, got.Error)
				factor := hostileFactor
				if method == "load" { // it reads what is no manifest a second time, to say what it is
					factor = 2 * hostileFactor
				}
				assert.Less(t, got.KB, hostileFloorKB+factor*len(c.text)/1024, "memory, in KB")
				assert.Less(t, len(got.Error), 5<<10)
				assert.NotContains(t, got.Error, "\n")
				if c.says != "" {
					assert.Contains(t, got.Error, c.says)
				}
			})
		}
	}
	t.Log("\n" + table.String())
}

// Neither do many actions: not many objects, and not many failures under one ID.
func TestHostileSyncs(t *testing.T) {
	w := newEnv(t, kubernetes.Options{})
	program := hostileProgram(t)
	for _, c := range []struct{ name, method, text, says string }{
		{"objects", "sync", strings.Repeat("---\n"+aConfigMap, 100_001), "nothing was attempted: the definitions hold more than 100000 objects, see Options.MaxObjects"},
		{"objects in a List", "sync", `{"apiVersion":"v1","kind":"List","items":[` + strings.Repeat(`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"}},`, 100_001) + "{}]}", "more than 100000 objects"},
		{"objects in many actions", "sync-many", strings.Repeat(`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"}}`+"\n", 100_001), "more than 100000 objects"},
		{"failures under one ID", "sync-many", strings.Repeat("kind: [\n", 300_000), " more"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := callHostile(t, w, program, c.method, c.text)
			t.Logf("%d KB in %d MB, %.2f s: %.200s", len(c.text)>>10, got.KB>>10, got.Seconds, got.Error)
			assert.Contains(t, got.Error, c.says)
			assert.Less(t, len(got.Error), 5<<10)
			assert.Less(t, got.KB, hostileFloorKB+hostileFactor*len(c.text)/1024+300_000/2, "memory, in KB")
		})
	}
}

// A hostileReport is what testdata/hostile tells of a call.
type hostileReport struct {
	Error   string
	Entries int
	KB      int
	Seconds float64
}

func hostileProgram(t *testing.T) string {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("the peak of a process' memory is known on Linux only")
	}
	program := filepath.Join(t.TempDir(), "hostile")
	out, err := exec.CommandContext(t.Context(), "go", "build", "-o", program, "./testdata/hostile").CombinedOutput()
	require.NoError(t, err, "%s", out)
	return program
}

// hostileLimit is far beyond what any of the calls takes, so that a call which does not end
// fails by name.
const hostileLimit = 2 * time.Minute

func callHostile(t *testing.T, w env, program, method, text string) (got hostileReport) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), hostileLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, method)
	var stderr bytes.Buffer
	cmd.Stdin, cmd.Stderr = strings.NewReader(text), &stderr
	cmd.Env = append(os.Environ(), "KUBECONFIG="+w.cp.Kubeconfig(), "NAMESPACE="+w.namespace)
	out, err := cmd.Output()
	require.NoError(t, err, "%.2000s", stderr.String())
	require.NoError(t, json.Unmarshal(out, &got))
	return got
}
