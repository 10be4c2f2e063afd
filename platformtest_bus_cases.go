package platform

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/platformbus/platform/flux"
)

const (
	ruleConnect   = "Connect returns an error only for an empty ID or a problem with the bus, not for want of a daemon"
	ruleFollows   = "a handle follows its instance: each call goes to the daemon that is subscribed at that time"
	ruleNoDaemon  = "while no daemon is subscribed, a call returns an UnavailableError, which matches ErrPlatformNotAvailable"
	rulePing      = "Ping returns nil if the daemon is connected and its platform answers, an UnavailableError without a daemon, and what the platform answered otherwise"
	ruleEnds      = "each subscription ends exactly once, with its cause sent to its own channel"
	ruleFatal     = "a FatalError, however wrapped, from any call ends the subscription; the caller gets its text, the subscriber the FatalError"
	ruleNotFatal  = "nothing but a FatalError or a newer subscription ends a subscription"
	ruleUnderWay  = "a call that is under way when its subscription ends still returns its own result"
	ruleUnread    = "a channel that nobody reads holds up nothing else, and gets its cause when somebody does"
	ruleNilDone   = "a nil channel means that the subscriber does not want to know"
	ruleIsolated  = "an instance ID is an opaque string, and instances have nothing to do with each other"
	ruleEmptyID   = "an empty instance ID is refused with an error"
	ruleNobody    = "an empty ID or a nil Platform ends the subscription before it begins, with an error that says so; the one that is there stays"
	ruleOneAtEnd  = "the newest subscription is the one in force, and all others have ended, once each"
	onlyInstance  = flux.InstanceID("the instance")
	otherInstance = flux.InstanceID("another instance")
)

func busCases() []busCase {
	cases := []busCase{
		{"Connect/gives a handle before any daemon", ruleConnect, connectsEarly},
		{"Connect/refuses an empty ID", ruleEmptyID, refusesEmptyConnect},
		{"Handle/says that there is no daemon", ruleNoDaemon, saysUnavailable},
		{"Handle/works once a daemon subscribes", ruleFollows, worksLater},
		{"Handle/follows a kick", ruleFollows, followsKick},
		{"Ping/says whether a daemon is there", rulePing, pings},
		{"Ping/returns what the platform answers", rulePing, pingsFail},
		{"Ping/refuses an empty ID", ruleEmptyID, refusesEmptyPing},
		{"Subscribe/refuses an empty ID", ruleNobody, refusesEmptySubscribe},
		{"Subscribe/refuses a nil Platform", ruleNobody, refusesNilPlatform},
		{"Kick/ends the older subscription once", ruleEnds, kicks},
		{"Kick/ends each of many in turn", ruleEnds, kicksInTurn},
		{"Kick/takes the same Platform again", ruleEnds, func(b *busTrial) error {
			return sameAgain(b, func(p Platform) Platform { return p })
		}},
		{"Kick/takes a Platform that cannot be compared", ruleEnds, func(b *busTrial) error {
			return sameAgain(b, func(p Platform) Platform { return uncomparable{p, nil} })
		}},
		{"Kick/lets a call under way finish", ruleUnderWay, finishesCalls},
		{"Kick/leaves one of many that come at once", ruleOneAtEnd, storm},
		{"FatalError/ends once for many calls", ruleEnds, fatalOnce},
		{"FatalError/of an older call spares the newer daemon", ruleEnds, fatalAfterKick},
		{"FatalError/is the only error that ends", ruleNotFatal, otherErrors},
		{"Channel/may stay unread", ruleUnread, unread},
		{"Channel/may be read later", ruleUnread, readLater},
		{"Channel/may be nil", ruleNilDone, nilChannel},
		{"Instances/take IDs as they are", ruleIsolated, oddIDs},
		{"Instances/are not kicked together", ruleIsolated, kicksOne},
		{"Instances/do not die together", ruleIsolated, fatalToOne},
		{"Instances/may be many", ruleIsolated, manyInstances},
	}
	for _, method := range methods {
		cases = append(cases, busCase{"FatalError/from " + method, ruleFatal, func(b *busTrial) error {
			return fatal(b, method, func(handle Platform) error { return sampleRequest(method).send(handle).err })
		}})
	}
	return append(cases, busCase{"FatalError/from the bus's Ping", ruleFatal, func(b *busTrial) error {
		return fatal(b, "Ping", func(Platform) error { return b.ping(onlyInstance) })
	}})
}

func connectsEarly(b *busTrial) error {
	_, err := b.connect(onlyInstance)
	return err
}

func refusesEmptyConnect(b *busTrial) error {
	b.begin(`Connect("")`)
	if _, err := b.bus.Connect(""); err == nil {
		return fmt.Errorf(`Connect("") returned no error`)
	}
	return nil
}

func refusesEmptyPing(b *busTrial) error {
	if b.ping("") == nil {
		return fmt.Errorf(`Ping("") returned no error`)
	}
	return nil
}

