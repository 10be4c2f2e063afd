package platform_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/platformbus/platform"
)

var errCause = errors.New("the user went home")

// cancelled returns a context that has ended with errCause.
func cancelled() context.Context {
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(errCause)
	return ctx
}

// contextAware is a Platform that supports contexts: its Version is the context's value for
// contextKey.
type contextAware struct {
	platform.Platform
	name string
}

type contextKey struct{}

func (c contextAware) Version() (string, error) { return c.name, nil }

func (c contextAware) WithContext(ctx context.Context) platform.Platform {
	name, _ := ctx.Value(contextKey{}).(string)
	if c.name != "" {
		name = c.name + "+" + name
	}
	return contextAware{Platform: c.Platform, name: name}
}

// mustNotBeCalled is a Platform that panics at every call.
type mustNotBeCalled struct{ platform.Platform }

func TestWithContextPassesCallsThrough(t *testing.T) {
	mock := distinctMock(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	assert.Equal(t, callAll(mock), callAll(platform.WithContext(ctx, mock)))
}

func TestWithContextThatHasEnded(t *testing.T) {
	for method, got := range callAll(platform.WithContext(cancelled(), mustNotBeCalled{})) {
		assert.Equal(t, errCause, got.err, method)
		assert.Empty(t, got.result, method)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	assert.ErrorIs(t, platform.WithContext(ctx, mustNotBeCalled{}).Ping(), context.Canceled)
}

func TestWithContextIsCheckedAtEachCall(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	p := platform.WithContext(ctx, &platform.MockPlatform{})
	assert.NoError(t, p.Ping())
	cancel(errCause)
	assert.Equal(t, errCause, p.Ping())
}

func TestWithContextDoesNotChangeTheOriginal(t *testing.T) {
	mock := &platform.MockPlatform{}
	assert.Error(t, platform.WithContext(cancelled(), mock).Ping())
	assert.NoError(t, mock.Ping())
}

func TestWithContextDoesNotStopACallInProgress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release, result := make(chan struct{}), make(chan error, 1)
		ctx, cancel := context.WithCancelCause(t.Context())
		p := platform.WithContext(ctx, &platform.MockPlatform{
			SyncArgTest: func(platform.SyncDef) error { <-release; return nil },
			SyncError:   errBoom,
		})
		go func() { result <- p.Sync(platform.SyncDef{}) }()
		synctest.Wait()
		cancel(errCause)
		synctest.Wait()
		assert.Empty(t, result, "the call is still in progress")
		close(release)
		assert.Equal(t, errBoom, <-result)
	})
}

func TestWithContextUsesThePlatformsMethod(t *testing.T) {
	ctx := context.WithValue(cancelled(), contextKey{}, "mine")
	p := platform.WithContext(ctx, contextAware{})
	assert.IsType(t, contextAware{}, p, "a Platform that supports contexts is not decorated")
	version, err := p.Version()
	assert.NoError(t, err, "the Platform decides what an ended context means")
	assert.Equal(t, "mine", version)
}

func TestNestedViewsObeyEachContext(t *testing.T) {
	live := t.Context()
	for name, p := range map[string]platform.Platform{
		"platform":               &platform.MockPlatform{},
		"instrumented":           platform.Metrics{RequestDuration: discard{}}.Instrument(&platform.MockPlatform{}),
		"handle":                 connected(t, &platform.MockPlatform{}),
		"handle, no daemon":      connected(t, nil),
		"instrumented handle":    platform.Metrics{RequestDuration: discard{}}.Instrument(connected(t, &platform.MockPlatform{})),
		"traced":                 platform.Trace(&platform.MockPlatform{}, sdktrace.NewTracerProvider()),
		"handle to traced":       connected(t, platform.Trace(&platform.MockPlatform{}, sdktrace.NewTracerProvider())),
		"observed":               platform.Observe(&platform.MockPlatform{}, func(context.Context, string) error { return nil }),
		"daemon of version 4":    platform.PlatformFromV4(justV4{&platform.MockPlatform{}}),
		"handle to instrumented": connected(t, platform.Metrics{RequestDuration: discard{}}.Instrument(&platform.MockPlatform{})),
	} {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, errCause, platform.WithContext(live, platform.WithContext(cancelled(), p)).Ping(), "the inner one has ended")
			assert.Equal(t, errCause, platform.WithContext(cancelled(), platform.WithContext(live, p)).Ping(), "the outer one has ended")
			assert.NotErrorIs(t, platform.WithContext(live, platform.WithContext(live, p)).Ping(), errCause)
			assert.NotErrorIs(t, p.Ping(), errCause, "the original is not changed")
		})
	}
}
