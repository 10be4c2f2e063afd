package platform_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	pkgerrors "github.com/pkg/errors"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/platformbus/platform"
	"github.com/platformbus/platform/flux"
)

// connected returns a handle to p on a new bus. A nil p is not subscribed.
func connected(t *testing.T, p platform.Platform) platform.Platform {
	t.Helper()
	bus := platform.NewStandaloneMessageBus(platform.BusMetrics{})
	if p != nil {
		bus.Subscribe("instance", p, nil)
	}
	return handleOf(t, bus, "instance")
}

func handleOf(t *testing.T, bus platform.Connecter, inst flux.InstanceID) platform.Platform {
	t.Helper()
	p, err := bus.Connect(inst)
	require.NoError(t, err)
	return p
}

// causeIn returns the cause in done, which must have arrived.
func causeIn(t *testing.T, done <-chan error) error {
	t.Helper()
	select {
	case err := <-done:
		return err
	default:
		require.Fail(t, "the subscription has not ended")
		return nil
	}
}

// version returns a Platform of that version.
func version(v string) *platform.MockPlatform { return &platform.MockPlatform{VersionAnswer: v} }

func requireVersion(t *testing.T, want string, p platform.Platform) {
	t.Helper()
	got, err := p.Version()
	require.NoError(t, err)
	require.Equal(t, want, got)
}

func TestZeroBus(t *testing.T) {
	var bus platform.StandaloneMessageBus
	p := handleOf(t, &bus, "a")
	require.ErrorIs(t, p.Ping(), platform.ErrPlatformNotAvailable)
	done := make(chan error, 1)
	bus.Subscribe("a", version("1"), done)
	requireVersion(t, "1", p)
	bus.Subscribe("a", version("2"), nil) // a kick, counted nowhere
	requireVersion(t, "2", p)
	assert.ErrorContains(t, causeIn(t, done), "newer subscription")
}

func TestNotConnectedIsTheSameEverywhere(t *testing.T) {
	bus := platform.NewStandaloneMessageBus(platform.BusMetrics{})
	_, versionErr := bus.Version("a")
	errs := map[string]error{"bus.Ping": bus.Ping("a"), "bus.Version": versionErr}
	for method, got := range callAll(handleOf(t, bus, "a")) {
		errs[method] = got.err
		assert.Empty(t, got.result, method)
	}
	for name, err := range errs {
		assert.ErrorIs(t, err, platform.ErrPlatformNotAvailable, name)
		assert.EqualError(t, err, `instance "a": no daemon is connected`, name)
		assert.Equal(t, helpOf(t, platform.UnavailableError(nil)), helpOf(t, err), name)
	}
}

func TestHandlePassesCallsThrough(t *testing.T) {
	mock := distinctMock(t)
	assert.Equal(t, callAll(mock), callAll(connected(t, mock)))
}

func TestHandleFollowsItsInstance(t *testing.T) {
	bus := platform.NewStandaloneMessageBus(platform.BusMetrics{})
	early := handleOf(t, bus, "a")
	bus.Subscribe("a", version("1"), nil)
	requireVersion(t, "1", early)

	// A kicked mock panics when it is called.
	bus.Subscribe("a", version("2"), nil)
	bus.Subscribe("a", mustNotBeCalled{}, nil)
	bus.Subscribe("a", version("3"), nil)
	requireVersion(t, "3", early)
	requireVersion(t, "3", handleOf(t, bus, "a"))

	bus.Subscribe("a", &platform.MockPlatform{PingError: platform.FatalError{Err: errBoom}}, nil)
	require.ErrorIs(t, early.Ping(), errBoom)
	require.ErrorIs(t, early.Ping(), platform.ErrPlatformNotAvailable)
	bus.Subscribe("a", version("4"), nil)
	requireVersion(t, "4", early)
}

func TestKickedPlatformIsNotDrivenByOldHandles(t *testing.T) {
	// Calls race with a kick. A call that begins after Subscribe has returned must reach
	// the new Platform, whichever subscription the handle has cached.
	for range 200 {
		var kicked atomic.Bool
		bus := platform.NewStandaloneMessageBus(platform.BusMetrics{})
		bus.Subscribe("a", version("old"), nil)
		p := handleOf(t, bus, "a")
		var callers sync.WaitGroup
		for range 4 {
			callers.Go(func() {
				for range 20 {
					afterKick := kicked.Load()
					got, err := p.Version()
					assert.NoError(t, err)
					if afterKick {
						assert.Equal(t, "new", got)
					}
				}
			})
		}
		bus.Subscribe("a", version("new"), nil)
		kicked.Store(true)
		callers.Wait()
		requireVersion(t, "new", p)
	}
}

