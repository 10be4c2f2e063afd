package service

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"mime/multipart"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/platformbus/platform"
	"github.com/platformbus/platform/cmd/internal/program"
	"github.com/platformbus/platform/flux"
)

// newAPI returns an API whose instance "a" is p, unless p is nil.
func newAPI(p platform.Platform) *api {
	bus := platform.NewStandaloneMessageBus(platform.BusMetrics{})
	if p != nil {
		bus.Subscribe("a", p, nil)
	}
	return &api{bus: bus, instances: []flux.InstanceID{"a", "b"}, maxBody: 1 << 10, bodies: newBudget(1 << 20),
		slots: newSlots(maxRequests), probes: newSlots(0), limit: time.Minute, reading: make(chan struct{}, maxPlans), log: slog.New(slog.DiscardHandler)}
}

// start serves an API as the program does, and returns its URL.
func start(t testing.TB, a *api, token string) string {
	t.Helper()
	metrics := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "metrics 1\n") }) //nolint:errcheck // the test fails
	health := http.HandlerFunc(program.Live)
	s, err := program.Serve("127.0.0.1:0", a.handler(token, metrics, health), program.Limits{}, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	t.Cleanup(func() {
		http.DefaultClient.CloseIdleConnections()
		assert.NoError(t, s.Close(context.Background()))
	})
	return "http://" + s.Addr().String()
}

func serve(t *testing.T, p platform.Platform, token string) string {
	t.Helper()
	return start(t, newAPI(p), token)
}

// ask sends a request, and returns the status and the text of the answer. Both have to be as the
// OpenAPI document says.
func ask(t *testing.T, method, url, body string, header ...string) (int, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	require.NoError(t, err)
	for i := 0; i < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
		if header[i] == "Host" {
			r.Host = header[i+1]
		}
	}
	resp, err := http.DefaultClient.Do(r)
	require.NoError(t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	checkDocumented(t, r, body, resp, text)
	return resp.StatusCode, string(text)
}

// Each kind of error has a status of its own, its text, and its help.
func TestErrors(t *testing.T) {
	boom := errors.New("boom")
	for _, tt := range []struct {
		err  error
		code int
		help string
	}{
		{platform.UnavailableError(boom), http.StatusServiceUnavailable, "Cannot contact the cluster"},
		{platform.UpgradeNeededError(boom), http.StatusNotImplemented, "needs an upgrade"},
		{platform.ClusterError(boom), http.StatusBadGateway, "Error from the cluster"},
		{boom, http.StatusBadGateway, "Error from the cluster"},
		{flux.Missing{BaseError: &flux.BaseError{Help: "Look elsewhere.", Err: boom}}, http.StatusBadGateway, "Look elsewhere."},
	} {
		url := serve(t, &platform.MockPlatform{ExportError: tt.err, PingError: tt.err}, "")
		for _, path := range []string{"/v1/instances/a/export", "/v1/instances/a"} {
			code, text := ask(t, "GET", url+path, "")
			assert.Equal(t, tt.code, code, "%s: %v", path, tt.err)
			var p struct{ Error, Help string }
			require.NoError(t, json.Unmarshal([]byte(text), &p))
			assert.Equal(t, "boom", p.Error)
			assert.Contains(t, p.Help, tt.help, path)
		}
	}
	code, text := ask(t, "GET", serve(t, &platform.MockPlatform{ExportError: flux.Missing{}}, "")+"/v1/instances/a/export", "")
	assert.Equal(t, http.StatusBadGateway, code, "an error without a help text")
	assert.JSONEq(t, `{"error": "no cause given"}`, text)
}

