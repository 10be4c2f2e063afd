package platform_test

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"

	"github.com/platformbus/platform"
	"github.com/platformbus/platform/flux"
)

func TestMockPlatformAnswers(t *testing.T) {
	services := []platform.Service{{ID: "default/web"}}
	mock := &platform.MockPlatform{
		AllServicesAnswer:  services,
		AllServicesError:   &platform.FatalError{},
		SomeServicesAnswer: services[:0],
		SomeServicesError:  errBoom,
		ApplyError:         platform.ApplyError{"default/web": errBoom},
		PingError:          errBoom,
		VersionAnswer:      "v5",
		VersionError:       errOther,
		ExportAnswer:       []byte("kind: List"),
		ExportError:        errOther,
		SyncError:          platform.SyncError{"a": errOther},
	}
	assert.Equal(t, map[string]outcome{
		"AllServices":  {services, &platform.FatalError{}},
		"SomeServices": {services[:0], errBoom},
		"Apply":        {nil, platform.ApplyError{"default/web": errBoom}},
		"Ping":         {nil, errBoom},
		"Version":      {"v5", errOther},
		"Export":       {[]byte("kind: List"), errOther},
		"Sync":         {nil, platform.SyncError{"a": errOther}},
	}, callAll(mock))
	for name, got := range callAll(&platform.MockPlatform{}) {
		assert.Zero(t, got.result, "the zero value's %s", name)
		assert.NoError(t, got.err, "the zero value's %s", name)
	}
}

func TestMockPlatformArgTests(t *testing.T) {
	// Each ArgTest is called with the arguments. Its error takes precedence over the
	// answer; without an error the answer is returned as usual.
	for _, verdict := range []error{nil, errBoom} {
		seen := map[string]any{}
		mock := &platform.MockPlatform{
			AllServicesArgTest: func(namespace string, ignored flux.ServiceIDSet) error {
				seen["AllServices"] = []any{namespace, ignored}
				return verdict
			},
			AllServicesAnswer: []platform.Service{{ID: "default/web"}},
			AllServicesError:  errOther,
			SomeServicesArgTest: func(ids []flux.ServiceID) error {
				seen["SomeServices"] = ids
				return verdict
			},
			SomeServicesAnswer: []platform.Service{{ID: "default/web"}},
			SomeServicesError:  errOther,
			ApplyArgTest: func(defs []platform.ServiceDefinition) error {
				seen["Apply"] = defs
				return verdict
			},
			ApplyError: errOther,
			SyncArgTest: func(def platform.SyncDef) error {
				seen["Sync"] = def
				return verdict
			},
			SyncError: errOther,
		}
		got := callAll(mock)
		assert.Equal(t, map[string]any{
			"AllServices":  []any{callNamespace, callIgnored},
			"SomeServices": callIDs,
			"Apply":        callDefs,
			"Sync":         callSync,
		}, seen)
		for name := range seen {
			if verdict != nil {
				assert.Equal(t, verdict, got[name].err, name)
				assert.Empty(t, got[name].result, name)
				continue
			}
			assert.Equal(t, errOther, got[name].err, name)
		}
		if verdict == nil {
			assert.Equal(t, mock.AllServicesAnswer, got["AllServices"].result)
			assert.Equal(t, mock.SomeServicesAnswer, got["SomeServices"].result)
		}
	}
}

func TestObserveSeesEachCall(t *testing.T) {
	var seen []string
	mock := distinctMock(t)
	p := platform.Observe(mock, func(_ context.Context, method string) error {
		seen = append(seen, method)
		return nil
	})
	assert.Equal(t, callAll(mock), callAll(p))
	assert.ElementsMatch(t, methods, seen)

	for method, got := range callAll(platform.Observe(mustNotBeCalled{}, func(context.Context, string) error { return errBoom })) {
		assert.Equal(t, errBoom, got.err, method)
		assert.Empty(t, got.result, method)
	}
}

// observers is a context that counts those who wait for its end.
type observers struct {
	context.Context
	done  chan struct{}
	count atomic.Int32
}

func (o *observers) Done() <-chan struct{} { return o.done }

// AfterFunc is what package context calls to wait for the end.
func (o *observers) AfterFunc(func()) (stop func() bool) {
	o.count.Add(1)
	return func() bool { o.count.Add(-1); return true }
}

// A view of a view that a long-lived context has leaves nothing in that context.
func TestObserveLeavesNothingInAContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		long := &observers{Context: t.Context(), done: make(chan struct{})}
		view := platform.WithContext(long, platform.Observe(&platform.MockPlatform{}, func(context.Context, string) error { return nil }))
		for range 10 {
			short, cancel := context.WithCancel(context.Background())
			assert.NoError(t, platform.WithContext(short, view).Ping())
			cancel()
		}
		synctest.Wait()
		assert.Zero(t, long.count.Load())
	})
}

func TestObserveWaitsForTheContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		waits := platform.Observe(mustNotBeCalled{}, func(ctx context.Context, _ string) error {
			<-ctx.Done()
			return context.Cause(ctx)
		})
		ctx, cancel := context.WithCancelCause(t.Context())
		inner, stop := context.WithCancel(t.Context())
		defer stop()
		result := make(chan error, 1)
		go func() { result <- platform.WithContext(inner, platform.WithContext(ctx, waits)).Ping() }()
		synctest.Wait()
		assert.Empty(t, result, "the call is in progress")
		cancel(errCause)
		assert.Equal(t, errCause, <-result, "a view of a view waits for both")
	})
}
