package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"

	"github.com/platformbus/platform"
	"github.com/platformbus/platform/cmd/internal/jsonform"
	"github.com/platformbus/platform/cmd/internal/program"
	"github.com/platformbus/platform/flux"
	"github.com/platformbus/platform/internal/oneline"
)

// client follows no redirect: it would make a POST a GET, whose answer would seem to be that of the
// POST, and give the request's body to whatever server the redirect names.
var client = &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}

// An httpClient asks the HTTP API of a service.
type httpClient struct {
	base  *url.URL
	token string
}

// maxAnswer bounds an answer, in bytes: an export can be as large as the bus lets it be.
const maxAnswer = 1 << 30

// An apiError is the JSON form of an error.
type apiError struct {
	Error    string            `json:"error"`
	Help     string            `json:"help"`
	Failures map[string]string `json:"failures"`
}

// ask sends a request. It returns the body also beside an error of the service, since it may
// hold a partial result.
func (c *httpClient) ask(ctx context.Context, method, path string, query url.Values, kind string, body []byte) ([]byte, error) {
	u := c.base.JoinPath(path)
	u.RawQuery = query.Encode()
	r, err := http.NewRequestWithContext(ctx, method, u.String(), bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("ask the service: %w", err)
	}
	if body != nil {
		r.Header.Set("Content-Type", kind)
	}
	if c.token != "" {
		r.Header.Set("Authorization", "Bearer "+c.token)
	}
	resp, err := client.Do(r)
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			return nil, cause
		}
		help := fmt.Sprintf("No service answers at %s: is --server (or %s) right, and does the service run?", c.base.Host, program.EnvName("server"))
		return nil, notAvailable(help, fmt.Errorf("the service does not answer: %w", err))
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("read the service's answer: %w", err)
	case len(answer) > maxAnswer:
		return nil, fmt.Errorf("read the service's answer: it has more than %d bytes", maxAnswer)
	case resp.StatusCode >= 300:
		return answer, errorOf(resp.StatusCode, answer)
	}
	switch kind, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type")); kind {
	case "application/json", "application/yaml":
		return answer, nil
	}
	return nil, errNoService(resp.StatusCode) // such as the page of a login
}

// notAvailable returns an error that matches platform.ErrPlatformNotAvailable. The help of a
// platform.UnavailableError would be about a daemon, also where none is missing.
func notAvailable(help string, err error) error {
	return flux.UserConfigProblem{BaseError: flux.BaseError{Help: help, Err: err}.Matching(platform.ErrPlatformNotAvailable)}
}

// errNoService returns the error about an answer that is not one of a service.
func errNoService(status int) error {
	return fmt.Errorf("the service answers %d %s, and not as a service of platform does; is the URL right?", status, http.StatusText(status))
}

// errorOf returns the error in an answer, with the type and the help text that it would have from
// a bus.
func errorOf(status int, answer []byte) error {
	var told apiError
	if err := json.Unmarshal(answer, &told); err != nil || told.Error == "" {
		return errNoService(status)
	}
	err := errors.New(oneline.Line(told.Error))
	switch status {
	case http.StatusServiceUnavailable:
		return notAvailable(told.Help, err) // which has no help if the service is only busy
	case http.StatusNotImplemented:
		return platform.UpgradeNeededError(err)
	case http.StatusUnauthorized:
		return fmt.Errorf("%w: set --token-file", err)
	}
	if len(told.Failures) > 0 {
		failed := make(platform.SyncError, len(told.Failures))
		for _, id := range slices.Sorted(maps.Keys(told.Failures)) {
			failed[id] = errors.New(oneline.Line(told.Failures[id]))
		}
		err = failed
	}
	if told.Help == "" {
		return err
	}
	return flux.UserConfigProblem{BaseError: &flux.BaseError{Help: told.Help, Err: err}}
}

func (c *httpClient) instances(ctx context.Context) ([]jsonform.Instance, error) {
	var all []jsonform.Instance
	err := c.pages(ctx, "/v1/instances", nil, func(answer []byte) error {
		var page struct {
			Instances []jsonform.Instance `json:"instances"`
		}
		err := json.Unmarshal(answer, &page)
		all = append(all, page.Instances...)
		return err
	})
	return all, err
}

