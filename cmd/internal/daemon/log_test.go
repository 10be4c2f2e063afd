package daemon

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/platformbus/platform"
	"github.com/platformbus/platform/cmd/internal/program"
	"github.com/platformbus/platform/flux"
	"github.com/platformbus/platform/kubernetes"
)

// A logOf is a log in JSON.
type logOf struct{ bytes.Buffer }

func (l *logOf) logger(level slog.Level) *slog.Logger {
	return slog.New(slog.NewJSONHandler(&l.Buffer, &slog.HandlerOptions{Level: level}))
}

// take returns the records, and forgets them.
func (l *logOf) take(t *testing.T) (records []map[string]any) {
	t.Helper()
	for line := range strings.Lines(l.String()) {
		var r map[string]any
		require.NoError(t, json.Unmarshal([]byte(line), &r))
		delete(r, "time")
		delete(r, "took")
		records = append(records, r)
	}
	l.Reset()
	return records
}

func TestLoggedBattery(t *testing.T) {
	platform.PlatformTestBattery(t, func(mock platform.Platform) platform.Platform {
		return newLogged(mock, slog.New(slog.DiscardHandler))
	})
}

// A write is an audit record: who asked, what for, and what came of it. A read is a record too.
// Neither has anything of a definition.
func TestCallsAreLogged(t *testing.T) {
	const secret = "not-to-be-logged"
	var log logOf
	mock := &platform.MockPlatform{AllServicesAnswer: make([]platform.Service, 3), ExportAnswer: []byte(secret)}
	p := platform.WithContext(platform.ContextWithCaller(t.Context(), "alice"), newLogged(mock, log.logger(slog.LevelDebug)))

	def := platform.SyncDef{Actions: []platform.SyncAction{{ResourceID: "web", Apply: []byte(secret)}}}
	require.NoError(t, p.Sync(def))
	assert.Equal(t, []map[string]any{{"level": "INFO", "msg": "audit", "method": "Sync", "caller": "alice", "outcome": "done",
		"actions": 1.0, "ids": []any{"web"}}}, log.take(t))

	mock.SyncError = platform.SyncError{"web": errors.New("refused"), "db": nil}
	require.Error(t, p.Sync(def))
	assert.Equal(t, []map[string]any{
		{"level": "WARN", "msg": "not done", "method": "Sync", "id": "db", "err": nil},
		{"level": "WARN", "msg": "not done", "method": "Sync", "id": "web", "err": "refused"},
		{"level": "WARN", "msg": "audit", "method": "Sync", "caller": "alice", "outcome": "partly", "err": "2 actions failed", "actions": 1.0, "ids": []any{"web"}},
	}, log.take(t))

	mock.ApplyError = platform.ApplyError{"shop/web": errors.New("stalled")}
	require.Error(t, p.Apply([]platform.ServiceDefinition{{ServiceID: "shop/web", NewDefinition: []byte(secret)}}))
	assert.Equal(t, []map[string]any{
		{"level": "WARN", "msg": "not done", "method": "Apply", "id": "shop/web", "err": "stalled"},
		{"level": "WARN", "msg": "audit", "method": "Apply", "caller": "alice", "outcome": "partly", "err": "1 services failed", "services": 1.0, "ids": []any{"shop/web"}},
	}, log.take(t))

	mock.PingError = context.DeadlineExceeded
	_, err := p.AllServices("shop", nil)
	require.NoError(t, err)
	_, err = p.SomeServices([]flux.ServiceID{"a/b"})
	require.NoError(t, err)
	_, err = p.Export()
	require.NoError(t, err)
	_, err = p.Version()
	require.NoError(t, err)
	require.Error(t, p.Ping())
	read := func(level, method, outcome string, about map[string]any) map[string]any {
		r := map[string]any{"level": level, "msg": "call", "method": method, "caller": "alice", "outcome": outcome}
		for key, value := range about {
			r[key] = value
		}
		return r
	}
	assert.Equal(t, []map[string]any{
		read("INFO", "AllServices", "done", map[string]any{"namespace": "shop", "services": 3.0}),
		read("INFO", "SomeServices", "done", map[string]any{"asked": 1.0, "services": 0.0}),
		read("INFO", "Export", "done", map[string]any{"bytes": float64(len(secret))}),
		read("DEBUG", "Version", "done", nil),
		read("WARN", "Ping", "overdue", map[string]any{"err": context.DeadlineExceeded.Error()}),
	}, log.take(t))
}

// An object that fails is logged once, one that is waited for when that takes long, and the
// results are counted.
func TestObjectsAreLogged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log logOf
		w := newLogged(&platform.MockPlatform{}, log.logger(slog.LevelInfo)).write("Sync", "actions", []string{"a", "b"})
		event := func(result kubernetes.Result, object, progress string, err error) {
			w.event(kubernetes.Event{ID: "a", Object: object, Result: result, Progress: progress, Err: err})
		}
		event(kubernetes.Unchanged, "Service x/a", "", nil)
		event(kubernetes.Applied, "Deployment x/a", "", nil)
		event(kubernetes.Waiting, "Deployment x/a", "0 of 3", nil)
		time.Sleep(patient - 1) // in the bubble
		event(kubernetes.Waiting, "Deployment x/a", "1 of 3", nil)
		assert.Empty(t, log.take(t), "nothing to be told yet")
		time.Sleep(time.Nanosecond) // in the bubble
		event(kubernetes.Waiting, "Deployment x/a", "2 of 3", nil)
		event(kubernetes.Waiting, "Deployment x/a", "2 of 3", nil)
		event(kubernetes.Stalled, "Deployment x/a", "", errors.New("no image"))
		logUnseen(w, platform.SyncError{"a": errors.New("no image"), "b": errors.New("malformed")})
		w.end(nil)
		about := map[string]any{"method": "Sync", "id": "a", "object": "Deployment x/a"}
		with := func(more map[string]any) map[string]any {
			for key, value := range about {
				more[key] = value
			}
			return more
		}
		assert.Equal(t, []map[string]any{
			with(map[string]any{"level": "INFO", "msg": "waiting for an object", "result": "waiting", "progress": "2 of 3"}),
			with(map[string]any{"level": "WARN", "msg": "object failed", "result": "stalled", "err": "no image"}),
			{"level": "WARN", "msg": "not done", "method": "Sync", "id": "b", "err": "malformed"},
			{"level": "INFO", "msg": "audit", "method": "Sync", "caller": "unknown", "outcome": "done", "actions": 2.0, "ids": []any{"a", "b"},
				"applied": 1.0, "stalled": 1.0, "unchanged": 1.0},
		}, log.take(t))
	})
}

// The IDs in a record are bounded, and at the highest level each object is logged.
func TestAuditIsBounded(t *testing.T) {
	ids := make([]string, 1000)
	for i := range ids {
		ids[i] = fmt.Sprint(i)
	}
	shown := named(ids)
	assert.Len(t, shown, maxNamed+1)
	assert.Equal(t, "and 980 more", shown[maxNamed])
	assert.Len(t, ids, 1000)

	var log logOf
	w := newLogged(&platform.MockPlatform{}, log.logger(program.LevelObjects)).write("Sync", "actions", nil)
	w.event(kubernetes.Event{ID: "a", Object: "Service x/a", Result: kubernetes.Unchanged})
	assert.Len(t, log.take(t), 1)
}
