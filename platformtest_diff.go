package platform

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/platformbus/platform/flux"
)

// diff returns how the answer to r differs from the one wanted, or nil.
func (a answer) diff(r request, want answer) error {
	if err := diffError(r.method, a.err, want.err); err != nil {
		return err
	}
	beside := ""
	if want.err != nil {
		beside = ", beside its error,"
	}
	got, wanted := a.canonical(), want.canonical()
	switch {
	case !reflect.DeepEqual(got.services, wanted.services):
		return mismatch(r.method+" returned"+beside+" the services", got.services, wanted.services)
	case want.err == nil && got.version != wanted.version:
		return mismatch(r.method+" returned", got.version, wanted.version)
	case !reflect.DeepEqual(got.export, wanted.export):
		return mismatch(r.method+" returned"+beside, got.export, wanted.export)
	}
	return nil
}

// diffError returns how the error that arrived differs from the one that the platform
// returned, or nil.
func diffError(method string, got, want error) error {
	switch {
	case got == nil && want == nil:
		return nil
	case want == nil:
		return mismatch(method+" succeeded, but returned an error that is not nil", got, nil)
	case got == nil:
		return mismatch(method+" failed, but returned no error", nil, want)
	}
	fatal, isFatal := AsFatal(want)
	switch _, gotFatal := AsFatal(got); {
	case isFatal && !gotFatal:
		return mismatch(method+" returned an error in which AsFatal finds no FatalError", got, want)
	case !isFatal && gotFatal:
		return mismatch(method+" returned a FatalError, though the platform returned none", got, want)
	case isFatal && !strings.Contains(textOf(got), textOf(fatal)):
		return mismatch(method+" returned an error that lacks the text of the FatalError", got, fatal)
	case isFatal:
		return nil // the whole error, or the FatalError alone
	}
	if w := switched(want); w != "" && switched(got) != w {
		return mismatch(method+" returned an error of another type", got, want)
	}
	if err := cmp.Or(
		diffEntries[ApplyError](method, "an ApplyError", got, want),
		diffEntries[SyncError](method, "a SyncError", got, want),
	); err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(promised)) {
		if g, w := errors.Is(got, promised[name]), errors.Is(want, promised[name]); g != w {
			return mismatch(fmt.Sprintf("%s returned the error %q; does errors.Is find %s in it?", method, excerptOf(textOf(got)), name), g, w)
		}
	}
	return diffText(method, got, want)
}

// promised are the errors that errors.Is finds over every hop.
var promised = map[string]error{
	"ErrPlatformNotAvailable": ErrPlatformNotAvailable,
	"ErrUpgradeNeeded":        ErrUpgradeNeeded,
	"ErrKicked":               ErrKicked,
	"ErrEmptySelector":        ErrEmptySelector,
	"ErrWrongResourceKind":    ErrWrongResourceKind,
	"ErrNoMatchingService":    ErrNoMatchingService,
	"ErrServiceHasNoSelector": ErrServiceHasNoSelector,
	"ErrNoMatching":           ErrNoMatching,
	"ErrMultipleMatching":     ErrMultipleMatching,
	"ErrNoMatchingImages":     ErrNoMatchingImages,
}

// switched returns the type by which a type switch tells an error, or "".
func switched(err error) string {
	switch err.(type) {
	case ApplyError, SyncError, flux.UserConfigProblem, flux.ServerException, flux.Missing:
		return fmt.Sprintf("%T", err)
	}
	return ""
}

// diffEntries compares the entries of two errors of type E. An E may be wrapped. It is a
// difference if only one of the errors is an E.
func diffEntries[E interface {
	~map[ID]error
	error
}, ID ~string](method, kind string, got, want error) error {

	g, isGot := errors.AsType[E](got)
	w, isWant := errors.AsType[E](want)
	switch {
	case isWant && !isGot:
		return mismatch(fmt.Sprintf("%s returned an error in which errors.As finds no %T", method, w), got, want)
	case isGot && !isWant:
		return mismatch(fmt.Sprintf("%s returned an error in which errors.As finds %s", method, kind), got, want)
	}
	gotTexts, wantTexts := texts(g), texts(w)
	for id, text := range wantTexts {
		if _, ok := gotTexts[id]; ok && text == "" {
			gotTexts[id] = "" // it may have been given a text
		}
	}
	if !maps.Equal(gotTexts, wantTexts) {
		return mismatch(fmt.Sprintf("%s returned %s holding", method, kind), gotTexts, wantTexts)
	}
	for id, entry := range w {
		if err := diffError(fmt.Sprintf("%s, in entry %q,", method, excerptOf(string(id))), g[id], entry); err != nil {
			return err
		}
	}
	return nil
}

// texts returns the text of each entry.
func texts[ID ~string](failures map[ID]error) map[string]string {
	list := make(map[string]string, len(failures))
	for id, err := range failures {
		list[string(id)] = textOf(err)
	}
	return list
}

// diffText compares the texts for the user. The entries of an ApplyError or SyncError have
// been compared; a transport may add text to what wraps one, and may give a text to an error
// that has none.
func diffText(method string, got, want error) error {
	switch want.(type) {
	case ApplyError, SyncError:
		return nil
	}
	_, applying := errors.AsType[ApplyError](want)
	_, syncing := errors.AsType[SyncError](want)
	g, w := textOf(got), textOf(want)
	if w != "" && g != w && (!applying && !syncing || !strings.Contains(g, w)) {
		return mismatch(method+" returned an error with the text", g, w)
	}
	if switched(want) == "" {
		return nil // it may have been given a help
	}
	if g, w := helpOf(got), helpOf(want); g != w {
		return mismatch(method+" returned an error with the help text", g, w)
	}
	return nil
}

// helpOf returns the help text of an error that has one.
func helpOf(err error) string {
	if helpful, ok := err.(flux.HelpfulError); ok && helpful.Base() != nil {
		return helpful.Base().Help
	}
	return ""
}