// pages asks for a list until it is complete. All pages together have the bound of one answer.
// Beside an error of the service, the last page may hold a partial result.
func (c *httpClient) pages(ctx context.Context, path string, query url.Values, add func(answer []byte) error) error {
	query = maps.Clone(query)
	if query == nil {
		query = url.Values{}
	}
	for size := 0; ; {
		answer, err := c.ask(ctx, http.MethodGet, path, query, "", nil)
		if err != nil {
			if answer != nil {
				add(answer) // the service's own error says more
			}
			return err
		}
		var page struct {
			Continue string `json:"continue"`
		}
		if err := errors.Join(json.Unmarshal(answer, &page), add(answer)); err != nil {
			return fmt.Errorf("read the service's answer: %w", err)
		}
		size += len(answer)
		switch {
		case page.Continue == "":
			return nil
		case page.Continue == query.Get("continue"), size > maxAnswer:
			return fmt.Errorf("read the service's answer: a list does not end")
		}
		query.Set("continue", page.Continue)
	}
}

// instance returns the platform of an instance. Its calls obey ctx.
func (c *httpClient) instance(ctx context.Context, instance flux.InstanceID) platform.Platform {
	return &httpPlatform{c, ctx, "/v1/instances/" + url.PathEscape(string(instance))}
}

// An httpPlatform is a Platform whose calls are requests to a service.
type httpPlatform struct {
	*httpClient
	ctx  context.Context
	path string
}

var _ platform.Platform = (*httpPlatform)(nil)

func (p *httpPlatform) Ping() error {
	_, err := p.ask(p.ctx, http.MethodGet, p.path, nil, "", nil)
	return err
}

func (p *httpPlatform) Version() (string, error) {
	answer, err := p.ask(p.ctx, http.MethodGet, p.path, nil, "", nil)
	var status jsonform.Instance
	if json.Unmarshal(answer, &status) == nil && status.Connected {
		return status.Version, nil // also if the cluster does not answer its daemon
	}
	if err == nil {
		err = errNoService(http.StatusOK)
	}
	return "", err
}

func (p *httpPlatform) services(query url.Values) (found []platform.Service, err error) {
	err = p.pages(p.ctx, p.path+"/services", query, func(answer []byte) error {
		var page struct {
			Services []jsonform.Service `json:"services"`
		}
		err := json.Unmarshal(answer, &page)
		for _, s := range page.Services {
			found = append(found, platform.Service{ID: s.ID, IP: s.IP, Metadata: s.Metadata, Status: s.Status,
				Containers: platform.ContainersOrExcuse{Containers: s.Containers, Excuse: s.Excuse}})
		}
		return err
	})
	return found, err
}

func (p *httpPlatform) AllServices(namespace string, ignored flux.ServiceIDSet) ([]platform.Service, error) {
	query := url.Values{}
	if namespace != "" {
		query.Set("namespace", namespace)
	}
	found, err := p.services(query)
	return slices.DeleteFunc(found, func(s platform.Service) bool { return ignored.Contains(s.ID) }), err
}

func (p *httpPlatform) SomeServices(ids []flux.ServiceID) ([]platform.Service, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	query := url.Values{}
	for _, id := range ids {
		query.Add("id", string(id))
	}
	return p.services(query)
}

// Apply applies one definition after the other, as the API takes them.
func (p *httpPlatform) Apply(defs []platform.ServiceDefinition) error {
	failed := platform.ApplyError{}
	for i, def := range defs {
		query := url.Values{"service": {string(def.ServiceID)}, "async": {strconv.FormatBool(def.Async)}}
		_, err := p.ask(p.ctx, http.MethodPost, p.path+"/apply", query, "application/yaml", def.NewDefinition)
		if err == nil {
			continue
		}
		var told platform.SyncError // the failures in the answer
		if !errors.As(err, &told) && i == 0 {
			return err // it is not about the definition
		}
		if cause := told[string(def.ServiceID)]; cause != nil { // without the name, which the ApplyError adds
			err = flux.UserConfigProblem{BaseError: &flux.BaseError{Help: program.HelpOf(err), Err: cause}}
		}
		failed[def.ServiceID] = err
	}
	if len(failed) > 0 {
		return failed
	}
	return nil
}

func (p *httpPlatform) Export() ([]byte, error) {
	answer, err := p.ask(p.ctx, http.MethodGet, p.path+"/export", nil, "", nil)
	if err == nil {
		return answer, nil
	}
	var partial struct {
		Manifests string `json:"manifests"`
	}
	json.Unmarshal(answer, &partial) //nolint:errcheck // the service's own error says more
	return []byte(partial.Manifests), err
}

func (p *httpPlatform) Sync(def platform.SyncDef) error {
	if len(def.Actions) == 0 {
		return p.Ping()
	}
	body, err := json.Marshal(jsonform.Sync(def))
	if err != nil {
		return err
	}
	_, err = p.ask(p.ctx, http.MethodPost, p.path+"/sync", nil, "application/json", body)
	return err
}
