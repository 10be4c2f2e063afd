package platform

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"

	"github.com/platformbus/platform/flux"
)

var (
	ruleArguments = rule{"arguments arrive unchanged: nothing is lost, added or reordered",
		"look at how arguments are encoded; of IDs asked for, order and repetition do not count"}
	ruleStrings = rule{"a string that is not valid UTF-8 arrives, with U+FFFD for what is invalid or unchanged, or the call fails; later calls are not affected",
		"an encoding of text may refuse such a string, and then its connection must go on"}
	ruleResults = rule{"a result arrives unchanged: nothing is lost or added; services may come in any order",
		"look at how results are encoded"}
	rulePartial = rule{"a result that is returned with an error arrives with the error",
		"send result and error together, as in a struct with both"}
	ruleSize = rule{"a transport carries 4 MiB of arguments or results, 10,000 entries, and 64 KiB of an error's text; what is larger fails with an error that says so",
		"raise the limit on the size of messages at both ends"}
	ruleWrite = rule{"Apply and Sync are made at most once, also if they failed, and have ended when they return",
		"never repeat a write: if its outcome is unknown, return an UnavailableError that says so"}
	ruleRead = rule{"a call reaches the platform, by the method that was called, and has ended when it returns; reads may be repeated, and Ping and Version called at any time",
		"pass each call on to the platform, each time"}
	ruleCaller = rule{"arguments and results belong to the caller: a Platform neither changes its arguments nor keeps a reference to either, later calls included",
		"copy what is kept beyond the call; do not reuse buffers that a result shares"}
	ruleLast = rule{"each call returns the platform's answer to it: nothing of an earlier one, not its result and not its error",
		"decode each answer into a new value"}
)

// large exceeds the default limits of all transports that we know of.
const large = 4 << 20

// manyEntries is how many entries a transport carries.
const manyEntries = 10_000

// everyByte contains every byte value, and so is not UTF-8, and a DOS line ending.
var everyByte = func() []byte {
	all := []byte("kind: Weird\r\n")
	for i := range 256 {
		all = append(all, byte(i))
	}
	return all
}()

// largeBytes returns a definition, or an export.
func largeBytes() []byte { return bytes.Repeat(everyByte, large/len(everyByte)+1) }

// oddStrings are valid UTF-8, and what encodings, file names, URLs and SQL trip over.
var oddStrings = []string{
	"", "größe/λ", "u\u0308/ü", " a ", "a\nb", "a\x00b", "\ufeffbom", "\u2028", "\"", "'", "\\u0041", "%2f", "..", "$ref", "<&>",
	"null", "__proto__", "00", "true", "𝛌", strings.Repeat("long/", 1000),
}

// argumentCases check that requests reach the far end unchanged.
func argumentCases() []conformanceCase {
	var ids []flux.ServiceID
	set := flux.ServiceIDSet{}
	defs := []ServiceDefinition{
		{ServiceID: "b/2", NewDefinition: everyByte, Async: true},
		{ServiceID: "a/1", NewDefinition: []byte("kind: One\n")},
		{ServiceID: "a/1", NewDefinition: []byte("kind: Other\n")},
	}
	actions := []SyncAction{
		{ResourceID: "z both", Delete: ResourceDef("kind: Gone\n"), Apply: ResourceDef("kind: Come\n")},
		{ResourceID: "bytes", Delete: everyByte, Apply: everyByte},
		{ResourceID: "twice", Apply: ResourceDef("first")},
		{ResourceID: "twice", Apply: ResourceDef("second")},
	}
	for _, odd := range oddStrings {
		id := flux.ServiceID(odd)
		ids, set[id] = append(ids, id), struct{}{}
		defs = append(defs, ServiceDefinition{ServiceID: id, NewDefinition: []byte(odd)})
		actions = append(actions, SyncAction{ResourceID: odd, Delete: ResourceDef(odd)})
	}
	var (
		manyIDs     []flux.ServiceID
		manySet     flux.ServiceIDSet
		manyDefs    []ServiceDefinition
		manyActions []SyncAction
	)
	for i := range manyEntries {
		name := fmt.Sprintf("default/%05d", i*7919%manyEntries) // in no order that could be restored
		manyIDs = append(manyIDs, flux.ServiceID(name))
		manyDefs = append(manyDefs, ServiceDefinition{ServiceID: flux.ServiceID(name), NewDefinition: []byte(name)})
		manyActions = append(manyActions, SyncAction{ResourceID: name, Apply: ResourceDef(name)})
	}
	manySet.Add(manyIDs)

	return []conformanceCase{
		passesArguments("AllServices", "passes on its arguments", ruleArguments,
			request{namespace: "größe of a/b", ignored: set}, request{}),
		passesArguments("SomeServices", "passes on its arguments", ruleArguments, request{ids: ids}, request{}),
		passesArguments("Apply", "passes on its arguments", ruleArguments, request{defs: defs}, request{}),
		passesArguments("Sync", "passes on its arguments", ruleArguments, request{def: SyncDef{Actions: actions}}, request{}),

		passesArguments("AllServices", "passes on 10,000 entries", ruleSize, request{ignored: manySet}),
		passesArguments("SomeServices", "passes on 10,000 entries", ruleSize, request{ids: manyIDs}),
		passesArguments("Apply", "passes on 10,000 entries", ruleSize, request{defs: manyDefs}),
		passesArguments("Sync", "passes on 10,000 entries", ruleSize, request{def: SyncDef{Actions: manyActions}}),
		passesArguments("Apply", "passes on 4 MiB", ruleSize, request{defs: []ServiceDefinition{{ServiceID: "a/1", NewDefinition: largeBytes()}}}),
		passesArguments("Sync", "passes on 4 MiB", ruleSize, request{def: SyncDef{Actions: []SyncAction{{ResourceID: "a", Apply: largeBytes()}}}}),

		passesOddArguments("AllServices", request{namespace: "a\xff\xfeb"}),
		passesOddArguments("SomeServices", request{ids: []flux.ServiceID{"a/\xff"}}),
		passesOddArguments("Apply", request{defs: []ServiceDefinition{{ServiceID: "a/\xff"}}}),
		passesOddArguments("Sync", request{def: SyncDef{Actions: []SyncAction{{ResourceID: "\xff"}}}}),
	}
}

