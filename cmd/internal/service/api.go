package service

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
	"github.com/platformbus/platform/cmd/internal/program"
	"github.com/platformbus/platform/flux"
	"github.com/platformbus/platform/internal/oneline"
)

// An api offers the instances of a bus over HTTP.
type api struct {
	bus       platform.Connecter
	instances []flux.InstanceID // the instances in the list
	measure   platform.Metrics
	maxBody   int64
	bodies    *budget
	slots     *slots
	probes    *slots        // for the list, which includes instances that have no free slot
	limit     time.Duration // of each request
	log       *slog.Logger
}

// routes returns the API. Answers are JSON, except for an export. An answer with a status
// below 300 is complete; any other contains an error and the partial result, if there is one,
// see problem. A request that is cancelled cancels its calls.
func (a *api) routes() *http.ServeMux {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/instances", a.list)
	mux.Handle("GET /v1/instances/{instance}", a.withPlatform(a.status))
	mux.Handle("GET /v1/instances/{instance}/services", a.withPlatform(a.services)) // ?namespace=x, or ?id=x/y&id=...
	mux.Handle("GET /v1/instances/{instance}/export", a.withPlatform(a.export))     // YAML
	mux.Handle("POST /v1/instances/{instance}/sync", a.withPlatform(a.sync))        // YAML, or files of a form, or JSON, see syncDef
	mux.Handle("POST /v1/instances/{instance}/apply", a.withPlatform(a.apply))      // ?service=x/y&async=true, and a definition
	return mux
}

// handler returns the handler of all paths.
func (a *api) handler(token string, metrics, health http.Handler) http.Handler {
	inner := a.routes()
	inner.Handle("GET /metrics", metrics)
	guarded := guard(token, jsonErrors(inner))
	outer := http.NewServeMux()
	outer.Handle("GET /healthz", health) // needs no token, and reveals nothing that needs one
	open := jsonErrors(outer)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/healthz" {
			open.ServeHTTP(w, r)
			return
		}
		guarded.ServeHTTP(w, r)
	})
}

// A platformHandler handles a request on a platform. The body is in memory, and the handler
// may consume it.
type platformHandler func(w http.ResponseWriter, r *http.Request, p platform.Platform, body *chunks)

// withPlatform calls a handler with the platform that the path names.
func (a *api) withPlatform(handle platformHandler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		instance, err := program.InstanceID(r.PathValue("instance"))
		if err != nil {
			a.fail(w, r, badRequest{err}, nil)
			return
		}
		if _, err := url.ParseQuery(r.URL.RawQuery); err != nil { // r.URL.Query would ignore malformed parameters
			a.fail(w, r, badRequest{fmt.Errorf("read the query: %w", err)}, nil)
			return
		}
		body, releaseBody, err := a.readBody(w, r)
		defer releaseBody()
		if err != nil {
			a.fail(w, r, err, nil)
			return
		}
		releaseSlot, err := a.slots.acquire(instance)
		if err != nil {
			a.fail(w, r, err, nil)
			return
		}
		defer releaseSlot()
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

// connect returns the platform of an instance. Its calls are measured and obey ctx. The first
// call fails if no daemon is connected.
func (a *api) connect(ctx context.Context, instance flux.InstanceID) (platform.Platform, error) {
	p, err := a.bus.Connect(instance)
	if err != nil {
		return nil, err
	}
	return platform.WithContext(ctx, a.measure.Instrument(p)), nil
}

// instanceStatus is the JSON form of the current state of an instance.
type instanceStatus struct {
	Instance  flux.InstanceID `json:"instance"`
	Connected bool            `json:"connected"`
	Version   string          `json:"version,omitempty"`
	*problem
}

// statusOf calls Version, which the daemon answers, and Ping, which the cluster answers.
func statusOf(instance flux.InstanceID, p platform.Platform) (instanceStatus, error) {
	s := instanceStatus{Instance: instance}
	version, err := p.Version()
	if err == nil {
		s.Connected, s.Version = true, version
		err = p.Ping()
	}
	if err != nil {
		s.problem = problemOf(withHelp(err))
	}
	return s, err
}

// statusLimit bounds the time of an instance in a list, since the others wait for it.
const statusLimit = 10 * time.Second

func (a *api) list(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), statusLimit)
	defer cancel()
	statuses := make([]instanceStatus, len(a.instances))
	var asking sync.WaitGroup
	for i, instance := range a.instances {
		asking.Go(func() {
			release, err := a.probes.acquire(instance)
			if err != nil {
				statuses[i] = instanceStatus{Instance: instance, problem: problemOf(err)}
				return
			}
			defer release()
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

// service is the JSON form of a platform.Service.
type service struct {
	ID         flux.ServiceID       `json:"id"`
	IP         string               `json:"ip,omitempty"`
	Metadata   map[string]string    `json:"metadata,omitempty"`
	Status     string               `json:"status"`
	Containers []platform.Container `json:"containers,omitempty"`
	Excuse     string               `json:"excuse,omitempty"` // why containers are not known
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
	w.Write(manifests) //nolint:errcheck // it fails if the client has disconnected
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
	if err := applyDefinition(r, p, body.drain()); err != nil {
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