func TestSubscribeRefusesEmptyIDAndNilPlatform(t *testing.T) {
	bus := platform.NewStandaloneMessageBus(platform.BusMetrics{})
	current := make(chan error, 1)
	bus.Subscribe("a", version("1"), current)
	for name, subscribe := range map[string]func(done chan<- error){
		"nil platform":                 func(done chan<- error) { bus.Subscribe("a", nil, done) },
		"nil platform, not subscribed": func(done chan<- error) { bus.Subscribe("b", nil, done) },
		"empty instance":               func(done chan<- error) { bus.Subscribe("", version("2"), done) },
	} {
		done := make(chan error, 2)
		subscribe(done)
		err := causeIn(t, done)
		assert.Error(t, err, name)
		assert.NotErrorIs(t, err, platform.ErrPlatformNotAvailable, name)
		assert.Empty(t, done, name)
		assert.NotPanics(t, func() { subscribe(nil) }, name)
	}
	assert.Empty(t, current, "the current subscription stays")
	requireVersion(t, "1", handleOf(t, bus, "a"))
	assert.ErrorIs(t, bus.Ping("b"), platform.ErrPlatformNotAvailable)
}

func TestEmptyInstance(t *testing.T) {
	bus := platform.NewStandaloneMessageBus(platform.BusMetrics{})
	bus.Subscribe("", version("1"), nil)
	p, err := bus.Connect("")
	assert.Nil(t, p)
	assert.EqualError(t, err, "connect: instance ID is empty")
	err = bus.Ping("")
	assert.EqualError(t, err, "ping: instance ID is empty")
	assert.ErrorIs(t, err, platform.ErrPlatformNotAvailable)
	got, err := bus.Version("")
	assert.Empty(t, got)
	assert.EqualError(t, err, "version: instance ID is empty")
	assert.ErrorIs(t, err, platform.ErrPlatformNotAvailable)
}

func TestRefusalsShowTheStackOfTheCaller(t *testing.T) {
	bus := platform.NewStandaloneMessageBus(platform.BusMetrics{})
	done := make(chan error, 2)
	bus.Subscribe("", version("1"), done)
	bus.Subscribe("a", nil, done)
	_, err := bus.Connect("")
	for _, err := range []error{<-done, <-done, err} {
		assert.Contains(t, fmt.Sprintf("%+v", err), "TestRefusalsShowTheStackOfTheCaller")
		assert.NotContains(t, fmt.Sprintf("%+v", err), "doInit")
	}
}

// uncomparable panics when it is compared with ==.
type uncomparable struct {
	platform.Platform
	_ []int
}

func TestUncomparablePlatform(t *testing.T) {
	bus := platform.NewStandaloneMessageBus(platform.BusMetrics{})
	first, second := make(chan error, 1), make(chan error, 1)
	sick := uncomparable{Platform: &platform.MockPlatform{PingError: platform.FatalError{Err: errBoom}}}
	bus.Subscribe("a", sick, first)
	bus.Subscribe("a", sick, second)
	assert.ErrorContains(t, causeIn(t, first), "newer subscription")
	assert.ErrorIs(t, bus.Ping("a"), errBoom)
	assert.ErrorIs(t, causeIn(t, second), errBoom)
}

func TestSamePlatformTwice(t *testing.T) {
	// A subscription has an identity of its own: the end of the first must not end the
	// second, though both have the same Platform.
	synctest.Test(t, func(t *testing.T) {
		entered, release, result := make(chan struct{}), make(chan struct{}), make(chan error)
		mock := &platform.MockPlatform{
			SyncArgTest: func(platform.SyncDef) error { close(entered); <-release; return nil },
			SyncError:   platform.FatalError{Err: errBoom},
		}
		bus := platform.NewStandaloneMessageBus(platform.BusMetrics{})
		first, second := make(chan error, 2), make(chan error, 2)
		p := handleOf(t, bus, "a")
		bus.Subscribe("a", mock, first)
		go func() { result <- p.Sync(platform.SyncDef{}) }()
		<-entered
		bus.Subscribe("a", mock, second)
		assert.ErrorContains(t, causeIn(t, first), "newer subscription")

		close(release)
		assert.ErrorIs(t, <-result, errBoom)
		synctest.Wait()
		assert.Empty(t, first, "the first receives no second cause")
		assert.Empty(t, second, "the second is current")
		assert.NoError(t, p.Ping())
	})
}