// passesArguments returns the case in which each request must reach the far end.
func passesArguments(method, name string, r rule, requests ...request) conformanceCase {
	return conformanceCase{method + "/" + name, r, func(pt *platformTest) error {
		for _, want := range requests {
			want.method = method
			if _, err := pt.reaches(want); err != nil {
				return err
			}
		}
		return nil
	}}
}

// passesOddArguments returns the case of a string that is not UTF-8.
func passesOddArguments(method string, odd request) conformanceCase {
	odd.method = method
	return conformanceCase{method + "/passes on or refuses what is not UTF-8", ruleStrings, func(pt *platformTest) error {
		if a, err := pt.reaches(odd); err != nil && a.err == nil {
			return err
		}
		_, err := pt.reaches(sampleRequest(method))
		return err
	}}
}

// resultCases check that answers are returned unchanged.
func resultCases() []conformanceCase {
	services := []Service{
		{
			ID: "b/2", IP: "10.0.0.2", Status: "größer: 1 of 2 updated",
			Metadata:   map[string]string{"größe": "λ", "no value": ""},
			Containers: ContainersOrExcuse{Containers: []Container{{Name: "web", Image: "r.example/web:1"}, {Name: "log", Image: "log@sha256:0"}, {Name: "web", Image: "web"}}},
		},
		{ID: "a/1", IP: "fe80::1%eth0", Containers: ContainersOrExcuse{Excuse: "no \"matching\"\npods\n"}},
		{ID: "c/3", Containers: ContainersOrExcuse{Excuse: "incomplete", Containers: []Container{{Name: "half"}}}},
		{ID: "z/bare"},
	}
	for i, odd := range oddStrings {
		services = append(services, Service{ID: flux.ServiceID(fmt.Sprintf("odd-%d/%s", i, odd)), Status: odd, Metadata: map[string]string{odd: odd}})
	}
	var many, heavy []Service
	for i := range manyEntries {
		many = append(many, Service{ID: flux.ServiceID(fmt.Sprintf("default/%05d", i))})
	}
	for i := range large / 1024 {
		s := sampleService(flux.ServiceID(fmt.Sprintf("default/%04d", i)), "many")
		s.Status = strings.Repeat("0123456789abcdef", 64)
		heavy = append(heavy, s)
	}
	forbidden := errors.New("namespace kube-system: forbidden")

	var cases []conformanceCase
	for _, method := range []string{"AllServices", "SomeServices"} {
		cases = append(cases,
			returnsResults(method, "returns every service", ruleResults, answer{services: services}, answer{}),
			returnsResults(method, "returns 10,000 entries", ruleSize, answer{services: many}),
			returnsResults(method, "returns 4 MiB", ruleSize, answer{services: heavy}),
			returnsResults(method, "keeps a result beside an error", rulePartial,
				answer{services: services[:2], err: forbidden}),
			conformanceCase{method + "/returns or refuses what is not UTF-8", ruleStrings, func(pt *platformTest) error {
				r := sampleRequest(method)
				odd := answer{services: []Service{{ID: "a/\xff", Status: "\xff\xfe"}}}
				pt.far.set(method, odd)
				if a := pt.send(r); a.err == nil {
					if err := a.diff(r, odd); err != nil {
						return err
					}
				}
				return pt.returns(r, numberedAnswer(method, 1))
			}},
		)
	}
	return append(cases,
		returnsResults("Version", "returns the version", ruleResults,
			answer{}, answer{version: " größe \"\\u0041\"\r\n"}),
		returnsResults("Version", "returns 64 KiB", ruleSize, answer{version: strings.Repeat("0123456789abcdef", 4096)}),
		returnsResults("Export", "returns every byte", ruleResults, answer{export: everyByte}, answer{}),
		returnsResults("Export", "returns 4 MiB", ruleSize, answer{export: largeBytes()}),
		returnsResults("Export", "keeps a result beside an error", rulePartial,
			answer{export: everyByte, err: forbidden}),
	)
}

