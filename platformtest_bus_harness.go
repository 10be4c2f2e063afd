package platform

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/platformbus/platform/flux"
)

const (
	onlyInstance  = flux.InstanceID("the instance")
	otherInstance = flux.InstanceID("another instance")
)

// through returns a wrap in which a Platform is reached through the bus.
func through(bus MessageBus) func(Platform) Platform {
	return func(mock Platform) Platform {
		handle := connect(bus, "battery")
		bus.Subscribe("battery", mock, make(chan error, 1))
		return handle
	}
}

// connect returns a handle. If there is none, each call on what it returns fails with the
// reason.
func connect(bus MessageBus, inst flux.InstanceID) Platform {
	handle, err := bus.Connect(inst)
	if err != nil {
		return &adapter{func(request) answer { return answer{err: fmt.Errorf("Connect: %w", err)} }}
	}
	return handle
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
	s.far.answerWith(func(_ context.Context, r request) answer {
		a := answer{version: s.name} // which only Version returns
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

// connect returns a handle, see connect.
func (b *busTest) connect(inst flux.InstanceID) Platform {
	b.setStep("Connect(%q)", excerptOf(inst))
	return connect(b.bus, inst)
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
// round trip.
func (b *busTest) noMoreCauses(s *subscriber) error {
	_ = b.ping(s.inst) // the result does not matter
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

// pollInterval is the pause between two attempts where a bus sends no notification.
const pollInterval = time.Millisecond

// awaitUnavailable waits until the bus knows no daemon for onlyInstance.
func (b *busTest) awaitUnavailable() error {
	for begin := time.Now(); ; time.Sleep(pollInterval) {
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
	_, helpful := errors.AsType[flux.HelpfulError](err)
	switch {
	case !errors.Is(err, ErrPlatformNotAvailable):
		return mismatch(call+", with no daemon subscribed, returned an error that does not match ErrPlatformNotAvailable", err, ErrPlatformNotAvailable)
	case !helpful:
		return mismatch(call+", with no daemon subscribed, returned an error in which errors.As finds no flux.HelpfulError", err, ErrPlatformNotAvailable)
	}
	return nil
}

// callsInFlight is the number of calls that block at the far end until they are answered.
// There are several, since a bus that aborts calls may abort a single one too late to be
// noticed.
const callsInFlight = 4

// heldCalls are calls of Sync that block at one daemon.
type heldCalls struct {
	s       *subscriber
	held    []heldCall
	started []startedCall
}

// hold subscribes a daemon and calls its Sync, which blocks. The caller must close the far
// end of the daemon.
func (b *busTest) hold(inst flux.InstanceID, handle Platform) (*heldCalls, error) {
	h := &heldCalls{s: newSubscriber(inst, "older")}
	there := h.s.far.hold(func(r request) bool { return r.method == "Sync" })
	b.add(h.s)
	for range callsInFlight {
		call := start(handle, sampleRequest("Sync"))
		held, err := b.arrival(there, call)
		if err != nil {
			h.s.far.close()
			return nil, err
		}
		h.started, h.held = append(h.started, call), append(h.held, held)
	}
	return h, nil
}

// release has the platform answer the calls with err.
func (h *heldCalls) release(err error) {
	for _, call := range h.held {
		call.answer <- answer{err: err}
	}
}
