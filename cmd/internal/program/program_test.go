package program_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/platformbus/platform/cmd/internal/program"
	"github.com/platformbus/platform/flux"
)

type label string

// A record is one line, and its values are bounded, whatever is logged.
func TestLoggerWritesLines(t *testing.T) {
	for _, value := range []any{
		strings.Repeat("x", 1<<20) + "\n", errors.New(strings.Repeat("x", 1<<20) + "\n"), label("a\n" + strings.Repeat("x", 1<<20)),
	} {
		var b bytes.Buffer
		logger(t, &b).Warn("one\ntwo", "value", value, slog.Group("of", "value", value))
		assert.Equal(t, 1, strings.Count(b.String(), "\n"))
		assert.Less(t, b.Len(), 9<<10)
		assert.Contains(t, b.String(), "level=WARN")
	}
}

func logger(t *testing.T, w io.Writer) *slog.Logger {
	l, err := (&program.Log{Format: "text"}).Logger(w)
	require.NoError(t, err)
	return l
}

func TestInstanceID(t *testing.T) {
	for _, id := range []string{"a", "a/b", "größe", "...", ".a", strings.Repeat("a", 253)} {
		got, err := program.InstanceID(id)
		require.NoError(t, err)
		assert.Equal(t, flux.InstanceID(id), got)
	}
	for id, want := range map[string]string{
		"": "is empty", ".": "cannot be part of a URL", "..": "cannot be part of a URL", strings.Repeat("a", 254): "want at most 253",
		"a b": "contains a space", "a\n": "contains a space", "a\u202e": "unprintable", "a\xff": "unprintable",
	} {
		_, err := program.InstanceID(id)
		require.ErrorContains(t, err, want, "%q", id)
	}
}

// Health is logged when it changes, and a check whose client has gone decides nothing.
func TestHealthIsLogged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		var failed error
		gone := false
		ctx, cancel := context.WithCancel(t.Context())
		health := program.Health(func(context.Context) error {
			if gone {
				cancel()
			}
			return failed
		}, logger(t, &log))
		get := func(ctx context.Context) int {
			time.Sleep(time.Minute) // in the bubble, so that no result is cached
			w := httptest.NewRecorder()
			health.ServeHTTP(w, httptest.NewRequestWithContext(ctx, http.MethodGet, "/healthz", nil))
			return w.Code
		}
		gone = true
		get(ctx)
		gone, failed = false, errors.New("not yet")
		assert.Equal(t, http.StatusServiceUnavailable, get(t.Context()))
		assert.Empty(t, log.String(), "it has never been healthy")
		failed = nil
		assert.Equal(t, http.StatusOK, get(t.Context()))
		assert.Empty(t, log.String())

		failed = errors.New("lost")
		assert.Equal(t, http.StatusServiceUnavailable, get(t.Context()))
		assert.Contains(t, log.String(), `msg="not healthy" err=lost`)
		assert.Equal(t, http.StatusServiceUnavailable, get(t.Context()))
		assert.Equal(t, 1, strings.Count(log.String(), "\n"), "once")
		failed = nil
		assert.Equal(t, http.StatusOK, get(t.Context()))
		assert.Contains(t, log.String(), "healthy again")
	})
}
