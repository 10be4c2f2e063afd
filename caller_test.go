package platform_test

import (
	"context"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/platformbus/platform"
)

func TestCallerFrom(t *testing.T) {
	ctx := t.Context()
	assert.Empty(t, platform.CallerFrom(ctx))
	named := platform.ContextWithCaller(ctx, "ann@example.com")
	assert.Equal(t, "ann@example.com", platform.CallerFrom(named))
	assert.Empty(t, platform.CallerFrom(ctx), "the original is not changed")
	assert.Empty(t, platform.CallerFrom(platform.ContextWithCaller(named, "")))
}

func TestCallersAreShortAndOnOneLine(t *testing.T) {
	for _, tt := range []struct{ name, want string }{
		{"größer", "größer"},
		{"ann\nroot logged in\x1b[31m", `ann\nroot logged in\x1b[31m`},
		{"\xff", `\xff`},
		{strings.Repeat("x", 256), strings.Repeat("x", 256)},
		{strings.Repeat("x", 257), strings.Repeat("x", 253) + "…"},
		{strings.Repeat("x", 1<<20), strings.Repeat("x", 253) + "…"},
		{strings.Repeat("€", 100), strings.Repeat("€", 84) + "…"},
		{strings.Repeat("x", 252) + "ö" + strings.Repeat("x", 10), strings.Repeat("x", 252) + "…"},
	} {
		got := platform.CallerFrom(platform.ContextWithCaller(t.Context(), tt.name))
		assert.Equal(t, tt.want, got)
		assert.LessOrEqual(t, len(got), 256)
		assert.True(t, utf8.ValidString(got))
	}
}

// A bus within one process passes on the context of a call as it is.
func TestStandaloneBusPassesOnCallerAndSpan(t *testing.T) {
	tracer, _ := recorder(t)
	ctx, span := tracer.Tracer("test").Start(t.Context(), "service")
	ctx = platform.ContextWithCaller(ctx, "ann")
	var got context.Context
	handle := connected(t, platform.Observe(&platform.MockPlatform{}, func(ctx context.Context, _ string) error {
		got = ctx
		return nil
	}))
	require.NoError(t, platform.WithContext(ctx, handle).Ping())
	assert.Equal(t, "ann", platform.CallerFrom(got))
	assert.Equal(t, span.SpanContext(), spanContext(got))
	view := platform.WithContext(t.Context(), platform.WithContext(ctx, handle))
	require.NoError(t, view.Ping())
	assert.Equal(t, "ann", platform.CallerFrom(got), "a view of a view has those of the inner one")
	assert.Equal(t, span.SpanContext(), spanContext(got))
	require.NoError(t, handle.Ping())
	assert.Empty(t, platform.CallerFrom(got), "a handle without a context has no caller")
	assert.False(t, spanContext(got).IsValid())
}
