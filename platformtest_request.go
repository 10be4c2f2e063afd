package platform

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/platformbus/platform/flux"
)

// A request is a call as a value, so that the batteries can treat all methods alike.
// Only the arguments of its method are set.
type request struct {
	method    string
	namespace string              // of AllServices
	ignored   flux.ServiceIDSet   // of AllServices
	ids       []flux.ServiceID    // of SomeServices
	defs      []ServiceDefinition // of Apply
	def       SyncDef             // of Sync
}

// An answer is what a call returned. Only the results of its method are set.
type answer struct {
	services []Service
	version  string
	export   []byte
	err      error
}

// methods are those of Platform; those that write change the cluster.
var (
	methods       = []string{"AllServices", "SomeServices", "Apply", "Ping", "Version", "Export", "Sync"}
	withArguments = []string{"AllServices", "SomeServices", "Apply", "Sync"}
)

func writes(method string) bool { return method == "Apply" || method == "Sync" }

// send makes the call.
func (r request) send(p Platform) (a answer) {
	switch r.method {
	case "AllServices":
		a.services, a.err = p.AllServices(r.namespace, r.ignored)
	case "SomeServices":
		a.services, a.err = p.SomeServices(r.ids)
	case "Apply":
		a.err = p.Apply(r.defs)
	case "Ping":
		a.err = p.Ping()
	case "Version":
		a.version, a.err = p.Version()
	case "Export":
		a.export, a.err = p.Export()
	case "Sync":
		a.err = p.Sync(r.def)
	}
	return a
}

// An adapter is a Platform that has each call answered by a function.
type adapter struct{ handle func(request) answer }

var _ Platform = (*adapter)(nil)

func (a *adapter) AllServices(namespace string, ignored flux.ServiceIDSet) ([]Service, error) {
	got := a.handle(request{method: "AllServices", namespace: namespace, ignored: ignored})
	return got.services, got.err
}

func (a *adapter) SomeServices(ids []flux.ServiceID) ([]Service, error) {
	got := a.handle(request{method: "SomeServices", ids: ids})
	return got.services, got.err
}

func (a *adapter) Apply(defs []ServiceDefinition) error {
	return a.handle(request{method: "Apply", defs: defs}).err
}

func (a *adapter) Ping() error { return a.handle(request{method: "Ping"}).err }

func (a *adapter) Version() (string, error) {
	got := a.handle(request{method: "Version"})
	return got.version, got.err
}

func (a *adapter) Export() ([]byte, error) {
	got := a.handle(request{method: "Export"})
	return got.export, got.err
}

func (a *adapter) Sync(def SyncDef) error {
	return a.handle(request{method: "Sync", def: def}).err
}

// clone returns a request that shares nothing with r.
func (r request) clone() request {
	r.ignored = maps.Clone(r.ignored)
	r.ids = slices.Clone(r.ids)
	r.defs = slices.Clone(r.defs)
	for i := range r.defs {
		r.defs[i].NewDefinition = bytes.Clone(r.defs[i].NewDefinition)
	}
	r.def.Actions = slices.Clone(r.def.Actions)
	for i := range r.def.Actions {
		action := &r.def.Actions[i]
		action.Delete, action.Apply = bytes.Clone(action.Delete), bytes.Clone(action.Apply)
	}
	return r
}

// clone returns an answer that shares nothing with a but errors that cannot be changed.
func (a answer) clone() answer {
	a.services = slices.Clone(a.services)
	for i := range a.services {
		s := &a.services[i]
		s.Metadata, s.Containers.Containers = maps.Clone(s.Metadata), slices.Clone(s.Containers.Containers)
	}
	a.export = bytes.Clone(a.export)
	switch err := a.err.(type) {
	case ApplyError:
		a.err = maps.Clone(err)
	case SyncError:
		a.err = maps.Clone(err)
	}
	return a
}

// canonical returns r in the form in which requests that mean the same are deeply equal.
func (r request) canonical() request {
	r = r.clone()
	r.namespace = valid(r.namespace)
	r.ids = orNil(r.ids)
	for i, id := range r.ids {
		r.ids[i] = valid(id)
	}
	slices.Sort(r.ids)
	r.ids = slices.Compact(r.ids)
	if len(r.ignored) == 0 {
		r.ignored = nil
	}
	r.defs = orNil(r.defs)
	for i := range r.defs {
		def := &r.defs[i]
		def.ServiceID, def.NewDefinition = valid(def.ServiceID), orNil(def.NewDefinition)
	}
	r.def.Actions = orNil(r.def.Actions)
	for i := range r.def.Actions {
		action := &r.def.Actions[i]
		action.ResourceID, action.Delete, action.Apply = valid(action.ResourceID), orNil(action.Delete), orNil(action.Apply)
	}
	return r
}

