package service

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
	"github.com/platformbus/platform/cmd/internal/program"
	"github.com/platformbus/platform/internal/oneline"
)

// A badRequest is an error that the client caused.
type badRequest struct{ error }

func (e badRequest) Unwrap() error { return e.error }

// A tooBusy is an error that passes when other requests have ended.
type tooBusy struct{ error }

func (e tooBusy) Unwrap() error { return e.error }

// A refusal is an error with an HTTP status of its own.
type refusal struct {
	code int
	error
}

func (e refusal) Unwrap() error { return e.error }

// A problem is the JSON form of an error. Its texts are safe to display, see oneline.Line: the
// errors may quote untrusted input.
type problem struct {
	Error string `json:"error"`
	// Help is for the end user.
	Help string `json:"help,omitempty"`
	// Failures holds the error of each action of a sync that failed, by its ID, or of each
	// service of an apply. The others succeeded.
	Failures failures `json:"failures,omitempty"`
}

// A failure is the error of one action or service.
type failure struct{ id, text string }

// failures are encoded as a JSON object that keeps their order.
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

// maxFailures is the maximum number of failures in an answer.
const maxFailures = 1000

// moreFailures is the ID of the last entry, which counts the failures that are left out.
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
		// IDs that are equal after truncation share one entry; the others are counted below.
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

// withHelp adds a help text to an error of the cluster, unless it has one.
func withHelp(err error) error {
	if statusCode(err) == http.StatusBadGateway {
		return platform.ClusterError(err)
	}
	return err
}

func problemOf(err error) *problem {
	p := &problem{Error: oneline.Line(err.Error()), Help: program.HelpOf(err)}
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

// statusCode returns the HTTP status of an error, which distinguishes faults of the
// client, the service, the daemon and the cluster.
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
	return http.StatusBadGateway // an error of the cluster
}

// fail answers with an error, and with the partial result, if there is one.
func (a *api) fail(w http.ResponseWriter, r *http.Request, err error, result map[string]any) {
	code := statusCode(err)
	p := problemOf(withHelp(err))
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

// retryAfter is the time in seconds after which a client may retry a request that was refused
// because of other requests.
const retryAfter = 1

// logFailure logs a failed request without its query and body: they may contain secrets, and
// errors quote them. So it logs the error's text only if the request has neither.
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

// refuse answers with an error before a request is handled. It does not log the error: any
// client that can connect could fill the log.
func refuse(w http.ResponseWriter, code int, text string) {
	answer(w, code, problemOf(errors.New(text)))
}

func answer(w http.ResponseWriter, code int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false)
	encoder.Encode(body) //nolint:errcheck // it fails if the client has disconnected
}