func TestFailuresByName(t *testing.T) {
	url := serve(t, &platform.MockPlatform{
		SyncError:  platform.SyncError{"web.yaml": errors.New("no such kind")},
		ApplyError: platform.ApplyError{"shop/web": platform.ErrNoMatching},
	}, "")
	code, text := ask(t, "POST", url+"/v1/instances/a/sync", "kind: Nothing")
	assert.Equal(t, http.StatusBadGateway, code)
	assert.Contains(t, text, `"web.yaml": "no such kind"`)
	assert.Contains(t, text, "Error from the cluster")
	code, text = ask(t, "POST", url+"/v1/instances/a/apply?service=shop/web", "kind: Deployment")
	assert.Equal(t, http.StatusBadGateway, code)
	assert.Contains(t, text, `"shop/web": "no matching replication`)
}

// A partial result is returned with its error, with a status that is not a success.
func TestPartialResults(t *testing.T) {
	url := serve(t, &platform.MockPlatform{
		AllServicesAnswer: []platform.Service{{ID: "shop/web", Status: "ready"}},
		AllServicesError:  errors.New("namespace bank: forbidden"),
		ExportAnswer:      []byte("kind: Namespace\n"),
		ExportError:       errors.New("secrets: forbidden"),
	}, "")
	for path, want := range map[string][]string{
		"services": {`"id": "shop/web"`, `"error": "namespace bank: forbidden"`},
		"export":   {`"manifests": "kind: Namespace\n"`, `"error": "secrets: forbidden"`},
	} {
		code, text := ask(t, "GET", url+"/v1/instances/a/"+path, "")
		assert.Equal(t, http.StatusBadGateway, code)
		for _, part := range want {
			assert.Contains(t, text, part)
		}
	}
}

// Sync accepts definitions in three forms.
func TestSyncForms(t *testing.T) {
	var got platform.SyncDef
	mock := &platform.MockPlatform{SyncArgTest: func(def platform.SyncDef) error { got = def; return nil }}
	url := serve(t, mock, "") + "/v1/instances/a/sync"
	var form bytes.Buffer
	w := multipart.NewWriter(&form)
	for _, file := range [][3]string{{"delete", "old.yaml", "kind: A"}, {"apply", "new.yaml", "kind: B"}} {
		part, err := w.CreateFormFile(file[0], file[1])
		require.NoError(t, err)
		_, err = io.WriteString(part, file[2])
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())

	for _, tt := range []struct{ kind, body, want string }{
		{"application/x-www-form-urlencoded", "kind: B", "request -[] +[kind: B]"}, // curl's default
		{"application/json", `{"actions":[{"resourceID":"x","apply":"kind: B"}]}`, "x -[] +[kind: B]"},
		{w.FormDataContentType(), form.String(), "old.yaml -[kind: A] +[]\nnew.yaml -[] +[kind: B]"},
	} {
		got = platform.SyncDef{}
		code, text := ask(t, "POST", url, tt.body, "Content-Type", tt.kind)
		require.Equal(t, http.StatusOK, code, text)
		var lines []string
		for _, a := range got.Actions {
			lines = append(lines, a.ResourceID+" -["+string(a.Delete)+"] +["+string(a.Apply)+"]")
		}
		assert.Equal(t, tt.want, strings.Join(lines, "\n"))
	}
}

