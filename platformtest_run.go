package platform

import (
	"cmp"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"
)

// BatteryOptions configure a battery. The zero value is useful.
type BatteryOptions struct {
	// Wait is how long a case may wait for calls to return and for messages to arrive; 10
	// seconds if zero. Close to the test's deadline cases wait for less, so that the battery
	// ends, with a failure for each case, before the deadline ends the test.
	Wait time.Duration
	// SlowCall is how long the calls take that a time-out must not end; 250 milliseconds
	// if zero. Set it to more than the time-outs that the transport or bus has.
	SlowCall time.Duration
	// StopsCalls says that a call in progress returns when its context has ended, though the
	// platform has not answered. Without it a call may also wait for the platform.
	StopsCalls bool
}

func (o BatteryOptions) withDefaults() BatteryOptions {
	if o.Wait <= 0 {
		o.Wait = 10 * time.Second
	}
	if o.SlowCall <= 0 {
		o.SlowCall = 250 * time.Millisecond
	}
	return o
}

// before returns the options for a case of a test that has the deadline given, or none if it
// is not limited. A case may wait for an eighth of the time that is left, so that the battery
// ends before the deadline even if every case waits in vain.
func (o BatteryOptions) before(deadline time.Time, limited bool) BatteryOptions {
	o = o.withDefaults()
	if limited {
		o.Wait = min(o.Wait, time.Until(deadline)/8)
	}
	return o
}

// A rule is a sentence of the contract, and a hint for whoever breaks it.
type rule struct{ says, hint string }

// broken adds the rule to a failure.
func (r rule) broken(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w\nrule: %s\nhint: %s", err, r.says, r.hint)
}

var errExited = errors.New("the goroutine of the call exited: was t.FailNow called in it?")

// A progress records what a case began last, to name it in the failure if the case hangs.
type progress struct{ step atomic.Value }

func (p *progress) setStep(format string, args ...any) { p.step.Store(fmt.Sprintf(format, args...)) }

// runBounded calls f in a goroutine and returns its error. It also returns an error if f
// panics, exits its goroutine, or does not return within the limit; the goroutine of an f
// that hangs leaks.
func runBounded(p *progress, limit time.Duration, f func() error) error {
	returned := make(chan error, 1)
	go func() {
		err := errExited
		defer func() { returned <- err }() // also if the goroutine ends here
		defer recoverInto(&err)
		err = f()
	}()
	select {
	case err := <-returned:
		return err
	case <-time.After(limit):
		return fmt.Errorf("hang: %s did not return within %v", p.step.Load(), limit)
	}
}

// recoverInto is deferred; it turns a panic into an error.
func recoverInto(err *error) {
	if cause := recover(); cause != nil {
		*err = fmt.Errorf("panic: %v\n%s", cause, debug.Stack())
	}
}

// concurrently runs f(0) to f(n-1) concurrently, and returns the first of their errors; the
// others are likely of the same kind.
func concurrently(n int, f func(i int) error) error {
	errs := make([]error, n)
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			errs[i] = errExited
			defer recoverInto(&errs[i])
			errs[i] = f(i)
		})
	}
	all.Wait()
	return cmp.Or(errs...)
}

// firstError runs the checks in order and returns the first failure.
func firstError(checks ...func() error) error {
	for _, check := range checks {
		if err := check(); err != nil {
			return err
		}
	}
	return nil
}