// returnsResults returns the case in which the platform gives one answer after another.
func returnsResults(method, name string, r rule, answers ...answer) conformanceCase {
	return conformanceCase{method + "/" + name, r, func(pt *platformTest) error {
		for _, want := range answers {
			if err := pt.returns(sampleRequest(method), want); err != nil {
				return err
			}
		}
		return nil
	}}
}

// callCases check the number of calls, and the ownership of values.
func callCases() []conformanceCase {
	var cases []conformanceCase
	for _, method := range methods {
		if writes(method) {
			cases = append(cases, writesOnce(method))
		} else {
			cases = append(cases, conformanceCase{method + "/reaches the platform", ruleRead, func(pt *platformTest) error {
				for n := range 3 {
					if _, err := pt.reaches(numberedRequest(method, n)); err != nil {
						return err
					}
				}
				return nil
			}})
		}
		cases = append(cases, answersAnew(method), keepsAnswers(method))
	}
	for _, method := range withArguments {
		cases = append(cases, keepsArguments(method))
	}
	for _, method := range []string{"AllServices", "SomeServices", "Export"} {
		cases = append(cases, resultsAreTheCallers(method))
	}
	return append(cases, conformanceCase{"Failures/do not stop later calls", ruleRead, survivesFailures})
}

// writesOnce returns the case in which a write fails with errors that a transport might
// repeat it for. The last may end a subscription.
func writesOnce(method string) conformanceCase {
	return conformanceCase{method + "/is made once", ruleWrite, func(pt *platformTest) error {
		for _, err := range []error{
			ClusterError(errors.New("conflict: try again")),
			UnavailableError(fmt.Errorf("connection lost: %w", io.ErrUnexpectedEOF)), context.DeadlineExceeded,
			FatalError{Err: errors.New("boom")},
		} {
			pt.far.set(method, answer{err: err})
			if _, err := pt.reaches(sampleRequest(method)); err != nil {
				return err
			}
		}
		return nil
	}}
}

// answersAnew returns the case in which answers of different sizes and errors alternate.
func answersAnew(method string) conformanceCase {
	long, short := numberedAnswer(method, 1), numberedAnswer(method, 2)
	clear(short.services)
	return returnsResults(method, "answers each call anew", ruleLast, long, answer{err: errors.New("boom")}, short, answer{})
}

// keepsAnswers returns the case in which an answer is looked at again after later calls.
func keepsAnswers(method string) conformanceCase {
	return conformanceCase{method + "/leaves earlier answers alone", ruleCaller, func(pt *platformTest) error {
		pt.far.set(method, numberedAnswer(method, 0))
		first := pt.send(sampleRequest(method))
		for n := 1; n < 4; n++ {
			pt.far.set(method, numberedAnswer(method, n))
			pt.send(sampleRequest(method))
		}
		if err := first.diff(sampleRequest(method), numberedAnswer(method, 0)); err != nil {
			return fmt.Errorf("looked at again after later calls: %w", err)
		}
		return nil
	}}
}

// keepsArguments returns the case in which arguments are looked at after the call, and
// again after later ones.
func keepsArguments(method string) conformanceCase {
	return conformanceCase{method + "/leaves its arguments alone", ruleCaller, func(pt *platformTest) error {
		r, want := sampleRequest(method), sampleRequest(method)
		for n := range 3 {
			if n == 0 {
				pt.send(r)
			} else {
				pt.send(numberedRequest(method, n))
			}
			if !reflect.DeepEqual(r, want) {
				return mismatch(method+" left its arguments as", r.arguments(), want.arguments())
			}
		}
		return nil
	}}
}

// resultsAreTheCallers returns the case in which the caller overwrites its result, and
// repeats the call.
func resultsAreTheCallers(method string) conformanceCase {
	return conformanceCase{method + "/gives its result away", ruleCaller, func(pt *platformTest) error {
		pt.far.echoes()
		r := sampleRequest(method)
		for range 2 {
			a := pt.send(r)
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
	}}
}

// survivesFailures has many calls of each method fail.
func survivesFailures(pt *platformTest) error {
	for _, method := range methods {
		r := sampleRequest(method)
		for i := range 60 {
			failure := []error{errors.New("boom"), UnavailableError(errors.New("lost")), ClusterError(errors.New("refused"))}[i%3]
			if err := pt.returns(r, answer{err: failure}); err != nil {
				return fmt.Errorf("call no. %d in a row that fails: %w", i+1, err)
			}
		}
	}
	return nil
}
