package platform

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/platformbus/platform/flux"
)

func connectsEarly(b *busTest) error {
	b.setStep("Connect(%q)", onlyInstance)
	if _, err := b.bus.Connect(onlyInstance); err != nil {
		return mismatch(fmt.Sprintf("Connect(%q) returned the error", onlyInstance), err, nil)
	}
	return nil
}

func refusesEmptyConnect(b *busTest) error {
	b.setStep(`Connect("")`)
	if _, err := b.bus.Connect(""); err == nil {
		return errors.New(`Connect("") returned no error`)
	}
	return nil
}

func refusesEmptyPing(b *busTest) error {
	if b.ping("") == nil {
		return errors.New(`Ping("") returned no error`)
	}
	return nil
}

func saysUnavailable(b *busTest) error {
	handle := b.connect(onlyInstance)
	for _, method := range methods {
		b.setStep("%s on a handle", method)
		if err := unavailable(method, sampleRequest(method).send(handle).err); err != nil {
			return err
		}
	}
	return nil
}

func worksLater(b *busTest) error {
	early := b.connect(onlyInstance)
	b.setStep("Version on a handle")
	_, err := early.Version()
	if err := unavailable("Version", err); err != nil {
		return err
	}
	s := b.subscribe(onlyInstance, "first")
	late := b.connect(onlyInstance)
	return firstError(
		func() error { return b.reaches(early, s) },
		func() error { return b.reaches(late, s) },
		func() error { return b.noMoreCauses(s) },
	)
}

func followsKick(b *busTest) error {
	handle := b.connect(onlyInstance)
	older := b.subscribe(onlyInstance, "older")
	if err := b.reaches(handle, older); err != nil {
		return err
	}
	newer := b.subscribe(onlyInstance, "newer")
	for _, method := range slices.Concat(methods, methods) {
		b.setStep("%s on a handle", method)
		older.far.seen()
		r := sampleRequest(method)
		if a := r.send(handle); a.err != nil {
			return mismatch(method+" after a kick returned the error", a.err, nil)
		}
		if calls := older.far.seen(); len(calls) > 0 {
			return fmt.Errorf("after a kick, the older daemon still got %v", names(calls))
		}
		if err := newer.far.expect(r); err != nil {
			return err
		}
	}
	return nil
}

func pings(b *busTest) error {
	if err := unavailable("Ping of the bus", b.ping(onlyInstance)); err != nil {
		return err
	}
	b.subscribe(onlyInstance, "only")
	if err := b.ping(onlyInstance); err != nil {
		return mismatch("Ping of the bus returned", err, nil)
	}
	return unavailable("Ping of the bus for another instance", b.ping(otherInstance))
}

func pingsFail(b *busTest) error {
	s := newSubscriber(onlyInstance, "only")
	failure := errors.New(plainText)
	s.returns("Ping", failure)
	b.add(s)
	if err := diffError("Ping of the bus", b.ping(onlyInstance), failure); err != nil {
		return err
	}
	return b.noMoreCauses(s)
}

func refusesEmptySubscribe(b *busTest) error { return b.endsOnce(b.subscribe("", "nameless")) }

func refusesNilPlatform(b *busTest) error {
	handle := b.connect(onlyInstance)
	present := b.subscribe(onlyInstance, "present")
	none := newSubscriber(onlyInstance, "nil")
	b.setStep("Subscribe of a nil Platform")
	b.bus.Subscribe(onlyInstance, nil, none.done)
	cause, err := b.awaitCause(none)
	if err != nil {
		return err
	}
	if !strings.Contains(cause.Error(), "nil") {
		return fmt.Errorf("the cause does not say that the Platform is nil: %s", show(cause))
	}
	return firstError(
		func() error { return b.noMoreCauses(none) },
		func() error { return b.noMoreCauses(present) },
		func() error { return b.reaches(handle, present) },
	)
}

// oddIDs pings each ID while all IDs before it are subscribed: if a bus treats an ID as a
// pattern, or as equal to another, the ping is answered before the ID is subscribed.
func oddIDs(b *busTest) error {
	long := strings.Repeat("x", 1023)
	ids := []flux.InstanceID{
		"a", "A", "a.b", "a.B", "a b", "a ", " a", "a.*", "a.>", "*", ">", "*.*", "?", "%", "a%2eb", "=2a", "=41", "a/b", "../a", "a\nb", "a\x00b",
		"ü", "u\u0308", "$SYS", "_INBOX.>", "\"", "{}", "0", "00", flux.InstanceID(long + "1"), flux.InstanceID(long + "2"), flux.InstanceID(long),
	}
	handles, subscribers := make([]Platform, len(ids)), make([]*subscriber, len(ids))
	for i, id := range ids {
		handle := b.connect(id)
		if err := unavailable(fmt.Sprintf("Ping(%q)", excerptOf(id)), b.ping(id)); err != nil {
			return err
		}
		handles[i], subscribers[i] = handle, b.subscribe(id, fmt.Sprintf("%d %q", i, excerptOf(id)))
	}
	for i, s := range subscribers {
		if err := b.reaches(handles[i], s); err != nil {
			return err
		}
	}
	for _, s := range subscribers {
		if err := b.noMoreCauses(s); err != nil {
			return err
		}
	}
	return nil
}

