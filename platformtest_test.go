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

// bent is a transport that carries each call by way of a function, which may bend it.
type bent struct {
	next  Platform
	carry func(next Platform, r request) answer
}

var _ Platform = (*bent)(nil)

func (b *bent) AllServices(namespace string, ignored flux.ServiceIDSet) ([]Service, error) {
	a := b.carry(b.next, request{method: "AllServices", namespace: namespace, ignored: ignored})
	return a.services, a.err
}

func (b *bent) SomeServices(ids []flux.ServiceID) ([]Service, error) {
	a := b.carry(b.next, request{method: "SomeServices", ids: ids})
	return a.services, a.err
}

func (b *bent) Apply(defs []ServiceDefinition) error {
	return b.carry(b.next, request{method: "Apply", defs: defs}).err
}

func (b *bent) Ping() error { return b.carry(b.next, request{method: "Ping"}).err }

func (b *bent) Version() (string, error) {
	a := b.carry(b.next, request{method: "Version"})
	return a.version, a.err
}

func (b *bent) Export() ([]byte, error) {
	a := b.carry(b.next, request{method: "Export"})
	return a.export, a.err
}

func (b *bent) Sync(def SyncDef) error {
	return b.carry(b.next, request{method: "Sync", def: def}).err
}

// bend makes a transport anew for each case, whose calls go by way of carry.
func bend(carry func(next Platform, r request) answer) func(Platform) Platform {
	return func(mock Platform) Platform { return &bent{next: mock, carry: carry} }
}

// asking bends a copy of each request.
func asking(change func(*request)) func(Platform) Platform {
	return bend(func(next Platform, r request) answer {
		r = r.clone()
		change(&r)
		return r.send(next)
	})
}

// answering bends each answer.
func answering(change func(request, *answer)) func(Platform) Platform {
	return bend(func(next Platform, r request) answer {
		a := r.send(next)
		a.services = cloneServices(a.services)
		change(r, &a)
		return a
	})
}

// failing bends each error that is not nil.
func failing(change func(error) error) func(Platform) Platform {
	return answering(func(_ request, a *answer) {
		if a.err != nil {
			a.err = change(a.err)
		}
	})
}

// each bends every service of an answer.
func each(change func(*Service)) func(Platform) Platform {
	return answering(func(_ request, a *answer) {
		for i := range a.services {
			change(&a.services[i])
		}
	})
}

// of confines a fault to one method.
func of(method string, faulty func(Platform) Platform) func(Platform) Platform {
	return func(mock Platform) Platform {
		transport := faulty(mock)
		return &bent{next: mock, carry: func(next Platform, r request) answer {
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

// emptyToNil is what encodings do that know no difference.
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

// lossy replaces what is not UTF-8, as a string in JSON would.
func lossy(b []byte) []byte {
	if b == nil {
		return nil
	}
	return []byte(strings.ToValidUTF8(string(b), "\uFFFD"))
}

// reply is the error of someone who sends nothing but the text.
func reply(err error) error { return errors.New(err.Error()) }

// sendErrorsAs changes the errors that hold an E.
func sendErrorsAs[E error](change func(E) error) func(Platform) Platform {
	return failing(func(err error) error {
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

// A case that no broken transport fails is none: somebody must be able to see that it
// works.
func TestEveryCaseFailsForSomeBrokenTransport(t *testing.T) {
	proven := map[string]bool{} // by TestBatteryFailsBrokenTransports
	for _, transport := range brokenTransports {
		proven[transport.in] = true
	}
	var harmless []string
	for _, c := range platformCases() {
		if !proven[c.name] && !slices.ContainsFunc(brokenTransports, func(transport brokenTransport) bool {
			return c.run(transport.wrap, caseLimit) != nil
		}) {
			harmless = append(harmless, c.name)
		}
	}
	assert.Empty(t, harmless, "nothing fails these")
}

func TestBatteryNamesAHang(t *testing.T) {
	stuck := make(chan struct{})
	defer close(stuck)
	hangs := bend(func(Platform, request) answer { <-stuck; return answer{} })
	for _, c := range platformCases() {
		if strings.HasSuffix(c.name, "/is made once") {
			err := c.run(hangs, time.Millisecond)
			require.ErrorContains(t, err, "hang: a call had not returned after 1ms", c.name)
			assert.ErrorContains(t, err, "rule: "+ruleOnce)
		}
	}
}

// A wrap of someone's own test may call t.FailNow, though it is not in its goroutine.
func TestBatteryNamesAnExit(t *testing.T) {
	for name, err := range platformFailures(func(Platform) Platform { runtime.Goexit(); return nil }, caseLimit) {
		require.ErrorIs(t, err, errExited, name)
	}
}

func TestFaithfulTransportsPass(t *testing.T) {
	inCluster := failing(ClusterError)
	for name, err := range platformFailures(inCluster, caseLimit) {
		assert.NoError(t, err, "%s: errors may come as ClusterError", name)
	}
}
