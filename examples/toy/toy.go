// Package toy is a Platform in memory, as small as one can be. Its language is JSON: an
// object of a kind, with a name. A "service" selects the "controller" of the same name,
// which runs an image.
package toy

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/platformbus/platform"
	"github.com/platformbus/platform/flux"
)

// An Object is what a definition defines.
type Object struct {
	Kind      string `json:"kind"`
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	Value     string `json:"value,omitempty"` // of any other kind
	Image     string `json:"image,omitempty"` // of a controller
}

type key struct{ kind, namespace, name string }

func (o Object) key() key { return key{o.Kind, o.Namespace, o.Name} }

// A Platform holds objects. New returns one.
type Platform struct {
	*state
	ctxs []context.Context // that end calls
}

type state struct {
	mu      sync.RWMutex
	objects map[key]Object // guarded by mu
}

var _ platform.Platform = Platform{}

// New returns a Platform with the namespaces given.
func New(namespaces ...string) Platform {
	p := Platform{&state{objects: map[key]Object{}}, nil}
	for _, name := range namespaces {
		o := Object{Kind: "namespace", Name: name}
		p.objects[o.key()] = o
	}
	return p
}

// WithContext returns a view that obeys ctx and the contexts of p. No call takes long enough
// to be stopped.
func (p Platform) WithContext(ctx context.Context) platform.Platform {
	return Platform{p.state, append(slices.Clip(p.ctxs), ctx)}
}

func (p Platform) err() error {
	for _, ctx := range p.ctxs {
		if err := context.Cause(ctx); err != nil {
			return err
		}
	}
	return nil
}

// Ping returns nil.
func (p Platform) Ping() error { return p.err() }

// Version returns "toy".
func (p Platform) Version() (string, error) { return "toy", p.err() }

// AllServices returns the services of a namespace, or of all, that are not ignored.
func (p Platform) AllServices(namespace string, ignored flux.ServiceIDSet) ([]platform.Service, error) {
	if err := p.err(); err != nil {
		return nil, err
	}
	p.mu.RLock()
	defer p.mu.RUnlock()
	if _, ok := p.objects[key{"namespace", "", namespace}]; !ok && namespace != "" {
		return nil, platform.ClusterError(fmt.Errorf("namespace %q: not found", namespace))
	}
	return p.servicesLocked(func(o Object, id flux.ServiceID) bool {
		return (namespace == "" || o.Namespace == namespace) && !ignored.Contains(id)
	}), nil
}

// SomeServices returns the services named that exist.
func (p Platform) SomeServices(ids []flux.ServiceID) ([]platform.Service, error) {
	if err := p.err(); err != nil {
		return nil, err
	}
	var named flux.ServiceIDSet
	named.Add(ids)
	p.mu.RLock()
	defer p.mu.RUnlock()
	return p.servicesLocked(func(_ Object, id flux.ServiceID) bool { return named.Contains(id) }), nil
}

func (p Platform) servicesLocked(wanted func(Object, flux.ServiceID) bool) (services []platform.Service) {
	for _, o := range p.objects {
		s := platform.Service{ID: flux.MakeServiceID(o.Namespace, o.Name), Status: "ready"}
		if o.Kind != "service" || !wanted(o, s.ID) {
			continue
		}
		if controller, ok := p.objects[key{"controller", o.Namespace, o.Name}]; ok {
			s.Containers.Containers = []platform.Container{{Name: "main", Image: controller.Image}}
		} else {
			s.Containers.Excuse = platform.ErrNoMatching.Error()
		}
		services = append(services, s)
	}
	return services
}

// Apply replaces the controllers of the services.
func (p Platform) Apply(defs []platform.ServiceDefinition) error {
	if err := p.err(); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	failed := platform.ApplyError{}
	for _, def := range defs {
		if err := p.applyLocked(def); err != nil {
			failed[def.ServiceID] = errors.Join(failed[def.ServiceID], err)
		}
	}
	if len(failed) > 0 {
		return failed
	}
	return nil
}

func (p Platform) applyLocked(def platform.ServiceDefinition) error {
	namespace, name := def.ServiceID.Components()
	objects, err := parse(def.NewDefinition)
	_, isService := p.objects[key{"service", namespace, name}]
	controller := key{"controller", namespace, name}
	_, isController := p.objects[controller]
	switch {
	case !isService:
		return platform.ErrNoMatchingService
	case err != nil:
		return err
	case !isController:
		return platform.ErrNoMatching
	case len(objects) != 1 || objects[0].key() != controller:
		return platform.ErrWrongResourceKind
	}
	p.objects[controller] = objects[0]
	return nil
}

// Sync executes the actions, in their order.
func (p Platform) Sync(def platform.SyncDef) error {
	if err := p.err(); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	failed := platform.SyncError{}
	for _, action := range def.Actions {
		deleted, err0 := parse(action.Delete)
		applied, err1 := parse(action.Apply)
		if err := errors.Join(err0, err1); err != nil {
			failed[action.ResourceID] = errors.Join(failed[action.ResourceID], err)
			continue
		}
		for _, o := range deleted {
			delete(p.objects, o.key())
		}
		for _, o := range applied {
			p.objects[o.key()] = o
		}
	}
	if len(failed) > 0 {
		return failed
	}
	return nil
}

// Export returns all objects, one a line, in the order of their kinds, namespaces and names.
func (p Platform) Export() ([]byte, error) {
	if err := p.err(); err != nil {
		return nil, err
	}
	p.mu.RLock()
	defer p.mu.RUnlock()
	var b bytes.Buffer
	for _, k := range slices.SortedFunc(maps.Keys(p.objects), func(a, b key) int {
		return cmp.Or(cmp.Compare(a.kind, b.kind), cmp.Compare(a.namespace, b.namespace), cmp.Compare(a.name, b.name))
	}) {
		if err := json.NewEncoder(&b).Encode(p.objects[k]); err != nil {
			return nil, err
		}
	}
	return b.Bytes(), nil
}

// parse reads the objects that a definition defines.
func parse(definition []byte) (objects []Object, err error) {
	decoder := json.NewDecoder(bytes.NewReader(definition))
	for {
		var o Object
		switch err := decoder.Decode(&o); {
		case errors.Is(err, io.EOF):
			return objects, nil
		case err != nil:
			return nil, fmt.Errorf("parse: %w", err)
		case o.Kind == "" || o.Name == "":
			return nil, errors.New("parse: an object needs a kind and a name")
		case strings.Contains(o.Namespace+o.Name, "/"): // which divides them in the ID of a service
			return nil, errors.New("parse: a namespace or name has a slash")
		}
		objects = append(objects, o)
	}
}
