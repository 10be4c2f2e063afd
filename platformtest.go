package platform

import (
	"errors"
	"fmt"
	"iter"
	"runtime/debug"
	"sync"
	"testing"
	"time"
)

// PlatformTestBattery checks that a transport or a decorator keeps the contract of
// Platform, so that arguments and results pass through it unchanged. Its use is one line:
//
//	func TestMyTransport(t *testing.T) { platform.PlatformTestBattery(t, throughMyTransport) }
//
// wrap receives the Platform of the far end and returns the Platform under test, which must
// pass every call on to it. The battery calls wrap once for each case, in a goroutine of
// its own; wrap registers its clean-up with t.Cleanup.
//
// The battery checks, for each method, that
//
//   - arguments and results arrive unchanged: nothing is lost, added or reordered, nil and
//     empty stay distinct, and bytes that are not UTF-8 and answers of 4 MiB pass. All
//     strings are valid UTF-8, so that JSON can carry them. Services returned with an
//     error are results too;
//   - the call is made exactly once and has ended when it returns, also when it failed;
//     later and concurrent calls get their own answers;
//   - arguments are not modified, and the caller may modify results;
//   - nil stays nil, also behind the error interface, and every error stays an error,
//     even one with an empty text;
//   - ApplyError and SyncError keep each entry with its text; the errors of
//     UnavailableError, UpgradeNeededError and ClusterError keep their text, their help and
//     the sentinel they match; any other error keeps its text and becomes none of these,
//     but may arrive in a ClusterError. Of a FatalError only the text has to arrive;
//     MessageBusTestBattery checks its effect.
//
// Each case is a subtest, named after the method: -run Battery/Sync. A failure shows the
// call, the value received, the value wanted, and the rule that it breaks. A panic in the
// goroutine of a call is a failure, and so is a case that takes longer than 30 seconds; its
// goroutine leaks, since it cannot be ended from outside.
func PlatformTestBattery(t *testing.T, wrap func(mock Platform) Platform) {
	t.Helper()
	runPlatformCases(t, func(*testing.T) func(Platform) Platform { return wrap })
}

// runPlatformCases runs each case as a subtest. open is called in the subtest's own
// goroutine, where it may call t.Fatal; the wrap that it returns is not.
func runPlatformCases(t *testing.T, open func(*testing.T) func(Platform) Platform) {
	t.Helper()
	for _, c := range platformCases() {
		t.Run(c.name, func(t *testing.T) {
			if err := c.run(open(t), caseLimit); err != nil {
				t.Error(err)
			}
		})
	}
}

// caseLimit is far more than any case needs, so that no case fails on a busy machine.
const caseLimit = 30 * time.Second

// A conformanceCase checks one rule of the contract of Platform.
type conformanceCase struct {
	name   string
	rule   string                          // the sentence of the contract that a failure breaks
	mock   func() *MockPlatform            // answers at the far end; nil means the zero mock
	answer func(request) answer            // answers in place of the mock, depending on the request
	check  func(Platform, *recorder) error // takes no testing.T: it may hang, and we test it against broken transports
}

// run checks the Platform that wrap returns. It returns nil if the rule holds.
func (c conformanceCase) run(wrap func(Platform) Platform, limit time.Duration) error {
	return withRule(c.rule, runBounded(limit, func() error {
		far := &recorder{mock: &MockPlatform{}, answer: c.answer}
		if c.mock != nil {
			far.mock = c.mock()
		}
		p := wrap(far)
		if p == nil {
			return errors.New("there is nothing to test: wrap returned nil")
		}
		return c.check(p, far)
	}))
}

// platformFailures runs every case, and yields its name and its failure, or nil.
func platformFailures(wrap func(Platform) Platform, limit time.Duration) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		for _, c := range platformCases() {
			if !yield(c.name, c.run(wrap, limit)) {
				return
			}
		}
	}
}

// withRule adds the rule that was broken to a failure.
func withRule(rule string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w\nrule: %s", err, rule)
}

var (
	errHang   = errors.New("hang")
	errExited = errors.New("the goroutine of the call exited: was t.FailNow called in it?")
)

// runBounded calls f in a goroutine and returns its error. It also returns an error if f
// panics, exits its goroutine, or does not return within the limit; the goroutine of an f
// that hangs leaks.
func runBounded(limit time.Duration, f func() error) error {
	returned := make(chan error, 1)
	go func() {
		err := errExited
		defer func() { returned <- err }() // also if the goroutine ends here
		defer recoverInto(&err)
		err = f()
	}()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case err := <-returned:
		return err
	case <-timer.C:
		return fmt.Errorf("%w: a call did not return within %v", errHang, limit)
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
	start := make(chan struct{})
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			errs[i] = errExited
			defer recoverInto(&errs[i])
			<-start
			errs[i] = f(i)
		})
	}
	close(start)
	all.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
