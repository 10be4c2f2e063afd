package platform

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/platformbus/platform/flux"
)

func TestIdentityBattery(t *testing.T) {
	PlatformTestBatteryWith(t, func(mock Platform) Platform { return mock }, BatteryOptions{StopsCalls: true})
}

func TestInstrumentBattery(t *testing.T) {
	PlatformTestBatteryWith(t, Instrument, BatteryOptions{StopsCalls: true})
}

func TestWithContextBattery(t *testing.T) {
	PlatformTestBattery(t, func(mock Platform) Platform { return WithContext(t.Context(), mock) })
}

func TestObserveBattery(t *testing.T) {
	PlatformTestBatteryWith(t, func(mock Platform) Platform {
		return Observe(mock, func(context.Context, string) error { return nil })
	}, BatteryOptions{StopsCalls: true})
}

// The view of a Platform that does not support contexts.
func TestCheckedBattery(t *testing.T) {
	PlatformTestBattery(t, func(mock Platform) Platform {
		return WithContext(t.Context(), &adapter{func(r request) answer { return r.send(mock) }})
	})
}

func TestBatteryFailsBrokenTransports(t *testing.T) {
	byName := map[string]conformanceCase{}
	for _, c := range platformCases() {
		require.NotContains(t, byName, c.name, "names tell cases apart")
		byName[c.name] = c
	}
	named, failed := map[string]bool{}, map[string]bool{}
	for _, b := range brokenTransports() {
		require.False(t, named[b.name], "two transports are called %q", b.name)
		named[b.name], failed[b.in] = true, true
		t.Run(b.name, func(t *testing.T) {
			t.Parallel() // some wait until a limit passes
			c, ok := byName[b.in]
			require.True(t, ok, "there is no case %q", b.in)
			options := BatteryOptions{StopsCalls: b.stops, Wait: b.wait}
			err := c.run(b.wrap, options)
			require.Error(t, err, "%s did not notice", b.in)
			for _, text := range append(b.says, "rule: "+b.breaks.says, "hint: "+b.breaks.hint) {
				assert.ErrorContains(t, err, text)
			}
			if !strings.HasPrefix(err.Error(), "panic: ") {
				assert.Less(t, len(err.Error()), 3000, "a failure is for reading")
			}
		})
	}
	assert.GreaterOrEqual(t, len(named), 150)
	for name := range byName {
		assert.True(t, failed[name], "no broken transport fails %q: a case that nothing fails checks nothing", name)
	}
}

// TestBatteriesFail runs the batteries over what is broken, in a process of its own, since
// their failures are failures of the test.
func TestBatteriesFail(t *testing.T) {
	const variable = "PLATFORM_TEST_BROKEN"
	if os.Getenv(variable) != "" {
		loses := intercept(func(Platform, request) answer { return answer{} })
		t.Run("transport", func(t *testing.T) { PlatformTestBattery(t, loses) })
		t.Run("bus", func(t *testing.T) {
			MessageBusTestBattery(t, func(t *testing.T) MessageBus { return newFaultyBus(t, faults{vagueRefusal: true, losesIDs: true}) })
		})
		t.Run("implementation", func(t *testing.T) {
			PlatformContractBattery(t, func(*testing.T) Fixture {
				define := func(string, string) ResourceDef { return nil }
				return Fixture{loses(nil), "shop", define, func(string, string) (ResourceDef, ResourceDef) { return nil, nil }, nil}
			})
		})
		return
	}
	child := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestBatteriesFail$")
	child.Env = append(os.Environ(), variable+"=1")
	output, err := child.CombinedOutput()
	require.Error(t, err)
	for _, text := range []string{
		"--- FAIL: TestBatteriesFail/transport/Sync/passes_on_its_arguments",
		"--- FAIL: TestBatteriesFail/bus/Subscribe/refuses_a_nil_Platform",
		"--- FAIL: TestBatteriesFail/bus/Platform/SomeServices/passes_on_its_arguments",
		"--- FAIL: TestBatteriesFail/implementation/Sync/applies,_changes_and_deletes",
		"rule: " + ruleArguments.says, "rule: " + ruleRefused.says, "rule: " + ruleSyncs.says,
	} {
		assert.Contains(t, string(output), text)
	}
}