func kicksOne(b *busTest) error {
	handle := b.connect(otherInstance)
	bystander := b.subscribe(otherInstance, "other instance's")
	older := b.subscribe(onlyInstance, "older")
	b.subscribe(onlyInstance, "newer")
	return firstError(
		func() error { return b.endsOnce(older) },
		func() error { return b.noMoreCauses(bystander) },
		func() error { return b.reaches(handle, bystander) },
	)
}

func fatalToOne(b *busTest) error {
	handle := b.connect(otherInstance)
	bystander := b.subscribe(otherInstance, "other instance's")
	dying := newSubscriber(onlyInstance, "dying")
	dying.returns("Ping", FatalError{Err: errors.New("boom")})
	b.add(dying)
	_ = b.ping(onlyInstance)
	return firstError(
		func() error { return b.endsOnce(dying) },
		func() error { return b.noMoreCauses(bystander) },
		func() error { return b.reaches(handle, bystander) },
	)
}

// unread has two subscribers that never read their channel: one is kicked, one dies.
func unread(b *busTest) error {
	handle := b.connect(onlyInstance)
	elsewhere := b.connect(otherInstance)
	kicked, dying := newSubscriber(onlyInstance, "kicked"), newSubscriber(onlyInstance, "dying")
	kicked.done, dying.done = make(chan error), make(chan error)
	dying.returns("Ping", FatalError{Err: errors.New("boom")})
	b.add(kicked)
	b.add(dying)
	b.setStep("Ping on a handle, of a daemon that returns a FatalError and whose channel nobody reads")
	if handle.Ping() == nil {
		return fmt.Errorf("Ping returned nil, and a FatalError was wanted")
	}
	next, other := b.subscribe(onlyInstance, "next"), b.subscribe(otherInstance, "other instance's")
	if err := firstError(
		func() error { return b.reaches(handle, next) },
		func() error { return b.reaches(elsewhere, other) },
		func() error { return b.noMoreCauses(next) },
		func() error { return b.noMoreCauses(other) },
	); err != nil {
		return err
	}
	for _, s := range []*subscriber{kicked, dying} { // so that a goroutine of the bus can end
		if _, err := b.awaitCause(s); err != nil {
			return err
		}
	}
	return nil
}

func readLater(b *busTest) error {
	older := newSubscriber(onlyInstance, "older")
	older.done = make(chan error)
	b.add(older)
	newer := b.subscribe(onlyInstance, "newer")
	if err := b.noMoreCauses(newer); err != nil { // with round trips, in which to drop the cause
		return err
	}
	return b.endsOnce(older)
}

func nilChannel(b *busTest) error {
	handle := b.connect(onlyInstance)
	kicked, dying := newSubscriber(onlyInstance, "kicked"), newSubscriber(onlyInstance, "dying")
	dying.returns("Ping", FatalError{Err: errors.New("boom")})
	for _, s := range []*subscriber{kicked, dying} {
		b.setStep("Subscribe of the %s daemon, whose channel is nil", s.name)
		b.bus.Subscribe(onlyInstance, s.far.platform(), nil)
	}
	b.setStep("Ping on a handle, of a daemon that returns a FatalError and whose channel is nil")
	if handle.Ping() == nil {
		return fmt.Errorf("Ping returned nil, and a FatalError was wanted")
	}
	if err := b.awaitUnavailable(); err != nil {
		return err
	}
	b.setStep("Subscribe of nothing, with a channel that is nil")
	b.bus.Subscribe(onlyInstance, nil, nil)
	b.bus.Subscribe("", kicked.far.platform(), nil)
	return b.reaches(handle, b.subscribe(onlyInstance, "next"))
}

// manyInstances subscribes many daemons concurrently, then kicks them concurrently.
func manyInstances(b *busTest) error {
	const n = 100
	var handles [n]Platform
	var older, newer [n]*subscriber
	inst := func(i int) flux.InstanceID { return flux.InstanceID(fmt.Sprintf("instance-%d", i)) }
	return firstError(
		func() error {
			return concurrently(n, func(i int) error {
				handles[i] = b.connect(inst(i))
				older[i] = b.subscribe(inst(i), fmt.Sprintf("older of %d", i))
				return nil
			})
		},
		func() error { return concurrently(n, func(i int) error { return b.reaches(handles[i], older[i]) }) },
		func() error {
			return concurrently(n, func(i int) error {
				newer[i] = b.subscribe(inst(i), fmt.Sprintf("newer of %d", i))
				return nil
			})
		},
		func() error { return concurrently(n, func(i int) error { return b.reaches(handles[i], newer[i]) }) },
		func() error { return concurrently(n, func(i int) error { return b.endsOnce(older[i]) }) },
		func() error { return concurrently(n, func(i int) error { return b.noMoreCauses(newer[i]) }) },
	)
}
