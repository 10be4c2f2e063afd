package platform

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/platformbus/platform/flux"
)

// A Fixture is a Platform to try, and definitions in its own language to try it with.
// Names are lower-case words.
type Fixture struct {
	// Platform is the implementation. Its namespace is empty, and its Export holds nothing
	// that others change.
	Platform Platform
	// Namespace is that of the definitions below.
	Namespace string
	// Object returns the definition of an object on its own, such as a ConfigMap. The value
	// is in the Export as it is here.
	Object func(name, value string) ResourceDef
	// Service returns the definitions of a service of that name and of the pod controller
	// that it selects, whose only container runs the image.
	Service func(name, image string) (service, controller ResourceDef)
	// Invalid is a definition that the platform refuses.
	Invalid ResourceDef
}

// PlatformContractBattery checks that an implementation of Platform, such as a toy in memory
// or a cluster, keeps the contract: it syncs, applies, exports, and reads back what it did.
// For a transport or a decorator there is PlatformTestBattery. Its use is one line:
//
//	func TestMyPlatform(t *testing.T) { platform.PlatformContractBattery(t, newFixture) }
//
// The battery calls open once for each case, in the goroutine of the case's subtest t. open
// registers its clean-up with t.Cleanup. Each case is bounded by 2 minutes, or by less close
// to the test's deadline.
func PlatformContractBattery(t *testing.T, open func(t *testing.T) Fixture) {
	t.Helper()
	for _, c := range contractCases() {
		t.Run(c.name, func(t *testing.T) {
			if err := c.run(open(t), BatteryOptions{Wait: 2 * time.Minute}.before(t.Deadline())); err != nil {
				t.Error(err)
			}
		})
	}
}

// A contractCase checks one rule of what an implementation does.
type contractCase struct {
	name  string
	rule  rule
	check func(*contractTest) error
}

// A contractTest is a Fixture with helpers for the cases.
type contractTest struct {
	Fixture
	progress
}

func (c contractCase) run(f Fixture, options BatteryOptions) error {
	ct := &contractTest{Fixture: f}
	return c.rule.broken(runBounded(&ct.progress, options.Wait, func() error { return c.check(ct) }))
}

var (
	ruleAnswers = rule{"Ping and Version of a platform that works return no error",
		"a Version is any text that says which daemon it is"}
	ruleSyncs = rule{"Sync executes every action: it deletes, then applies; deleting what does not exist succeeds",
		"compare what is exported after the Sync"}
	ruleSyncFails = rule{"Sync attempts every action also after one has failed, and returns a SyncError with one entry for each ResourceID that did not succeed",
		"collect failures in a SyncError, and return nil if it is empty"}
	ruleAgain = rule{"a second Sync of the same definition, or of an Export, changes nothing",
		"compare before you change"}
	ruleLists = rule{"AllServices returns the services of the namespace, or of all, without those ignored; SomeServices those named that exist, each once",
		"look at the ID, a namespace and a name joined by a slash"}
	ruleNamespace = rule{"a namespace that does not exist is an error",
		"an empty result would say that it exists and is empty"}
	ruleApplies = rule{"Apply replaces the definition of the pod controller that each service selects, and waits until it is rolled out",
		"read the service after the Apply: its container has the new image"}
	ruleApplyFails = rule{"Apply attempts every definition also after one has failed, and returns an ApplyError with one entry for each service that did not succeed; one that does not exist matches ErrNoMatchingService",
		"collect failures in an ApplyError, and return nil if it is empty"}
	ruleExports = rule{"Export returns definitions in a defined order: the same state gives the same bytes",
		"sort what is exported, and leave out what changes by itself"}
)

