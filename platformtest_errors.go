package platform

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/platformbus/platform/flux"
)

var (
	ruleError = rule{"an error keeps its type, its text and its help over every hop; a plain one may be given a help by ClusterError",
		"send errors with ErrorCodec"}
	ruleSentinel = rule{"errors.Is finds the exported errors of package platform over every hop, in entries too",
		"send errors with ErrorCodec"}
	ruleNil = rule{"a call that succeeded returns an error that is nil, also behind the error interface",
		"return a literal nil, not a nil map or pointer in an error variable"}
	ruleEmpty = rule{"an error with an empty text is still an error",
		"send whether there is an error apart from its text"}
	ruleEntries = rule{"one entry for each that did not succeed, with its own type and text, and nothing else",
		"send errors with ErrorCodec"}
	ruleFatal = rule{"a FatalError stays one over every hop, whole or alone, however it is wrapped",
		"find it with AsFatal, send errors with ErrorCodec"}
)

// plainText contains characters that transports split, trim or quote.
const plainText = " cannot reach \"web\":\n\tdial tcp [::1]:80: connection refused; größer als 100 % of %d\n"

// errorCases check the errors of every method, and the entries of ApplyError and SyncError.
func errorCases() []conformanceCase {
	var plain []error
	for _, text := range []string{ // that something in between could take for its own
		"EOF", "<nil>", "null", "context canceled", "connection is shut down", "rpc error: code = Unknown desc = boom",
		"a\x00b\x1b[2J", "{\"kind\":\"sync\"}", ErrPlatformNotAvailable.Error(), ErrNoMatching.Error(), strings.Repeat(plainText, 64<<10/len(plainText)),
	} {
		plain = append(plain, errors.New(text))
	}
	var known []error
	for _, name := range slices.Sorted(maps.Keys(promised)) {
		known = append(known, promised[name], fmt.Errorf("default/web: %w", promised[name]))
	}
	own := &flux.BaseError{Help: "Line one.\n\nLine two: größe.\n", Err: errors.New(plainText)}
	boom := errors.New("the disk is full")

	var cases []conformanceCase
	for _, method := range methods {
		cases = append(cases,
			returnsErrors(method, "returns nil when nothing failed", ruleNil, nil),
			returnsErrors(method, "keeps a plain error plain", ruleError, plain...),
			returnsErrors(method, "keeps an error without a text", ruleEmpty, errors.New("")),
			returnsErrors(method, "keeps a ClusterError", ruleError, ClusterError(errors.New(plainText)), ClusterError(nil)),
			returnsErrors(method, "keeps an UnavailableError", ruleError, UnavailableError(errors.New(plainText)),
				fmt.Errorf("call: %w", UnavailableError(errors.New("lost")))),
			returnsErrors(method, "keeps an UpgradeNeededError", ruleError, UpgradeNeededError(errors.New(plainText))),
			returnsErrors(method, "keeps other helpful errors", ruleError, flux.Missing{BaseError: own}, flux.ServerException{BaseError: own}, flux.UserConfigProblem{BaseError: own}),
			returnsErrors(method, "keeps what errors.Is finds", ruleSentinel, known...),
			returnsErrors(method, "keeps a FatalError", ruleFatal, FatalError{Err: errors.New(plainText)}),
		)
	}
	forms := fatalForms(boom)
	for _, form := range slices.Sorted(maps.Keys(forms)) {
		c := returnsErrors("Sync", form, ruleFatal, forms[form])
		c.name = "FatalError/" + form
		cases = append(cases, c)
	}

	entries := map[string]error{
		"":                errors.New("an entry without an ID"),
		"default/same":    errors.New("twice the same text"),
		"default/again":   errors.New("twice the same text"),
		"default/lost":    UnavailableError(errors.New("lost")),
		"default/missing": flux.Missing{BaseError: own},
	}
	for _, odd := range oddStrings {
		entries["odd: "+odd] = errors.New(odd)
	}
	speaking := maps.Clone(entries) // as part of a longer text, which must stay
	maps.DeleteFunc(speaking, func(_ string, err error) bool { return err.Error() == "" })
	matching := map[string]error{}
	for i, err := range known {
		matching[fmt.Sprintf("default/%d", i)] = err
	}
	many, long := map[string]error{}, map[string]error{}
	for i := range manyEntries {
		many[fmt.Sprintf("default/%05d", i)] = fmt.Errorf("cause %d", i)
	}
	for i := range large >> 16 {
		long[fmt.Sprintf("default/%d", i)] = errors.New(strings.Repeat(fmt.Sprintf("%015d ", i), 4<<10))
	}
	for _, m := range []struct {
		method string
		of     func(map[string]error) error
	}{
		{"Apply", func(entries map[string]error) error {
			failed := ApplyError{}
			for id, err := range entries {
				failed[flux.ServiceID(id)] = err
			}
			return failed
		}},
		{"Sync", func(entries map[string]error) error { return SyncError(entries) }},
	} {
		cases = append(cases,
			returnsErrors(m.method, "reports every failure", ruleEntries, m.of(entries)),
			returnsErrors(m.method, "reports a single failure", ruleEntries, m.of(map[string]error{"default/web": boom})),
			returnsErrors(m.method, "reports 10,000 failures", ruleSize, m.of(many)),
			returnsErrors(m.method, "reports long texts", ruleSize, m.of(long)),
			returnsErrors(m.method, "keeps what errors.Is finds in entries", ruleSentinel, m.of(matching)),
			returnsErrors(m.method, "reports every failure of another hop", ruleError, ClusterError(m.of(speaking)), fmt.Errorf("sync: %w", m.of(speaking))),
		)
	}
	return cases
}

// fatalForms are what an implementation may make of a FatalError.
func fatalForms(cause error) map[string]error {
	return map[string]error{
		"bare":            FatalError{Err: cause},
		"pointer":         &FatalError{Err: cause},
		"wrapped":         fmt.Errorf("a: %w", fmt.Errorf("b: %w", fmt.Errorf("c: %w", FatalError{Err: cause}))),
		"pointer wrapped": fmt.Errorf("a: %w", &FatalError{Err: cause}),
		"joined":          errors.Join(errors.New("also"), FatalError{Err: cause}),
		"in ClusterError": ClusterError(FatalError{Err: cause}),
		"in an entry":     SyncError{"a": FatalError{Err: cause}},
	}
}

// returnsErrors returns the case in which the platform answers calls of the method with one
// error after another.
func returnsErrors(method, name string, r rule, errs ...error) conformanceCase {
	var answers []answer
	for _, err := range errs {
		answers = append(answers, answer{err: err})
	}
	return returnsResults(method, name, r, answers...)
}