// The failure of a case that hangs names the call that did not return.
func TestBatteryNamesAHang(t *testing.T) {
	for _, c := range platformCases() {
		synctest.Test(t, func(t *testing.T) {
			stuck := make(chan struct{})
			defer close(stuck)
			hangs := &adapter{func(request) answer { <-stuck; return answer{} }}
			err := c.run(func(Platform) Platform {
				return viewer{hangs, func(context.Context) Platform { return hangs }}
			}, BatteryOptions{})
			method, _, _ := strings.Cut(c.name, "/")
			if !slices.Contains(methods, method) {
				method = "(" + strings.Join(methods, "|") + ")"
			}
			assert.Regexp(t, "^hang: "+method+`\b.* did not return within 10`, err, c.name)
			assert.ErrorContains(t, err, "rule: "+c.rule.says, c.name)
		})
	}
}

// A wrap may call t.FailNow, though it does not run in the goroutine of the test.
func TestBatteryNamesAnExit(t *testing.T) {
	for _, c := range platformCases() {
		err := c.run(func(Platform) Platform { runtime.Goexit(); return nil }, BatteryOptions{})
		require.ErrorIs(t, err, errExited, c.name)
	}
}

func TestBatteryNamesAWrapOfNothing(t *testing.T) {
	err := platformCases()[0].run(func(Platform) Platform { return nil }, BatteryOptions{})
	assert.ErrorContains(t, err, "wrap returned nil")
}

// Waits get shorter as the deadline of the test comes closer.
func TestBatteryEndsBeforeTheDeadline(t *testing.T) {
	soon := BatteryOptions{}.before(time.Now().Add(8*time.Second), true)
	assert.LessOrEqual(t, soon.Wait, time.Second)
	assert.Equal(t, 10*time.Second, BatteryOptions{}.before(time.Now().Add(time.Hour), true).Wait)
	assert.Equal(t, 10*time.Second, BatteryOptions{}.before(time.Time{}, false).Wait)
	assert.Equal(t, time.Minute, BatteryOptions{Wait: time.Minute}.before(time.Time{}, false).Wait)
}

func TestBatteryCallsTakeAsLongAsTheOptionsSay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		impatient := intercept(func(next Platform, r request) answer {
			begin := time.Now()
			a := r.send(next)
			if time.Since(begin) > time.Second {
				return answer{err: UnavailableError(assert.AnError)}
			}
			return a
		})
		slow := caseNamed("Overlap/lets calls take their time")
		require.NoError(t, slow.run(impatient, BatteryOptions{}))
		err := slow.run(impatient, BatteryOptions{SlowCall: time.Minute})
		require.ErrorContains(t, err, "after a call that took 1m0s")
	})
}

// A case that fails leaves no goroutine behind, if the transport does not: the bubble waits
// for all of them.
func TestBatteryEndsTheCallsThatItHolds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slots := make(chan struct{}, 5)
		err := caseNamed("Overlap/is not held up by Sync").run(intercept(func(next Platform, r request) answer {
			select {
			case slots <- struct{}{}:
				return r.send(next)
			default:
				return answer{err: assert.AnError}
			}
		}), BatteryOptions{})
		assert.ErrorContains(t, err, assert.AnError.Error())
	})
}

func caseNamed(name string) conformanceCase {
	cases := platformCases()
	return cases[slices.IndexFunc(cases, func(c conformanceCase) bool { return c.name == name })]
}

// A failure contains the error that the call returned.
func TestBatteryShowsTheCallsError(t *testing.T) {
	refuses := intercept(func(next Platform, r request) answer {
		if len(r.def.Actions) > 100 {
			return answer{err: assert.AnError}
		}
		return r.send(next)
	})
	err := caseNamed("Sync/passes on 10,000 entries").run(refuses, BatteryOptions{})
	assert.ErrorContains(t, err, "the call returned the error: "+assert.AnError.Error())

	nilPointer := intercept(func(Platform, request) answer { return answer{err: (*FatalError)(nil)} })
	err = caseNamed("Ping/reaches the platform").run(nilPointer, BatteryOptions{})
	assert.ErrorContains(t, err, "the call returned the error: no cause given", "its method Error would panic")
}

