package platform

import (
	"errors"
	"fmt"
	"strings"

	"github.com/platformbus/platform/flux"
)

func brokenErrors() []brokenTransport {
	var rows []brokenTransport
	for i, method := range methods {
		pick := func(faults ...func(error) error) func(Platform) Platform {
			return onlyFor(method, changeErrors(faults[i%len(faults)]))
		}
		row := func(r rule, name, in string, wrap func(Platform) Platform) {
			rows = append(rows, brokenTransport{r, name + " of " + method, method + "/" + in, wrap, []string{method + " "}, 0, false})
		}
		row(ruleNil, "returns an empty SyncError for success", "returns nil when nothing failed", onlyFor(method, changeAnswers(func(_ request, a *answer) {
			if a.err == nil {
				a.err = []error{SyncError(nil), ApplyError{}, (*flux.BaseError)(nil)}[i%3]
			}
		})))
		row(ruleError, "does not keep plain errors", "keeps a plain error plain", pick(
			func(error) error { return nil },
			func(err error) error { return fmt.Errorf("rpc: %w", err) },
			func(err error) error { return ApplyError{"": err} },
			func(err error) error { return FatalError{Err: err} },
			func(err error) error { line, _, _ := strings.Cut(err.Error(), "\n"); return errors.New(line) },
			func(err error) error { return errors.New(strings.TrimSpace(err.Error())) },
			func(err error) error { return errors.New(err.Error()[:min(32<<10, len(err.Error()))]) },
		))
		row(ruleEmpty, "takes an error without a text for none", "keeps an error without a text", onlyFor(method, changeErrors(func(err error) error {
			if err.Error() == "" {
				return nil
			}
			return err
		})))
		row(ruleError, "does not keep a ClusterError", "keeps a ClusterError", pick(
			asPlainText,
			func(err error) error {
				return flux.UserConfigProblem{BaseError: &flux.BaseError{Help: "Ask your administrator.", Err: err}}
			},
			func(err error) error { return ClusterError(errors.New(helpIn(err) + err.Error())) },
			func(err error) error { return fmt.Errorf("%w", err) },
			func(err error) error {
				return flux.ServerException{BaseError: &flux.BaseError{Help: helpIn(err), Err: err}}
			},
			UpgradeNeededError,
			func(err error) error { return SyncError{"": err} },
		))
		row(ruleError, "does not keep an UnavailableError", "keeps an UnavailableError", pick(asPlainText, anyClusterError))
		row(ruleError, "does not keep an UpgradeNeededError", "keeps an UpgradeNeededError", pick(asPlainText, UnavailableError, anyClusterError))
		row(ruleError, "makes a ClusterError", "keeps other helpful errors", pick(
			anyClusterError,
			func(err error) error {
				return flux.UserConfigProblem{BaseError: &flux.BaseError{Help: helpIn(err), Err: err}}
			},
		))
		row(ruleSentinel, "sends the text alone", "keeps what errors.Is finds", pick(
			asPlainText,
			func(err error) error {
				if errors.Is(err, ErrKicked) { // the last one in the list of a switch
					return asPlainText(err)
				}
				return err
			},
			func(err error) error {
				if errors.Unwrap(err) == nil { // knows those that are not wrapped
					return err
				}
				return asPlainText(err)
			},
		))
		row(ruleFatal, "does not keep a FatalError", "keeps a FatalError", pick(
			func(err error) error { return ClusterError(asPlainText(err)) },
			func(error) error { return FatalError{Err: errors.New("connection lost")} },
			func(error) error { return UnavailableError(errors.New("the daemon has died")) },
		))
	}

	for text, taken := range map[string]func(error) error{
		"EOF":                               UnavailableError,
		"<nil>":                             func(error) error { return nil },
		"null":                              func(error) error { return nil },
		"context canceled":                  UnavailableError,
		"connection is shut down":           func(err error) error { return FatalError{Err: err} },
		"rpc error: code = Unknown desc = ": func(err error) error { return errors.New(err.Error()[len("rpc error: code = Unknown desc = "):]) },
		"a\x00b":                            func(error) error { return errors.New("ab") },
		`{"kind":"sync"}`:                   func(error) error { return SyncError{} },
		"platform not available":            func(error) error { return ErrPlatformNotAvailable },
		"no matching":                       func(error) error { return ErrNoMatching },
	} {
		rows = append(rows, brokenTransport{ruleError, fmt.Sprintf("takes an error %q for another", text), "Ping/keeps a plain error plain", changeErrors(func(err error) error {
			if strings.HasPrefix(err.Error(), text) {
				return taken(err)
			}
			return err
		}), []string{"Ping "}, 0, false})
	}
	for _, sentinel := range []error{
		ErrPlatformNotAvailable, ErrUpgradeNeeded, ErrKicked, ErrEmptySelector, ErrWrongResourceKind, ErrNoMatchingService,
		ErrServiceHasNoSelector, ErrNoMatching, ErrMultipleMatching, ErrNoMatchingImages,
	} {
		rows = append(rows, brokenTransport{ruleSentinel, "does not know " + sentinel.Error(), "Ping/keeps what errors.Is finds", changeErrors(func(err error) error {
			if errors.Is(err, sentinel) {
				return asPlainText(err)
			}
			return err
		}), []string{"does errors.Is find", "got false"}, 0, false})
	}

	loses := func(form string, found func(error) bool) brokenTransport {
		return brokenTransport{ruleFatal, "does not find a FatalError that is " + form, "FatalError/" + form, changeErrors(func(err error) error {
			if found(err) {
				return err
			}
			return errors.New(textOf(err))
		}), []string{"AsFatal finds no FatalError"}, 0, false}
	}
	rows = append(rows,
		loses("wrapped", isBareFatal), loses("in ClusterError", isBareFatal), loses("pointer", isFatalByValue),
		loses("pointer wrapped", isFatalByValue), loses("joined", isFatalInChain), loses("in an entry", isFatalInChain),
		loses("bare", func(error) bool { return false }),
	)

	for form := range fatalForms(nil) {
		rows = append(rows, brokenTransport{ruleFatal, "loses the cause of a FatalError that is " + form, "FatalError/" + form, changeErrors(func(error) error {
			return FatalError{}
		}), []string{"lacks the text of the FatalError"}, 0, false})
	}
	for kind, changed := range map[string]func(*flux.BaseError) error{
		"flux.Missing":           func(base *flux.BaseError) error { return flux.Missing{BaseError: base} },
		"flux.ServerException":   func(base *flux.BaseError) error { return flux.ServerException{BaseError: base} },
		"flux.UserConfigProblem": func(base *flux.BaseError) error { return flux.UserConfigProblem{BaseError: base} },
	} {
		rows = append(rows, brokenTransport{ruleError, "forgets the help of a " + kind, "Ping/keeps other helpful errors", changeErrors(func(err error) error {
			if switched(err) == kind {
				return changed(&flux.BaseError{Err: errors.Unwrap(err)})
			}
			return err
		}), []string{"the help text"}, 0, false}, brokenTransport{ruleError, "forgets the cause of a " + kind, "Ping/keeps other helpful errors", changeErrors(func(err error) error {
			if switched(err) == kind {
				return changed(&flux.BaseError{Help: helpIn(err)})
			}
			return err
		}), []string{"with the text"}, 0, false})
	}

	for _, bad := range []struct {
		name, in, says string
		change         func(error) error
	}{
		{"forgets the help of an UnavailableError", "keeps an UnavailableError", "the help text", func(err error) error {
			if switched(err) != "" && errors.Is(err, ErrPlatformNotAvailable) {
				return flux.UserConfigProblem{BaseError: &flux.BaseError{Err: err}}
			}
			return err
		}},
		{"does not look for an UnavailableError inside", "keeps an UnavailableError", "does errors.Is find ErrPlatformNotAvailable", func(err error) error {
			if switched(err) == "" {
				return anyClusterError(err)
			}
			return err
		}},
		{"sends nothing of a ClusterError that is empty", "keeps a ClusterError", "the help text", func(err error) error {
			if helpful, ok := err.(flux.UserConfigProblem); ok && helpful.Err == nil {
				return flux.UserConfigProblem{}
			}
			return err
		}},
		{"looks into a ClusterError that is empty", "keeps a ClusterError", "panic: runtime error", func(err error) error {
			if helpful, ok := err.(flux.UserConfigProblem); ok {
				_ = helpful.Err.Error()
			}
			return err
		}},
		{"takes the cause out of a ClusterError", "keeps a ClusterError", "of another type", func(err error) error {
			if helpful, ok := err.(flux.UserConfigProblem); ok && helpful.Err != nil {
				return helpful.Err
			}
			return err
		}},
		{"takes a long error for a lost connection", "keeps a plain error plain", "does errors.Is find ErrPlatformNotAvailable", func(err error) error {
			if len(err.Error()) > 32<<10 {
				return UnavailableError(err)
			}
			return err
		}},
		{"finds entries where there are none", "keeps a plain error plain", "in which errors.As finds a SyncError", func(err error) error {
			return &decodedError{err.Error(), []error{SyncError{}}}
		}},
		{"does not know flux.ServerException", "keeps other helpful errors", "flux.ServerException", func(err error) error {
			if _, ok := err.(flux.ServerException); ok {
				return anyClusterError(err)
			}
			return err
		}},
		{"does not know flux.Missing", "keeps other helpful errors", "flux.Missing", func(err error) error {
			if _, ok := err.(flux.Missing); ok {
				return anyClusterError(err)
			}
			return err
		}},
		{"takes a UserConfigProblem for a ClusterError", "keeps other helpful errors", "the help text", func(err error) error {
			if _, ok := err.(flux.UserConfigProblem); ok {
				return anyClusterError(err)
			}
			return err
		}},
	} {
		rows = append(rows, brokenTransport{ruleError, bad.name, "Ping/" + bad.in, changeErrors(bad.change), []string{bad.says}, 0, false})
	}

	rows = append(rows, brokenTransport{ruleFatal, "loses the cause of a FatalError", "Export/keeps a FatalError", changeErrors(func(err error) error {
		if _, ok := AsFatal(err); ok {
			return FatalError{}
		}
		return err
	}), []string{"lacks the text of the FatalError", "no cause given"}, 0, false})

	// Entries, of both errors that have any.
	for _, method := range []string{"Apply", "Sync"} {
		entry := func(r rule, name, in string, says string, change func(id string, err error) (string, error)) {
			rows = append(rows, brokenTransport{r, name + " of " + method, method + "/" + in, changeEntries(change), []string{method, says}, 0, false})
		}
		same := func(err error) func(string, error) (string, error) {
			return func(id string, _ error) (string, error) { return id, err }
		}
		entry(ruleEntries, "gives each entry the same text", "reports a single failure", `"default/web":"failed"`, same(errors.New("failed")))
		entry(ruleEntries, "loses an entry without an ID", "reports every failure", "holding", func(id string, err error) (string, error) {
			if id == "" {
				return "", errDropped
			}
			return id, err
		})
		entry(ruleEntries, "loses an entry without a text", "reports every failure", "holding", func(id string, err error) (string, error) {
			if err != nil && err.Error() == "" {
				return "", errDropped
			}
			return id, err
		})
		entry(ruleEntries, "labels the texts of entries", "reports every failure", "holding", func(id string, err error) (string, error) {
			return id, fmt.Errorf("%s: %w", id, orNoCause(err))
		})
		entry(ruleEntries, "folds the case of IDs in entries", "reports every failure", "holding", func(id string, err error) (string, error) {
			return strings.ToUpper(id), err
		})
		entry(ruleEntries, "ends the IDs of entries at a NUL", "reports every failure", "holding", func(id string, err error) (string, error) {
			before, _, _ := strings.Cut(id, "\x00")
			return before, err
		})
		entry(ruleEntries, "sends entries as text", "reports every failure", "in entry", func(id string, err error) (string, error) {
			return id, errors.New(textOf(err))
		})
		entry(ruleEntries, "forgets the help in entries", "reports every failure", "in entry", func(id string, err error) (string, error) {
			if helpful, ok := err.(flux.Missing); ok {
				return id, flux.Missing{BaseError: &flux.BaseError{Err: helpful.Err}}
			}
			return id, err
		})
		once := map[string]bool{}
		entry(ruleEntries, "keeps one entry for each text", "reports every failure", "holding", func(id string, err error) (string, error) {
			if once[err.Error()] {
				return "", errDropped
			}
			once[err.Error()] = true
			return id, err
		})
		entry(ruleEntries, "does not know an UnavailableError in entries", "reports every failure", "in entry", func(id string, err error) (string, error) {
			if switched(err) != "" && errors.Is(err, ErrPlatformNotAvailable) {
				err = asPlainText(err)
			}
			return id, err
		})
		entry(ruleSentinel, "forgets what entries match", "keeps what errors.Is finds in entries", "does errors.Is find", func(id string, err error) (string, error) {
			return id, errors.New(textOf(err))
		})
		n := 0
		entry(ruleSize, "sends 9999 failures at most", "reports 10,000 failures", "holding", func(id string, err error) (string, error) {
			if n++; n > 9999 {
				return "", errDropped
			}
			return id, err
		})
		entry(ruleSize, "shortens long texts of entries", "reports long texts", "holding", func(id string, err error) (string, error) {
			return id, errors.New(textOf(err)[:min(60<<10, len(textOf(err)))])
		})
		rows = append(rows,
			brokenTransport{ruleEntries, "adds a summary to the entries of " + method, method + "/reports a single failure", changeErrors(func(err error) error {
				switch e := err.(type) {
				case ApplyError:
					e["all"] = errors.New("1 failed")
				case SyncError:
					e["all"] = errors.New("1 failed")
				}
				return err
			}), []string{`map["all":"1 failed" "default/web":"the disk is full"]`}, 0, false},
			brokenTransport{ruleSize, "sends 3 MiB of entries at most of " + method, method + "/reports long texts", changeErrors(func(err error) error {
				if len(err.Error()) > 3<<20 {
					return UnavailableError(errors.New("message too long"))
				}
				return err
			}), []string{"returned an error of another type", "message too long"}, 0, false},
			brokenTransport{ruleEntries, "wraps the entries of " + method, method + "/reports a single failure", changeErrors(ClusterError),
				[]string{"returned an error of another type", "flux.UserConfigProblem"}, 0, false},
			brokenTransport{ruleEntries, "sends the entries of " + method + " as text", method + "/reports a single failure", changeErrors(asPlainText),
				[]string{"returned an error of another type"}, 0, false},
			brokenTransport{ruleError, "does not look for entries of " + method + " in a ClusterError", method + "/reports every failure of another hop", changeErrors(func(err error) error {
				if switched(err) == "flux.UserConfigProblem" {
					return ClusterError(asPlainText(err))
				}
				return err
			}), []string{"errors.As finds no platform." + method + "Error"}, 0, false},
			brokenTransport{ruleError, "takes entries of " + method + " out of a plain error", method + "/reports every failure of another hop", changeErrors(func(err error) error {
				if switched(err) == "" {
					return errors.Unwrap(err)
				}
				return err
			}), []string{"with the text"}, 0, false},
			brokenTransport{ruleError, "does not look for entries of " + method + " in a plain error", method + "/reports every failure of another hop", changeErrors(func(err error) error {
				if switched(err) == "" {
					return ClusterError(asPlainText(err))
				}
				return err
			}), []string{"errors.As finds no platform." + method + "Error"}, 0, false},
		)
	}
	return rows
}