func TestBadRequests(t *testing.T) {
	url := serve(t, &platform.MockPlatform{}, "")
	for _, tt := range []struct {
		method, path, body, kind string
		code                     int
		want                     string
	}{
		{"GET", "/v1/instances/a%0a", "", "", 400, `contains a space`},
		{"GET", "/v1/instances/" + strings.Repeat("a", 300), "", "", 400, "at most 253"},
		{"GET", "/v1/instances/%2e%2e", "", "", 400, "cannot be part of a URL"},
		{"GET", "/v1/instances/a/services?id=web", "", "", 400, `\"web\"`},
		{"POST", "/v1/instances/a/sync", "", "", 400, "nothing to sync"},
		{"POST", "/v1/instances/a/sync", `{"actions": 1}`, "application/json", 400, "read the request"},
		{"POST", "/v1/instances/a/sync", `{"action": []}`, "application/json", 400, "action"},
		{"POST", "/v1/instances/a/sync", "x", "multipart/form-data", 400, "read the form"},
		{"POST", "/v1/instances/a/sync", strings.Repeat("x", 1<<10+1), "", 413, "too large"},
		{"POST", "/v1/instances/a/apply", "x", "", 400, "service"},
		{"POST", "/v1/instances/a/apply?service=a/b&async=maybe", "x", "", 400, "true or false"},
		{"POST", "/v1/instances/a/sync", "x", "text/", 400, "read Content-Type"},
		{"GET", "/v1/instances/a/services?id=a/b;c", "", "", 400, "read the query"},
		{"GET", "/v1/instances/a/sync", "", "", 405, `the method \"GET\"`},
		{"DELETE", "/v1/instances/a", "", "", 405, "want GET or HEAD"},
		{"POST", "/healthz", "", "", 405, "want GET or HEAD"},
		{"GET", "/v2", "", "", 404, `\"/v2\"`},
		{"GET", "/", "", "", 404, "no resource at the path"},
		{"GET", "//v1/instances", "", "", 404, "no resource at the path"},
		{"GET", "/v1/./instances", "", "", 404, "no resource at the path"},
		{"GET", "/v1/instances/", "", "", 404, "no resource"},
	} {
		code, text := ask(t, tt.method, url+tt.path, tt.body, "Content-Type", tt.kind)
		assert.Equal(t, tt.code, code, tt.path)
		var p struct{ Error string }
		require.NoError(t, json.Unmarshal([]byte(text), &p), text)
		assert.NotEmpty(t, p.Error)
		assert.Contains(t, text, tt.want, tt.path)
	}
}

// A 405 answer lists the methods that are allowed.
func TestAllow(t *testing.T) {
	url := serve(t, &platform.MockPlatform{}, "")
	for path, want := range map[string]string{"/v1/instances": "GET, HEAD", "/v1/instances/a/sync": "POST"} {
		r, err := http.NewRequestWithContext(t.Context(), "DELETE", url+path, nil)
		require.NoError(t, err)
		resp, err := http.DefaultClient.Do(r)
		require.NoError(t, err)
		resp.Body.Close()
		assert.Equal(t, http.StatusMethodNotAllowed, resp.StatusCode)
		assert.Equal(t, want, resp.Header.Get("Allow"))
	}
}

// An instance ID is one escaped segment of the path.
func TestEscapedInstance(t *testing.T) {
	a := newAPI(nil)
	bus := platform.NewStandaloneMessageBus(platform.BusMetrics{})
	bus.Subscribe("a/b", &platform.MockPlatform{VersionAnswer: "7"}, nil)
	a.bus = bus
	code, text := ask(t, "GET", start(t, a, "")+"/v1/instances/a%2Fb", "")
	assert.Equal(t, http.StatusOK, code)
	assert.Contains(t, text, `"instance": "a/b"`)
}

func TestList(t *testing.T) {
	code, text := ask(t, "GET", serve(t, &platform.MockPlatform{VersionAnswer: "7"}, "")+"/v1/instances", "")
	assert.Equal(t, http.StatusOK, code)
	var got struct {
		Instances []map[string]any `json:"instances"`
	}
	require.NoError(t, json.Unmarshal([]byte(text), &got))
	require.Len(t, got.Instances, 2)
	assert.Equal(t, map[string]any{"instance": "a", "connected": true, "version": "7"}, got.Instances[0])
	assert.Equal(t, false, got.Instances[1]["connected"])
	assert.Contains(t, got.Instances[1]["help"], "Cannot contact")
}

