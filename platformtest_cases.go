package platform

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/platformbus/platform/flux"
)

const (
	ruleArguments  = "arguments arrive unchanged: nothing is lost, added or reordered, and nil and empty stay distinct"
	ruleResults    = "a result arrives unchanged: nothing is lost, added or reordered, and nil and empty stay distinct"
	rulePartial    = "a result that is returned with an error arrives with the error"
	ruleOnce       = "a call is made exactly once, to the method that was called, and has ended when it returns, also if it failed"
	ruleCaller     = "arguments and results belong to the caller: a Platform neither changes its arguments nor keeps a reference to either"
	ruleConcurrent = "a Platform may be used by many goroutines at once: each call gets its own answer"
)

// large exceeds the default limits of all transports that we know of.
const large = 4 << 20

// everyByte contains every byte value, and so is not UTF-8, and a DOS line ending.
var everyByte = func() []byte {
	all := []byte("kind: Weird\r\n")
	for i := range 256 {
		all = append(all, byte(i))
	}
	return all
}()

func platformCases() []conformanceCase {
	return slices.Concat(argumentCases(), resultCases(), callCases(), errorCases())
}

// argumentCases check that requests reach the far end unchanged.
func argumentCases() []conformanceCase {
	ids := []flux.ServiceID{"b/2", "a/1", "c/3", "a/1", "größe/λ", "a/b/c"}
	set := flux.ServiceIDSet{"b/2": {}, "a/1": {}, "größe/λ": {}}
	defs := []ServiceDefinition{
		{ServiceID: "b/2", NewDefinition: everyByte, Async: true},
		{ServiceID: "a/1", NewDefinition: []byte("kind: One\n")},
		{ServiceID: "a/1", NewDefinition: []byte("kind: Other\n"), Async: true},
		{ServiceID: "größe/λ", NewDefinition: []byte(" ")},
	}
	actions := []SyncAction{
		{ResourceID: "z both", Delete: ResourceDef("kind: Gone\n"), Apply: ResourceDef("kind: Come\n")},
		{ResourceID: "delete", Delete: everyByte},
		{ResourceID: "apply", Apply: everyByte},
		{ResourceID: "twice: größe", Apply: ResourceDef("first")},
		{ResourceID: "twice: größe", Apply: ResourceDef("second")},
		{ResourceID: "", Delete: ResourceDef("nameless")},
	}
	var manyIDs []flux.ServiceID
	manySet := flux.ServiceIDSet{}
	var manyActions []SyncAction
	for i := range 1000 {
		id := fmt.Sprintf("default/%04d", i*7919%1000) // in no order that could be restored
		manyIDs = append(manyIDs, flux.ServiceID(id))
		manySet[flux.ServiceID(id)] = struct{}{}
		manyActions = append(manyActions, SyncAction{ResourceID: id, Delete: ResourceDef("old " + id), Apply: ResourceDef("new " + id)})
	}
	weight := bytes.Repeat(everyByte, large/len(everyByte)+1)

	return []conformanceCase{
		passesArguments("AllServices", "passes on its arguments",
			request{namespace: "größe of a/b", ignored: set}, request{namespace: "default", ignored: flux.ServiceIDSet{"a/1": {}}}),
		passesArguments("AllServices", "keeps nil and empty arguments apart",
			request{}, request{ignored: flux.ServiceIDSet{}}, request{namespace: "default"}),
		passesArguments("AllServices", "passes on 1000 IDs", request{namespace: "default", ignored: manySet}),

		passesArguments("SomeServices", "passes on its arguments", request{ids: ids}),
		passesArguments("SomeServices", "keeps nil and empty arguments apart", request{}, request{ids: []flux.ServiceID{}}),
		passesArguments("SomeServices", "passes on 1000 IDs", request{ids: manyIDs}),

		passesArguments("Apply", "passes on its arguments", request{defs: defs}),
		passesArguments("Apply", "keeps nil and empty arguments apart",
			request{}, request{defs: []ServiceDefinition{}},
			request{defs: []ServiceDefinition{{ServiceID: "nil/nil"}, {ServiceID: "not/nil", NewDefinition: []byte{}}}}),
		passesArguments("Apply", "passes on 4 MiB", request{defs: []ServiceDefinition{{ServiceID: "a/1", NewDefinition: weight}}}),

		passesArguments("Sync", "passes on its arguments", request{def: SyncDef{Actions: actions}}),
		passesArguments("Sync", "keeps nil and empty arguments apart",
			request{}, request{def: SyncDef{Actions: []SyncAction{}}},
			request{def: SyncDef{Actions: []SyncAction{
				{ResourceID: "neither"}, {ResourceID: "empty delete", Delete: ResourceDef{}}, {ResourceID: "empty apply", Apply: ResourceDef{}},
			}}}),
		passesArguments("Sync", "passes on 1000 actions", request{def: SyncDef{Actions: manyActions}}),
		passesArguments("Sync", "passes on 4 MiB", request{def: SyncDef{Actions: []SyncAction{{ResourceID: "a", Apply: weight}, {ResourceID: "b"}}}}),
	}
}

