package platform

import (
	"errors"
	"net/url"
	"path"
	"strconv"
	"strings"
	"time"
)

type brokenBus struct {
	breaks rule
	name   string
	faults faults
	wait   time.Duration // the default if zero; short for buses that hang or send no cause
	in     string        // the case that must fail
	says   []string      // texts that the failure must contain beside the rule
}

// brokenBuses has a bus for each fault that we could think of.
func brokenBuses() []brokenBus {
	rows := []brokenBus{
		{ruleConnect, "connects to what is there only", faults{connectFails: true}, 0,
			"Connect/returns a handle before any daemon", []string{`Connect("the instance") returned the error`, "not connected"}},
		{ruleFollows, "pins a handle to its first platform", faults{pins: true}, 0,
			"Handle/follows a kick", []string{"after a kick, the older daemon still got [AllServices]"}},
		{ruleFollows, "binds a handle when it is made", faults{binds: true}, 0,
			"Handle/works once a daemon subscribes", []string{`the first daemon was to answer returned the error`, "not connected"}},
		{ruleNoDaemon, "has a plain error for no daemon", faults{plainAbsence: true}, 0,
			"Handle/reports that no daemon is connected", []string{"AllServices, with no daemon subscribed, returned an error that does not match ErrPlatformNotAvailable"}},
		{ruleNoDaemon, "has no help for no daemon", faults{bareAbsence: true}, 0,
			"Handle/reports that no daemon is connected", []string{"errors.As finds no flux.HelpfulError"}},
		{ruleNoDaemon, "succeeds without a daemon", faults{absenceIsNil: true}, 0,
			"Handle/reports that no daemon is connected", []string{"AllServices, with no daemon subscribed", "got nil"}},
		{rulePing, "reports a daemon that is not connected", faults{alwaysThere: true}, 0,
			"Ping/reports whether a daemon is connected", []string{"Ping of the bus, with no daemon subscribed", "got nil"}},
		{rulePing, "does not ping the platform", faults{presence: true}, 0,
			"Ping/returns what the platform answers", []string{"Ping of the bus failed, but returned no error"}},
		{ruleEmptyID, "connects to an empty ID", faults{emptyID: true}, 0,
			"Connect/refuses an empty ID", []string{`Connect("") returned no error`}},
		{ruleEmptyID, "pings an empty ID", faults{emptyID: true, alwaysThere: true}, 0,
			"Ping/refuses an empty ID", []string{`Ping("") returned no error`}},
		{ruleRefused, "accepts a subscription of an empty ID", faults{emptyID: true}, hasty,
			"Subscribe/refuses an empty ID", []string{"the channel of the nameless daemon received no cause within 300ms"}},
		{ruleRefused, "takes a nil Platform", faults{nilPlatform: true}, hasty,
			"Subscribe/refuses a nil Platform", []string{"the channel of the nil daemon received no cause"}},
		{ruleRefused, "is kicked by a nil Platform", faults{nilKicks: true}, 0,
			"Subscribe/refuses a nil Platform", []string{"the channel of the present daemon received one cause too many"}},
		{ruleRefused, "refuses a nil Platform without a reason", faults{vagueRefusal: true}, 0,
			"Subscribe/refuses a nil Platform", []string{`the cause does not say that the Platform is nil: *errors.errorString "refused"`}},
		{ruleRefused, "refuses a nil Platform without a word", faults{silentRefusal: true}, hasty,
			"Subscribe/refuses a nil Platform", []string{"the channel of the nil daemon received no cause"}},
		{ruleEnds, "compares platforms with ==", faults{comparesValues: true}, hasty,
			"Kick/accepts the same Platform again", []string{"the channel of the first daemon received no cause"}},
		{ruleEnds, "compares what cannot be compared", faults{comparesValues: true}, 0,
			"Kick/accepts a Platform that cannot be compared", []string{"panic: runtime error: comparing uncomparable type"}},
		{ruleEnds, "ends nothing", faults{neverEnds: true}, hasty,
			"Kick/ends the older subscription once", []string{"the channel of the older daemon received no cause within 300ms"}},
		{ruleEnds, "ends everything twice", faults{endsTwice: true}, 0,
			"Kick/ends the older subscription once", []string{"the channel of the older daemon received one cause too many", "has taken its place"}},
		{ruleEnds, "ends the newer one", faults{endsNewer: true}, hasty,
			"Kick/ends the older subscription once", []string{"the channel of the older daemon received no cause"}},
		{ruleEnds, "gives no cause", faults{endsWithNil: true}, 0,
			"Kick/ends the older subscription once", []string{"ended with a cause that is nil"}},
		{ruleEnds, "closes channels", faults{closes: true}, 0,
			"Kick/ends each of many in turn", []string{"the bus closed the channel of the no. 0 daemon"}},
		{ruleEnds, "lets the first one win", faults{firstWins: true}, 0,
			"Kick/ends each of many in turn", []string{"a call was answered by the daemon", `got "no. 0"`, `want "no. 1"`}},
		{ruleOneAtEnd, "keeps both", faults{keepsBoth: true}, hasty,
			"Kick/leaves one of many concurrent subscriptions", []string{"of 64 subscriptions, only 0 have ended"}},
		{ruleOneAtEnd, "ends the newer one of many", faults{endsNewer: true}, 0,
			"Kick/leaves one of many concurrent subscriptions", []string{"a call was answered by the daemon"}},
		{ruleInFlight, "cuts calls short", faults{cuts: true}, 0,
			"Kick/lets a call in progress finish", []string{"in progress", "kicked"}},
		{ruleInFlight, "serves one call at a time", faults{calls: 1}, hasty,
			"Kick/lets a call in progress finish", []string{"hang: Sync, before it reached the platform, did not return within 600ms"}},
		{ruleUnread, "waits for the subscriber", faults{blocks: true}, hasty,
			"Channel/may stay unread", []string{"hang: Subscribe of the dying daemon did not return within 600ms"}},
		{ruleUnread, "drops what nobody reads", faults{drops: true}, hasty,
			"Channel/may stay unread", []string{"the channel of the kicked daemon received no cause"}},
		{ruleFatalEnds, "recognises a bare FatalError only", faults{finds: isBareFatal}, hasty,
			"FatalError/from Apply", []string{"FatalError, ", "the channel of the dying daemon received no cause"}},
		{ruleFatalEnds, "does not recognise pointers", faults{finds: isFatalByValue}, hasty,
			"FatalError/from Export", []string{"pointer", "the channel of the dying daemon received no cause"}},
		{ruleFatalEnds, "recognises a FatalError of Sync only", faults{syncFatal: true}, hasty,
			"FatalError/from SomeServices", []string{"the channel of the dying daemon received no cause"}},
		{ruleFatalEnds, "ignores a FatalError of its own Ping", faults{ignoresPing: true}, hasty,
			"FatalError/from the bus's Ping", []string{"the channel of the dying daemon received no cause"}},
		{ruleFatalEnds, "swallows the FatalError", faults{swallowsFatal: true}, 0,
			"FatalError/from Version", []string{"AsFatal finds no FatalError", "the daemon has died"}},
		{ruleFatalEnds, "gives the subscriber a text", faults{plainCause: true}, 0,
			"FatalError/from Sync", []string{"the subscription returned an error in which AsFatal finds no FatalError"}},
		{ruleFatalEnds, "keeps using an ended subscription", faults{staysAfterDead: true}, hasty,
			"FatalError/from Version", []string{"Ping, 300ms after the subscription had ended, returned", "got nil"}},
		{ruleEnds, "sends every FatalError to the subscriber", faults{fatalRepeats: true}, 0,
			"FatalError/of an older call does not end the newer subscription", []string{"the channel of the older daemon received one cause too many", "died late"}},
		{ruleEnds, "sends every FatalError of an ended subscription", faults{fatalRepeats: true, staysAfterDead: true}, 0,
			"FatalError/ends once for many calls", []string{"the channel of the dying daemon received one cause too many"}},
		{ruleEnds, "ends the newer subscription at a late FatalError", faults{fatalEndsNewer: true}, 0,
			"FatalError/of an older call does not end the newer subscription", []string{"the channel of the newer daemon received one cause too many", "died late"}},
		{ruleNotFatal, "ends at any error", faults{endsAt: func(error) bool { return true }}, 0,
			"FatalError/is the only error that ends a subscription", []string{"the channel of the only daemon received one cause too many"}},
		{ruleIsolated, "trims IDs", faults{keys: strings.TrimSpace}, 0,
			"Instances/have opaque IDs", []string{`Ping("a "), with no daemon subscribed`}},
		{ruleIsolated, "folds the case of IDs", faults{keys: strings.ToLower}, 0,
			"Instances/have opaque IDs", []string{`Ping("A"), with no daemon subscribed`}},
		{ruleIsolated, "takes IDs for patterns", faults{matches: func(inst, id string) bool { ok, _ := path.Match(inst, id); return ok }}, 0,
			"Instances/have opaque IDs", []string{`Ping("a.*"), with no daemon subscribed`}},
		{ruleIsolated, "cuts long IDs", faults{keys: func(id string) string { return id[:min(len(id), 1023)] }}, 0,
			"Instances/have opaque IDs", []string{`xxx…"), with no daemon subscribed`}},
		{ruleIsolated, "kicks all instances", faults{sharedKick: true}, 0,
			"Instances/are not kicked together", []string{"the channel of the other instance's daemon received one cause too many"}},
		{ruleIsolated, "lets all instances die", faults{sharedDeath: true}, 0,
			"Instances/are not ended together", []string{"the channel of the other instance's daemon received one cause too many", "boom"}},
		{ruleIsolated, "kicks all instances of many", faults{sharedKick: true}, hasty,
			"Instances/may be many", []string{"daemon"}},
		// Further faults, most of which need more than one subscription or call to show.
		{ruleKicked, "kicks without ErrKicked", faults{plainKick: true}, 0,
			"Kick/is told from other causes", []string{"does it match ErrKicked?", "got false"}},
		{ruleKicked, "kicks with a FatalError", faults{fatalKick: true}, 0,
			"Kick/is told from other causes", []string{"does AsFatal find a FatalError in it?", "got true"}},
		{ruleKicked, "refuses with ErrKicked", faults{kickedRefusal: true}, 0,
			"Kick/is told from other causes", []string{"nameless", "does it match ErrKicked?", "got true"}},
		{ruleKicked, "says kicked to who has died", faults{kickedDeath: true}, 0,
			"Kick/is told from other causes", []string{"dying", "got true"}},
		{ruleKicked, "gives the text of a FatalError only", faults{plainCause: true}, 0,
			"Kick/is told from other causes", []string{"dying", "does AsFatal find a FatalError in it?"}},
		{ruleEnds, "compares channels", faults{byChannel: true}, hasty,
			"Kick/accepts one channel for many subscriptions", []string{"received no cause"}},
		{ruleEnds, "ends all subscriptions of a Platform", faults{byPlatform: true}, 0,
			"Kick/of one instance leaves the same Platform of another", []string{"one cause too many"}},
		{ruleEnds, "sends every cause of a channel twice", faults{endsTwice: true}, 0,
			"Kick/accepts one channel for many subscriptions", []string{"one cause too many"}},
		{ruleFollows, "has handles that stay without a daemon", faults{staysAbsent: true}, 0,
			"Handle/follows its instance through a FatalError", []string{"the dying no. 1 daemon was to answer", "not connected"}},
		{ruleFollows, "has handles that stay without a first daemon", faults{staysAbsent: true}, 0,
			"Handle/works once a daemon subscribes", []string{"not connected"}},
		{ruleFollows, "has views that do not follow", faults{pinsViews: true}, 0,
			"Handle/of a view follows its instance", []string{"through a view of a handle", `got "no. 0"`}},
		{ruleFollows, "serves the newest handle only", faults{newestHandles: 1}, 0,
			"Handle/is one of many", []string{"through one of 2 handles"}},
		{ruleFollows, "serves 3 handles only", faults{newestHandles: 3}, 0,
			"Handle/is one of many", []string{"through one of 4 handles"}},
		{ruleFollows, "subscribes with the next Ping", faults{late: true}, 0,
			"Handle/works once a daemon subscribes", []string{"not connected"}},
		{ruleBusy, "serves one call at a time, of all instances", faults{calls: 1}, hasty,
			"Busy/calls of one instance hold up no other", []string{"hang: Sync, before it reached the platform"}},
		{ruleBusy, "has Subscribe wait for calls", faults{locksInstance: true}, hasty,
			"Busy/a call holds up no Subscribe", []string{"hang: Subscribe of the newer daemon"}},
		{ruleBusy, "sends the cause after the calls", faults{drains: true}, hasty,
			"Busy/a call holds up no Subscribe", []string{"the channel of the older daemon received no cause"}},
		{ruleBusy, "does nothing during a Ping", faults{locksPing: true}, hasty,
			"Busy/a Ping holds up nothing", []string{"hang: Subscribe of the newer daemon"}},
		{ruleUnread, "has one sender for all channels", faults{oneSender: true}, hasty,
			"Channel/one that is unread delays no other", []string{"received no cause", "unread"}},
		{ruleUnread, "waits for each channel to be read", faults{blocks: true}, hasty,
			"Channel/one that is unread delays no other", []string{"hang: Subscribe of the no. 1"}},
		{ruleNilDone, "sends to a channel that is nil", faults{nilPanics: "kick"}, 0,
			"Channel/may be nil", []string{"panic: no channel"}},
		{ruleFatalEnds, "looks for a FatalError in chains", faults{finds: isFatalInChain}, hasty,
			"FatalError/from Sync", []string{"received no cause"}},
		{rulePing, "remembers the first Ping", faults{cachesPing: true}, 0,
			"Ping/reports whether a daemon is connected", []string{"Ping of the bus returned", "not connected"}},
		{rulePing, "adds to the error of a Ping", faults{plainPing: true}, 0,
			"Ping/returns what the platform answers", []string{"Ping of the bus returned an error with the text", `got "ping: `}},
		{ruleNoDaemon, "succeeds to sync nothing", faults{presentFor: "Sync"}, 0,
			"Handle/reports that no daemon is connected", []string{"Sync, with no daemon subscribed", "got nil"}},
		{ruleNoDaemon, "has no services without a daemon", faults{presentFor: "SomeServices"}, 0,
			"Handle/reports that no daemon is connected", []string{"SomeServices, with no daemon subscribed", "got nil"}},
		{ruleFollows, "exports from the first daemon", faults{pinsMethod: "Export"}, 0,
			"Handle/follows a kick", []string{"after a kick, the older daemon still got [Export]"}},
		{ruleFollows, "applies to the first daemon", faults{pinsMethod: "Apply"}, 0,
			"Handle/follows a kick", []string{"after a kick, the older daemon still got [Apply]"}},
		{ruleIsolated, "takes IDs for C strings", faults{keys: func(id string) string { before, _, _ := strings.Cut(id, "\x00"); return before }}, 0,
			"Instances/have opaque IDs", []string{`Ping("a\x00b"), with no daemon subscribed`}},
		{ruleIsolated, "takes IDs for paths", faults{keys: func(id string) string { return strings.TrimPrefix(path.Clean("/"+id), "/") }}, 0,
			"Instances/have opaque IDs", []string{`Ping("../a"), with no daemon subscribed`}},
		{ruleIsolated, "unescapes IDs", faults{keys: func(id string) string {
			if plain, err := url.QueryUnescape(id); err == nil {
				return plain
			}
			return id
		}}, 0,
			"Instances/have opaque IDs", []string{", with no daemon subscribed"}},
		{ruleIsolated, "takes IDs for prefixes", faults{matches: strings.HasPrefix}, 0,
			"Instances/have opaque IDs", []string{`Ping("a.b"), with no daemon subscribed`}},
		{ruleIsolated, "folds accents of IDs", faults{keys: strings.NewReplacer("ü", "u", "u\u0308", "u").Replace}, 0,
			"Instances/have opaque IDs", []string{`Ping("u`, ", with no daemon subscribed"}},
		{ruleOneAtEnd, "ends both", faults{endsBoth: true}, 0,
			"Kick/leaves one of many concurrent subscriptions", []string{"all of 64 subscriptions have ended"}},
		{ruleOneAtEnd, "ends all of many", faults{endsNewer: true, neverEnds: true}, hasty,
			"Kick/leaves one of many concurrent subscriptions", []string{"of 64 subscriptions"}},
		{ruleOneAtEnd, "ends each of many twice", faults{endsTwice: true}, 0,
			"Kick/leaves one of many concurrent subscriptions", []string{"one cause too many"}},
		{ruleEnds, "ends both at a kick", faults{endsBoth: true}, 0,
			"Kick/ends the older subscription once", []string{"the channel of the newer daemon received one cause too many"}},
		{ruleEnds, "ends once more with the next Ping", faults{endsLater: true}, 0,
			"Kick/ends the older subscription once", []string{"the channel of the older daemon received one cause too many"}},
		{ruleEnds, "closes channels in place of a cause", faults{closesOnly: true}, 0,
			"Kick/ends the older subscription once", []string{"the bus closed the channel of the older daemon"}},
		{ruleEnds, "forgets other subscriptions of a channel", faults{forgets: func(kicked, s *faultySub) bool { return s.done == kicked.done && s.inst != kicked.inst }}, 0,
			"Kick/accepts one channel for many subscriptions", []string{"the other instance's daemon was to answer", "not connected"}},
		{ruleEnds, "forgets the newer subscription of a Platform", faults{forgets: func(kicked, s *faultySub) bool { return s.p == kicked.p }}, 0,
			"Kick/accepts the same Platform again", []string{"the first daemon was to answer", "not connected"}},
		{ruleEnds, "forgets other subscriptions of a Platform", faults{forgets: func(kicked, s *faultySub) bool { return s.p == kicked.p }}, 0,
			"Kick/of one instance leaves the same Platform of another", []string{"the one daemon was to answer", "not connected"}},
		{ruleIsolated, "forgets other instances at a kick", faults{forgets: func(kicked, s *faultySub) bool { return s.inst != kicked.inst }}, 0,
			"Instances/are not kicked together", []string{"the other instance's daemon was to answer", "not connected"}},
		{ruleIsolated, "forgets other instances when one dies", faults{forgets: func(kicked, s *faultySub) bool { return s.inst != kicked.inst }}, 0,
			"Instances/are not ended together", []string{"the other instance's daemon was to answer", "not connected"}},
		{ruleIsolated, "has room for 64 instances", faults{atMost: 64}, 0,
			"Instances/may be many", []string{"daemon was to answer returned the error", "not connected"}},
		{ruleFollows, "has handles that stay with a daemon that has died", faults{handleKeepsDead: true}, 0,
			"Handle/follows its instance through a FatalError", []string{"Version of a handle that has been used, with no daemon subscribed", "got nil"}},
		{ruleFollows, "has handles that a kick breaks", faults{kickBreaks: true}, 0,
			"Handle/follows a kick", []string{"calls that the platform received", "the call returned the error: stale"}},
		{ruleRefused, "refuses a nil Platform twice", faults{endsTwice: true}, 0,
			"Subscribe/refuses a nil Platform", []string{"the channel of the nil daemon received one cause too many"}},
		{ruleRefused, "forgets the daemon at a nil Platform", faults{nilForgets: true}, 0,
			"Subscribe/refuses a nil Platform", []string{"the present daemon was to answer", "not connected"}},
		{ruleIsolated, "takes IDs for subjects", faults{matches: func(inst, id string) bool {
			prefix, all := strings.CutSuffix(inst, ">")
			return all && strings.HasPrefix(id, prefix)
		}}, 0, "Instances/have opaque IDs", []string{`Ping("a.>"), with no daemon subscribed`}},
		{ruleUnread, "drops a FatalError that nobody reads", faults{dropsDeath: true}, hasty,
			"Channel/may stay unread", []string{"the channel of the dying daemon received no cause"}},
		{ruleUnread, "waits for the subscriber that dies", faults{blocksDeath: true}, hasty,
			"Channel/may stay unread", []string{"hang: Ping on a handle"}},
		{ruleFatalEnds, "gives the subscriber another FatalError", faults{otherFatal: true}, 0,
			"FatalError/from Sync", []string{"the subscription returned an error that lacks the text of the FatalError"}},
		{ruleNotFatal, "forgets a subscription at any error", faults{endsAt: func(error) bool { return true }, neverEnds: true}, 0,
			"FatalError/is the only error that ends a subscription", []string{"after errors of AllServices", "not connected"}},
		{ruleBusy, "serves 4 calls at a time, of all instances", faults{calls: 4}, hasty,
			"Busy/calls of one instance hold up no other", []string{"hang: Version on a handle"}},
		{ruleBusy, "has Subscribe wait for calls of all instances", faults{locksAll: true}, hasty,
			"Busy/calls of one instance hold up no other", []string{"hang: Subscribe of the other instance's daemon"}},
		{ruleBusy, "has Ping wait for calls of all instances", faults{pingWaits: true}, hasty,
			"Busy/calls of one instance hold up no other", []string{"hang: Ping("}},
		{ruleBusy, "goes on with the older daemon until it is idle", faults{switchesLate: true}, 0,
			"Busy/a call holds up no Subscribe", []string{"a call was answered by the daemon", `want "newer"`}},
		{ruleBusy, "makes no call during a Ping", faults{pingLocksCalls: true}, hasty,
			"Busy/a Ping holds up nothing", []string{"hang: a call during a Ping"}},
		{ruleInFlight, "panics at a Sync", faults{panicsAt: "Sync"}, 0,
			"Kick/lets a call in progress finish", []string{"Sync returned, and had not reached the platform", "panic: Sync"}},
		{ruleBusy, "panics at a Ping", faults{panicsAt: "Ping"}, 0,
			"Busy/a Ping holds up nothing", []string{"Ping returned, and had not reached the platform", "panic: Ping"}},
	}

	for _, after := range []string{"FatalError", "refusal"} {
		rows = append(rows, brokenBus{ruleNilDone, "sends to a channel that is nil after a " + after, faults{nilPanics: after}, 0, "Channel/may be nil", []string{"panic: no channel"}})
	}
	for name, lost := range map[string]func(id string) bool{
		"spaces":                   func(id string) bool { return strings.Contains(strings.TrimSpace(id), " ") },
		"lines":                    func(id string) bool { return strings.Contains(id, "\n") },
		"quotes":                   func(id string) bool { return strings.Contains(id, `"`) },
		"dollars":                  func(id string) bool { return strings.Contains(id, "$") },
		"what is no part of a URL": func(id string) bool { _, err := url.PathUnescape(id); return err != nil },
	} {
		rows = append(rows, brokenBus{ruleIsolated, "loses IDs that contain " + name, faults{loses: lost}, 0,
			"Instances/have opaque IDs", []string{"daemon was to answer returned the error", "not connected"}})
	}
	for says, key := range map[string]func(id string) string{
		`" a"`:  func(id string) string { return strings.TrimLeft(id, " ") },
		`"=2a"`: func(id string) string { return strings.ReplaceAll(id, "*", "=2a") },
		`"00"`: func(id string) string {
			if n, err := strconv.Atoi(id); err == nil {
				return strconv.Itoa(n)
			}
			return id
		},
	} {
		rows = append(rows, brokenBus{ruleIsolated, "takes " + says + " for another ID", faults{keys: key}, 0,
			"Instances/have opaque IDs", []string{"Ping(" + says + "), with no daemon subscribed"}})
	}
	for name, ends := range map[string]func(error) bool{
		"a plain error":         func(err error) bool { return switched(err) == "" },
		"a ClusterError":        func(err error) bool { return strings.HasSuffix(err.Error(), "refused") },
		"an UnavailableError":   func(err error) bool { return errors.Is(err, ErrPlatformNotAvailable) },
		"an UpgradeNeededError": func(err error) bool { return errors.Is(err, ErrUpgradeNeeded) },
		"an ApplyError":         func(err error) bool { _, ok := err.(ApplyError); return ok },
		"a SyncError":           func(err error) bool { _, ok := err.(SyncError); return ok },
	} {
		rows = append(rows, brokenBus{ruleNotFatal, "ends at " + name, faults{endsAt: ends}, 0,
			"FatalError/is the only error that ends a subscription", []string{"the channel of the only daemon received one cause too many"}})
	}

	// Each method is looked at for a FatalError by code of its own.
	for _, method := range methods {
		rows = append(rows, brokenBus{ruleFatalEnds, "does not look at what " + method + " returns", faults{ignoresFatalOf: method}, hasty,
			"FatalError/from " + method, []string{"the channel of the dying daemon received no cause"}})
	}
	return rows
}