func TestGuard(t *testing.T) {
	const token = "0123456789abcdef"
	with, without := serve(t, &platform.MockPlatform{}, token)+"/v1/instances", serve(t, &platform.MockPlatform{}, "")+"/v1/instances"
	for _, tt := range []struct {
		url    string
		header []string
		code   int
	}{
		{with, nil, 401},
		{with, []string{"Authorization", "Bearer " + token[1:]}, 401},
		{with, []string{"Authorization", "Bearer "}, 401},
		{with, []string{"Authorization", "Basic " + token}, 401},
		{with, []string{"Authorization", "Bearer " + token}, 200},
		{with, []string{"Authorization", "bearer  " + token}, 200},
		{with, []string{"Authorization", token}, 401},
		{with, []string{"Authorization", "Bearer" + token}, 401},
		{with, []string{"Authorization", "Bearer " + token, "Authorization", "Bearer " + token}, 401},
		{with, []string{"Authorization", "Bearer " + token, "Sec-Fetch-Site", "cross-site"}, 403},
		{without, []string{"Sec-Fetch-Site", "cross-site"}, 403},
		{without, []string{"Sec-Fetch-Site", "same-site"}, 403},
		{without, []string{"Sec-Fetch-Site", "none", "Sec-Fetch-Site", "cross-site"}, 403},
		{without, []string{"Sec-Fetch-Site", "same-origin"}, 200},
		{without, []string{"Sec-Fetch-Site", "none"}, 200},
		{with, []string{"Authorization", "Bearer " + token, "Host", "service.example"}, 200},
		{without, nil, 200},
		{without, []string{"Host", "localhost"}, 200},
		{without, []string{"Host", "[::1]:80"}, 200},
		{without, []string{"Host", "rebound.example"}, 403},
		{without, []string{"Host", "rebound.example:80"}, 403},
	} {
		code, text := ask(t, "GET", tt.url, "", tt.header...)
		assert.Equal(t, tt.code, code, "%v: %s", tt.header, text)
		assert.NotContains(t, text, token)
		assert.True(t, json.Valid([]byte(text)), text)
	}
	for _, method := range []string{"GET", "HEAD", "OPTIONS", "POST", "DELETE"} {
		code, text := ask(t, method, without+"/a/sync", "", "Sec-Fetch-Site", "cross-site")
		assert.Equal(t, http.StatusForbidden, code, method)
		assert.True(t, method == "HEAD" || json.Valid([]byte(text)), text)
	}
	code, text := ask(t, "POST", without+"/a/sync", "kind: A", "Origin", "http://page.example")
	assert.Equal(t, http.StatusForbidden, code, "the request of a web page")
	assert.Contains(t, text, `"error": "the request comes from a web page`)
}

func TestArguments(t *testing.T) {
	t.Setenv("PLATFORM_TOKEN", "")
	run := func(args ...string) error {
		cmd := Command()
		cmd.SetArgs(args)
		cmd.SilenceErrors, cmd.SilenceUsage = true, true
		return cmd.ExecuteContext(t.Context())
	}
	for want, args := range map[string][]string{
		"neither --nats":             {},
		"both set":                   {"--nats", "nats://127.0.0.1:4222", "--embedded-nats"},
		"the instance ID is empty":   {"--embedded-nats", "--instance", "a,,b"},
		`unknown command "extra"`:    {"--embedded-nats", "extra"},
		"--unheard-of":               {"--unheard-of"},
		"can be reached from else":   {"--nats", "nats://127.0.0.1:4222", "--listen", "0.0.0.0:0"},
		"--listen :0 can be reached": {"--nats", "nats://127.0.0.1:4222", "--listen", ":0"},
		"--max-bodies is 1;":         {"--embedded-nats", "--max-body", "2", "--max-bodies", "1"},
		"--max-body is 0":            {"--embedded-nats", "--max-body", "0"},
		"has no authentication":      {"--embedded-nats=0.0.0.0:0"},
		"want an address such as":    {"--embedded-nats=yes"},
		"holds credentials":          {"--nats", "nats://user:hidden@127.0.0.1:1"},
		"the NATS URL":               {"--nats", "nowhere"},
	} {
		err := run(args...)
		require.ErrorContains(t, err, want, "%q", args)
		assert.NotContains(t, err.Error(), "hidden")
	}
	t.Setenv("PLATFORM_TOKEN", "guessable")
	err := run("--embedded-nats")
	require.ErrorContains(t, err, "has 9 bytes")
	assert.NotContains(t, err.Error(), "guessable")
	require.ErrorContains(t, run("--embedded-nats", "--token-file", "/nowhere"), "/nowhere")
}