func TestKickDuringACall(t *testing.T) {
	for name, answer := range map[string]error{
		"success": nil,
		"failure": platform.SyncError{"a": errBoom},
		"fatal":   platform.FatalError{Err: errBoom},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				entered, release, result := make(chan struct{}), make(chan struct{}), make(chan error)
				bus := platform.NewStandaloneMessageBus(platform.BusMetrics{})
				first, second := make(chan error, 2), make(chan error, 2)
				bus.Subscribe("a", &platform.MockPlatform{
					SyncArgTest: func(platform.SyncDef) error { close(entered); <-release; return nil },
					SyncError:   answer,
				}, first)
				p := handleOf(t, bus, "a")
				go func() { result <- p.Sync(platform.SyncDef{}) }()
				<-entered

				bus.Subscribe("a", version("2"), second)
				assert.ErrorContains(t, causeIn(t, first), "newer subscription", "the kick does not wait for the call")
				requireVersion(t, "2", p)

				close(release)
				assert.Equal(t, answer, <-result, "the call in progress returns its own result")
				synctest.Wait()
				assert.Empty(t, first)
				assert.Empty(t, second)
				requireVersion(t, "2", p)
			})
		})
	}
}

func TestUnreadChannels(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bus := platform.NewStandaloneMessageBus(platform.BusMetrics{})
		unread, full := make(chan error), make(chan error, 1)
		full <- errOther
		bus.Subscribe("a", version("1"), unread)
		bus.Subscribe("a", version("2"), full)
		bus.Subscribe("a", version("3"), nil)
		bus.Subscribe("a", version("4"), nil)
		bus.Subscribe("b", version("1"), nil)
		requireVersion(t, "4", handleOf(t, bus, "a"))
		requireVersion(t, "1", handleOf(t, bus, "b"))

		// No cause was lost. The bubble ends only when every goroutine has ended.
		assert.ErrorContains(t, <-unread, "newer subscription")
		assert.Equal(t, errOther, <-full)
		assert.ErrorContains(t, <-full, "newer subscription")
	})
}

// fatalErrors are the forms in which a call may return a FatalError.
var fatalErrors = map[string]error{
	"bare":           platform.FatalError{Err: errBoom},
	"pointer":        &platform.FatalError{Err: errBoom},
	"no cause":       platform.FatalError{},
	"three deep":     fmt.Errorf("c: %w", pkgerrors.Wrap(fmt.Errorf("a: %w", platform.FatalError{Err: errBoom}), "b")),
	"pointer, deep":  fmt.Errorf("c: %w", pkgerrors.WithStack(&platform.FatalError{Err: errBoom})),
	"joined":         errors.Join(errOther, platform.FatalError{Err: errBoom}),
	"helpful":        platform.ClusterError(platform.FatalError{Err: errBoom}),
	"in a SyncError": platform.SyncError{"a": errOther, "b": fmt.Errorf("apply: %w", platform.FatalError{Err: errBoom}), "c": nil},
	"in an ApplyError": platform.ApplyError{
		"default/a": errOther, "default/b": platform.UnavailableError(&platform.FatalError{}),
	},
}

// failing returns a Platform all of whose methods return err.
func failing(err error) *platform.MockPlatform {
	return &platform.MockPlatform{
		AllServicesError: err, SomeServicesError: err, ApplyError: err, PingError: err, VersionError: err, ExportError: err, SyncError: err,
	}
}