// What the contract leaves open must pass.
func TestLiberalTransportsPass(t *testing.T) {
	for name, wrap := range map[string]func(Platform) Platform{
		"plain errors in a ClusterError": changeErrors(func(err error) error {
			if _, fatal := AsFatal(err); fatal || switched(err) != "" {
				return err
			}
			return ClusterError(err)
		}),
		"the FatalError alone": changeErrors(func(err error) error {
			if fatal, ok := AsFatal(err); ok {
				return fatal
			}
			return err
		}),
		"nil for empty": intercept(func(next Platform, r request) answer {
			r = r.clone()
			for i, def := range r.defs {
				if len(def.NewDefinition) == 0 {
					r.defs[i].NewDefinition = nil
				}
			}
			return r.send(next).canonical()
		}),
		"looks at its arguments after the call": intercept(func(next Platform, r request) answer {
			before := r.clone()
			a := r.send(next)
			if !reflect.DeepEqual(r, before) {
				panic("the platform has changed the arguments of " + r.method)
			}
			return a
		}),
		"services reversed": changeAnswers(func(_ request, a *answer) {
			slices.Reverse(a.services)
		}),
		"services once": changeAnswers(func(_ request, a *answer) {
			seen := flux.ServiceIDSet{}
			a.services = slices.DeleteFunc(a.services, func(s Service) bool {
				again := seen.Contains(s.ID)
				seen.Add([]flux.ServiceID{s.ID})
				return again
			})
		}),
		"refuses strings that are not UTF-8": intercept(func(next Platform, r request) answer {
			if strings.Contains(show(r.canonical().arguments()), "\uFFFD") {
				return answer{err: errors.New("not UTF-8")}
			}
			a := r.send(next)
			for _, s := range a.services {
				if !utf8.ValidString(string(s.ID)) {
					return answer{err: errors.New("not UTF-8")}
				}
			}
			return a
		}),
		"reads twice": intercept(func(next Platform, r request) answer {
			if !writes(r.method) {
				first := r.clone()
				unused := first.send(next)
				first.erase()
				clear(unused.services)
				clear(unused.export)
			}
			return r.send(next)
		}),
		"asks for IDs in another order, and twice": changeRequests(func(r *request) {
			slices.Reverse(r.ids)
			r.ids = append(r.ids, r.ids...)
		}),
		"asks for the version first": intercept(func(next Platform, r request) answer {
			_, _ = next.Version()
			return r.send(next)
		}),
		"pings and asks for the version on connecting": func(mock Platform) Platform {
			connect := sync.OnceFunc(func() {
				_ = mock.Ping()
				_, _ = mock.Version()
			})
			return &adapter{func(r request) answer {
				connect()
				return r.send(mock)
			}}
		},
		"asks for the version for each view": func(mock Platform) Platform {
			return viewer{mock, func(ctx context.Context) Platform {
				_, _ = mock.Version()
				return WithContext(ctx, mock)
			}}
		},
		"pings first": intercept(func(next Platform, r request) answer {
			_ = next.Ping()
			return r.send(next)
		}),
		"reuses the memory of arguments": intercept(func(next Platform, r request) answer {
			r = r.clone()
			defer r.erase()
			return r.send(next)
		}),
		"empty for nil": intercept(func(next Platform, r request) answer {
			r = r.clone()
			r.ids = append([]flux.ServiceID{}, r.ids...)
			if r.ignored == nil {
				r.ignored = flux.ServiceIDSet{}
			}
			r.defs = append([]ServiceDefinition{}, r.defs...)
			for i := range r.defs {
				r.defs[i].NewDefinition = append([]byte{}, r.defs[i].NewDefinition...)
			}
			r.def.Actions = append([]SyncAction{}, r.def.Actions...)
			for i := range r.def.Actions {
				action := &r.def.Actions[i]
				action.Delete, action.Apply = append(ResourceDef{}, action.Delete...), append(ResourceDef{}, action.Apply...)
			}
			a := r.send(next)
			a.export = append([]byte{}, a.export...)
			a.services = append([]Service{}, a.services...)
			for i := range a.services {
				s := &a.services[i]
				if s.Metadata == nil {
					s.Metadata = map[string]string{}
				}
				s.Containers.Containers = append([]Container{}, s.Containers.Containers...)
			}
			return a
		}),
		"U+FFFD for each byte that is not UTF-8": intercept(func(next Platform, r request) answer {
			r = r.clone()
			r.namespace = replaced(r.namespace)
			for i, id := range r.ids {
				r.ids[i] = replaced(id)
			}
			for i := range r.defs {
				r.defs[i].ServiceID = replaced(r.defs[i].ServiceID)
			}
			for i := range r.def.Actions {
				r.def.Actions[i].ResourceID = replaced(r.def.Actions[i].ResourceID)
			}
			a := r.send(next).clone()
			for i := range a.services {
				a.services[i].ID, a.services[i].Status = replaced(a.services[i].ID), replaced(a.services[i].Status)
			}
			return a
		}),
		"a text for errors without one": changeEntries(func(id string, err error) (string, error) {
			if err.Error() == "" {
				err = errors.New("unknown error")
			}
			return id, err
		}),
		"a version beside an error": changeAnswers(func(r request, a *answer) {
			if r.method == "Version" && a.err != nil {
				a.version = "unknown"
			}
		}),
		"builds anew what wraps entries": changeErrors(func(err error) error {
			if kind := switched(err); kind == "platform.ApplyError" || kind == "platform.SyncError" {
				return err
			}
			var entries error
			if applying, ok := errors.AsType[ApplyError](err); ok {
				entries = named(applying)
			} else if syncing, ok := errors.AsType[SyncError](err); ok {
				entries = named(syncing)
			} else {
				return err
			}
			if switched(err) != "" {
				return ClusterError(entries)
			}
			return fmt.Errorf("remote: sync: %w", entries)
		}),
		"errors as ErrorCodec sends them": changeErrors(func(err error) error {
			return ErrorCodec{}.Decode(ErrorCodec{}.Encode(err))
		}),
	} {
		for _, c := range platformCases() {
			assert.NoError(t, c.run(wrap, BatteryOptions{}), "%s: %s", name, c.name)
		}
	}
}

