package wire

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/platformbus/platform"
	"github.com/platformbus/platform/flux"
)

// ErrClosed is natsbus.ErrClosed.
var ErrClosed = errors.New("bus is closed")

// An Error is an error as it travels.
type Error struct {
	Text        string                    `cbor:"1,keyasint,omitempty"`
	Class       string                    `cbor:"2,keyasint,omitempty"` // of a helpful error
	Help        string                    `cbor:"3,keyasint,omitempty"`
	Unavailable bool                      `cbor:"4,keyasint,omitempty"`
	Upgrade     bool                      `cbor:"5,keyasint,omitempty"`
	Fatal       bool                      `cbor:"6,keyasint,omitempty"`
	Is          []string                  `cbor:"7,keyasint,omitempty"` // the known errors that it matches
	Apply       *map[flux.ServiceID]Error `cbor:"8,keyasint,omitempty"`
	Sync        *map[string]Error         `cbor:"9,keyasint,omitempty"`
	Nil         bool                      `cbor:"10,keyasint,omitempty"` // an entry without an error
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

// EncodeError returns err as it travels, or nil.
func EncodeError(err error) *Error {
	if err == nil {
		return nil
	}
	w := wireOf(err, 0)
	return &w
}

func wireOf(err error, depth int) (w Error) {
	defer func() {
		if cause := recover(); cause != nil { // an error that is a nil pointer, for instance
			w = Error{Text: fmt.Sprintf("error of type %T, which cannot be read: %v", err, cause)}
		}
	}()
	if err == nil {
		return Error{Nil: true}
	}
	if _, fatal := AsFatal(err); fatal {
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

func entriesOf[ID ~string](failures map[ID]error, depth int) *map[ID]Error {
	entries := make(map[ID]Error, len(failures))
	for id, err := range failures {
		entries[ID(strings.ToValidUTF8(string(id), "\uFFFD"))] = wireOf(err, depth+1)
	}
	return &entries
}

// Err returns the error at this end. One that the platform gave no help text comes in
// a ClusterError, unless it is an entry.
func (w *Error) Err() error {
	if w == nil {
		return nil
	}
	cause := w.cause()
	switch {
	case w.Fatal && w.Class != "":
		return platform.FatalError{Err: w.helpful(cause)}
	case w.Fatal:
		return platform.FatalError{Err: cause}
	case w.Class != "" || w.Unavailable || w.Upgrade:
		return w.helpful(cause)
	}
	return platform.ClusterError(cause)
}

// entry returns the error as an entry of another.
func (w *Error) entry() error {
	switch {
	case w.Nil:
		return nil
	case w.Fatal || w.Class != "" || w.Unavailable || w.Upgrade:
		return w.Err()
	}
	return w.cause()
}

// cause returns the error without a help text.
func (w *Error) cause() error {
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

func errorsOf[ID ~string](entries map[ID]Error) map[ID]error {
	failures := make(map[ID]error, len(entries))
	for id, w := range entries {
		failures[id] = w.entry()
	}
	return failures
}

// helpful wraps cause as the error at the other end was.
func (w *Error) helpful(cause error) error {
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
		return &otherHelp{flux.UserConfigProblem{BaseError: &flux.BaseError{Help: w.Help, Err: err}}}
	}
	return err
}

// otherHelp has a help text of its own around an error that has another.
type otherHelp struct{ flux.UserConfigProblem }

// A remoteError has the text that an error had at the other end, and what it matches.
type remoteError struct {
	text   string
	causes []error
}

func (e *remoteError) Error() string   { return e.text }
func (e *remoteError) Unwrap() []error { return e.causes }

// AsFatal returns the first FatalError in the tree of err, which may be a pointer, and
// even a nil pointer.
func AsFatal(err error) (platform.FatalError, bool) {
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
		return AsFatal(e.Unwrap())
	case interface{ Unwrap() []error }:
		for _, cause := range e.Unwrap() {
			if fatal, ok := AsFatal(cause); ok {
				return fatal, true
			}
		}
	}
	return platform.FatalError{}, false
}