func TestFatalErrorsEndTheSubscription(t *testing.T) {
	for name, fatal := range fatalErrors {
		t.Run(name, func(t *testing.T) {
			bus := platform.NewStandaloneMessageBus(platform.BusMetrics{})
			p := handleOf(t, bus, "a")
			calls := map[string]func() error{
				"AllServices":  func() error { _, err := p.AllServices("", nil); return err },
				"SomeServices": func() error { _, err := p.SomeServices(nil); return err },
				"Apply":        func() error { return p.Apply(nil) },
				"Ping":         p.Ping,
				"Version":      func() error { _, err := p.Version(); return err },
				"Export":       func() error { _, err := p.Export(); return err },
				"Sync":         func() error { return p.Sync(platform.SyncDef{}) },
				"bus.Ping":     func() error { return bus.Ping("a") },
				"bus.Version":  func() error { _, err := bus.Version("a"); return err },
			}
			other := make(chan error, 1)
			bus.Subscribe("b", &platform.MockPlatform{}, other)
			for method, call := range calls {
				done := make(chan error, 2)
				bus.Subscribe("a", failing(fatal), done)
				err := call()
				require.Error(t, err, method)
				cause := causeIn(t, done)
				assert.Equal(t, fatal, err, method)
				assert.Equal(t, err, cause, "%s: caller and subscriber receive the same error", method)
				assert.ErrorIs(t, call(), platform.ErrPlatformNotAvailable, method)
				assert.Empty(t, done, method)
			}
			assert.Empty(t, other, "another instance stays subscribed")
			assert.NoError(t, bus.Ping("b"))
		})
	}
}

func TestNilFatalErrorEndsTheSubscription(t *testing.T) {
	// A method call on a nil pointer panics: neither caller nor subscriber may receive one.
	bus := platform.NewStandaloneMessageBus(platform.BusMetrics{})
	done := make(chan error, 1)
	bus.Subscribe("a", failing((*platform.FatalError)(nil)), done)
	assert.Equal(t, platform.FatalError{}, bus.Ping("a"))
	assert.Equal(t, platform.FatalError{}, causeIn(t, done))

	wrapped := fmt.Errorf("outer: %w", (*platform.FatalError)(nil))
	bus.Subscribe("a", failing(wrapped), done)
	assert.Equal(t, wrapped, bus.Ping("a"))
	assert.Equal(t, wrapped, causeIn(t, done))
}

func TestOtherErrorsDoNotEndTheSubscription(t *testing.T) {
	for _, err := range []error{
		errBoom, platform.ClusterError(errBoom), platform.UnavailableError(errBoom), platform.UpgradeNeededError(nil),
		platform.ApplyError{"default/a": errBoom}, platform.SyncError{}, platform.SyncError(nil), errors.Join(errBoom, errOther),
		errors.New("fatal error"), (*flux.BaseError)(nil), context.Canceled,
	} {
		bus := platform.NewStandaloneMessageBus(platform.BusMetrics{})
		done := make(chan error, 1)
		bus.Subscribe("a", failing(err), done)
		for range 2 {
			for method, got := range callAll(handleOf(t, bus, "a")) {
				assert.Equal(t, err, got.err, method)
			}
		}
		assert.Empty(t, done)
	}
}

func TestOneCauseForConcurrentEnds(t *testing.T) {
	// Many calls return fatal errors at once, and kicks race with them.
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	for range 300 {
		bus := platform.NewStandaloneMessageBus(platform.BusMetrics{})
		p := handleOf(t, bus, "a")
		dones := make([]chan error, 5)
		for i := range dones {
			dones[i] = make(chan error, 20)
		}
		bus.Subscribe("a", failing(platform.FatalError{Err: errBoom}), dones[0])
		var all sync.WaitGroup
		start := make(chan struct{})
		for range 8 {
			all.Go(func() { <-start; _ = p.Ping() })
		}
		for _, done := range dones[1:] {
			all.Go(func() { <-start; bus.Subscribe("a", failing(platform.FatalError{Err: errBoom}), done) })
		}
		close(start)
		all.Wait()
		_ = p.Ping() // ends the last one, if it has not ended
		for i, done := range dones {
			assert.Len(t, done, 1, "subscription %d", i)
		}
		require.ErrorIs(t, p.Ping(), platform.ErrPlatformNotAvailable)
	}
}

func TestOneCauseOnAFullChannel(t *testing.T) {
	for range 50 {
		synctest.Test(t, func(t *testing.T) {
			bus := platform.NewStandaloneMessageBus(platform.BusMetrics{})
			p := handleOf(t, bus, "a")
			done := make(chan error)
			bus.Subscribe("a", failing(platform.FatalError{Err: errBoom}), done)
			for range 8 {
				go func() { _ = p.Ping() }()
			}
			go bus.Subscribe("a", version("2"), nil)
			synctest.Wait()
			assert.Error(t, <-done)
			synctest.Wait()
			select {
			case err := <-done:
				assert.Fail(t, "a second cause", "%v", err)
			default:
			}
		})
	}
}