// These are ways to look for a FatalError that miss some, which AsFatal finds.

func isBareFatal(err error) bool { _, ok := err.(FatalError); return ok }

func isFatalByValue(err error) bool { _, ok := errors.AsType[FatalError](err); return ok }

// isFatalInChain does not look into errors with several causes.
func isFatalInChain(err error) bool {
	for ; err != nil; err = errors.Unwrap(err) {
		switch err.(type) {
		case FatalError, *FatalError:
			return true
		}
	}
	return false
}

// asPlainText returns the error of a transport that sends only the text.
func asPlainText(err error) error { return errors.New(textOf(err)) }

// anyClusterError returns a ClusterError even if err has a help text.
func anyClusterError(err error) error { return ClusterError(asPlainText(err)) }

func helpIn(err error) string {
	if helpful, ok := errors.AsType[flux.HelpfulError](err); ok {
		return helpOf(helpful)
	}
	return ""
}

// errDropped stands for an entry that is lost.
var errDropped = errors.New("dropped")

// changeEntries changes each entry of an ApplyError or SyncError, and drops those that
// become errDropped.
func changeEntries(change func(id string, err error) (string, error)) func(Platform) Platform {
	return changeErrors(func(err error) error {
		switch e := err.(type) {
		case ApplyError:
			return changedEntries(e, change)
		case SyncError:
			return changedEntries(e, change)
		}
		return err
	})
}

func changedEntries[E ~map[ID]error, ID ~string](entries E, change func(string, error) (string, error)) E {
	changed := E{}
	for id, err := range entries {
		if to, err := change(string(id), err); !errors.Is(err, errDropped) {
			changed[ID(to)] = err
		}
	}
	return changed
}
