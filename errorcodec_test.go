package platform_test

import (
	"bytes"
	"context"
	"encoding/gob"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/fxamacker/cbor/v2"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/platformbus/platform"
	"github.com/platformbus/platform/flux"
)

// encodings send a WireError over each encoding that transports use.
var encodings = map[string]func(in, out *platform.WireError) error{
	"gob": func(in, out *platform.WireError) error {
		var b bytes.Buffer
		return errors.Join(gob.NewEncoder(&b).Encode(in), gob.NewDecoder(&b).Decode(out))
	},
	"json": func(in, out *platform.WireError) error {
		data, err := json.Marshal(in)
		return errors.Join(err, json.Unmarshal(data, out))
	},
	"cbor": func(in, out *platform.WireError) error {
		data, err := cbor.Marshal(in)
		return errors.Join(err, cbor.Unmarshal(data, out))
	},
}

// What the codec documents to keep arrives exactly, whichever encoding carries it.
func TestErrorCodecKeepsErrors(t *testing.T) {
	helpful := &flux.BaseError{Help: "own help", Err: errBoom}
	for name, err := range map[string]error{
		"nil":                    nil,
		"plain":                  errBoom,
		"no text":                errors.New(""),
		"sentinel":               platform.ErrNoMatching,
		"FatalError":             platform.FatalError{Err: errBoom},
		"FatalError of nothing":  platform.FatalError{},
		"FatalError of no text":  platform.FatalError{Err: errors.New("")},
		"ApplyError":             platform.ApplyError{"default/a": errBoom, "": errors.New(""), "default/nil": nil},
		"SyncError":              platform.SyncError{"a": platform.ErrNoMatchingService, "b": platform.FatalError{Err: errBoom}},
		"empty SyncError":        platform.SyncError{},
		"ClusterError":           platform.ClusterError(errBoom),
		"ClusterError of none":   platform.ClusterError(nil),
		"UnavailableError":       platform.UnavailableError(errBoom),
		"UpgradeNeededError":     platform.UpgradeNeededError(errBoom),
		"ServerException":        flux.ServerException{BaseError: helpful},
		"Missing":                flux.Missing{BaseError: helpful},
		"ClusterError, entries":  platform.ClusterError(platform.SyncError{"a": platform.UnavailableError(errBoom)}),
		"FatalError, entries":    platform.FatalError{Err: platform.ApplyError{"a/b": platform.ClusterError(errBoom)}},
		"UnavailableError, both": platform.UnavailableError(platform.UpgradeNeededError(errBoom)),
		"ClusterError, fatal":    platform.ClusterError(platform.FatalError{Err: errBoom}),
	} {
		for encoding, send := range encodings {
			t.Run(name+" over "+encoding, func(t *testing.T) {
				var codec platform.ErrorCodec
				wire := codec.Encode(err)
				if err == nil {
					assert.Nil(t, wire)
					assert.NoError(t, codec.Decode(nil))
					return
				}
				var received platform.WireError
				require.NoError(t, send(wire, &received))
				if got := codec.Decode(&received); !assert.Equal(t, err, got) {
					t.Logf("wire: %+v", received)
				}
			})
		}
	}
}

// Of foreign errors the text remains, and what of ours is inside.
func TestErrorCodecLooksInsideForeignErrors(t *testing.T) {
	errClosed := errors.New("bus is closed")
	codec := platform.ErrorCodec{Sentinels: map[string]error{"closed": errClosed}}
	manyCauses := errors.Join(slices.Repeat([]error{platform.UnavailableError(errBoom)}, 100)...)
	manyCauses = errors.Join(manyCauses, platform.FatalError{Err: errBoom}, fmt.Errorf("sync: %w", platform.SyncError{"a": platform.ErrNoMatching}))
	for _, tt := range []struct {
		err   error
		check func(error) bool
	}{
		{fmt.Errorf("sync: %w", platform.SyncError{"a": errBoom}), func(err error) bool {
			found, ok := errors.AsType[platform.SyncError](err)
			return ok && found["a"].Error() == "boom"
		}},
		{fmt.Errorf("a: %w", fmt.Errorf("b: %w", &platform.FatalError{Err: errBoom})), func(err error) bool {
			_, ok := platform.AsFatal(err)
			return ok
		}},
		{fmt.Errorf("a: %w", (*platform.FatalError)(nil)), func(err error) bool {
			_, ok := platform.AsFatal(err)
			return ok
		}},
		{manyCauses, func(err error) bool {
			_, fatal := platform.AsFatal(err)
			_, failures := errors.AsType[platform.SyncError](err)
			return fatal && failures && errors.Is(err, platform.ErrNoMatching)
		}},
		{errors.Join(platform.ErrKicked, errClosed), func(err error) bool {
			return errors.Is(err, platform.ErrKicked) && errors.Is(err, errClosed)
		}},
		{fmt.Errorf("it took: %w", context.DeadlineExceeded), func(err error) bool { return errors.Is(err, context.DeadlineExceeded) }},
		{fmt.Errorf("call: %w", platform.UnavailableError(errBoom)), func(err error) bool {
			helpful, ok := errors.AsType[flux.UserConfigProblem](err)
			return ok && errors.Is(err, platform.ErrPlatformNotAvailable) && strings.HasPrefix(helpful.Help, "Cannot contact")
		}},
		{flux.Missing{BaseError: &flux.BaseError{Err: fmt.Errorf("web: %w", platform.ErrNoMatchingService)}}, func(err error) bool {
			_, ok := err.(flux.Missing) //nolint:errorlint // a type switch works too
			return ok && errors.Is(err, platform.ErrNoMatchingService)
		}},
		{withStatus{&flux.BaseError{Help: "own help", Err: errClosed}}, func(err error) bool {
			helpful, ok := errors.AsType[flux.HelpfulError](err)
			return ok && errors.Is(err, errClosed) && helpful.Base().Help == "own help"
		}},
		{withStatus{}, func(err error) bool {
			_, ok := errors.AsType[flux.HelpfulError](err)
			return ok
		}},
	} {
		got := codec.Decode(codec.Encode(tt.err))
		assert.Equal(t, tt.err.Error(), got.Error())
		assert.True(t, tt.check(got), "%T %v", tt.err, tt.err)
		assert.False(t, errors.Is(got, platform.ErrEmptySelector))
	}
}

