package platform

import (
	"errors"
	"fmt"
	"maps"
	"reflect"
	"strings"

	"github.com/platformbus/platform/flux"
)

// diff returns how the answer to r differs from the one wanted, or nil. Of the results
// that come with an error, only services are compared.
func (a answer) diff(r request, want answer) error {
	if err := diffError(r.method, a.err, want.err); err != nil {
		return err
	}
	switch {
	case want.err != nil && want.services == nil:
		return nil
	case want.err != nil && !reflect.DeepEqual(a.services, want.services):
		return mismatch(r.method+" returned, with its error, the services", a.services, want.services)
	case !reflect.DeepEqual(a.services, want.services):
		return mismatch(r.method+" returned the services", a.services, want.services)
	case a.version != want.version:
		return mismatch(r.method+" returned", a.version, want.version)
	case !reflect.DeepEqual(a.export, want.export):
		return mismatch(r.method+" returned", a.export, want.export)
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
	if err := diffEntries[ApplyError](method, "an ApplyError", got, want); err != nil {
		return err
	}
	if err := diffEntries[SyncError](method, "a SyncError", got, want); err != nil {
		return err
	}
	for _, kind := range []error{ErrPlatformNotAvailable, ErrUpgradeNeeded} {
		if g, w := errors.Is(got, kind), errors.Is(want, kind); g != w {
			return mismatch(fmt.Sprintf("%s returned an error; does it match %q?", method, kind), g, w)
		}
	}
	if _, fatal := AsFatal(want); fatal {
		if !strings.Contains(got.Error(), want.Error()) {
			return mismatch(method+" returned an error that lacks the text of the FatalError", got, want)
		}
		return nil
	}
	if _, fatal := AsFatal(got); fatal {
		return mismatch(method+" returned a FatalError, though the platform returned none", got, want)
	}
	return diffText(method, got, want)
}

// diffEntries compares the entries of two errors of type E, by text. An E may be
// wrapped. It is a difference if only one of the errors is an E.
func diffEntries[E interface {
	~map[ID]error
	error
}, ID ~string](method, kind string, got, want error) error {
	var g, w E
	isGot, isWant := errors.As(got, &g), errors.As(want, &w)
	switch {
	case isGot && !isWant:
		return mismatch(fmt.Sprintf("%s returned %s, though the platform returned none", method, kind), got, want)
	case !isGot && isWant:
		return mismatch(fmt.Sprintf("%s returned an error in which errors.As finds no %T", method, w), got, want)
	}
	if gotTexts, wantTexts := texts(g), texts(w); !maps.Equal(gotTexts, wantTexts) {
		return mismatch(fmt.Sprintf("%s returned %s holding", method, kind), gotTexts, wantTexts)
	}
	return nil
}

func texts[ID ~string](failures map[ID]error) map[string]string {
	list := make(map[string]string, len(failures))
	for id, err := range failures {
		list[string(id)] = orNoCause(err).Error()
	}
	return list
}

// diffText compares the texts for the user. A transport may add text around an ApplyError
// or SyncError, whose entries have been compared, and may give a text to an error that has
// none.
func diffText(method string, got, want error) error {
	var (
		applying ApplyError
		syncing  SyncError
		helpful  flux.HelpfulError
		help     flux.HelpfulError
	)
	switch g, w := got.Error(), want.Error(); {
	case w == "" || g == w:
	case errors.As(want, &applying) || errors.As(want, &syncing):
		if !strings.Contains(g, w) {
			return mismatch(method+" returned an error that lacks the text", g, w)
		}
	default:
		return mismatch(method+" returned an error with the text", g, w)
	}
	if !errors.As(want, &helpful) {
		return nil
	}
	if !errors.As(got, &help) {
		return mismatch(method+" returned an error in which errors.As finds no flux.HelpfulError", got, want)
	}
	if g, w := helpOf(help), helpOf(helpful); g != w {
		return mismatch(method+" returned an error with the help text", g, w)
	}
	return nil
}

func helpOf(err flux.HelpfulError) string {
	if base := err.Base(); base != nil {
		return base.Help
	}
	return ""
}

const (
	ruleError   = "an error keeps its type and its text over every hop"
	ruleNil     = "a call that succeeded returns an error that is nil, also behind the error interface"
	ruleEmpty   = "an error with an empty text is still an error"
	ruleEntries = "one entry for each that did not succeed, with its own text, and nothing else"
	ruleLast    = "each call returns the platform's answer to it, and not an earlier one"
)

// plainText contains characters that transports split, trim or quote.
const plainText = " cannot reach \"web\":\n\tdial tcp [::1]:80: connection refused; größer als 100 % of %d\n"

// errorCases check the errors of every method, and the entries of ApplyError and SyncError.
func errorCases() []conformanceCase {
	var cases []conformanceCase
	for _, method := range methods {
		cases = append(cases,
			returns(method, "returns nil when nothing failed", ruleNil, nil),
			returns(method, "keeps a plain error plain", ruleError, errors.New(plainText)),
			returns(method, "keeps an error without a text", ruleEmpty, errors.New("")),
			returns(method, "keeps a ClusterError", ruleError, ClusterError(errors.New(plainText))),
			returns(method, "keeps an UnavailableError", ruleError, UnavailableError(errors.New(plainText))),
			returns(method, "keeps an UpgradeNeededError", ruleError, UpgradeNeededError(errors.New(plainText))),
			returns(method, "keeps the text of a FatalError", ruleError, FatalError{Err: errors.New(plainText)}),
			forgetsErrors(method),
		)
	}

	applying, syncing := ApplyError{"default/lone": errors.New("no such service")}, SyncError{"": errors.New("an entry without an ID")}
	for id, text := range map[string]string{
		"default/web":    "conflict with \"kubectl\"; default/db: not this one",
		"default/db":     plainText,
		"größe/a: b; c":  "an ID with separators",
		"default/silent": "",
		"default/same":   "twice the same text",
		"default/again":  "twice the same text",
	} {
		applying[flux.ServiceID(id)], syncing[id] = errors.New(text), errors.New(text)
	}
	manyApply, manySync := ApplyError{}, SyncError{}
	for i := range 1000 {
		id := fmt.Sprintf("default/service-%04d", i)
		manyApply[flux.ServiceID(id)] = fmt.Errorf("%s: %s", id, strings.Repeat("x", 1024))
		manySync[id] = fmt.Errorf("%s: %s", id, strings.Repeat("x", 1024))
	}
	return append(cases,
		returns("Apply", "reports every failure", ruleEntries, applying),
		returns("Apply", "reports a single failure", ruleEntries, ApplyError{"default/web": errors.New("boom")}),
		returns("Apply", "reports 1000 failures", ruleEntries, manyApply),
		returns("Apply", "reports every failure of another hop", ruleError, ClusterError(applying)),
		returns("Sync", "reports every failure", ruleEntries, syncing),
		returns("Sync", "reports a single failure", ruleEntries, SyncError{"a": errors.New("boom")}),
		returns("Sync", "reports 1000 failures", ruleEntries, manySync),
		returns("Sync", "reports every failure of another hop", ruleError, ClusterError(syncing)),
	)
}

// returns returns the case in which the platform answers a call of the method with err.
func returns(method, name, rule string, err error) conformanceCase {
	want := answer{err: err}
	return conformanceCase{
		name: method + "/" + name,
		rule: rule,
		mock: func() *MockPlatform { return want.mock(method) },
		check: func(p Platform, _ *recorder) error {
			r := sampleRequest(method)
			return r.send(p).diff(r, want)
		},
	}
}

// forgetsErrors returns the case in which the platform recovers from an error, and then
// returns another.
func forgetsErrors(method string) conformanceCase {
	return conformanceCase{
		name: method + "/forgets an error that has passed",
		rule: ruleLast,
		check: func(p Platform, far *recorder) error {
			for _, err := range []error{errors.New("first"), nil, errors.New("second"), nil} {
				want := answer{err: err}
				want.set(far.mock, method)
				r := sampleRequest(method)
				if err := r.send(p).diff(r, want); err != nil {
					return err
				}
			}
			return nil
		},
	}
}
