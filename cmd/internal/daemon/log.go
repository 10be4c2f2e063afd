package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/platformbus/platform"
	"github.com/platformbus/platform/cmd/internal/program"
	"github.com/platformbus/platform/flux"
	"github.com/platformbus/platform/kubernetes"
)

// logged logs the calls to a cluster: a read as "call", a write as "audit" with who asked and
// for what, and each object that failed, once. Nothing of a definition's content is logged.
// It does not embed Platform: a method added to the interface must fail to compile here
// rather than go unlogged.
type logged struct {
	ctx  context.Context
	next platform.Platform
	log  *slog.Logger
}

var _ platform.Platform = (*logged)(nil)

func newLogged(next platform.Platform, log *slog.Logger) *logged {
	return &logged{context.Background(), next, log}
}

func (l *logged) WithContext(ctx context.Context) platform.Platform {
	return &logged{ctx, platform.WithContext(ctx, l.next), l.log}
}

func (l *logged) Ping() (err error) {
	defer l.call(slog.LevelDebug, "Ping", time.Now(), &err)
	return l.next.Ping()
}

func (l *logged) Version() (version string, err error) {
	defer l.call(slog.LevelDebug, "Version", time.Now(), &err)
	return l.next.Version()
}

func (l *logged) AllServices(namespace string, ignored flux.ServiceIDSet) (services []platform.Service, err error) {
	defer func(begun time.Time) {
		l.call(slog.LevelInfo, "AllServices", begun, &err, "namespace", namespace, "services", len(services))
	}(time.Now())
	return l.next.AllServices(namespace, ignored)
}

func (l *logged) SomeServices(ids []flux.ServiceID) (services []platform.Service, err error) {
	defer func(begun time.Time) {
		l.call(slog.LevelInfo, "SomeServices", begun, &err, "asked", len(ids), "services", len(services))
	}(time.Now())
	return l.next.SomeServices(ids)
}

func (l *logged) Export() (manifests []byte, err error) {
	defer func(begun time.Time) {
		l.call(slog.LevelInfo, "Export", begun, &err, "bytes", len(manifests))
	}(time.Now())
	return l.next.Export()
}

func (l *logged) Apply(defs []platform.ServiceDefinition) error {
	ids := make([]string, len(defs))
	for i, def := range defs {
		ids[i] = string(def.ServiceID)
	}
	w := l.write("Apply", "services", ids)
	err := platform.WithContext(w.ctx, l.next).Apply(defs)
	var failed platform.ApplyError
	if errors.As(err, &failed) {
		logUnseen(w, failed)
	}
	w.end(err)
	return err
}

func (l *logged) Sync(def platform.SyncDef) error {
	ids := make([]string, len(def.Actions))
	for i, action := range def.Actions {
		ids[i] = action.ResourceID
	}
	w := l.write("Sync", "actions", ids)
	err := platform.WithContext(w.ctx, l.next).Sync(def)
	var failed platform.SyncError
	if errors.As(err, &failed) {
		logUnseen(w, failed)
	}
	w.end(err)
	return err
}

// call logs a read. One that failed is a warning.
func (l *logged) call(level slog.Level, method string, begun time.Time, err *error, about ...any) {
	if *err != nil {
		level = slog.LevelWarn
	}
	l.log.Log(l.ctx, level, "call", append(l.about(method, begun, *err), about...)...)
}

// about returns what each record of a call has.
func (l *logged) about(method string, begun time.Time, err error) []any {
	about := []any{"method", method, "caller", callerOf(l.ctx), "took", time.Since(begun).Round(time.Microsecond), "outcome", outcomeOf(err)}
	if err != nil {
		about = append(about, "err", shortened(err))
	}
	return about
}

func callerOf(ctx context.Context) string {
	if caller := platform.CallerFrom(ctx); caller != "" {
		return caller
	}
	return "unknown"
}