// withStatus is a foreign helpful error, with a text of its own.
type withStatus struct{ *flux.BaseError }

func (e withStatus) Error() string { return "status 400: " + e.BaseError.Error() }

type panics struct{}

func (*panics) Error() string { panic("no text") }

func TestErrorCodecSurvivesWhatItEncodes(t *testing.T) {
	var codec platform.ErrorCodec
	assert.Equal(t, platform.FatalError{}, codec.Decode(codec.Encode((*platform.FatalError)(nil))))
	assert.ErrorContains(t, codec.Decode(codec.Encode(platform.SyncError{"a": (*panics)(nil)})), "*platform_test.panics, which panics when it is read: no text")
	assert.EqualError(t, codec.Decode(codec.Encode(errors.New("a\xffb"))), "a\uFFFDb")

	whole := strings.Repeat("x", 64<<10)
	assert.EqualError(t, codec.Decode(codec.Encode(errors.New(whole))), whole, "64 KiB arrive")
	over := codec.Decode(codec.Encode(errors.New(whole + "y"))).Error()
	assert.Len(t, over, 64<<10)
	assert.True(t, strings.HasSuffix(over, "x…"), "a cut text ends with a mark")
	for _, long := range []string{strings.Repeat("ö", 64<<10), strings.Repeat("ö\xff", 64<<10)} {
		got := codec.Decode(codec.Encode(errors.New(long))).Error()
		assert.LessOrEqual(t, len(got), 64<<10)
		whole, marked := strings.CutSuffix(got, "…")
		assert.True(t, marked && strings.HasPrefix(strings.ToValidUTF8(long, "\uFFFD"), whole), "no character is cut in two: %.10q", long)
	}

	many := platform.SyncError{}
	for i := range 10_000 {
		many[fmt.Sprint(i)] = errors.New(whole)
	}
	total := 0
	encoded := codec.Encode(many).Entries
	for _, entry := range encoded {
		total += len(entry.Text)
	}
	assert.Len(t, encoded, 10_000, "no entry is left out")
	assert.Less(t, total, 16<<20, "texts are cut")
	odd := platform.SyncError{"a\xff": errors.New("one"), "a\xfe": errors.New("two"), "a\uFFFD": errors.New("three")}
	assert.Len(t, codec.Decode(codec.Encode(odd)), 3, "nor one whose ID becomes that of another")
	for i := range 1000 {
		odd[strings.Repeat("\x80", i)] = errBoom
	}
	encoded = codec.Encode(odd).Entries
	assert.Len(t, encoded, 1003)
	for id := range encoded {
		assert.LessOrEqual(t, len(id), 20, "many of them take no more room than one")
	}

	deep := errBoom
	for range 1000 {
		deep = platform.FatalError{Err: deep}
	}
	assert.EqualError(t, codec.Decode(codec.Encode(deep)), "boom")
}

func TestErrorCodecSurvivesWhatItDecodes(t *testing.T) {
	var codec platform.ErrorCodec
	assert.EqualError(t, codec.Decode(&platform.WireError{Kind: "of a later version", Text: "boom"}), "boom")
	assert.Error(t, codec.Decode(&platform.WireError{Kind: "nil"}), "nil is for entries")
	assert.Error(t, codec.Decode(&platform.WireError{}))

	deep := platform.WireError{Kind: "error", Text: "boom"}
	for range 1000 {
		deep = platform.WireError{Kind: "fatal", Causes: []platform.WireError{deep}}
	}
	depth := 0
	for err := codec.Decode(&deep); err != nil; err = errors.Unwrap(err) {
		depth++
	}
	assert.Less(t, depth, 30)
	wide := platform.WireError{Kind: "error", Text: "boom", Sentinels: make([]string, 1000)}
	for i := range wide.Sentinels {
		wide.Sentinels[i] = "kicked"
	}
	assert.Less(t, len(codec.Decode(&wide).(interface{ Unwrap() []error }).Unwrap()), 50)
	assert.Len(t, codec.Decode(&platform.WireError{Kind: "error", Text: strings.Repeat("x", 1<<20)}).Error(), 64<<10)
}

func FuzzErrorCodec(f *testing.F) {
	var codec platform.ErrorCodec
	for _, err := range []error{errBoom, platform.FatalError{Err: platform.SyncError{"a": nil}}, platform.UnavailableError(platform.ErrKicked)} {
		data, merr := json.Marshal(codec.Encode(err))
		require.NoError(f, merr)
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var w platform.WireError
		if json.Unmarshal(data, &w) != nil {
			return
		}
		err := codec.Decode(&w)
		_, _ = platform.AsFatal(err)
		again := codec.Decode(codec.Encode(err))
		if len(err.Error()) < 64<<10 && err.Error() != again.Error() {
			t.Errorf("%q became %q", err, again)
		}
	})
}
