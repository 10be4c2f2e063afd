package platform

import (
	"slices"
	"testing"
)

// PlatformTestBattery checks that a transport or a decorator keeps the contract of
// Platform, so that calls, arguments, results and errors pass through it. Its use is one
// line:
//
//	func TestMyTransport(t *testing.T) { platform.PlatformTestBattery(t, throughMyTransport) }
//
// wrap receives the Platform of the far end and returns the Platform under test, which must
// pass calls on to it. The battery may call wrap any number of times, in goroutines of its
// own and before it has finished with an earlier one; wrap registers its clean-up with
// t.Cleanup.
//
// What is checked is what the comments of Platform and WithContext say, and no more: nil and
// empty are the same, services may come in any order, and reads may be repeated. A transport
// need not encode errors by itself, see [ErrorCodec].
//
// Each case is a subtest, named after the method or the matter: -run Battery/Sync. A failure
// shows the call, the value received, the value wanted, the error that the call returned,
// the rule that is broken, and where to look. A panic in the goroutine of a call is a
// failure, and so is a call that does not return, see BatteryOptions.Wait; its goroutine
// leaks, since it cannot be ended from outside.
func PlatformTestBattery(t *testing.T, wrap func(mock Platform) Platform) {
	t.Helper()
	PlatformTestBatteryWith(t, wrap, BatteryOptions{})
}

// PlatformTestBatteryWith is PlatformTestBattery with options.
func PlatformTestBatteryWith(t *testing.T, wrap func(mock Platform) Platform, options BatteryOptions) {
	t.Helper()
	runPlatformCases(t, options, func(*testing.T) func(Platform) Platform { return wrap })
}

// runPlatformCases runs each case as a subtest. open is called in the subtest's own
// goroutine, where it may call t.Fatal; the wrap that it returns is not.
func runPlatformCases(t *testing.T, options BatteryOptions, open func(*testing.T) func(Platform) Platform) {
	t.Helper()
	for _, c := range platformCases() {
		t.Run(c.name, func(t *testing.T) {
			if err := c.run(open(t), options.before(t.Deadline())); err != nil {
				t.Error(err)
			}
		})
	}
}

func platformCases() []conformanceCase {
	return slices.Concat(argumentCases(), resultCases(), callCases(), errorCases(), overlapCases(), contextCases())
}