// passesArguments returns the case in which each request must reach the far end, once.
func passesArguments(method, name string, requests ...request) conformanceCase {
	return conformanceCase{
		name: method + "/" + name,
		rule: ruleArguments,
		check: func(p Platform, far *recorder) error {
			for _, want := range requests {
				want.method = method
				want.clone().send(p)
				if err := far.expect(want); err != nil {
					return err
				}
			}
			return nil
		},
	}
}

// resultCases check that answers are returned unchanged.
func resultCases() []conformanceCase {
	services := []Service{
		{
			ID: "b/2", IP: "10.0.0.2", Status: "größer: 1 of 2 updated",
			Metadata:   map[string]string{"created_at": "2017-06-01", "größe": "λ", "": "no key", "no value": ""},
			Containers: ContainersOrExcuse{Containers: []Container{{Name: "web", Image: "r.example/web:1"}, {Name: "log", Image: "log@sha256:0"}, {Name: "web", Image: "web"}}},
		},
		{ID: "a/1", IP: "fe80::1%eth0", Containers: ContainersOrExcuse{Excuse: "no \"matching\"\npods\n"}},
		{ID: "a/1", Status: "twice", Containers: ContainersOrExcuse{Excuse: "incomplete", Containers: []Container{{Name: "half"}}}},
		{ID: "z/bare"},
	}
	nils := []Service{
		{ID: "a/nil"},
		{ID: "a/empty", Metadata: map[string]string{}, Containers: ContainersOrExcuse{Containers: []Container{}}},
	}
	var many []Service
	for i := range large / 1024 {
		s := sampleService(flux.ServiceID(fmt.Sprintf("default/%04d", i*7919%4096)), "many")
		s.Status = strings.Repeat("0123456789abcdef", 64)
		many = append(many, s)
	}
	partial := answer{services: services[:2], err: errors.New("services of namespace kube-system: forbidden")}

	var cases []conformanceCase
	for _, method := range []string{"AllServices", "SomeServices"} {
		cases = append(cases,
			returnsResults(method, "returns every service", ruleResults, answer{services: services}),
			returnsResults(method, "keeps nil and empty results apart", ruleResults,
				answer{}, answer{services: []Service{}}, answer{services: nils}),
			returnsResults(method, "returns 4 MiB", ruleResults, answer{services: many}),
			returnsResults(method, "keeps a result beside an error", rulePartial,
				partial, answer{services: partial.services, err: ClusterError(partial.err)}),
		)
	}
	return append(cases,
		returnsResults("Version", "returns the version", ruleResults,
			answer{version: "1.2.3"}, answer{version: ""}, answer{version: " master-größe \"\\u0041\"\r\n"}),
		returnsResults("Version", "returns 64 KiB", ruleResults, answer{version: strings.Repeat("0123456789abcdef", 4096)}),
		returnsResults("Export", "returns every byte", ruleResults, answer{export: everyByte}),
		returnsResults("Export", "keeps nil and empty results apart", ruleResults, answer{}, answer{export: []byte{}}),
		returnsResults("Export", "returns 4 MiB", ruleResults, answer{export: bytes.Repeat(everyByte, large/len(everyByte)+1)}),
	)
}

