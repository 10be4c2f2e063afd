package platform

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/platformbus/platform/flux"
)

// A WireError is an error as a value that any encoding can carry: the form in which a
// transport sends what a Platform returned. [ErrorCodec] converts to it and back.
//
// In CBOR its keys are small integers. The zero value is not used: every error has a Kind,
// so that an error with an empty text cannot be taken for none.
type WireError struct {
	// Kind says what the error is: "error" (nothing in particular), "user", "server" or
	// "missing" (flux.UserConfigProblem, ServerException or Missing), "fatal", "apply" or
	// "sync". An unknown Kind is decoded as "error". A nil entry is "nil".
	Kind string `json:"kind" cbor:"1,keyasint"`
	// Text is the text of an "error", or of the cause of one of the others.
	Text string `json:"text,omitempty" cbor:"2,keyasint,omitempty"`
	// Help is the help text of a "user", "server" or "missing".
	Help string `json:"help,omitempty" cbor:"3,keyasint,omitempty"`
	// Sentinels are the names of the known errors that errors.Is finds in it.
	Sentinels []string `json:"sentinels,omitempty" cbor:"4,keyasint,omitempty"`
	// Entries are those of an "apply" or "sync", by ID.
	Entries map[string]WireError `json:"entries,omitempty" cbor:"5,keyasint,omitempty"`
	// Causes are the errors inside that have another Kind than "error", outermost first.
	Causes []WireError `json:"causes,omitempty" cbor:"6,keyasint,omitempty"`
}

const (
	kindError   = "error"
	kindUser    = "user"
	kindServer  = "server"
	kindMissing = "missing"
	kindFatal   = "fatal"
	kindApply   = "apply"
	kindSync    = "sync"
	kindNil     = "nil"
)

// An ErrorCodec converts errors to and from their wire form. The zero value knows the errors
// of this package, and context.Canceled and context.DeadlineExceeded.
//
// An error keeps its text, and what a type switch, errors.As, errors.Is and AsFatal find in
// it of this package and package flux; other types are lost. A foreign error in a chain
// stays as the text of its wrapper.
//
// Texts and IDs become valid UTF-8. A text is cut at 64 KiB, with a mark, and once an error
// has 8 MiB of texts those that follow are cut at 256 bytes; no entry is ever left out. Types
// are kept 16 levels deep; what is deeper, or came from a peer that does not obey these
// limits, is decoded as plain text. Decoding takes time and memory linear in the size of the
// WireError, which the transport must limit.
type ErrorCodec struct {
	// Sentinels are further errors that errors.Is finds at the other end, by a name that
	// both ends know.
	Sentinels map[string]error
}

const (
	maxErrorText  = 64 << 10 // of one text; the contract of Platform promises it
	maxErrorTexts = 8 << 20  // of all texts, before they are cut short
	shortText     = 256
	maxErrorDepth = 16
)

// sentinels are the known errors by their name on the wire. A name never changes.
var sentinels = map[string]error{
	"canceled":                context.Canceled,
	"deadline exceeded":       context.DeadlineExceeded,
	"unavailable":             ErrPlatformNotAvailable,
	"upgrade needed":          ErrUpgradeNeeded,
	"kicked":                  ErrKicked,
	"empty selector":          ErrEmptySelector,
	"wrong resource kind":     ErrWrongResourceKind,
	"no matching service":     ErrNoMatchingService,
	"service has no selector": ErrServiceHasNoSelector,
	"no matching":             ErrNoMatching,
	"multiple matching":       ErrMultipleMatching,
	"no matching images":      ErrNoMatchingImages,
}

// Encode returns the wire form of err, or nil if err is nil.
func (c ErrorCodec) Encode(err error) *WireError {
	if err == nil {
		return nil
	}
	e := errorEncoder{known: c.known(), room: maxErrorTexts}
	w := e.encode(err, 0)
	return &w
}

// An errorEncoder encodes one error with all that is in it.
type errorEncoder struct {
	known map[string]error // sentinels by name
	room  int              // bytes that are left for texts
}

