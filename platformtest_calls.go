package platform

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"sync"

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

// methods are those of Platform.
var methods = []string{"AllServices", "SomeServices", "Apply", "Ping", "Version", "Export", "Sync"}

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
	default:
		panic("no such method: " + r.method)
	}
	return a
}

// set configures the mock to answer a call of the method with a.
func (a answer) set(m *MockPlatform, method string) {
	switch method {
	case "AllServices":
		m.AllServicesAnswer, m.AllServicesError = a.services, a.err
	case "SomeServices":
		m.SomeServicesAnswer, m.SomeServicesError = a.services, a.err
	case "Apply":
		m.ApplyError = a.err
	case "Ping":
		m.PingError = a.err
	case "Version":
		m.VersionAnswer, m.VersionError = a.version, a.err
	case "Export":
		m.ExportAnswer, m.ExportError = a.export, a.err
	case "Sync":
		m.SyncError = a.err
	default:
		panic("no such method: " + method)
	}
}

// clone returns a request that shares nothing with r; nil and empty stay apart.
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

// A recorder is the Platform at the far end. It records each call with a copy of the
// arguments, then answers it. Unlike MockPlatform it counts the calls of all methods.
type recorder struct {
	mock   *MockPlatform
	answer func(request) answer // answers in place of mock, unless nil

	mu    sync.Mutex
	calls []request // guarded by mu
}

var _ Platform = (*recorder)(nil)

func (rc *recorder) record(r request) answer {
	seen := r.clone()
	rc.mu.Lock()
	rc.calls = append(rc.calls, seen)
	rc.mu.Unlock()
	if rc.answer != nil {
		return rc.answer(r)
	}
	return r.send(rc.mock)
}

func (rc *recorder) AllServices(namespace string, ignored flux.ServiceIDSet) ([]Service, error) {
	a := rc.record(request{method: "AllServices", namespace: namespace, ignored: ignored})
	return a.services, a.err
}

func (rc *recorder) SomeServices(ids []flux.ServiceID) ([]Service, error) {
	a := rc.record(request{method: "SomeServices", ids: ids})
	return a.services, a.err
}

func (rc *recorder) Apply(defs []ServiceDefinition) error {
	return rc.record(request{method: "Apply", defs: defs}).err
}

func (rc *recorder) Ping() error { return rc.record(request{method: "Ping"}).err }

func (rc *recorder) Version() (string, error) {
	a := rc.record(request{method: "Version"})
	return a.version, a.err
}

func (rc *recorder) Export() ([]byte, error) {
	a := rc.record(request{method: "Export"})
	return a.export, a.err
}

func (rc *recorder) Sync(def SyncDef) error {
	return rc.record(request{method: "Sync", def: def}).err
}

// expect compares the calls that were made since the last expect with those wanted, and
// forgets them.
func (rc *recorder) expect(wanted ...request) error {
	rc.mu.Lock()
	seen := rc.calls
	rc.calls = nil
	rc.mu.Unlock()
	if len(seen) != len(wanted) {
		return mismatch("calls that the platform received", names(seen), names(wanted))
	}
	for i, want := range wanted {
		if got := seen[i]; got.method != want.method {
			return mismatch("calls that the platform received", names(seen), names(wanted))
		} else if !reflect.DeepEqual(got, want) {
			return mismatch(want.method+" reached the platform with arguments", got.arguments(), want.arguments())
		}
	}
	return nil
}

func names(calls []request) []string {
	list := make([]string, len(calls))
	for i, r := range calls {
		list[i] = r.method
	}
	return list
}

// echo derives the answer from the request alone: different requests get different
// answers, and each answer is a new value.
func echo(r request) (a answer) {
	switch r.method {
	case "AllServices":
		a.services = []Service{}
		for _, id := range r.ignored.ToSlice() {
			a.services = append(a.services, sampleService(id, r.namespace))
		}
	case "SomeServices":
		a.services = []Service{}
		for _, id := range r.ids {
			a.services = append(a.services, sampleService(id, "some"))
		}
	case "Apply":
		failed := ApplyError{}
		for _, def := range r.defs {
			failed[def.ServiceID] = fmt.Errorf("%s, async %v", def.NewDefinition, def.Async)
		}
		a.err = failed
	case "Version":
		a.version = "echo"
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
func sampleRequest(method string) request {
	r := request{method: method}
	switch method {
	case "AllServices":
		r.namespace, r.ignored = "default", flux.ServiceIDSet{"default/web": {}, "default/db": {}}
	case "SomeServices":
		r.ids = []flux.ServiceID{"default/web", "default/db"}
	case "Apply":
		r.defs = []ServiceDefinition{
			{ServiceID: "default/web", NewDefinition: []byte("kind: Deployment\n"), Async: true},
			{ServiceID: "default/db", NewDefinition: []byte("kind: StatefulSet\n")},
		}
	case "Sync":
		r.def = SyncDef{Actions: []SyncAction{
			{ResourceID: "b", Delete: ResourceDef("kind: Old\n"), Apply: ResourceDef("kind: New\n")},
			{ResourceID: "a", Apply: ResourceDef("kind: Other\n")},
		}}
	}
	return r
}

func sampleService(id flux.ServiceID, namespace string) Service {
	return Service{
		ID:         id,
		IP:         "10.0.0.1",
		Metadata:   map[string]string{"namespace": namespace},
		Status:     "ready",
		Containers: ContainersOrExcuse{Containers: []Container{{Name: namespace, Image: "image/" + string(id)}}},
	}
}

// mock returns a mock that answers a call of the method with a.
func (a answer) mock(method string) *MockPlatform {
	m := &MockPlatform{}
	a.set(m, method)
	return m
}
