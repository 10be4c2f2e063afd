package platform_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"testing"

	pkgerrors "github.com/pkg/errors"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/platformbus/platform"
	"github.com/platformbus/platform/flux"
)

var errBoom = errors.New("boom")

// helpful are the functions that put a help text beside a cause.
var helpful = []struct {
	name     string
	wrap     func(error) error
	sentinel string // key in sentinels of the one that every such error matches; "" if none
}{
	{"ClusterError", platform.ClusterError, ""},
	{"UnavailableError", platform.UnavailableError, "ErrPlatformNotAvailable"},
	{"UpgradeNeededError", platform.UpgradeNeededError, "ErrUpgradeNeeded"},
}

var sentinels = map[string]error{
	"ErrPlatformNotAvailable": platform.ErrPlatformNotAvailable,
	"ErrUpgradeNeeded":        platform.ErrUpgradeNeeded,
}

// helpOf returns the help text of err.
func helpOf(t *testing.T, err error) string {
	t.Helper()
	var problem flux.UserConfigProblem
	require.ErrorAs(t, err, &problem)
	require.NotNil(t, problem.Base())
	return problem.Base().Help
}

func TestWrappersKeepTheirCause(t *testing.T) {
	cause := customError{code: 7}
	for name, err := range map[string]error{
		"ClusterError":       platform.ClusterError(cause),
		"UnavailableError":   platform.UnavailableError(cause),
		"UpgradeNeededError": platform.UpgradeNeededError(cause),
		"FatalError":         platform.FatalError{Err: cause},
		"*FatalError":        &platform.FatalError{Err: cause},
		"ApplyError":         platform.ApplyError{"default/a": errBoom, "default/b": cause, "default/c": nil},
		"SyncError":          platform.SyncError{"a": errBoom, "b": cause, "c": nil},
		"all of them": platform.FatalError{Err: platform.SyncError{"a": platform.ApplyError{"default/b": fmt.Errorf("apply: %w",
			platform.UnavailableError(platform.UpgradeNeededError(platform.ClusterError(pkgerrors.WithStack(cause)))))}}},
	} {
		t.Run(name, func(t *testing.T) {
			assert.ErrorIs(t, err, cause)
			var found customError
			require.ErrorAs(t, err, &found)
			assert.Equal(t, 7, found.code)
			assert.Equal(t, 1, strings.Count(err.Error(), cause.Error()), "the text names the cause once: %q", err)
		})
	}
}

type customError struct{ code int }

func (e customError) Error() string { return fmt.Sprintf("custom error %d", e.code) }

func TestUnwrapGivesTheCause(t *testing.T) {
	assert.Equal(t, errBoom, errors.Unwrap(platform.FatalError{Err: errBoom}))
	assert.Equal(t, errBoom, errors.Unwrap(platform.ClusterError(errBoom)))
	assert.Equal(t, []error{errBoom, errOther}, platform.ApplyError{"default/b": errOther, "default/a": errBoom, "default/0": nil}.Unwrap())
	assert.Equal(t, []error{errBoom, errOther}, platform.SyncError{"b": errOther, "a": errBoom, "0": nil}.Unwrap())
}

var errOther = errors.New("other")

func TestHelpTexts(t *testing.T) {
	seen := map[string]string{}
	for _, h := range helpful {
		t.Run(h.name, func(t *testing.T) {
			err := h.wrap(errBoom)
			assert.Equal(t, "boom", err.Error(), "the text does not include the help")
			assert.Implements(t, (*flux.HelpfulError)(nil), err)
			assert.Equal(t, errBoom, flux.UnderlyingError(err))

			help := helpOf(t, err)
			assert.NotEmpty(t, strings.TrimSpace(help))
			quotes := 0
			if h.name == "ClusterError" {
				quotes = 1 // clients of 2017 print the help alone
			}
			assert.Equal(t, quotes, strings.Count(help, "boom"), "the help quotes the cause of a ClusterError, once")
			assert.Equal(t, help, helpOf(t, fmt.Errorf("outer: %w", err)), "found in a wrapped error")
			assert.Empty(t, seen[help], "another wrapper has the same text")
			seen[help] = h.name

			for _, line := range strings.Split(help, "\n") {
				assert.LessOrEqual(t, len(line), 80, "fits a terminal: %q", line)
			}
		})
	}
	assert.Len(t, seen, len(helpful))
}