func (e *errorEncoder) encode(err error, depth int) (w WireError) {
	defer func() {
		// A nil pointer, for instance, panics. What is known of w by then stays.
		if recover() != nil && w.Kind == "" {
			w = WireError{Kind: kindError, Text: e.text(textOf(err))}
		}
	}()
	switch err := err.(type) {
	case nil:
		return WireError{Kind: kindNil}
	case FatalError:
		w = e.around(kindFatal, err.Err, depth)
	case *FatalError:
		if err == nil {
			return WireError{Kind: kindFatal}
		}
		w = e.around(kindFatal, err.Err, depth)
	case ApplyError:
		w = WireError{Kind: kindApply, Entries: entries(e, err, depth)}
	case SyncError:
		w = WireError{Kind: kindSync, Entries: entries(e, err, depth)}
	case flux.HelpfulError:
		w = e.helpful(err, depth)
	default:
		w = WireError{Kind: kindError, Text: e.text(err.Error())}
		e.inside(&w, err, depth)
	}
	return w
}

func (e *errorEncoder) helpful(err flux.HelpfulError, depth int) WireError {
	base := err.Base()
	if base == nil {
		base = &flux.BaseError{}
	}
	kind, cause := kindUser, base.Err
	switch err.(type) {
	case flux.UserConfigProblem, *flux.UserConfigProblem, *flux.BaseError:
	case flux.ServerException, *flux.ServerException:
		kind = kindServer
	case flux.Missing, *flux.Missing:
		kind = kindMissing
	default: // a foreign type may have a text of its own
		if text := err.Error(); text != base.Error() {
			cause = &decodedError{text, []error{cause}}
		}
	}
	w := e.around(kind, cause, depth)
	w.Help = e.text(base.Help)
	for name, sentinel := range e.known {
		if base.Is(sentinel) && !slices.Contains(w.Sentinels, name) {
			w.Sentinels = append(w.Sentinels, name)
		}
	}
	slices.Sort(w.Sentinels)
	return w
}

// around returns the wire form of an error of the kind with the cause given. A plain cause
// is part of it.
func (e *errorEncoder) around(kind string, cause error, depth int) WireError {
	if cause == nil {
		return WireError{Kind: kind}
	}
	if depth >= maxErrorDepth {
		return WireError{Kind: kind, Text: e.text(textOf(cause))}
	}
	w := e.encode(cause, depth+1)
	if w.Kind == kindError && w.Text != "" {
		w.Kind = kind
		return w
	}
	return WireError{Kind: kind, Causes: []WireError{w}}
}

// inside adds to w what is in a foreign error: the outermost errors that have a kind of their
// own, and sentinels. These come last, since errors.Is panics at a nil *FatalError.
func (e *errorEncoder) inside(w *WireError, err error, depth int) {
	if depth < maxErrorDepth {
		unwrap(err, func(cause error) bool {
			switch cause.(type) {
			case FatalError, *FatalError, ApplyError, SyncError, flux.HelpfulError:
				w.Causes = append(w.Causes, e.encode(cause, depth+1))
				return false
			}
			return true
		})
	}
	for name, sentinel := range e.known {
		if errors.Is(err, sentinel) {
			w.Sentinels = append(w.Sentinels, name)
		}
	}
	slices.Sort(w.Sentinels)
}

// unwrap visits the causes of err, outermost first, and the causes of those for which visit
// returns true.
func unwrap(err error, visit func(error) bool) {
	var causes []error
	switch e := err.(type) {
	case interface{ Unwrap() error }:
		causes = []error{e.Unwrap()}
	case interface{ Unwrap() []error }:
		causes = e.Unwrap()
	}
	for _, cause := range causes {
		if cause != nil && visit(cause) {
			unwrap(cause, visit)
		}
	}
}

func entries[ID ~string](e *errorEncoder, failures map[ID]error, depth int) map[string]WireError {
	list := make(map[string]WireError, len(failures))
	for i, id := range slices.Sorted(maps.Keys(failures)) {
		err := failures[id]
		key := strings.ToValidUTF8(string(id), "\uFFFD")
		for _, taken := list[key]; taken; _, taken = list[key] { // by an ID that became the same
			key = fmt.Sprintf("%s\uFFFD%d", key, i)
		}
		if depth < maxErrorDepth {
			list[key] = e.encode(err, depth+1)
		} else {
			list[key] = WireError{Kind: kindError, Text: e.text(textOf(err))}
		}
	}
	return list
}

