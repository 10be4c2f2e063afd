package service

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"unicode"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/platformbus/platform"
	"github.com/platformbus/platform/cmd/internal/program"
)

// hostile is long, and contains line breaks and escape sequences.
var hostile = "\n\x1b[31m\u2028\u202e" + strings.Repeat("x", 1<<20)

func assertSafe(t *testing.T, text string) {
	t.Helper()
	assert.LessOrEqual(t, len(text), 4<<10)
	for _, r := range text {
		assert.True(t, unicode.IsPrint(r), "%q", r)
	}
}

// The errors of a daemon are shown bounded and escaped, whatever they contain.
func TestProblemIsSafe(t *testing.T) {
	causes := platform.SyncError{"nil": nil, hostile + "x": errors.New(hostile), hostile + "y": errors.New("shown with the other")}
	url := serve(t, &platform.MockPlatform{
		SyncError:         causes,
		AllServicesError:  errors.New(hostile),
		AllServicesAnswer: []platform.Service{{ID: "a/b", Containers: platform.ContainersOrExcuse{Excuse: hostile}}},
		ExportError:       platform.UnavailableError(errors.New(hostile)),
	}, "") + "/v1/instances/a/"
	_, text := ask(t, "POST", url+"sync", "kind: A")
	var p struct {
		Error    string
		Failures map[string]string
		Services []struct{ Excuse string }
	}
	require.NoError(t, json.Unmarshal([]byte(text), &p))
	assertSafe(t, p.Error)
	assert.Len(t, p.Failures, 3)
	for id, text := range p.Failures {
		assertSafe(t, id)
		assertSafe(t, text)
	}
	assert.Equal(t, "no cause given", p.Failures["nil"])
	assert.Equal(t, "and 1 more failures", p.Failures[moreFailures])
	for _, path := range []string{"services", "export"} {
		_, text = ask(t, "GET", url+path, "")
		require.NoError(t, json.Unmarshal([]byte(text), &p))
		assertSafe(t, p.Error)
	}
	require.Len(t, p.Services, 1)
	assertSafe(t, p.Services[0].Excuse)
}

// Of many failures the first ones are shown in order, and the last entry counts the others.
func TestManyFailures(t *testing.T) {
	for _, tt := range []struct {
		n, entries int
		last       string
	}{
		{1, 1, `"0000": "boom"`},
		{maxFailures, maxFailures, `"0999": "boom"`},
		{maxFailures + 1, maxFailures, `"…": "and 2 more failures"`},
		{5000, maxFailures, `"…": "and 4001 more failures"`},
	} {
		causes := make(platform.SyncError)
		for i := range tt.n {
			causes[fmt.Sprintf("%04d", i)] = errors.New("boom")
		}
		var b bytes.Buffer
		encoder := json.NewEncoder(&b)
		encoder.SetIndent("", " ")
		require.NoError(t, encoder.Encode(problemOf(causes).Failures))
		var got map[string]string
		require.NoError(t, json.Unmarshal(b.Bytes(), &got))
		assert.Len(t, got, tt.entries)
		lines := strings.Split(strings.TrimSpace(b.String()), "\n")
		assert.Contains(t, lines[len(lines)-2], tt.last)
	}
}

// The log has one line for each failed request, without content of the query, the body or the
// Authorization header.
func TestLogHasNoSecrets(t *testing.T) {
	const token = "hidden-0123456789"
	var log bytes.Buffer
	a := newAPI(&platform.MockPlatform{
		SyncError:         platform.SyncError{"hidden": errors.New("hidden")},
		SomeServicesError: errors.New("no service hidden"),
		PingError:         errors.New("the API server is away"),
	})
	a.log = slog.New(slog.NewTextHandler(&log, nil))
	url := start(t, a, token)
	authorization := []string{"Authorization", "Bearer " + token}
	for _, tt := range []struct{ method, path, body, kind string }{
		{"GET", "services?id=hidden", "", ""},
		{"GET", "services?id=a/hidden", "", ""},
		{"GET", "services?hidden=%zz", "", ""},
		{"POST", "apply?service=a/b&async=hidden", "x", ""},
		{"POST", "sync", "kind: hidden", ""},
		{"POST", "sync", `{"hidden":1}`, "application/json"},
		{"POST", "sync", "--b\r\nContent-Disposition: form-data; name=hidden\r\n\r\nhidden\r\n--b--\r\n", "multipart/form-data; boundary=b"},
		{"POST", "sync", "x", "multipart/form-data; boundary=" + strings.Repeat("hidden", 20)},
	} {
		code, text := ask(t, tt.method, url+"/v1/instances/a/"+tt.path, tt.body, append(authorization, "Content-Type", tt.kind)...)
		require.GreaterOrEqual(t, code, 400, text)
	}
	_, _ = ask(t, "GET", url+"/v1/instances/a%0a%E2%80%AE", "", authorization...)
	_, _ = ask(t, "GET", url+"/v1/instances", "", "Authorization", "Bearer hidden")
	code, _ := ask(t, "GET", url+"/healthz?hidden=1", "") // without the token nothing is logged
	assert.Equal(t, http.StatusBadRequest, code)
	lines := strings.Split(strings.TrimSpace(log.String()), "\n")
	assert.Len(t, lines, 9, log.String())
	for _, line := range lines {
		assert.Contains(t, line, `msg="request failed" method=`)
		assert.NotContains(t, line, "hidden")
	}
	assert.Contains(t, log.String(), "status=502 failures=1")
	assert.Contains(t, lines[8], "contains a space", "an error without a query and a body is logged")
}

// Errors of reading a body have the status of their cause.
func TestStatusOfBodies(t *testing.T) {
	for err, want := range map[error]int{
		program.ErrSlowBody:         http.StatusRequestTimeout,
		program.ErrEnding:           http.StatusServiceUnavailable,
		&http.MaxBytesError{}:       http.StatusRequestEntityTooLarge,
		errors.New("reset by peer"): http.StatusBadRequest,
	} {
		assert.Equal(t, want, statusCode(badRequest{fmt.Errorf("read the request's body: %w", err)}), err.Error())
	}
}
