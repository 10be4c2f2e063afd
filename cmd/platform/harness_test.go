package main_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/platformbus/platform/internal/natstest"
	"github.com/platformbus/platform/internal/process"
)

// limit bounds each wait. It is far more than any of them takes.
const limit = time.Minute

// built holds the program, built with the race detector.
var built struct {
	once sync.Once
	dir  string
	err  error
}

func binary(t *testing.T) string {
	t.Helper()
	built.once.Do(func() {
		if built.dir, built.err = os.MkdirTemp("", "programs-"); built.err != nil {
			return
		}
		build := exec.Command("go", "build", "-race", "-o", built.dir, ".")
		if out, err := build.CombinedOutput(); err != nil {
			built.err = fmt.Errorf("%w: %s", err, out)
		}
	})
	require.NoError(t, built.err)
	return filepath.Join(built.dir, "platform")
}

// A testProcess is a daemon or a service. It ends with the test.
type testProcess struct {
	*process.Process
	t   *testing.T
	url string // of its HTTP server
}

var servesHTTP = regexp.MustCompile(`msg="serving HTTP" addr=(\S+)`)

// start starts a daemon or a service and waits until it serves HTTP.
func start(t *testing.T, name string, env []string, args ...string) *testProcess {
	t.Helper()
	r := startUnready(t, name, env, args...)
	r.url = "http://" + r.await(servesHTTP.String())
	return r
}

func startUnready(t *testing.T, name string, env []string, args ...string) *testProcess {
	t.Helper()
	p, err := process.Start(process.Program{
		Name: name, Dir: t.TempDir(), Path: binary(t), Args: append([]string{name, "--listen", "127.0.0.1:0"}, args...), Env: env})
	require.NoError(t, err)
	r := &testProcess{Process: p, t: t}
	t.Cleanup(func() {
		assert.NoError(t, p.Stop())
		log, err := p.Log()
		assert.NoError(t, err)
		assert.NotContains(t, log, "DATA RACE", name)
		assert.NotContains(t, log, "panic:", name)
		if t.Failed() {
			t.Logf("the log of %s:\n%s", name, log)
		}
	})
	return r
}

// await waits until the log matches the pattern, and returns the pattern's last group.
func (r *testProcess) await(pattern string) string {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	match, err := r.AwaitLine(ctx, regexp.MustCompile(pattern))
	require.NoError(r.t, err)
	return match[len(match)-1]
}

// exitCode waits for the program's end, and returns its exit code.
func (r *testProcess) exitCode() int {
	r.t.Helper()
	select {
	case <-r.Exited():
	case <-time.After(limit):
		require.FailNow(r.t, "it does not end", r.Tail())
	}
	if exit, failed := r.State().(*exec.ExitError); failed { //nolint:errorlint // os/exec returns it bare
		return exit.ExitCode()
	}
	require.NoError(r.t, r.State())
	return 0
}

// An answer is the status and the body of an HTTP response.
type answer struct {
	code int
	text string
}

func (a answer) json(t *testing.T) (v map[string]any) {
	t.Helper()
	require.NoError(t, json.Unmarshal([]byte(a.text), &v), a.text)
	return v
}

// ask sends a request to the program, with a header of names and values. It returns an error only
// if there was no response.
func (r *testProcess) ask(ctx context.Context, method, path, body string, header ...string) (answer, error) {
	request, err := http.NewRequestWithContext(ctx, method, r.url+path, strings.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	if strings.HasPrefix(body, "{") {
		request.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(header); i += 2 {
		request.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(request)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return answer{resp.StatusCode, string(text)}, err
}

func (r *testProcess) get(path string) answer {
	r.t.Helper()
	return r.answered("GET", path, "")
}

func (r *testProcess) post(path, body string) answer {
	r.t.Helper()
	return r.answered("POST", path, body)
}

// answered sends a request that has to be answered.
func (r *testProcess) answered(method, path, body string) answer {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	a, err := r.ask(ctx, method, path, body)
	require.NoError(r.t, err)
	return a
}

// begin posts a request that takes a while. The channel receives the answer.
func (r *testProcess) begin(ctx context.Context, path, body string) <-chan answer {
	answers := make(chan answer, 1)
	go func() {
		a, err := r.ask(ctx, "POST", path, body)
		if err != nil {
			a.text = err.Error()
		}
		answers <- a
	}()
	return answers
}

func within[T any](t *testing.T, c <-chan T, what string) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-time.After(limit):
		require.FailNow(t, "not in time: "+what)
	}
	return v
}

// until polls the path until wanted holds of the answer.
func (r *testProcess) until(path, what string, wanted func(answer) bool) {
	r.t.Helper()
	require.Eventually(r.t, func() bool { return wanted(r.get(path)) }, limit, 50*time.Millisecond, what)
}

func (r *testProcess) untilHealth(code int, text string) {
	r.t.Helper()
	r.until("/healthz", fmt.Sprintf("health: %d %s", code, text), func(a answer) bool {
		return a.code == code && strings.Contains(a.text, text)
	})
}

// metric returns the sum of the series of a metric that have these labels.
func (r *testProcess) metric(name string, labels ...string) (sum float64) {
	r.t.Helper()
	for line := range strings.Lines(r.get("/metrics").text) {
		series, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		has := strings.HasPrefix(series, name)
		for _, label := range labels {
			has = has && strings.Contains(series, label)
		}
		if has {
			var v float64
			_, err := fmt.Sscan(value, &v)
			require.NoError(r.t, err)
			sum += v
		}
	}
	return sum
}

// startNATS starts a NATS server with the permissions that package natsbus documents.
func startNATS(t *testing.T) *server.Server {
	t.Helper()
	user := func(name string, publish, subscribe []string) *server.User {
		return &server.User{Username: name, Password: secretOf(name), Permissions: &server.Permissions{
			Publish:   &server.SubjectPermission{Allow: publish},
			Subscribe: &server.SubjectPermission{Allow: subscribe},
		}}
	}
	return natstest.Start(t, func(o *server.Options) {
		o.Users = []*server.User{
			user("service", []string{"flux.v1.*.rpc.*", "flux.v1.*.in.*.*"}, []string{"flux.v1.*.re.>"}),
			user("daemon", []string{"flux.v1.shop.re.>", "flux.v1.shop.rpc.claim.*"}, []string{"flux.v1.shop.rpc.>", "flux.v1.shop.in.*.*"}),
		}
	})
}

func secretOf(name string) string { return "not-a-secret-of-" + name }

// credentials returns the environment of a program that connects as that user.
func credentials(name string, server net.Addr) []string {
	return []string{"PLATFORM_NATS=nats://" + server.String(), "PLATFORM_NATS_USER=" + name, "PLATFORM_NATS_PASSWORD=" + secretOf(name)}
}
