package platform

import (
	"errors"
	"fmt"
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
	_, _ = early.Version()
	return b.reaches(early, b.subscribe(onlyInstance, "first"))
}

func followsKick(b *busTest) error {
	handle := b.connect(onlyInstance)
	older := b.subscribe(onlyInstance, "older")
	if err := b.reaches(handle, older); err != nil {
		return err
	}
	newer := b.subscribe(onlyInstance, "newer")
	for _, method := range methods {
		b.setStep("%s on a handle", method)
		older.far.seen()
		r := sampleRequest(method)
		a := r.send(handle)
		if calls := older.far.seen(); len(calls) > 0 {
			return fmt.Errorf("after a kick, the older daemon still got %v", names(calls))
		}
		if err := withError(newer.far.expect(r), a.err); err != nil {
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
	if !strings.Contains(textOf(cause), "nil") {
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
		"a", "A", "a.b", "a b", "a ", " a", "a.*", "a.>", "*", "%", "a%2eb", "=2a", "../a", "a\nb", "a\x00b",
		"ü", "u\u0308", "$SYS", "\"", "0", "00", flux.InstanceID(long + "1"), flux.InstanceID(long + "2"),
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
	return nil
}

func kicksOne(b *busTest) error {
	handle := b.connect(otherInstance)
	bystander := b.subscribe(otherInstance, "other instance's")
	b.subscribe(onlyInstance, "older")
	b.subscribe(onlyInstance, "newer")
	return firstError(
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
		func() error { return b.noMoreCauses(bystander) },
		func() error { return b.reaches(handle, bystander) },
	)
}

// unread has two subscribers that read their channel late: one is kicked, one dies.
func unread(b *busTest) error {
	handle := b.connect(onlyInstance)
	kicked, dying := newSubscriber(onlyInstance, "kicked"), newSubscriber(onlyInstance, "dying")
	kicked.done, dying.done = make(chan error), make(chan error)
	dying.returns("Ping", FatalError{Err: errors.New("boom")})
	b.add(kicked)
	b.add(dying)
	b.setStep("Ping on a handle, of a daemon that returns a FatalError and whose channel nobody reads")
	_ = handle.Ping()
	return firstError(
		func() error { return b.endsOnce(kicked) },
		func() error { return b.endsOnce(dying) },
	)
}

// nilChannel has subscriptions without a channel end in each way.
func nilChannel(b *busTest) error {
	handle := b.connect(onlyInstance)
	kicked, dying := newSubscriber(onlyInstance, "kicked"), newSubscriber(onlyInstance, "dying")
	dying.returns("Ping", FatalError{Err: errors.New("boom")})
	for _, s := range []*subscriber{kicked, dying} {
		b.setStep("Subscribe of the %s daemon, whose channel is nil", s.name)
		b.bus.Subscribe(onlyInstance, s.far.platform(), nil)
	}
	b.setStep("Ping on a handle, of a daemon that returns a FatalError and whose channel is nil")
	_ = handle.Ping()
	b.setStep("Subscribe of nothing, with a channel that is nil")
	b.bus.Subscribe("", nil, nil)
	return nil
}

// manyInstances subscribes many daemons concurrently.
func manyInstances(b *busTest) error {
	const n = 100
	var handles [n]Platform
	var subscribers [n]*subscriber
	if err := concurrently(n, func(i int) error {
		inst := flux.InstanceID(fmt.Sprintf("instance-%d", i))
		handles[i] = b.connect(inst)
		subscribers[i] = b.subscribe(inst, fmt.Sprintf("no. %d", i))
		return nil
	}); err != nil {
		return err
	}
	return concurrently(n, func(i int) error { return b.reaches(handles[i], subscribers[i]) })
}
