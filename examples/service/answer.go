package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"

	"github.com/platformbus/platform"
	"github.com/platformbus/platform/examples/internal/program"
	"github.com/platformbus/platform/flux"
	"github.com/platformbus/platform/internal/oneline"
)

// A badRequest is an error of whoever asked.
type badRequest struct{ error }

func (e badRequest) Unwrap() error { return e.error }

// A tooBusy is an error that passes when other requests are over.
type tooBusy struct{ error }

func (e tooBusy) Unwrap() error { return e.error }

// A refusal is an error that has a status of its own, which net/http defines.
type refusal struct {
	code int
	text string
}

func (e refusal) Error() string { return e.text }

// A problem is an error as the API shows it. All its texts are fit to be shown, see
// oneline.Line: they may quote what a stranger has sent.
type problem struct {
	Error string `json:"error"`
	// Help is for the person who meets the error.
	Help string `json:"help,omitempty"`
	// Failures says what went wrong with each action of a sync, by its ID, or with each
	// service of an apply. The others are in force.
	Failures failures `json:"failures,omitempty"`
}

// A failure says what went wrong with one thing of several.
type failure struct{ id, text string }

// failures are a JSON object, in which they keep their order.
type failures []failure

// MarshalJSON writes the failures as the members of an object.
func (f failures) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, one := range f {
		if i > 0 {
			b.WriteByte(',')
		}
		id, err0 := json.Marshal(one.id)
		text, err1 := json.Marshal(one.text)
		if err := errors.Join(err0, err1); err != nil {
			return nil, err
		}
		fmt.Fprintf(&b, "%s:%s", id, text)
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

// maxFailures is how many failures an answer shows.
const maxFailures = 1000

// moreFailures is the ID of the last entry, which counts the failures that are not shown.
const moreFailures = "…"

// failuresOf returns the failures in the order of their IDs.
func failuresOf[ID ~string](causes map[ID]error) failures {
	shown := make(failures, 0, min(len(causes), maxFailures))
	seen := make(map[string]bool)
	for _, id := range slices.Sorted(maps.Keys(causes)) {
		one := failure{oneline.Line(string(id)), "no cause given"}
		if err := causes[id]; err != nil {
			one.text = oneline.Line(err.Error())
		}
		// Two IDs that differ in what is not shown have one entry, and the second is counted.
		if !seen[one.id] {
			seen[one.id] = true
			shown = append(shown, one)
		}
		if len(shown) == maxFailures {
			break
		}
	}
	if rest := len(causes) - len(shown); rest > 0 {
		if len(shown) == maxFailures {
			shown, rest = shown[:maxFailures-1], rest+1
		}
		shown = append(shown, failure{moreFailures, fmt.Sprintf("and %d more failures", rest)})
	}
	return shown
}

// helped returns err with a help text, unless it has one or is the asker's.
func helped(err error) error {
	if statusCode(err) == http.StatusBadGateway {
		return platform.ClusterError(err)
	}
	return err
}

func problemOf(err error) *problem {
	p := &problem{Error: oneline.Line(err.Error())}
	var helpful flux.HelpfulError
	if errors.As(err, &helpful) {
		p.Help = oneline.Lines(helpful.Base().Help)
	}
	var ofSync platform.SyncError
	var ofApply platform.ApplyError
	switch {
	case errors.As(err, &ofSync):
		p.Failures = failuresOf(ofSync)
	case errors.As(err, &ofApply):
		p.Failures = failuresOf(ofApply)
	}
	return p
}

// statusCode returns the status that says whose fault an error is.
func statusCode(err error) int {
	var tooLarge *http.MaxBytesError
	var bad badRequest
	var busy tooBusy
	var refused refusal
	switch {
	case errors.As(err, &refused):
		return refused.code
	case errors.As(err, &tooLarge):
		return http.StatusRequestEntityTooLarge
	case errors.Is(err, program.ErrSlowBody):
		return http.StatusRequestTimeout
	case errors.As(err, &busy), errors.Is(err, program.ErrEnding):
		return http.StatusServiceUnavailable
	case errors.As(err, &bad):
		return http.StatusBadRequest
	case errors.Is(err, platform.ErrPlatformNotAvailable):
		return http.StatusServiceUnavailable
	case errors.Is(err, platform.ErrUpgradeNeeded):
		return http.StatusNotImplemented
	case errors.Is(err, context.DeadlineExceeded):
		return http.StatusGatewayTimeout
	}
	return http.StatusBadGateway // from here on it is the cluster
}

// fail answers with an error, and with what there is of a result in spite of it.
func (a *api) fail(w http.ResponseWriter, r *http.Request, err error, result map[string]any) {
	code := statusCode(err)
	p := problemOf(helped(err))
	a.logFailure(r, code, p)
	body := map[string]any{"error": p.Error}
	if p.Help != "" {
		body["help"] = p.Help
	}
	if p.Failures != nil {
		body["failures"] = p.Failures
	}
	maps.Copy(body, result)
	var busy tooBusy
	if errors.As(err, &busy) {
		w.Header().Set("Retry-After", strconv.Itoa(retryAfter))
	}
	answer(w, code, body)
}

// retryAfter is when a client may try again that was refused because of others, in seconds.
const retryAfter = 1

// logFailure logs nothing of what a request's query and body say: they may hold secrets, and
// errors quote them. So the error's text is logged only if there is neither.
func (a *api) logFailure(r *http.Request, code int, p *problem) {
	about := []any{"method", oneline.Line(r.Method), "path", oneline.Line(r.URL.Path), "status", code}
	switch {
	case p.Failures != nil:
		about = append(about, "failures", len(p.Failures))
	case r.URL.RawQuery == "" && (r.Body == nil || r.Body == http.NoBody):
		about = append(about, "err", p.Error)
	}
	a.log.Warn("request failed", about...)
}

// refuse answers with the error of a request that got nowhere. It is not logged: whoever can
// reach us could fill the log with it.
func refuse(w http.ResponseWriter, code int, text string) {
	answer(w, code, problemOf(refusal{code, text}))
}

func answer(w http.ResponseWriter, code int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false)
	encoder.Encode(body) //nolint:errcheck // whoever asked has gone
}