func TestClusterErrorReturnsHelpfulErrorsUnchanged(t *testing.T) {
	base := &flux.BaseError{Help: "own help", Err: errBoom}
	for _, err := range []error{
		base, flux.UserConfigProblem{BaseError: base}, flux.ServerException{BaseError: base}, flux.Missing{BaseError: base},
		platform.ClusterError(errBoom), platform.UnavailableError(errBoom), platform.UpgradeNeededError(errBoom),
	} {
		assert.Equal(t, err, platform.ClusterError(err), "%T", err)
	}
}

func TestHelpIsNotNested(t *testing.T) {
	for _, inner := range helpful {
		for _, outer := range helpful {
			err := outer.wrap(inner.wrap(errBoom))
			assert.Equal(t, "boom", err.Error(), "%s(%s)", outer.name, inner.name)
			want := outer
			if outer.name == "ClusterError" {
				want = inner
			}
			assert.Equal(t, helpOf(t, want.wrap(errBoom)), helpOf(t, err), "%s(%s)", outer.name, inner.name)
		}
	}
}

// A service of 2017 chooses its status by a type switch.
func TestHelpfulErrorsArePlainUserConfigProblems(t *testing.T) {
	for _, h := range helpful {
		switch err := h.wrap(errBoom).(type) { //nolint:errorlint // as importers do
		case flux.UserConfigProblem:
			assert.Equal(t, errBoom, err.Err, h.name)
		default:
			t.Errorf("%s returns a %T", h.name, err)
		}
	}
}

func TestHelpOfAClusterErrorIsBoundedAndPrintable(t *testing.T) {
	help := helpOf(t, platform.ClusterError(errors.New("first\x1b[2J\nsecond\n")))
	assert.Contains(t, help, "\n    first\\x1b[2J\n    second\n")
	assert.Less(t, len(helpOf(t, platform.ClusterError(errors.New(strings.Repeat("x", 1<<20))))), 6<<10)
	assert.Contains(t, helpOf(t, platform.ClusterError((*platform.FatalError)(nil))), "\n    no cause given\n", "a nil pointer cannot be asked")
}

func TestSentinels(t *testing.T) {
	for _, h := range helpful {
		for _, cause := range []error{errBoom, nil, platform.FatalError{}, platform.SyncError{"a": nil}} {
			for _, err := range []error{h.wrap(cause), fmt.Errorf("outer: %w", h.wrap(cause)), platform.FatalError{Err: h.wrap(cause)}} {
				for name, sentinel := range sentinels {
					assert.Equal(t, name == h.sentinel, errors.Is(err, sentinel), "errors.Is(%s(%v), %s)", h.name, cause, name)
				}
			}
		}
	}
	for _, err := range []error{
		errBoom, platform.FatalError{Err: errBoom}, platform.ApplyError{"default/a": errBoom}, platform.SyncError{"a": errBoom},
		platform.ErrNoMatching, platform.ErrNoMatchingService, errors.New(platform.ErrPlatformNotAvailable.Error()),
	} {
		assert.NotErrorIs(t, err, platform.ErrPlatformNotAvailable)
		assert.NotErrorIs(t, err, platform.ErrUpgradeNeeded)
	}
}

// exportedSentinels are all exported error variables of the package.
var exportedSentinels = map[string]error{
	"ErrEmptySelector":        platform.ErrEmptySelector,
	"ErrWrongResourceKind":    platform.ErrWrongResourceKind,
	"ErrNoMatchingService":    platform.ErrNoMatchingService,
	"ErrServiceHasNoSelector": platform.ErrServiceHasNoSelector,
	"ErrNoMatching":           platform.ErrNoMatching,
	"ErrMultipleMatching":     platform.ErrMultipleMatching,
	"ErrNoMatchingImages":     platform.ErrNoMatchingImages,
	"ErrPlatformNotAvailable": platform.ErrPlatformNotAvailable,
	"ErrUpgradeNeeded":        platform.ErrUpgradeNeeded,
	"ErrKicked":               platform.ErrKicked,
}

