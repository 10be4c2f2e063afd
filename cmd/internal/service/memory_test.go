package service

import (
	"cmp"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/platformbus/platform"
	"github.com/platformbus/platform/flux"
)

// A largeRequest is a request with a body of the maximum size.
type largeRequest struct {
	name, kind       string
	start, each, end string
	code             int
	want             string // part of the answer
	path             string // sync if empty
	factor           int64  // how many times its size it may take in memory; 8 if 0
}

var largeRequests = []largeRequest{
	{"empty actions", "application/json", `{"actions":[{}`, `,{}`, `]}`, 400, "is empty", "", 0},
	{"small actions", "application/json", `{"actions":[{"apply":"a"}`, `,{"apply":"a"}`, `]}`, 400, "more than 100000", "", 0},
	{"as many actions as may be", "application/json", `{"actions":[{"apply":"a"}`, `,{"resourceID":"x","apply":"` + strings.Repeat("a", 145) + `"}`, `]}`, 200, "actions", "", 0},
	{"nested arrays", "application/json", `{"actions":`, `[`, ``, 400, "exceeded max depth", "", 0},
	{"a string of escapes", "application/json", `{"actions":[{"apply":"`, `\u0041`, `"}]}`, 200, `"actions": 1`, "", 0},
	{"a string", "application/json", `{"actions":[{"apply":"`, `a`, `"}]}`, 200, `"actions": 1`, "", 0},
	{"a key", "application/json", `{"`, `a`, `":1}`, 400, "unknown field", "", 0},
	{"a key of an action", "application/json", `{"actions":[{"`, `a`, `":1}]}`, 400, "unknown field", "", 0},
	{"empty parts", "multipart/form-data; boundary=b", "", "--b\r\nContent-Disposition: form-data; name=apply; filename=x\r\n\r\n\r\n", "--b--\r\n", 400, "is empty", "", 0},
	{"small parts", "multipart/form-data; boundary=b", "", "--b\r\nContent-Disposition: form-data; name=apply; filename=x\r\n\r\na\r\n", "--b--\r\n", 400, "more than 100000", "", 0},
	{"a part", "multipart/form-data; boundary=b", "--b\r\nContent-Disposition: form-data; name=apply; filename=x\r\n\r\n", "a", "\r\n--b--\r\n", 200, `"actions": 1`, "", 0},
	{"headers of a part", "multipart/form-data; boundary=b", "--b\r\n", "a:\r\n", "", 400, "too large", "", 0},
	{"YAML", "application/yaml", "", "a: b\n", "", 200, `"actions": 1`, "", 0},
	// A plan reads the manifests, and compares them with an Export of the same size. Its answer
	// has a diff of each.
	{"a plan of small objects", "application/yaml", "", "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {generateName: a}\n", "", 400, "name", "plan", 16},
	{"a plan of an object", "application/yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {a: '", "a", "'}\n", 200, `"add": [`, "plan?definition=true", 32},
	{"a plan of many values", "application/yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\nspec:\n  a: [", "aaaaaaaaaaaaaaaaa,", "]\n", 200, `"add": [`, "plan", 64},
	{"a plan of JSON", "application/json", `{"actions":[{"apply":"{\"apiVersion\":\"v1\",\"kind\":\"A\",\"metadata\":{\"name\":\"a\"},\"a\":[1`, `,1111111`, `]}"}]}`, 200, `"add": [`, "plan", 64},
	{"images", "application/json", `{"images":{"web":"w:2"`, `,"web":"w:2"`, `}}`, 400, "duplicate field", "services/shop/web/images", 16},
}

// body returns a reader of the body, which is not held in memory, and its size.
func (l largeRequest) body() (io.Reader, int64) {
	n := (largeBody - len(l.start) - len(l.end)) / len(l.each)
	size := len(l.start) + n*len(l.each) + len(l.end)
	return io.MultiReader(strings.NewReader(l.start), &repeated{text: l.each, left: n * len(l.each)}, strings.NewReader(l.end)), int64(size)
}

// A repeated is a text that is repeated until left bytes have been read.
type repeated struct {
	text     string
	at, left int
}

func (r *repeated) Read(p []byte) (int, error) {
	if r.left == 0 {
		return 0, io.EOF
	}
	n := 0
	for n < len(p) && n < r.left {
		step := copy(p[n:min(len(p), r.left)], r.text[r.at:])
		n, r.at = n+step, (r.at+step)%len(r.text)
	}
	r.left -= n
	return n, nil
}

// memoryChild is set to the name of a request in the process that TestMemory starts.
const memoryChild = "SERVICE_MEMORY_CHILD"

// A request takes a small multiple of its size in memory, whatever it contains. Each is
// measured in a process of its own.
func TestMemory(t *testing.T) {
	if name := os.Getenv(memoryChild); name != "" {
		askLarge(t, name)
		return
	}
	if _, err := peakMemory(); err != nil {
		t.Skip("the peak of a process' memory is known on Linux only: ", err)
	}
	for _, l := range largeRequests {
		t.Run(l.name, func(t *testing.T) {
			child := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestMemory$", "-test.v")
			child.Env = append(os.Environ(), memoryChild+"="+l.name)
			out, err := child.CombinedOutput()
			require.NoError(t, err, "%s", out)
			_, after, found := strings.Cut(string(out), "peak: ")
			require.True(t, found, "%s", out)
			var peak int64
			_, err = fmt.Sscan(after, &peak)
			require.NoError(t, err)
			limit := (64<<20 + cmp.Or(l.factor, 8)*largeBody) * raceFactor
			assert.LessOrEqual(t, peak, limit)
			t.Logf("%d MiB, of at most %d MiB", peak>>20, limit>>20)
		})
	}
}

// askLarge makes the named request, and prints the peak of the process' memory.
func askLarge(t *testing.T, name string) {
	for _, l := range largeRequests {
		if l.name != name {
			continue
		}
		bus := platform.NewStandaloneMessageBus(platform.BusMetrics{})
		export := ""
		if l.path != "" {
			export = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: b, namespace: default}\ndata: {a: " + strings.Repeat("a", largeBody) + "}\n"
		}
		bus.Subscribe("a", &platform.MockPlatform{ExportAnswer: []byte(export)}, nil)
		a := &api{bus: bus, instances: []flux.InstanceID{"a"}, maxBody: largeBody, bodies: newBudget(3 * largeBody),
			slots: newSlots(maxRequests), probes: newSlots(0), limit: time.Minute, reading: make(chan struct{}, maxPlans), log: slog.New(slog.DiscardHandler)}
		body, size := l.body()
		method := "POST"
		if strings.HasSuffix(l.path, "/images") {
			method = "PATCH"
		}
		r, err := http.NewRequestWithContext(t.Context(), method, start(t, a, "")+"/v1/instances/a/"+cmp.Or(l.path, "sync"), body)
		require.NoError(t, err)
		r.ContentLength = size
		r.Header.Set("Content-Type", l.kind)
		resp, err := http.DefaultClient.Do(r)
		require.NoError(t, err)
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		assert.Equal(t, l.code, resp.StatusCode, "%s", text)
		assert.Contains(t, string(text), l.want)
		peak, err := peakMemory()
		require.NoError(t, err)
		fmt.Printf("peak: %d\n", peak)
	}
}

// peakMemory returns the peak of the process' resident memory, in bytes.
func peakMemory() (int64, error) {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, err
	}
	_, after, _ := strings.Cut(string(status), "VmHWM:")
	var kilobytes int64
	_, err = fmt.Sscan(after, &kilobytes)
	return kilobytes << 10, err
}