// canonical returns a with its results in the form in which results that mean the same are
// deeply equal.
func (a answer) canonical() answer {
	a = a.clone()
	a.export, a.services = orNil(a.export), orNil(a.services)
	for i := range a.services {
		s := &a.services[i]
		s.ID, s.Status, s.Containers.Containers = valid(s.ID), valid(s.Status), orNil(s.Containers.Containers)
		if len(s.Metadata) == 0 {
			s.Metadata = nil
		}
	}
	slices.SortStableFunc(a.services, func(x, y Service) int { return cmp.Compare(x.ID, y.ID) })
	return a
}

func orNil[S ~[]E, E any](s S) S {
	if len(s) == 0 {
		return nil
	}
	return s
}

// valid returns s with one U+FFFD for each run of bytes that are not UTF-8, or that a
// transport has replaced already.
func valid[S ~string](s S) S {
	t := strings.ToValidUTF8(string(s), "\uFFFD")
	for strings.Contains(t, "\uFFFD\uFFFD") {
		t = strings.ReplaceAll(t, "\uFFFD\uFFFD", "\uFFFD")
	}
	return S(t)
}

// arguments returns the arguments of r's method, for messages.
func (r request) arguments() any {
	switch r.method {
	case "AllServices":
		return struct {
			Namespace string
			Ignored   flux.ServiceIDSet
		}{r.namespace, r.ignored}
	case "SomeServices":
		return r.ids
	case "Apply":
		return r.defs
	case "Sync":
		return r.def
	}
	return struct{}{}
}

// sameAs reports whether the requests mean the same.
func (r request) sameAs(other request) bool {
	return reflect.DeepEqual(r.canonical(), other.canonical())
}

// echo derives the answer from the request alone: different requests get different
// answers, and each answer is a new value.
func echo(r request) (a answer) {
	switch r.method {
	case "AllServices":
		for _, id := range r.ignored.ToSlice() {
			a.services = append(a.services, sampleService(id, r.namespace))
		}
	case "SomeServices":
		ids := slices.Clone(r.ids)
		slices.Sort(ids)
		for _, id := range slices.Compact(ids) {
			a.services = append(a.services, sampleService(id, "some"))
		}
	case "Apply":
		failed := ApplyError{}
		for _, def := range r.defs {
			failed[def.ServiceID] = errors.New(string(def.NewDefinition))
		}
		a.err = failed
	case "Export":
		a.export = []byte("kind: Echo\n")
	case "Sync":
		failed := SyncError{}
		for _, action := range r.def.Actions {
			failed[action.ResourceID] = errors.New(string(action.Apply))
		}
		a.err = failed
	}
	return a
}

// sampleRequest returns a typical call of the method.
func sampleRequest(method string) request { return numberedRequest(method, 0) }

// numberedRequest returns a call of the method that differs from those of other numbers,
// and has the same size for all numbers below 1000.
func numberedRequest(method string, n int) request {
	r := request{method: method}
	id := flux.ServiceID(fmt.Sprintf("default/web-%03d", n))
	switch method {
	case "AllServices":
		r.namespace, r.ignored = fmt.Sprintf("ns-%03d", n), flux.ServiceIDSet{id: {}}
	case "SomeServices":
		r.ids = []flux.ServiceID{id, "default/db"}
	case "Apply":
		r.defs = []ServiceDefinition{{ServiceID: id, NewDefinition: fmt.Appendf(nil, "kind: Deployment # %03d\n", n)}}
	case "Sync":
		r.def = SyncDef{Actions: []SyncAction{
			{ResourceID: "b", Delete: ResourceDef("kind: Old\n"), Apply: fmt.Appendf(nil, "kind: New # %03d\n", n)},
			{ResourceID: "a", Apply: ResourceDef("kind: Other\n")},
		}}
	}
	return r
}

// numberedAnswer returns an answer of the method that differs from those of other numbers,
// and has the same size for all numbers below 1000.
func numberedAnswer(method string, n int) (a answer) {
	name := fmt.Sprintf("%03d", n)
	switch method {
	case "AllServices", "SomeServices":
		a.services = []Service{sampleService(flux.ServiceID("default/"+name), name)}
	case "Apply":
		a.err = ApplyError{flux.ServiceID("default/" + name): errors.New("refused: " + name)}
	case "Ping":
		a.err = errors.New("no answer: " + name)
	case "Version":
		a.version = "1.2." + name
	case "Export":
		a.export = []byte("kind: List # " + name + "\n")
	case "Sync":
		a.err = SyncError{"r-" + name: errors.New("refused: " + name)}
	}
	return a
}

func sampleService(id flux.ServiceID, namespace string) Service {
	return Service{
		ID:         id,
		IP:         "10.0.0.1",
		Metadata:   map[string]string{"namespace": namespace},
		Status:     "ready",
		Containers: ContainersOrExcuse{Containers: []Container{{Name: namespace}}},
	}
}
