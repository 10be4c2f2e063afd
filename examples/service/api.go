package main

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"

	"github.com/platformbus/platform"
	"github.com/platformbus/platform/examples/internal/program"
	"github.com/platformbus/platform/flux"
	"github.com/platformbus/platform/internal/oneline"
)

// An api lets others use, over HTTP, the instances that a bus leads to.
type api struct {
	bus       platform.Connecter
	instances []flux.InstanceID // to be listed
	measure   platform.Metrics
	maxBody   int64
	bodies    *budget
	slots     *slots
	probes    *slots        // of the list: it shows a daemon that has no free slot, too
	limit     time.Duration // of each request
	log       *slog.Logger
}

// routes is the API. What it answers is JSON, but for an export. With a status below 300 it
// is whole; with another it has an error, and beside it the part of the result that there
// is, see problem. A request that is cancelled cancels what it has begun.
func (a *api) routes() *http.ServeMux {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/instances", a.list)
	mux.Handle("GET /v1/instances/{instance}", a.with(a.status))
	mux.Handle("GET /v1/instances/{instance}/services", a.with(a.services)) // ?namespace=x, or ?id=x/y&id=...
	mux.Handle("GET /v1/instances/{instance}/export", a.with(a.export))     // YAML
	mux.Handle("POST /v1/instances/{instance}/sync", a.with(a.sync))        // YAML, or files of a form, or JSON, see syncDef
	mux.Handle("POST /v1/instances/{instance}/apply", a.with(a.apply))      // ?service=x/y&async=true, and a definition
	return mux
}

// handler is all that the service serves.
func (a *api) handler(token string, metrics, health http.Handler) http.Handler {
	inner := a.routes()
	inner.Handle("GET /metrics", metrics)
	guarded := guard(token, inJSON(inner))
	outer := http.NewServeMux()
	outer.Handle("GET /healthz", health) // needs no token, and tells nothing worth one
	open := inJSON(outer)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/healthz" {
			open.ServeHTTP(w, r)
			return
		}
		guarded.ServeHTTP(w, r)
	})
}

// An onPlatform does its work on a platform, with a body that is in memory. It may use it up.
type onPlatform func(w http.ResponseWriter, r *http.Request, p platform.Platform, body *chunks)

// with has a handler do its work on the platform that the path names.
func (a *api) with(handle onPlatform) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		instance, err := program.InstanceID(r.PathValue("instance"))
		if err != nil {
			a.fail(w, r, badRequest{err}, nil)
			return
		}
		if _, err := url.ParseQuery(r.URL.RawQuery); err != nil { // r.URL.Query would leave out what it cannot read
			a.fail(w, r, badRequest{fmt.Errorf("read the query: %w", err)}, nil)
			return
		}
		body, release, err := a.readBody(w, r)
		defer release()
		if err != nil {
			a.fail(w, r, err, nil)
			return
		}
		leave, err := a.slots.take(instance)
		if err != nil {
			a.fail(w, r, err, nil)
			return
		}
		defer leave()
		ctx, cancel := context.WithTimeout(r.Context(), a.limit)
		defer cancel()
		p, err := a.connect(ctx, instance)
		if err != nil {
			a.fail(w, r, err, nil)
			return
		}
		handle(w, r, p, body)
	})
}

// connect returns the instance as a platform whose calls are measured and obey ctx. Whether
// a daemon is there shows with the first call.
func (a *api) connect(ctx context.Context, instance flux.InstanceID) (platform.Platform, error) {
	p, err := a.bus.Connect(instance)
	if err != nil {
		return nil, err
	}
	return platform.WithContext(ctx, a.measure.Instrument(p)), nil
}

// instanceStatus is what is known of an instance at the moment.
type instanceStatus struct {
	Instance  flux.InstanceID `json:"instance"`
	Connected bool            `json:"connected"`
	Version   string          `json:"version,omitempty"`
	*problem
}

// statusOf asks a daemon for its version, and its cluster whether it is there.
func statusOf(instance flux.InstanceID, p platform.Platform) (instanceStatus, error) {
	s := instanceStatus{Instance: instance}
	version, err := p.Version()
	if err == nil {
		s.Connected, s.Version = true, version
		err = p.Ping()
	}
	if err != nil {
		s.problem = problemOf(helped(err))
	}
	return s, err
}