func contractCases() []contractCase {
	return []contractCase{
		{"Ping and Version answer", ruleAnswers, func(ct *contractTest) error {
			return cmp.Or(ct.succeeds(request{method: "Version"}), ct.succeeds(request{method: "Ping"}))
		}},
		{"Sync/does nothing for nothing", ruleNil, func(ct *contractTest) error {
			return cmp.Or(ct.sync(), ct.sync(SyncAction{ResourceID: "neither"}))
		}},
		{"Sync/applies, changes and deletes", ruleSyncs, syncs},
		{"Sync/deletes before it applies", ruleSyncs, func(ct *contractTest) error {
			return firstError(
				func() error { return ct.sync(SyncAction{ResourceID: "a", Apply: ct.Object("one", "value-a")}) },
				func() error {
					return ct.sync(SyncAction{ResourceID: "a", Delete: ct.Object("one", "value-a"), Apply: ct.Object("one", "value-b")})
				},
				func() error { return ct.exports("value-b", true) },
			)
		}},
		{"Sync/reports every failure, and does the rest", ruleSyncFails, syncsTheRest},
		{"Sync/changes nothing the second time", ruleAgain, syncsAgain},
		{"AllServices/lists", ruleLists, listsAll},
		{"AllServices/refuses a namespace that does not exist", ruleNamespace, func(ct *contractTest) error {
			if a := ct.send(request{method: "AllServices", namespace: ct.Namespace + "-missing"}); a.err == nil {
				return mismatch("AllServices of a namespace that does not exist returned no error, and the services", a.services, nil)
			}
			return nil
		}},
		{"SomeServices/finds what exists", ruleLists, findsSome},
		{"Apply/rolls out", ruleApplies, rollsOut},
		{"Apply/does nothing for nothing", ruleNil, func(ct *contractTest) error {
			return mustSucceed("Apply of nothing", ct.send(request{method: "Apply"}).err)
		}},
		{"Apply/reports every failure, and does the rest", ruleApplyFails, appliesTheRest},
		{"Export/is the same for the same state", ruleExports, exportsTheSame},
		{"Export/can be given to Sync", ruleAgain, syncsItsExport},
		{"Arguments/are left alone", ruleCaller, leavesArguments},
		{"Results/are the caller's", ruleCaller, givesResults},
		{"Calls/may overlap", ruleConcurrent, overlaps},
		{"WithContext/refuses calls once the context has ended", ruleEnded, refusesEnded},
	}
}

func mustSucceed(call string, err error) error {
	if err != nil {
		return mismatch(call+" returned the error", err, nil)
	}
	return nil
}

// send makes the call.
func (ct *contractTest) send(r request) answer {
	ct.setStep("%s", r.method)
	return r.send(ct.Platform)
}

// succeeds makes the call, which must return no error.
func (ct *contractTest) succeeds(r request) error { return mustSucceed(r.method, ct.send(r).err) }

// sync has the actions executed, all of which must succeed.
func (ct *contractTest) sync(actions ...SyncAction) error {
	return ct.succeeds(request{method: "Sync", def: SyncDef{Actions: actions}})
}

// service has a service with its pod controller made, and waits for the rollout.
func (ct *contractTest) service(name, image string) error {
	service, controller := ct.Service(name, image)
	return firstError(
		func() error {
			return ct.sync(SyncAction{ResourceID: "controller", Apply: controller}, SyncAction{ResourceID: "service", Apply: service})
		},
		func() error { return ct.apply(ServiceDefinition{ServiceID: ct.id(name), NewDefinition: controller}) },
	)
}

func (ct *contractTest) id(name string) flux.ServiceID { return flux.MakeServiceID(ct.Namespace, name) }

func (ct *contractTest) apply(defs ...ServiceDefinition) error {
	return ct.succeeds(request{method: "Apply", defs: defs})
}

func (ct *contractTest) export() ([]byte, error) {
	a := ct.send(request{method: "Export"})
	return a.export, mustSucceed("Export", a.err)
}

// exports checks whether the value is in the Export.
func (ct *contractTest) exports(value string, want bool) error {
	data, err := ct.export()
	if got := bytes.Contains(data, []byte(value)); err == nil && got != want {
		return mismatch(fmt.Sprintf("is %q in the Export?", value), got, want)
	}
	return err
}

// runs checks which image the service has.
func (ct *contractTest) runs(name, image string) error {
	a := ct.send(request{method: "SomeServices", ids: []flux.ServiceID{ct.id(name)}})
	for _, s := range a.services {
		if len(s.ContainersOrNil()) == 1 && s.ID == ct.id(name) && s.ContainersOrNil()[0].Image == image {
			return nil
		}
	}
	return withError(mismatch(fmt.Sprintf("SomeServices of %s, whose only container runs %s, returned", ct.id(name), image), a.services, image), a.err)
}

// unchanged checks that the Export is the same before and after.
func (ct *contractTest) unchanged(change func() error) error {
	exported, err := ct.export()
	before := bytes.Clone(exported)
	if err := cmp.Or(err, change()); err != nil {
		return err
	}
	after, err := ct.export()
	if err == nil && !bytes.Equal(before, after) {
		return mismatch("the Export has changed", after, before)
	}
	return err
}

// own returns the IDs of the services in the fixture's namespace, in order.
func (ct *contractTest) own(services []Service) (ids []flux.ServiceID) {
	for _, s := range services {
		if strings.HasPrefix(string(s.ID), ct.Namespace+"/") {
			ids = append(ids, s.ID)
		}
	}
	slices.Sort(ids)
	return ids
}
