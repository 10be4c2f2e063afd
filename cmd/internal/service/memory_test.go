package service

import (
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

// largeBody is the default of -max-body.
const largeBody = 16 << 20

// A largeRequest is a request with a body of the maximum size.
type largeRequest struct {
	name, kind       string
	start, each, end string
	code             int
	want             string // part of the answer
}

var largeRequests = []largeRequest{
	{"empty actions", "application/json", `{"actions":[{}`, `,{}`, `]}`, 400, "is empty"},
	{"small actions", "application/json", `{"actions":[{"apply":"a"}`, `,{"apply":"a"}`, `]}`, 400, "more than 100000"},
	{"as many actions as may be", "application/json", `{"actions":[{"apply":"a"}`, `,{"resourceID":"x","apply":"` + strings.Repeat("a", 145) + `"}`, `]}`, 200, "actions"},
	{"nested arrays", "application/json", `{"actions":`, `[`, ``, 400, "exceeded max depth"},
	{"a string of escapes", "application/json", `{"actions":[{"apply":"`, `\u0041`, `"}]}`, 200, `"actions": 1`},
	{"a string", "application/json", `{"actions":[{"apply":"`, `a`, `"}]}`, 200, `"actions": 1`},
	{"a key", "application/json", `{"`, `a`, `":1}`, 400, "unknown field"},
	{"a key of an action", "application/json", `{"actions":[{"`, `a`, `":1}]}`, 400, "unknown field"},
	{"empty parts", "multipart/form-data; boundary=b", "", "--b\r\nContent-Disposition: form-data; name=apply; filename=x\r\n\r\n\r\n", "--b--\r\n", 400, "is empty"},
	{"small parts", "multipart/form-data; boundary=b", "", "--b\r\nContent-Disposition: form-data; name=apply; filename=x\r\n\r\na\r\n", "--b--\r\n", 400, "more than 100000"},
	{"a part", "multipart/form-data; boundary=b", "--b\r\nContent-Disposition: form-data; name=apply; filename=x\r\n\r\n", "a", "\r\n--b--\r\n", 200, `"actions": 1`},
	{"headers of a part", "multipart/form-data; boundary=b", "--b\r\n", "a:\r\n", "", 400, "too large"},
	{"YAML", "application/yaml", "", "a: b\n", "", 200, `"actions": 1`},
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
			limit := int64(64<<20+8*largeBody) * raceFactor
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
		bus.Subscribe("a", &platform.MockPlatform{}, nil)
		a := &api{bus: bus, instances: []flux.InstanceID{"a"}, maxBody: largeBody, bodies: newBudget(largeBody),
			slots: newSlots(maxRequests), probes: newSlots(0), limit: time.Minute, reading: make(chan struct{}, maxPlans), log: slog.New(slog.DiscardHandler)}
		body, size := l.body()
		r, err := http.NewRequestWithContext(t.Context(), "POST", start(t, a, "")+"/v1/instances/a/sync", body)
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