// statusLimit is for an instance in a list, which others are waiting for.
const statusLimit = 10 * time.Second

func (a *api) list(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), statusLimit)
	defer cancel()
	statuses := make([]instanceStatus, len(a.instances))
	var asking sync.WaitGroup
	for i, instance := range a.instances {
		asking.Go(func() {
			leave, err := a.probes.take(instance)
			if err != nil {
				statuses[i] = instanceStatus{Instance: instance, problem: problemOf(err)}
				return
			}
			defer leave()
			p, err := a.connect(ctx, instance)
			if err != nil {
				statuses[i] = instanceStatus{Instance: instance, problem: problemOf(err)}
				return
			}
			statuses[i], _ = statusOf(instance, p) // the error is in the status
		})
	}
	asking.Wait()
	answer(w, http.StatusOK, map[string]any{"instances": statuses})
}

func (a *api) status(w http.ResponseWriter, r *http.Request, p platform.Platform, _ *chunks) {
	s, err := statusOf(flux.InstanceID(r.PathValue("instance")), p)
	if err != nil {
		answer(w, statusCode(err), s)
		return
	}
	answer(w, http.StatusOK, s)
}

// service is a platform.Service for those who read JSON.
type service struct {
	ID         flux.ServiceID       `json:"id"`
	IP         string               `json:"ip,omitempty"`
	Metadata   map[string]string    `json:"metadata,omitempty"`
	Status     string               `json:"status"`
	Containers []platform.Container `json:"containers,omitempty"`
	Excuse     string               `json:"excuse,omitempty"` // for the containers that are not known
}

func (a *api) services(w http.ResponseWriter, r *http.Request, p platform.Platform, _ *chunks) {
	var found []platform.Service
	var err error
	query := r.URL.Query()
	if texts, some := query["id"]; some {
		var ids []flux.ServiceID
		for _, text := range texts {
			id, err := flux.ParseServiceID(text)
			if err != nil {
				a.fail(w, r, badRequest{err}, nil)
				return
			}
			ids = append(ids, id)
		}
		found, err = p.SomeServices(ids)
	} else {
		found, err = p.AllServices(query.Get("namespace"), nil)
	}
	shown := make([]service, 0, len(found))
	for _, s := range found {
		shown = append(shown, service{s.ID, s.IP, s.Metadata, s.Status, s.ContainersOrNil(), oneline.Line(s.Containers.Excuse)})
	}
	result := map[string]any{"services": shown}
	if err != nil {
		a.fail(w, r, err, result)
		return
	}
	answer(w, http.StatusOK, result)
}

func (a *api) export(w http.ResponseWriter, r *http.Request, p platform.Platform, _ *chunks) {
	manifests, err := p.Export()
	if err != nil {
		a.fail(w, r, err, map[string]any{"manifests": string(manifests)})
		return
	}
	w.Header().Set("Content-Type", "application/yaml")
	w.Write(manifests) //nolint:errcheck // whoever asked has gone
}

func (a *api) sync(w http.ResponseWriter, r *http.Request, p platform.Platform, body *chunks) {
	def, err := syncDef(r.Header, body)
	if err == nil {
		err = p.Sync(def)
	}
	if err != nil {
		a.fail(w, r, err, nil)
		return
	}
	answer(w, http.StatusOK, map[string]any{"actions": len(def.Actions)})
}

func (a *api) apply(w http.ResponseWriter, r *http.Request, p platform.Platform, body *chunks) {
	if err := applyDefinition(r, p, body.bytes()); err != nil {
		a.fail(w, r, err, nil)
		return
	}
	answer(w, http.StatusOK, map[string]any{"applied": r.URL.Query().Get("service")})
}

func applyDefinition(r *http.Request, p platform.Platform, definition []byte) error {
	id, err := flux.ParseServiceID(r.URL.Query().Get("service"))
	if err != nil {
		return badRequest{err}
	}
	async := false
	if text := r.URL.Query().Get("async"); text != "" {
		if async, err = strconv.ParseBool(text); err != nil {
			return badRequest{fmt.Errorf("async=%q: want true or false", text)}
		}
	}
	return p.Apply([]platform.ServiceDefinition{{ServiceID: id, NewDefinition: definition, Async: async}})
}
