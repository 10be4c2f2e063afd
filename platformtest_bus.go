package platform

import (
	"testing"
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
// BatteryOptions.Wait, to allow for network latency. After such a wait, it makes a round
// trip before it concludes that no further cause arrives.
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

var (
	ruleConnect = rule{"Connect returns an error only for an empty ID or a problem with the bus, not because no daemon is connected",
		"return a handle, which looks up the daemon at each call"}
	ruleFollows = rule{"a handle follows its instance: each call goes to the daemon that is subscribed at that time",
		"look up the daemon at each call"}
	ruleNoDaemon = rule{"while no daemon is subscribed, a call returns an UnavailableError, which matches ErrPlatformNotAvailable",
		"return platform.UnavailableError(…) from each method"}
	rulePing = rule{"Ping returns nil if the daemon is connected and its platform answers, an UnavailableError without a daemon, and the platform's error otherwise",
		"call the Ping of the Platform that is subscribed"}
	ruleEnds = rule{"each subscription ends exactly once, with its cause sent to its own channel",
		"give each subscription an identity of its own: Platforms and channels may be the same, or not comparable"}
	ruleKicked = rule{"the cause of a subscription that a newer one ended matches ErrKicked, and no other cause does",
		"send ErrKicked, or wrap it: a daemon that receives it must not come straight back"}
	ruleFatalEnds = rule{"a FatalError, however wrapped, from any call ends the subscription; the caller gets it, and the subscriber the whole error or the FatalError alone",
		"look for it with AsFatal in what each method returns"}
	ruleNotFatal = rule{"nothing but a FatalError or a newer subscription ends a subscription",
		"pass other errors on"}
	ruleInFlight = rule{"a call that is in progress when its subscription ends still returns its own result",
		"let calls finish on the Platform that they began on"}
	ruleUnread = rule{"a channel that nobody reads blocks nothing else, and receives its cause when it is read",
		"if the channel is full, send from a goroutine that does nothing else"}
	ruleNilDone = rule{"if the channel is nil the cause is discarded",
		"test the channel for nil"}
	ruleIsolated = rule{"an instance ID is an opaque string, and instances do not affect each other",
		"escape IDs before they become part of anything"}
	ruleEmptyID = rule{"an empty instance ID is refused with an error",
		"test the ID first"}
	ruleRefused = rule{"an empty ID or a nil Platform is refused: the error is sent to the channel, and the current subscription is not affected",
		"test both before anything else"}
	ruleOneAtEnd = rule{"the newest subscription is the current one, and all others have ended, once each",
		"replace a subscription and end the older one in one step"}
	ruleBusy = rule{"a call in progress holds up nothing: no other call, Ping, Subscribe or Connect, of its instance or another",
		"hold no lock while a Platform is called"}
)

func busCases() []busCase {
	cases := []busCase{
		{"Connect/returns a handle before any daemon", ruleConnect, connectsEarly},
		{"Connect/refuses an empty ID", ruleEmptyID, refusesEmptyConnect},
		{"Handle/reports that no daemon is connected", ruleNoDaemon, saysUnavailable},
		{"Handle/works once a daemon subscribes", ruleFollows, worksLater},
		{"Handle/follows a kick", ruleFollows, followsKick},
		{"Ping/reports whether a daemon is connected", rulePing, pings},
		{"Ping/returns what the platform answers", rulePing, pingsFail},
		{"Ping/refuses an empty ID", ruleEmptyID, refusesEmptyPing},
		{"Subscribe/refuses an empty ID", ruleRefused, refusesEmptySubscribe},
		{"Subscribe/refuses a nil Platform", ruleRefused, refusesNilPlatform},
		{"Kick/ends the older subscription once", ruleEnds, kicks},
		{"Kick/ends each of many in turn", ruleEnds, kicksInTurn},
		{"Kick/accepts the same Platform again", ruleEnds, func(b *busTest) error {
			return sameAgain(b, func(p Platform) Platform { return p })
		}},
		{"Kick/accepts a Platform that cannot be compared", ruleEnds, func(b *busTest) error {
			return sameAgain(b, func(p Platform) Platform { return uncomparable{p, nil} })
		}},
		{"Kick/is told from other causes", ruleKicked, tellsKicks},
		{"Kick/accepts one channel for many subscriptions", ruleEnds, oneChannel},
		{"Kick/of one instance leaves the same Platform of another", ruleEnds, onePlatform},
		{"Handle/follows its instance through a FatalError", ruleFollows, followsFatal},
		{"Handle/of a view follows its instance", ruleFollows, viewFollows},
		{"Handle/is one of many", ruleFollows, manyHandles},
		{"Busy/calls of one instance hold up no other", ruleBusy, busyInstance},
		{"Busy/a call holds up no Subscribe", ruleBusy, busySubscribe},
		{"Busy/a Ping holds up nothing", ruleBusy, busyPing},
		{"Channel/one that is unread delays no other", ruleUnread, delaysNoOther},
		{"Kick/lets a call in progress finish", ruleInFlight, finishesCalls},
		{"Kick/leaves one of many concurrent subscriptions", ruleOneAtEnd, subscribesConcurrently},
		{"FatalError/ends once for many calls", ruleEnds, fatalOnce},
		{"FatalError/of an older call does not end the newer subscription", ruleEnds, fatalAfterKick},
		{"FatalError/is the only error that ends a subscription", ruleNotFatal, otherErrors},
		{"Channel/may stay unread", ruleUnread, unread},
		{"Channel/may be nil", ruleNilDone, nilChannel},
		{"Instances/have opaque IDs", ruleIsolated, oddIDs},
		{"Instances/are not kicked together", ruleIsolated, kicksOne},
		{"Instances/are not ended together", ruleIsolated, fatalToOne},
		{"Instances/may be many", ruleIsolated, manyInstances},
	}
	for _, method := range methods {
		cases = append(cases, busCase{"FatalError/from " + method, ruleFatalEnds, func(b *busTest) error {
			return fatal(b, method, func(handle Platform) error { return sampleRequest(method).send(handle).err })
		}})
	}
	return append(cases, busCase{"FatalError/from the bus's Ping", ruleFatalEnds, func(b *busTest) error {
		return fatal(b, "Ping", func(Platform) error { return b.ping(onlyInstance) })
	}})
}