// returnsResults returns the case in which the platform gives one answer after another.
func returnsResults(method, name, rule string, answers ...answer) conformanceCase {
	return conformanceCase{
		name: method + "/" + name,
		rule: rule,
		check: func(p Platform, far *recorder) error {
			r := sampleRequest(method)
			for _, want := range answers {
				want.set(far.mock, method)
				if err := r.send(p).diff(r, want); err != nil {
					return err
				}
			}
			return nil
		},
	}
}

// callCases check the number of calls, the ownership of values, and concurrency.
func callCases() []conformanceCase {
	var cases []conformanceCase
	for _, method := range methods {
		cases = append(cases, callsOnce(method))
	}
	for _, method := range []string{"AllServices", "SomeServices", "Apply", "Sync"} {
		cases = append(cases, keepsArguments(method))
	}
	for _, method := range []string{"AllServices", "SomeServices", "Export"} {
		cases = append(cases, resultsAreTheCallers(method))
	}
	return append(cases, conformanceCase{
		name:   "Concurrency/gives each of 64 calls its own answer",
		rule:   ruleConcurrent,
		answer: echo,
		check:  func(p Platform, _ *recorder) error { return callConcurrently(p, 64) },
	})
}

// callsOnce returns the case in which a call succeeds, and fails with errors that a
// transport might retry.
func callsOnce(method string) conformanceCase {
	return conformanceCase{
		name: method + "/is made once",
		rule: ruleOnce,
		check: func(p Platform, far *recorder) error {
			for _, err := range []error{nil, errors.New("boom"), UnavailableError(errors.New("connection lost"))} {
				answer{err: err}.set(far.mock, method)
				r := sampleRequest(method)
				r.send(p)
				if err := far.expect(r); err != nil {
					return err
				}
			}
			return nil
		},
	}
}

func keepsArguments(method string) conformanceCase {
	return conformanceCase{
		name: method + "/leaves its arguments alone",
		rule: ruleCaller,
		check: func(p Platform, _ *recorder) error {
			r := sampleRequest(method)
			want := r.clone()
			r.send(p)
			if !reflect.DeepEqual(r, want) {
				return mismatch(method+" left its arguments as", r.arguments(), want.arguments())
			}
			return nil
		},
	}
}

// resultsAreTheCallers returns the case in which the caller overwrites its result, and
// repeats the call.
func resultsAreTheCallers(method string) conformanceCase {
	return conformanceCase{
		name:   method + "/gives its result away",
		rule:   ruleCaller,
		answer: echo,
		check: func(p Platform, _ *recorder) error {
			r := sampleRequest(method)
			for range 2 {
				a := r.send(p)
				if err := a.diff(r, echo(r)); err != nil {
					return err
				}
				for i := range a.services {
					clear(a.services[i].Metadata)
					clear(a.services[i].Containers.Containers)
				}
				clear(a.services)
				clear(a.export)
			}
			return nil
		},
	}
}

// callConcurrently makes n concurrent calls with different arguments, each of which must
// get its own answer.
func callConcurrently(p Platform, n int) error {
	return concurrently(n, func(i int) error {
		own := fmt.Sprintf("own/%d", i)
		id := flux.ServiceID(own)
		r := request{method: methods[i%len(methods)]}
		switch r.method {
		case "AllServices":
			r.namespace, r.ignored = own, flux.ServiceIDSet{id: {}, id + "b": {}}
		case "SomeServices":
			r.ids = []flux.ServiceID{id + "b", id}
		case "Apply":
			r.defs = []ServiceDefinition{{ServiceID: id, NewDefinition: []byte(own)}}
		case "Sync":
			r.def = SyncDef{Actions: []SyncAction{{ResourceID: own, Apply: ResourceDef(own)}}}
		}
		return r.send(p).diff(r, echo(r))
	})
}