func saysUnavailable(b *busTrial) error {
	handle, err := b.connect(onlyInstance)
	if err != nil {
		return err
	}
	for _, method := range methods {
		b.begin("%s on a handle", method)
		if err := unavailable(method, sampleRequest(method).send(handle).err); err != nil {
			return err
		}
	}
	return nil
}

func worksLater(b *busTrial) error {
	early, err := b.connect(onlyInstance)
	if err != nil {
		return err
	}
	b.begin("Version on a handle")
	_, err = early.Version()
	if err := unavailable("Version", err); err != nil {
		return err
	}
	s := b.subscribe(onlyInstance, "first")
	late, err := b.connect(onlyInstance)
	if err != nil {
		return err
	}
	return allOf(
		func() error { return b.reaches(early, s) },
		func() error { return b.reaches(late, s) },
		func() error { return b.quiet(s) },
	)
}

func followsKick(b *busTrial) error {
	handle, err := b.connect(onlyInstance)
	if err != nil {
		return err
	}
	older := b.subscribe(onlyInstance, "older")
	if err := b.reaches(handle, older); err != nil {
		return err
	}
	if err := older.far.saw(request{method: "Version"}); err != nil {
		return err
	}
	newer := b.subscribe(onlyInstance, "newer")
	for _, method := range slices.Concat(methods, methods) {
		b.begin("%s on a handle", method)
		r := sampleRequest(method)
		if a := r.send(handle); a.err != nil {
			return mismatch(method+" after a kick returned the error", a.err, nil)
		}
		if err := older.far.saw(); err != nil {
			return fmt.Errorf("after a kick, the older daemon still got %s: %w", method, err)
		}
		if err := newer.far.saw(r); err != nil {
			return err
		}
	}
	return nil
}

func pings(b *busTrial) error {
	if err := unavailable("Ping of the bus", b.ping(onlyInstance)); err != nil {
		return err
	}
	b.subscribe(onlyInstance, "only")
	if err := b.ping(onlyInstance); err != nil {
		return mismatch("Ping of the bus returned", err, nil)
	}
	return unavailable("Ping of the bus for another instance", b.ping(otherInstance))
}

func pingsFail(b *busTrial) error {
	s := newSubscriber(onlyInstance, "only")
	s.far.mock.PingError = errors.New(plainText)
	b.begin("Subscribe")
	b.bus.Subscribe(s.inst, s.far, s.done)
	if err := errorDiffers("Ping of the bus", b.ping(onlyInstance), s.far.mock.PingError); err != nil {
		return err
	}
	return b.quiet(s)
}

func refusesEmptySubscribe(b *busTrial) error { return b.endsOnce(b.subscribe("", "nameless")) }

func refusesNilPlatform(b *busTrial) error {
	handle, err := b.connect(onlyInstance)
	if err != nil {
		return err
	}
	present := b.subscribe(onlyInstance, "present")
	none := newSubscriber(onlyInstance, "nil")
	b.begin("Subscribe of a nil Platform")
	b.bus.Subscribe(onlyInstance, nil, none.done)
	cause, err := b.ended(none)
	if err != nil {
		return err
	}
	if !strings.Contains(cause.Error(), "nil") {
		return fmt.Errorf("the cause does not say that the Platform is nil: %s", show(cause))
	}
	return allOf(
		func() error { return b.quiet(none) },
		func() error { return b.quiet(present) },
		func() error { return b.reaches(handle, present) },
	)
}

// oddIDs asks for each ID while all before it are subscribed: one that a bus takes for
// a pattern, or for another, is answered too early.
func oddIDs(b *busTrial) error {
	long := strings.Repeat("x", 1023)
	ids := []flux.InstanceID{
		"a", "A", "a.b", "a.B", "a b", "a ", " a", "a.*", "a.>", "*", ">", "*.*", "?", "%", "a%2eb", "=2a", "=41", "a/b", "../a", "a\nb",
		"ü", "u\u0308", "$SYS", "_INBOX.>", "\"", "{}", "0", "00", flux.InstanceID(long + "1"), flux.InstanceID(long + "2"), flux.InstanceID(long),
	}
	handles, subscribers := make([]Platform, len(ids)), make([]*subscriber, len(ids))
	for i, id := range ids {
		handle, err := b.connect(id)
		if err != nil {
			return err
		}
		if err := unavailable(fmt.Sprintf("Ping(%s)", excerptOf(id)), b.ping(id)); err != nil {
			return err
		}
		handles[i], subscribers[i] = handle, b.subscribe(id, fmt.Sprintf("%d %s", i, excerptOf(id)))
	}
	for i, s := range subscribers {
		if err := b.reaches(handles[i], s); err != nil {
			return err
		}
	}
	for _, s := range subscribers {
		if err := b.quiet(s); err != nil {
			return err
		}
	}
	return nil
}

func kicksOne(b *busTrial) error {
	handle, err := b.connect(otherInstance)
	if err != nil {
		return err
	}
	bystander := b.subscribe(otherInstance, "other instance's")
	older := b.subscribe(onlyInstance, "older")
	b.subscribe(onlyInstance, "newer")
	return allOf(
		func() error { return b.endsOnce(older) },
		func() error { return b.quiet(bystander) },
		func() error { return b.reaches(handle, bystander) },
	)
}

