package main

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"net/http"

	"github.com/platformbus/platform"
	"github.com/platformbus/platform/flux"
)

// A badRequest is an error of whoever asked.
type badRequest struct{ error }

func (e badRequest) Unwrap() error { return e.error }

// A problem is an error as the API shows it.
type problem struct {
	Error string `json:"error"`
	// Help is for the person who meets the error.
	Help string `json:"help,omitempty"`
	// Failures says what went wrong with each action of a sync, by its ID, or with each
	// service of an apply. The others are in force.
	Failures map[string]string `json:"failures,omitempty"`
}

// helped returns err with a help text, unless it has one or is the asker's.
func helped(err error) error {
	if statusCode(err) == http.StatusBadGateway {
		return platform.ClusterError(err)
	}
	return err
}

func problemOf(err error) *problem {
	p := &problem{Error: err.Error()}
	var helpful flux.HelpfulError
	if errors.As(err, &helpful) {
		p.Help = helpful.Base().Help
	}
	var ofSync platform.SyncError
	var ofApply platform.ApplyError
	switch {
	case errors.As(err, &ofSync):
		p.Failures = texts(ofSync)
	case errors.As(err, &ofApply):
		p.Failures = texts(ofApply)
	}
	return p
}

func texts[ID ~string](failures map[ID]error) map[string]string {
	shown := make(map[string]string, len(failures))
	for id, err := range failures {
		if shown[string(id)] = "no cause given"; err != nil {
			shown[string(id)] = err.Error()
		}
	}
	return shown
}

// statusCode returns the status that says whose fault an error is.
func statusCode(err error) int {
	var tooLarge *http.MaxBytesError
	var bad badRequest
	switch {
	case errors.As(err, &tooLarge):
		return http.StatusRequestEntityTooLarge
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
	a.log.Warn("request failed", "method", r.Method, "path", r.URL.Path, "status", code, "err", err)
	p := problemOf(helped(err))
	body := map[string]any{"error": p.Error}
	if p.Help != "" {
		body["help"] = p.Help
	}
	if p.Failures != nil {
		body["failures"] = p.Failures
	}
	maps.Copy(body, result)
	answer(w, code, body)
}

func answer(w http.ResponseWriter, code int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false)
	encoder.Encode(body) //nolint:errcheck // whoever asked has gone
}
