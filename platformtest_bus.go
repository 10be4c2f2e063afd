package platform

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/platformbus/platform/flux"
)

// MessageBusTestBattery checks that a bus, within one process or between processes, keeps
// the contract of MessageBus. Its use is one line:
//
//	func TestMyBus(t *testing.T) { platform.MessageBusTestBattery(t, newMyBus) }
//
// The battery calls newBus once for each case, in the goroutine of the case's subtest t.
// newBus returns a bus without subscriptions, and registers its clean-up with t.Cleanup.
// For a bus between processes it may return a MessageBus whose Subscribe is at one end
// and whose Connect and Ping are at the other.
//
// What is checked is what the comments of MessageBus and Connecter say, and no more: a
// subscriber may be sent the whole error that a FatalError was found in or the FatalError
// alone, and a bus may call Ping and Version whenever it likes. Beside the cases for the bus,
// a Platform reached through it must pass PlatformTestBattery.
//
// Subscribe takes effect before it returns; for everything else the battery waits, see
// BatteryOptions.Wait, to allow for network latency. After such a wait, it makes round
// trips before it concludes that no further cause arrives.
//
// Each case is a subtest, as in -run Battery/Kick; the cases of PlatformTestBattery are
// subtests of Platform. Panics and hangs are failures, as in PlatformTestBattery; a case
// may take twice as long as a wait.
func MessageBusTestBattery(t *testing.T, newBus func(t *testing.T) MessageBus) {
	t.Helper()
	MessageBusTestBatteryWith(t, newBus, BatteryOptions{})
}

// MessageBusTestBatteryWith is MessageBusTestBattery with options.
func MessageBusTestBatteryWith(t *testing.T, newBus func(t *testing.T) MessageBus, options BatteryOptions) {
	t.Helper()
	for _, c := range busCases() {
		t.Run(c.name, func(t *testing.T) {
			if err := c.run(newBus(t), options.before(t.Deadline())); err != nil {
				t.Error(err)
			}
		})
	}
	t.Run("Platform", func(t *testing.T) {
		runPlatformCases(t, options, func(t *testing.T) func(Platform) Platform { return through(newBus(t)) })
	})
}

// through returns a wrap in which a Platform is reached through the bus.
func through(bus MessageBus) func(Platform) Platform {
	return func(mock Platform) Platform {
		handle, err := bus.Connect("battery")
		if err != nil {
			panic(fmt.Sprintf("Connect returned the error %v", err))
		}
		bus.Subscribe("battery", mock, make(chan error, 1))
		return handle
	}
}

// A busCase checks one rule of the contract of MessageBus.
type busCase struct {
	name  string
	rule  rule
	check func(*busTest) error
}

// run checks the bus. It returns nil if the rule holds. Each wait is bounded by the options,
// and the case by twice that.
func (c busCase) run(bus MessageBus, options BatteryOptions) error {
	b := &busTest{bus: bus, BatteryOptions: options.withDefaults()}
	return c.rule.broken(runBounded(&b.progress, 2*b.Wait, func() error { return c.check(b) }))
}

// A busTest is a bus under test, with helpers for the cases.
type busTest struct {
	BatteryOptions
	progress
	bus MessageBus
}

// A subscriber is a daemon that offers a Platform whose Version is the daemon's name.
type subscriber struct {
	inst flux.InstanceID
	name string
	far  *farEnd
	done chan error // has room for more than the one value that is allowed
}

func newSubscriber(inst flux.InstanceID, name string) *subscriber {
	s := &subscriber{inst: inst, name: name, far: newFarEnd(), done: make(chan error, 4)}
	s.returns("", nil)
	return s
}

// returns has calls of the method fail with err from now on.
func (s *subscriber) returns(method string, err error) {
	s.far.answerWith(func(_ context.Context, r request) (a answer) {
		if r.method == "Version" {
			a.version = s.name
		}
		if r.method == method {
			a.err = err
		}
		return a
	})
}

// subscribe subscribes a new daemon.
func (b *busTest) subscribe(inst flux.InstanceID, name string) *subscriber {
	return b.add(newSubscriber(inst, name))
}