func TestDistinctInstances(t *testing.T) {
	bus := platform.NewStandaloneMessageBus(platform.BusMetrics{})
	// A transport might treat these as patterns, or as equal.
	insts := []flux.InstanceID{"a", "A", "a ", "*", ">", "a.b", "a/b", "ä", "\x00", "a\n"}
	dones := map[flux.InstanceID]chan error{}
	for _, inst := range insts {
		dones[inst] = make(chan error, 1)
		bus.Subscribe(inst, version(string(inst)), dones[inst])
	}
	for _, inst := range insts {
		requireVersion(t, string(inst), handleOf(t, bus, inst))
		got, err := bus.Version(inst)
		require.NoError(t, err)
		assert.Equal(t, string(inst), got)
		assert.Empty(t, dones[inst])
	}
	bus.Subscribe("*", version("new"), nil)
	for _, inst := range insts {
		assert.Equal(t, inst == "*", len(dones[inst]) == 1, "%q was kicked", inst)
	}
}

func TestHandleWithContext(t *testing.T) {
	bus := platform.NewStandaloneMessageBus(platform.BusMetrics{})
	plain := handleOf(t, bus, "a")
	view := platform.WithContext(context.WithValue(t.Context(), contextKey{}, "mine"), plain)
	require.ErrorIs(t, view.Ping(), platform.ErrPlatformNotAvailable)

	bus.Subscribe("a", contextAware{}, nil)
	requireVersion(t, "mine", view)
	requireVersion(t, "", plain)
	bus.Subscribe("a", version("2"), nil)
	requireVersion(t, "2", view)

	// Each context reaches the Platform, the inner view's first.
	bus.Subscribe("a", contextAware{}, nil)
	requireVersion(t, "mine+yours", platform.WithContext(context.WithValue(t.Context(), contextKey{}, "yours"), view))
	requireVersion(t, "mine", view)

	done := make(chan error, 1)
	bus.Subscribe("a", failing(platform.FatalError{Err: errBoom}), done)
	assert.Error(t, view.Ping())
	assert.ErrorIs(t, causeIn(t, done), errBoom, "a fatal error through a view ends the subscription too")
}

func TestHandleWithContextThatHasEnded(t *testing.T) {
	bus := platform.NewStandaloneMessageBus(platform.BusMetrics{})
	view := platform.WithContext(cancelled(), handleOf(t, bus, "a"))
	for method, got := range callAll(view) {
		assert.Equal(t, errCause, got.err, "%s, not connected", method)
	}
	bus.Subscribe("a", mustNotBeCalled{}, nil)
	for method, got := range callAll(view) {
		assert.Equal(t, errCause, got.err, "%s, connected", method)
	}
}

func TestIdleSubscriptionsHaveNoGoroutine(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	bus := platform.NewStandaloneMessageBus(platform.BusMetrics{})
	before := runtime.NumGoroutine()
	done := make(chan error) // unbuffered: no cause is sent
	for i := range 10_000 {
		inst := flux.InstanceID(fmt.Sprint(i))
		bus.Subscribe(inst, &platform.MockPlatform{}, done)
		require.NoError(t, bus.Ping(inst))
	}
	assert.LessOrEqual(t, runtime.NumGoroutine(), before)
}

func TestAllocations(t *testing.T) {
	p := connected(t, &platform.MockPlatform{})
	def, defs, ids := platform.SyncDef{}, []platform.ServiceDefinition{}, []flux.ServiceID{}
	assert.Zero(t, testing.AllocsPerRun(100, func() {
		_, _ = p.AllServices("", nil)
		_, _ = p.SomeServices(ids)
		_ = p.Apply(defs)
		_ = p.Ping()
		_, _ = p.Version()
		_, _ = p.Export()
		_ = p.Sync(def)
	}), "a call through a handle")

	bus := platform.NewStandaloneMessageBus(platform.BusMetrics{})
	assert.LessOrEqual(t, testing.AllocsPerRun(100, func() { _, _ = bus.Connect("a") }), 1.0, "Connect")
}
