package natsbus

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/platformbus/platform"
	"github.com/platformbus/platform/flux"
)

// ErrClosed is in the chain of what calls return, and with which subscriptions end,
// once Close was called.
var ErrClosed = errors.New("bus is closed")

// A wireError is an error as it travels.
type wireError struct {
	Text        string                        `cbor:"1,keyasint,omitempty"`
	Class       string                        `cbor:"2,keyasint,omitempty"` // of a helpful error
	Help        string                        `cbor:"3,keyasint,omitempty"`
	Unavailable bool                          `cbor:"4,keyasint,omitempty"`
	Upgrade     bool                          `cbor:"5,keyasint,omitempty"`
	Fatal       bool                          `cbor:"6,keyasint,omitempty"`
	Is          []string                      `cbor:"7,keyasint,omitempty"` // the known errors that it matches
	Apply       *map[flux.ServiceID]wireError `cbor:"8,keyasint,omitempty"`
	Sync        *map[string]wireError         `cbor:"9,keyasint,omitempty"`
	Nil         bool                          `cbor:"10,keyasint,omitempty"` // an entry without an error
}

// The classes of helpful errors.
const (
	classUser    = "user"
	classServer  = "server"
	classMissing = "missing"
)

// known are the errors that are told apart with errors.Is at the other end too.
var known = map[string]error{
	"canceled":                context.Canceled,
	"deadline exceeded":       context.DeadlineExceeded,
	"kicked":                  platform.ErrKicked,
	"closed":                  ErrClosed,
	"empty selector":          platform.ErrEmptySelector,
	"wrong resource kind":     platform.ErrWrongResourceKind,
	"no matching service":     platform.ErrNoMatchingService,
	"service has no selector": platform.ErrServiceHasNoSelector,
	"no matching":             platform.ErrNoMatching,
	"multiple matching":       platform.ErrMultipleMatching,
	"no matching images":      platform.ErrNoMatchingImages,
}

// maxEntryDepth is how deep entries of an ApplyError or SyncError are looked into; below
// there is only the text.
const maxEntryDepth = 3

// toWire returns err as it travels, or nil.
func toWire(err error) *wireError {
	if err == nil {
		return nil
	}
	w := wireOf(err, 0)
	return &w
}

func wireOf(err error, depth int) (w wireError) {
	defer func() {
		if cause := recover(); cause != nil { // an error that is a nil pointer, for instance
			w = wireError{Text: fmt.Sprintf("error of type %T, which cannot be read: %v", err, cause)}
		}
	}()
	if err == nil {
		return wireError{Nil: true}
	}
	if _, fatal := asFatal(err); fatal {
		w.Fatal = true
	}
	w.Text = strings.ToValidUTF8(err.Error(), "\uFFFD")
	w.Unavailable = errors.Is(err, platform.ErrPlatformNotAvailable)
	w.Upgrade = errors.Is(err, platform.ErrUpgradeNeeded)
	for name, e := range known {
		if errors.Is(err, e) {
			w.Is = append(w.Is, name)
		}
	}
	if helpful, ok := errors.AsType[flux.HelpfulError](err); ok {
		w.Class = classUser
		if _, ok := errors.AsType[flux.ServerException](err); ok {
			w.Class = classServer
		} else if _, ok := errors.AsType[flux.Missing](err); ok {
			w.Class = classMissing
		}
		if base := helpful.Base(); base != nil {
			w.Help = strings.ToValidUTF8(base.Help, "\uFFFD")
		}
	}
	if depth >= maxEntryDepth {
		return w
	}
	if apply, ok := errors.AsType[platform.ApplyError](err); ok {
		w.Apply = entriesOf(apply, depth)
	}
	if sync, ok := errors.AsType[platform.SyncError](err); ok {
		w.Sync = entriesOf(sync, depth)
	}
	return w
}

func entriesOf[ID ~string](failures map[ID]error, depth int) *map[ID]wireError {
	entries := make(map[ID]wireError, len(failures))
	for id, err := range failures {
		entries[ID(strings.ToValidUTF8(string(id), "\uFFFD"))] = wireOf(err, depth+1)
	}
	return &entries
}

// err returns the error at this end. An ApplyError or SyncError comes as it was. Another
// that the platform gave no help text comes in a ClusterError, unless it is an entry.
func (w *wireError) err() error {
	if w == nil {
		return nil
	}
	cause := w.cause()
	switch {
	case w.Fatal && w.Class != "":
		return platform.FatalError{Err: w.helpful(cause)}
	case w.Fatal:
		return platform.FatalError{Err: cause}
	case w.bare() != nil:
		return w.bare()
	case w.Class != "" || w.Unavailable || w.Upgrade:
		return w.helpful(cause)
	}
	return platform.ClusterError(cause)
}