func fatalToOne(b *busTrial) error {
	handle, err := b.connect(otherInstance)
	if err != nil {
		return err
	}
	bystander := b.subscribe(otherInstance, "other instance's")
	dying := newSubscriber(onlyInstance, "dying")
	dying.far.mock.PingError = FatalError{Err: errors.New("boom")}
	b.begin("Subscribe")
	b.bus.Subscribe(onlyInstance, dying.far, dying.done)
	_ = b.ping(onlyInstance)
	return allOf(
		func() error { return b.endsOnce(dying) },
		func() error { return b.quiet(bystander) },
		func() error { return b.reaches(handle, bystander) },
	)
}

// unread has two subscribers who never read: one is kicked, one dies.
func unread(b *busTrial) error {
	handle, err := b.connect(onlyInstance)
	if err != nil {
		return err
	}
	elsewhere, err := b.connect(otherInstance)
	if err != nil {
		return err
	}
	kicked, dying := newSubscriber(onlyInstance, "kicked"), newSubscriber(onlyInstance, "dying")
	kicked.done, dying.done = make(chan error), make(chan error)
	dying.far.mock.PingError = FatalError{Err: errors.New("boom")}
	for _, s := range []*subscriber{kicked, dying} {
		b.begin("Subscribe of the %s daemon, whose channel nobody reads", s.name)
		b.bus.Subscribe(onlyInstance, s.far, s.done)
	}
	b.begin("Ping on a handle, of a daemon that dies of it and whose channel nobody reads")
	if handle.Ping() == nil {
		return fmt.Errorf("Ping returned nil, and a FatalError was wanted")
	}
	next, other := b.subscribe(onlyInstance, "next"), b.subscribe(otherInstance, "other instance's")
	if err := allOf(
		func() error { return b.reaches(handle, next) },
		func() error { return b.reaches(elsewhere, other) },
		func() error { return b.quiet(next) },
		func() error { return b.quiet(other) },
	); err != nil {
		return err
	}
	for _, s := range []*subscriber{kicked, dying} { // lets go of what the bus may hold for them
		if _, err := b.ended(s); err != nil {
			return err
		}
	}
	return nil
}

func readLater(b *busTrial) error {
	older := newSubscriber(onlyInstance, "older")
	older.done = make(chan error)
	b.begin("Subscribe of a daemon whose channel nobody reads yet")
	b.bus.Subscribe(onlyInstance, older.far, older.done)
	newer := b.subscribe(onlyInstance, "newer")
	if err := b.quiet(newer); err != nil { // with round trips, in which to drop the cause
		return err
	}
	return b.endsOnce(older)
}

func nilChannel(b *busTrial) error {
	handle, err := b.connect(onlyInstance)
	if err != nil {
		return err
	}
	kicked, dying := newSubscriber(onlyInstance, "kicked"), newSubscriber(onlyInstance, "dying")
	dying.far.mock.PingError = FatalError{Err: errors.New("boom")}
	for _, s := range []*subscriber{kicked, dying} {
		b.begin("Subscribe of the %s daemon, whose channel is nil", s.name)
		b.bus.Subscribe(onlyInstance, s.far, nil)
	}
	b.begin("Ping on a handle, of a daemon that dies of it and whose channel is nil")
	if handle.Ping() == nil {
		return fmt.Errorf("Ping returned nil, and a FatalError was wanted")
	}
	if err := b.becomesUnavailable(onlyInstance); err != nil {
		return err
	}
	b.begin("Subscribe of nothing, with a channel that is nil")
	b.bus.Subscribe(onlyInstance, nil, nil)
	b.bus.Subscribe("", kicked.far, nil)
	return b.reaches(handle, b.subscribe(onlyInstance, "next"))
}

// manyInstances has many daemons come at once, then be kicked at once.
func manyInstances(b *busTrial) error {
	const n = 100
	var handles [n]Platform
	var older, newer [n]*subscriber
	inst := func(i int) flux.InstanceID { return flux.InstanceID(fmt.Sprintf("instance-%d", i)) }
	return allOf(
		func() error {
			return atOnce(n, func(i int) (err error) {
				handles[i], err = b.connect(inst(i))
				older[i] = b.subscribe(inst(i), fmt.Sprintf("older of %d", i))
				return err
			})
		},
		func() error { return atOnce(n, func(i int) error { return b.reaches(handles[i], older[i]) }) },
		func() error {
			return atOnce(n, func(i int) error {
				newer[i] = b.subscribe(inst(i), fmt.Sprintf("newer of %d", i))
				return nil
			})
		},
		func() error { return atOnce(n, func(i int) error { return b.reaches(handles[i], newer[i]) }) },
		func() error { return atOnce(n, func(i int) error { return b.endsOnce(older[i]) }) },
		func() error { return atOnce(n, func(i int) error { return b.quiet(newer[i]) }) },
	)
}