// outcomeOf returns the outcome of a call in one word.
func outcomeOf(err error) string {
	var ofSync platform.SyncError
	var ofApply platform.ApplyError
	switch {
	case err == nil:
		return "done"
	case errors.As(err, &ofSync), errors.As(err, &ofApply):
		return "partly"
	case errors.Is(err, context.Canceled):
		return "cancelled"
	case errors.Is(err, context.DeadlineExceeded):
		return "overdue"
	}
	return "failed"
}

const (
	// maxNamed bounds the IDs in an audit record.
	maxNamed = 20
	// patient is for how long an object is waited for until the log says so, and says so again.
	patient = 10 * time.Second
)

// A write is an Apply or a Sync in progress. It counts the results of its objects.
type write struct {
	*logged
	ctx    context.Context
	method string
	begun  time.Time
	what   []any

	mu      sync.Mutex
	results map[kubernetes.Result]int // guarded by mu
	failed  map[string]bool           // guarded by mu: the IDs of which a failure is logged
	waiting map[string]time.Time      // guarded by mu: when an object was last said to be waited for, or began to be
}

func (l *logged) write(method, kind string, ids []string) *write {
	w := &write{logged: l, method: method, begun: time.Now(), what: []any{kind, len(ids), "ids", named(ids)},
		results: map[kubernetes.Result]int{}, failed: map[string]bool{}, waiting: map[string]time.Time{}}
	w.ctx = kubernetes.ContextWithEvents(l.ctx, w.event)
	return w
}

// named returns the first of the IDs, and how many there are besides.
func named(ids []string) []string {
	if len(ids) <= maxNamed {
		return ids
	}
	return append(slices.Clone(ids[:maxNamed]), fmt.Sprintf("and %d more", len(ids)-maxNamed))
}

// event logs what becomes of an object: failures, waits that take long, and at higher levels
// the rest.
func (w *write) event(e kubernetes.Event) {
	level, message := program.LevelObjects, "object"
	w.mu.Lock()
	switch e.Result {
	case kubernetes.Failed, kubernetes.Stalled:
		level, message = slog.LevelWarn, "object failed"
		w.failed[e.ID] = true
	case kubernetes.Waiting:
		message = "waiting for an object"
		if since, ok := w.waiting[e.Object]; !ok {
			w.waiting[e.Object] = time.Now()
		} else if time.Since(since) >= patient {
			w.waiting[e.Object] = time.Now()
			level = slog.LevelInfo
		}
	}
	if e.Result != kubernetes.Waiting {
		w.results[e.Result]++
	}
	w.mu.Unlock()
	if !w.log.Enabled(w.ctx, level) {
		return
	}
	about := []any{"method", w.method, "id", e.ID, "object", e.Object, "result", e.Result}
	if e.Progress != "" {
		about = append(about, "progress", e.Progress)
	}
	if e.Err != nil {
		about = append(about, "err", e.Err)
	}
	w.log.Log(w.ctx, level, message, about...)
}

// logUnseen logs the failures of which there was no event, such as definitions that cannot be read.
func logUnseen[ID ~string](w *write, failed map[ID]error) {
	for _, id := range slices.Sorted(maps.Keys(failed)) {
		w.mu.Lock()
		seen := w.failed[string(id)]
		w.mu.Unlock()
		if !seen {
			w.log.WarnContext(w.ctx, "not done", "method", w.method, "id", id, "err", failed[id])
		}
	}
}

// end logs the audit record.
func (w *write) end(err error) {
	about := append(w.about(w.method, w.begun, err), w.what...)
	w.mu.Lock()
	for _, result := range slices.Sorted(maps.Keys(w.results)) {
		about = append(about, string(result), w.results[result])
	}
	w.mu.Unlock()
	level := slog.LevelInfo
	if err != nil {
		level = slog.LevelWarn
	}
	w.log.Log(w.ctx, level, "audit", about...)
}

// shortened returns the error of a call's record: of entries that are logged one by one only
// the number.
func shortened(err error) error {
	var ofSync platform.SyncError
	var ofApply platform.ApplyError
	switch {
	case errors.As(err, &ofSync):
		return fmt.Errorf("%d actions failed", len(ofSync))
	case errors.As(err, &ofApply):
		return fmt.Errorf("%d services failed", len(ofApply))
	}
	return err
}