// named returns entries in which each error has a text.
func named[E ~map[ID]error, ID ~string](entries E) E {
	entries = maps.Clone(entries)
	for id, err := range entries {
		if err.Error() == "" {
			entries[id] = errors.New("unknown error")
		}
	}
	return entries
}

// erase overwrites the memory of the arguments.
func (r request) erase() {
	for _, def := range r.defs {
		clear(def.NewDefinition)
	}
	for _, action := range r.def.Actions {
		clear(action.Delete)
		clear(action.Apply)
	}
	clear(r.ids)
	clear(r.ignored)
	clear(r.defs)
	clear(r.def.Actions)
}

// replaced returns s with U+FFFD for each byte that is not UTF-8.
func replaced[S ~string](s S) S { return S([]rune(s)) }

// intercept returns a wrap whose Platform passes each call to a function, which may change it.
func intercept(handle func(next Platform, r request) answer) func(Platform) Platform {
	return func(mock Platform) Platform {
		return &adapter{func(r request) answer { return handle(mock, r) }}
	}
}

// changeRequests changes a copy of each request.
func changeRequests(change func(*request)) func(Platform) Platform {
	return intercept(func(next Platform, r request) answer {
		r = r.clone()
		change(&r)
		return r.send(next)
	})
}

// changeAnswers changes each answer.
func changeAnswers(change func(request, *answer)) func(Platform) Platform {
	return intercept(func(next Platform, r request) answer {
		a := r.send(next)
		change(r, &a)
		return a
	})
}

// changeErrors changes each error that is not nil.
func changeErrors(change func(error) error) func(Platform) Platform {
	return changeAnswers(func(_ request, a *answer) {
		if a.err != nil {
			a.err = change(a.err)
		}
	})
}

// changeServices changes every service of an answer.
func changeServices(change func(*Service)) func(Platform) Platform {
	return changeAnswers(func(_ request, a *answer) {
		for i := range a.services {
			change(&a.services[i])
		}
	})
}

// changeContainers changes every container of an answer.
func changeContainers(change func(*Container)) func(Platform) Platform {
	return changeServices(func(s *Service) {
		for i := range s.Containers.Containers {
			change(&s.Containers.Containers[i])
		}
	})
}

// onlyFor confines a fault to one method.
func onlyFor(method string, faulty func(Platform) Platform) func(Platform) Platform {
	return func(mock Platform) Platform {
		transport := faulty(mock)
		return &adapter{func(r request) answer {
			if r.method == method {
				return r.send(transport)
			}
			return r.send(mock)
		}}
	}
}

// A viewer is a Platform with a WithContext of its own.
type viewer struct {
	Platform
	view func(ctx context.Context) Platform
}

func (v viewer) WithContext(ctx context.Context) Platform { return v.view(ctx) }
