package platform

import (
	"errors"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/platformbus/platform/flux"
)

func TestIdentityBattery(t *testing.T) {
	PlatformTestBattery(t, func(mock Platform) Platform { return mock })
}

func TestInstrumentBattery(t *testing.T) {
	PlatformTestBattery(t, Instrument)
}

func TestWithContextBattery(t *testing.T) {
	PlatformTestBattery(t, func(mock Platform) Platform { return WithContext(t.Context(), mock) })
}

// interceptor is a transport that passes each call to a function, which may change it.
type interceptor struct {
	next   Platform
	handle func(next Platform, r request) answer
}

var _ Platform = (*interceptor)(nil)

func (b *interceptor) AllServices(namespace string, ignored flux.ServiceIDSet) ([]Service, error) {
	a := b.handle(b.next, request{method: "AllServices", namespace: namespace, ignored: ignored})
	return a.services, a.err
}

func (b *interceptor) SomeServices(ids []flux.ServiceID) ([]Service, error) {
	a := b.handle(b.next, request{method: "SomeServices", ids: ids})
	return a.services, a.err
}

func (b *interceptor) Apply(defs []ServiceDefinition) error {
	return b.handle(b.next, request{method: "Apply", defs: defs}).err
}

func (b *interceptor) Ping() error { return b.handle(b.next, request{method: "Ping"}).err }

func (b *interceptor) Version() (string, error) {
	a := b.handle(b.next, request{method: "Version"})
	return a.version, a.err
}

func (b *interceptor) Export() ([]byte, error) {
	a := b.handle(b.next, request{method: "Export"})
	return a.export, a.err
}

func (b *interceptor) Sync(def SyncDef) error {
	return b.handle(b.next, request{method: "Sync", def: def}).err
}

// intercept returns a wrap that makes an interceptor for each case.
func intercept(handle func(next Platform, r request) answer) func(Platform) Platform {
	return func(mock Platform) Platform { return &interceptor{next: mock, handle: handle} }
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
		a.services = cloneServices(a.services)
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

// onlyFor confines a fault to one method.
func onlyFor(method string, faulty func(Platform) Platform) func(Platform) Platform {
	return func(mock Platform) Platform {
		transport := faulty(mock)
		return &interceptor{next: mock, handle: func(next Platform, r request) answer {
			if r.method == method {
				return r.send(transport)
			}
			return r.send(next)
		}}
	}
}

func cloneServices(services []Service) []Service {
	services = slices.Clone(services)
	for i := range services {
		services[i].Containers.Containers = slices.Clone(services[i].Containers.Containers)
	}
	return services
}

func dropLast[T any](s []T) []T { return s[:max(0, len(s)-1)] }

func repeatFirst[T any](s []T) []T { return append(s, s[:min(1, len(s))]...) }

// emptyToNil acts like an encoding that does not distinguish nil from empty.
func emptyToNil[T any](s []T) []T {
	if len(s) == 0 {
		return nil
	}
	return s
}

func nilToEmpty[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s
}

// lossy replaces bytes that are not UTF-8, as encoding/json does in strings.
func lossy(b []byte) []byte {
	if b == nil {
		return nil
	}
	return []byte(strings.ToValidUTF8(string(b), "\uFFFD"))
}

// asPlainText returns the error of a transport that sends only the text.
func asPlainText(err error) error { return errors.New(err.Error()) }

// sendErrorsAs changes the errors that hold an E.
func sendErrorsAs[E error](change func(E) error) func(Platform) Platform {
	return changeErrors(func(err error) error {
		if e, ok := errors.AsType[E](err); ok {
			return change(e)
		}
		return err
	})
}

func TestBatteryFailsBrokenTransports(t *testing.T) {
	byName := map[string]conformanceCase{}
	for _, c := range platformCases() {
		require.NotContains(t, byName, c.name, "names tell cases apart")
		byName[c.name] = c
	}
	for _, transport := range brokenTransports {
		t.Run(transport.name, func(t *testing.T) {
			c, ok := byName[transport.in]
			require.True(t, ok, "there is no case %q", transport.in)
			err := c.run(transport.wrap, caseLimit)
			require.Error(t, err, "%s did not notice", transport.in)
			for _, text := range append(transport.says, "rule: "+c.rule) {
				assert.ErrorContains(t, err, text)
			}
			if !strings.HasPrefix(err.Error(), "panic: ") {
				assert.Less(t, len(err.Error()), 2500, "a failure is for reading")
			}
		})
	}
}

// Each case must fail for at least one broken transport: a case that nothing fails checks
// nothing.
func TestEveryCaseFailsForSomeBrokenTransport(t *testing.T) {
	proven := map[string]bool{} // by TestBatteryFailsBrokenTransports
	for _, transport := range brokenTransports {
		proven[transport.in] = true
	}
	var unproven []string
	for _, c := range platformCases() {
		if !proven[c.name] && !slices.ContainsFunc(brokenTransports, func(transport brokenTransport) bool {
			return c.run(transport.wrap, caseLimit) != nil
		}) {
			unproven = append(unproven, c.name)
		}
	}
	assert.Empty(t, unproven, "no broken transport fails these cases")
}

func TestBatteryNamesAHang(t *testing.T) {
	stuck := make(chan struct{})
	defer close(stuck)
	hangs := intercept(func(Platform, request) answer { <-stuck; return answer{} })
	for _, c := range platformCases() {
		if strings.HasSuffix(c.name, "/is made once") {
			err := c.run(hangs, time.Millisecond)
			require.ErrorContains(t, err, "hang: a call did not return within 1ms", c.name)
			assert.ErrorContains(t, err, "rule: "+ruleOnce)
		}
	}
}

// A wrap may call t.FailNow, though it does not run in the goroutine of the test.
func TestBatteryNamesAnExit(t *testing.T) {
	for name, err := range platformFailures(func(Platform) Platform { runtime.Goexit(); return nil }, caseLimit) {
		require.ErrorIs(t, err, errExited, name)
	}
}

func TestFaithfulTransportsPass(t *testing.T) {
	inCluster := changeErrors(ClusterError)
	for name, err := range platformFailures(inCluster, caseLimit) {
		assert.NoError(t, err, "%s: errors may come as ClusterError", name)
	}
}