// text returns a text as valid UTF-8, cut to what is left for it.
func (e *errorEncoder) text(s string) string {
	s = cut(s, min(maxErrorText, max(e.room, shortText)))
	e.room -= len(s)
	return s
}

// cut returns s as valid UTF-8 of at most limit bytes, with a mark in place of what is cut off.
func cut(s string, limit int) string {
	const mark = "…"
	s = strings.ToValidUTF8(s, "\uFFFD")
	if len(s) <= limit {
		return s
	}
	end := limit - len(mark)
	for !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end] + mark
}

// Decode returns the error that w is the wire form of, or nil if w is nil.
func (c ErrorCodec) Decode(w *WireError) error {
	if w == nil {
		return nil
	}
	if err := errorDecoder(c.known()).decode(*w, 0); err != nil {
		return err
	}
	return errors.New(textOf(nil)) // "nil" is for entries only
}

// An errorDecoder holds the sentinels by name.
type errorDecoder map[string]error

func (d errorDecoder) decode(w WireError, depth int) error {
	if depth > maxErrorDepth {
		return errors.New(cut(w.Text, maxErrorText))
	}
	switch w.Kind {
	case kindNil:
		return nil
	case kindApply:
		return ApplyError(failures[flux.ServiceID](d, w.Entries, depth))
	case kindSync:
		return SyncError(failures[string](d, w.Entries, depth))
	case kindFatal:
		return FatalError{Err: d.cause(w, w.Sentinels, depth)}
	case kindUser, kindServer, kindMissing:
		// A BaseError matches one sentinel; the cause carries the others.
		others, matched := d.split(w.Sentinels)
		base := flux.BaseError{Help: cut(w.Help, maxErrorText), Err: d.cause(w, others, depth)}.Matching(matched)
		switch w.Kind {
		case kindServer:
			return flux.ServerException{BaseError: base}
		case kindMissing:
			return flux.Missing{BaseError: base}
		}
		return flux.UserConfigProblem{BaseError: base}
	}
	if err := d.cause(w, w.Sentinels, depth); err != nil {
		return err
	}
	return errors.New("")
}

// split returns the sentinel that says what kind of error a helpful one is, or nil, apart from
// the names of the others.
func (d errorDecoder) split(names []string) (others []string, matched error) {
	for i, name := range names {
		if name == "unavailable" || name == "upgrade needed" {
			return slices.Concat(names[:i], names[i+1:]), d[name]
		}
	}
	return names, nil
}

// cause returns the error that Text, Sentinels and Causes describe, or nil if there is none.
func (d errorDecoder) cause(w WireError, names []string, depth int) error {
	var causes []error
	for _, inner := range w.Causes {
		if err := d.decode(inner, depth+1); err != nil {
			causes = append(causes, err)
		}
	}
	for _, name := range names[:min(len(names), len(d))] {
		if sentinel := d[name]; sentinel != nil {
			causes = append(causes, sentinel)
		}
	}
	text := cut(w.Text, maxErrorText)
	switch {
	case len(causes) == 0 && text == "":
		return nil
	case len(causes) == 0:
		return errors.New(text)
	case len(causes) == 1 && (text == "" || text == causes[0].Error()):
		return causes[0]
	case text == "":
		text = causes[0].Error()
	}
	return &decodedError{text, causes}
}

func failures[ID ~string](d errorDecoder, entries map[string]WireError, depth int) map[ID]error {
	list := make(map[ID]error, len(entries))
	for id, w := range entries {
		list[ID(id)] = d.decode(w, depth+1)
	}
	return list
}

// known returns all sentinels by name.
func (c ErrorCodec) known() map[string]error {
	if len(c.Sentinels) == 0 {
		return sentinels
	}
	all := maps.Clone(c.Sentinels)
	maps.Copy(all, sentinels) // their names are taken
	return all
}

// A decodedError has the text of an error of a foreign type, and what errors.Is and errors.As
// find in it.
type decodedError struct {
	text   string
	causes []error
}

func (e *decodedError) Error() string   { return e.text }
func (e *decodedError) Unwrap() []error { return e.causes }