// add subscribes a daemon.
func (b *busTest) add(s *subscriber) *subscriber {
	b.setStep("Subscribe of the %s daemon", s.name)
	b.bus.Subscribe(s.inst, s.far.platform(), s.done)
	return s
}

// connect returns a handle.
func (b *busTest) connect(inst flux.InstanceID) (Platform, error) {
	b.setStep("Connect(%q)", excerptOf(inst))
	handle, err := b.bus.Connect(inst)
	switch {
	case err != nil:
		return nil, mismatch(fmt.Sprintf("Connect(%q) returned the error", excerptOf(inst)), err, nil)
	case handle == nil:
		return nil, fmt.Errorf("Connect(%q) returned neither a Platform nor an error", excerptOf(inst))
	}
	return handle, nil
}

// ping pings the instance.
func (b *busTest) ping(inst flux.InstanceID) error {
	b.setStep("Ping(%q)", excerptOf(inst))
	return b.bus.Ping(inst)
}

// reaches returns nil if the daemon s answers a call on the handle.
func (b *busTest) reaches(handle Platform, s *subscriber) error {
	b.setStep("Version on a handle")
	version, err := handle.Version()
	if err != nil {
		return mismatch(fmt.Sprintf("a call that the %s daemon was to answer returned the error", s.name), err, nil)
	} else if version != s.name {
		return mismatch("a call was answered by the daemon", version, s.name)
	}
	return nil
}

// awaitCause waits for the cause of the end of the subscription of s.
func (b *busTest) awaitCause(s *subscriber) (cause, failure error) {
	timer := time.NewTimer(b.Wait)
	defer timer.Stop()
	select {
	case cause, open := <-s.done:
		switch {
		case !open:
			return nil, fmt.Errorf("the bus closed the channel of the %s daemon", s.name)
		case cause == nil:
			return nil, fmt.Errorf("the subscription of the %s daemon ended with a cause that is nil", s.name)
		}
		return cause, nil
	case <-timer.C:
		return nil, fmt.Errorf("the channel of the %s daemon received no cause within %v", s.name, b.Wait)
	}
}

// noMoreCauses returns nil if the channel of s receives nothing, or nothing more, during a
// few round trips.
func (b *busTest) noMoreCauses(s *subscriber) error {
	for range 2 {
		_ = b.ping(s.inst) // the result does not matter
	}
	select {
	case cause, open := <-s.done:
		if !open {
			return fmt.Errorf("the bus closed the channel of the %s daemon", s.name)
		}
		return mismatch(fmt.Sprintf("the channel of the %s daemon received one cause too many", s.name), cause, nil)
	default:
		return nil
	}
}

// endsOnce waits for the cause of s and checks that it is the only one.
func (b *busTest) endsOnce(s *subscriber) error {
	if _, err := b.awaitCause(s); err != nil {
		return err
	}
	return b.noMoreCauses(s)
}

// awaitUnavailable waits until the bus knows no daemon for onlyInstance.
func (b *busTest) awaitUnavailable() error {
	for begin := time.Now(); ; runtime.Gosched() {
		err := b.ping(onlyInstance)
		if errors.Is(err, ErrPlatformNotAvailable) {
			return nil
		}
		if time.Since(begin) > b.Wait {
			return mismatch(fmt.Sprintf("Ping, %v after the subscription had ended, returned", b.Wait), err, ErrPlatformNotAvailable)
		}
	}
}

// unavailable returns nil if err, which a call returned, reports that no daemon is connected.
func unavailable(call string, err error) error {
	var helpful flux.HelpfulError
	switch {
	case !errors.Is(err, ErrPlatformNotAvailable):
		return mismatch(call+", with no daemon subscribed, returned an error that does not match ErrPlatformNotAvailable", err, ErrPlatformNotAvailable)
	case !errors.As(err, &helpful):
		return mismatch(call+", with no daemon subscribed, returned an error in which errors.As finds no flux.HelpfulError", err, ErrPlatformNotAvailable)
	}
	return nil
}

// excerptOf shortens a long ID or text.
func excerptOf[S ~string](s S) string {
	if len(s) > 40 {
		return string(s[:40]) + "…"
	}
	return string(s)
}