// bare returns the ApplyError or SyncError that w is, or nil if it is something around one:
// that has a text or a help text of its own, and not those of an entry.
func (w *wireError) bare() error {
	helps := map[string]bool{"": true}
	var found error
	if w.Apply != nil {
		for _, entry := range *w.Apply {
			helps[entry.Help] = true
		}
		found = platform.ApplyError(errorsOf(*w.Apply))
	}
	if w.Sync != nil {
		for _, entry := range *w.Sync {
			helps[entry.Help] = true
		}
		found = platform.SyncError(errorsOf(*w.Sync))
	}
	if found == nil || w.Apply != nil && w.Sync != nil || !helps[w.Help] || strings.ToValidUTF8(found.Error(), "\uFFFD") != w.Text {
		return nil
	}
	return found
}

// entry returns the error as an entry of another.
func (w *wireError) entry() error {
	switch {
	case w.Nil:
		return nil
	case w.Fatal || w.Class != "" || w.Unavailable || w.Upgrade:
		return w.err()
	}
	return w.cause()
}

// cause returns the error without a help text.
func (w *wireError) cause() error {
	var causes []error
	if w.Apply != nil {
		causes = append(causes, platform.ApplyError(errorsOf(*w.Apply)))
	}
	if w.Sync != nil {
		causes = append(causes, platform.SyncError(errorsOf(*w.Sync)))
	}
	for _, name := range w.Is {
		if err := known[name]; err != nil {
			causes = append(causes, err)
		}
	}
	switch {
	case len(causes) == 0:
		return errors.New(w.Text)
	case len(causes) == 1 && causes[0].Error() == w.Text:
		return causes[0]
	}
	return &remoteError{w.Text, causes}
}

func errorsOf[ID ~string](entries map[ID]wireError) map[ID]error {
	failures := make(map[ID]error, len(entries))
	for id, w := range entries {
		failures[id] = w.entry()
	}
	return failures
}

// helpful wraps cause as the error at the other end was.
func (w *wireError) helpful(cause error) error {
	var err error
	switch base := &(flux.BaseError{Help: w.Help, Err: cause}); {
	case w.Unavailable:
		err = platform.UnavailableError(cause)
	case w.Upgrade:
		err = platform.UpgradeNeededError(cause)
	case w.Class == classServer:
		return flux.ServerException{BaseError: base}
	case w.Class == classMissing:
		return flux.Missing{BaseError: base}
	default:
		return flux.UserConfigProblem{BaseError: base}
	}
	if helpful, ok := errors.AsType[flux.HelpfulError](err); ok && w.Class != "" && helpful.Base().Help != w.Help {
		// One of several kinds at once, or of a daemon with other help texts.
		return flux.UserConfigProblem{BaseError: &flux.BaseError{Help: w.Help, Err: err}}
	}
	return err
}

// A remoteError has the text that an error had at the other end, and what it matches.
type remoteError struct {
	text   string
	causes []error
}

func (e *remoteError) Error() string   { return e.text }
func (e *remoteError) Unwrap() []error { return e.causes }

// asFatal returns the first FatalError in the tree of err, which may be a pointer, and
// even a nil pointer.
func asFatal(err error) (platform.FatalError, bool) {
	switch e := err.(type) { //nolint:errorlint // goes through the tree itself, for the pointers' sake
	case nil:
		return platform.FatalError{}, false
	case platform.FatalError:
		return e, true
	case *platform.FatalError:
		if e == nil {
			return platform.FatalError{}, true
		}
		return *e, true
	case interface{ Unwrap() error }:
		return asFatal(e.Unwrap())
	case interface{ Unwrap() []error }:
		for _, cause := range e.Unwrap() {
			if fatal, ok := asFatal(cause); ok {
				return fatal, true
			}
		}
	}
	return platform.FatalError{}, false
}

// unavailable returns an UnavailableError for the instance.
func unavailable(inst flux.InstanceID, format string, args ...any) error {
	return platform.UnavailableError(fmt.Errorf("instance %q: %w", string(inst), fmt.Errorf(format, args...)))
}

// withoutNil returns err, or a FatalError that can be read if err is a nil pointer to one.
func withoutNil(err error) error {
	if p, ok := err.(*platform.FatalError); ok && p == nil { //nolint:errorlint // what is around a nil pointer can stay
		return platform.FatalError{}
	}
	return err
}
