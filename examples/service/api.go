package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/platformbus/platform"
	"github.com/platformbus/platform/examples/internal/program"
	"github.com/platformbus/platform/flux"
)

// An api lets others use, over HTTP, the instances that a bus leads to.
type api struct {
	bus       platform.Connecter
	instances []flux.InstanceID // to be listed
	measure   platform.Metrics
	maxBody   int64
	limit     time.Duration // of each request
	log       *slog.Logger
}

// routes is the API. What it answers is JSON, but for an export. With a status below 300 it
// is whole; with another it has an error, and beside it the part of the result that there
// is, see problem. A request that is cancelled cancels what it has begun.
func (a *api) routes(mux *http.ServeMux) {
	mux.HandleFunc("GET /v1/instances", a.list)
	mux.HandleFunc("GET /v1/instances/{instance}", a.with(a.status))
	mux.HandleFunc("GET /v1/instances/{instance}/services", a.with(a.services)) // ?namespace=x, or ?id=x/y&id=...
	mux.HandleFunc("GET /v1/instances/{instance}/export", a.with(a.export))     // YAML
	mux.HandleFunc("POST /v1/instances/{instance}/sync", a.with(a.sync))        // YAML, or files of a form, or a syncRequest
	mux.HandleFunc("POST /v1/instances/{instance}/apply", a.with(a.apply))      // ?service=x/y&async=true, and a definition
}

// bodyLimit is how long a request's body may take to come.
const bodyLimit = time.Minute

// with has a handler do its work on the platform that the path names, with the request's
// body in memory.
func (a *api) with(handle func(http.ResponseWriter, *http.Request, platform.Platform)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		instance, err := program.InstanceID(r.PathValue("instance"))
		if err != nil {
			a.fail(w, r, badRequest{err}, nil)
			return
		}
		body, err := a.read(w, r)
		if err != nil {
			a.fail(w, r, badRequest{fmt.Errorf("read the request's body: %w", err)}, nil)
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		ctx, cancel := context.WithTimeout(r.Context(), a.limit)
		defer cancel()
		p, err := a.connect(ctx, instance)
		if err != nil {
			a.fail(w, r, err, nil)
			return
		}
		handle(w, r, p)
	}
}

// read reads the body of a request, all of it: only then does the server notice when whoever
// asked goes away.
func (a *api) read(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	connection := http.NewResponseController(w)
	if err := connection.SetReadDeadline(time.Now().Add(bodyLimit)); err != nil {
		return nil, err
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, a.maxBody))
	if err != nil {
		return nil, err
	}
	return body, connection.SetReadDeadline(time.Time{}) // or it would end a long call
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

func (a *api) status(w http.ResponseWriter, r *http.Request, p platform.Platform) {
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

func (a *api) services(w http.ResponseWriter, r *http.Request, p platform.Platform) {
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
		shown = append(shown, service{s.ID, s.IP, s.Metadata, s.Status, s.ContainersOrNil(), s.Containers.Excuse})
	}
	result := map[string]any{"services": shown}
	if err != nil {
		a.fail(w, r, err, result)
		return
	}
	answer(w, http.StatusOK, result)
}

func (a *api) export(w http.ResponseWriter, r *http.Request, p platform.Platform) {
	manifests, err := p.Export()
	if err != nil {
		a.fail(w, r, err, map[string]any{"manifests": string(manifests)})
		return
	}
	w.Header().Set("Content-Type", "application/yaml")
	w.Write(manifests) //nolint:errcheck // whoever asked has gone
}

func (a *api) sync(w http.ResponseWriter, r *http.Request, p platform.Platform) {
	def, err := syncDef(r)
	if err == nil {
		err = p.Sync(def)
	}
	if err != nil {
		a.fail(w, r, err, nil)
		return
	}
	answer(w, http.StatusOK, map[string]any{"actions": len(def.Actions)})
}

// A syncRequest is a platform.SyncDef in JSON.
type syncRequest struct {
	Actions []struct {
		ResourceID string `json:"resourceID"`
		Delete     string `json:"delete"`
		Apply      string `json:"apply"`
	} `json:"actions"`
}

// syncDef reads what is to be synced: a syncRequest; the files of a form, those of the field
// "delete" to be deleted and those of "apply" to be applied; or manifests as they are.
func syncDef(r *http.Request) (def platform.SyncDef, err error) {
	switch kind, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";"); kind {
	case "application/json":
		var asked syncRequest
		decoder := json.NewDecoder(r.Body)
		decoder.DisallowUnknownFields()
		if err := decoder.Decode(&asked); err != nil {
			return def, badRequest{fmt.Errorf("read the request: %w", err)}
		}
		for _, one := range asked.Actions {
			def.Actions = append(def.Actions, platform.SyncAction{
				ResourceID: one.ResourceID, Delete: []byte(one.Delete), Apply: []byte(one.Apply)})
		}
	case "multipart/form-data":
		if def, err = formDef(r); err != nil {
			return def, badRequest{fmt.Errorf("read the form: %w", err)}
		}
	default:
		text, err := io.ReadAll(r.Body)
		if err != nil {
			return def, badRequest{fmt.Errorf("read the manifests: %w", err)}
		}
		if len(text) > 0 {
			def.Actions = []platform.SyncAction{{ResourceID: "request", Apply: text}}
		}
	}
	if len(def.Actions) == 0 {
		return def, badRequest{errors.New("the request has nothing to sync in it")}
	}
	return def, nil
}

// formDef reads the files of a form one by one, each into memory.
func formDef(r *http.Request) (def platform.SyncDef, err error) {
	parts, err := r.MultipartReader()
	if err != nil {
		return def, err
	}
	for {
		part, err := parts.NextPart()
		if errors.Is(err, io.EOF) {
			return def, nil
		} else if err != nil {
			return def, err
		}
		text, err := io.ReadAll(part)
		if err != nil {
			return def, err
		}
		action := platform.SyncAction{ResourceID: part.FileName()}
		switch part.FormName() {
		case "apply":
			action.Apply = text
		case "delete":
			action.Delete = text
		default:
			return def, fmt.Errorf("there is a field %q; want files in the fields apply and delete", part.FormName())
		}
		def.Actions = append(def.Actions, action)
	}
}

func (a *api) apply(w http.ResponseWriter, r *http.Request, p platform.Platform) {
	if err := applyDefinition(r, p); err != nil {
		a.fail(w, r, err, nil)
		return
	}
	answer(w, http.StatusOK, map[string]any{"applied": r.URL.Query().Get("service")})
}

func applyDefinition(r *http.Request, p platform.Platform) error {
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
	definition, err := io.ReadAll(r.Body)
	if err != nil {
		return badRequest{fmt.Errorf("read the definition: %w", err)}
	}
	return p.Apply([]platform.ServiceDefinition{{ServiceID: id, NewDefinition: definition, Async: async}})
}