// A stack trace of a package-level error would show the initialization of the package, and
// %+v and slog would print it wherever the error is logged.
func TestSentinelsHaveNoStackTrace(t *testing.T) {
	for name, err := range exportedSentinels {
		assert.Equal(t, err.Error(), fmt.Sprintf("%+v", err), name)
		var log bytes.Buffer
		slog.New(slog.NewTextHandler(&log, nil)).Error("failed", "err", err)
		assert.NotContains(t, log.String(), "doInit", name)
	}

	names := slices.DeleteFunc(declared(t), func(name string) bool { return !strings.HasPrefix(name, "Err") })
	assert.ElementsMatch(t, append(slices.Collect(maps.Keys(exportedSentinels)), "ErrorCodec"), names, "every sentinel is tested")
}

// Maps cannot be compared: errors.Is must not panic if the target is one.
func TestErrorsIsWithAMapAsTarget(t *testing.T) {
	for _, h := range helpful {
		assert.NotPanics(t, func() {
			assert.NotErrorIs(t, h.wrap(platform.SyncError{"a": errBoom}), platform.SyncError{"a": errBoom}, h.name)
		})
	}
}

func TestNilCausesDoNotPanic(t *testing.T) {
	for name, tt := range map[string]struct {
		err  error
		want string
	}{
		"FatalError":         {platform.FatalError{}, "no cause given"},
		"*FatalError":        {&platform.FatalError{}, "no cause given"},
		"ClusterError":       {platform.ClusterError(nil), "no cause given"},
		"UnavailableError":   {platform.UnavailableError(nil), "no cause given"},
		"UpgradeNeededError": {platform.UpgradeNeededError(nil), "no cause given"},
		"deep inside":        {fmt.Errorf("outer: %w", platform.UnavailableError(&platform.FatalError{})), "outer: no cause given"},
		"nil ApplyError":     {platform.ApplyError(nil), "no failure recorded"},
		"nil SyncError":      {platform.SyncError(nil), "no failure recorded"},
		"ApplyError of nil":  {platform.ApplyError{"default/a": nil}, "default/a: no cause given"},
		"SyncError of nil":   {platform.SyncError{"a": nil}, "a: no cause given"},
		"SyncError of a nil pointer": {
			platform.SyncError{"a": (*flux.BaseError)(nil)}, "a: no cause given",
		},
		"all of them": {
			platform.FatalError{Err: platform.SyncError{"a": platform.UnavailableError(platform.ClusterError(nil))}}, "a: no cause given",
		},
	} {
		t.Run(name, func(t *testing.T) {
			assert.NotPanics(t, func() {
				assert.Equal(t, tt.want, tt.err.Error())
				assert.NotErrorIs(t, tt.err, errBoom)
				var target customError
				assert.False(t, errors.As(tt.err, &target))
				_ = flux.UnderlyingError(tt.err)
			})
		})
	}
}

func TestMapErrorsHaveAStableText(t *testing.T) {
	// Go's iteration order of a map of this size differs nearly every time.
	applied, synced, want := platform.ApplyError{}, platform.SyncError{}, []string{}
	for i := range 50 {
		id := fmt.Sprintf("default/s%02d", i)
		applied[flux.ServiceID(id)] = fmt.Errorf("cause %d", i)
		synced[id] = fmt.Errorf("cause %d", i)
		want = append(want, fmt.Sprintf("%s: cause %d", id, i))
	}
	for range 100 {
		require.Equal(t, strings.Join(want, "; "), applied.Error())
		require.Equal(t, strings.Join(want, "; "), synced.Error())
		require.Equal(t, synced.Unwrap(), synced.Unwrap())
	}
}

// An ID may be any string: it is escaped to one line and limited in length.
func TestFailuresOfUnprintableIDs(t *testing.T) {
	assert.Equal(t, `a\nb\x1b[2J: boom`, platform.SyncError{"a\nb\x1b[2J": errBoom}.Error())
	assert.Less(t, len(platform.ApplyError{flux.ServiceID(strings.Repeat("x", 1<<20)): errBoom}.Error()), 5<<10)
}
