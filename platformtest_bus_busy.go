package platform

import (
	"context"
	"errors"
	"fmt"
)

// tellsKicks compares causes: of a kick, of a FatalError, and of a refusal.
func tellsKicks(b *busTest) error {
	kicked := b.subscribe(onlyInstance, "kicked")
	dying := newSubscriber(onlyInstance, "dying")
	dying.returns("Ping", FatalError{Err: errors.New("boom")})
	b.add(dying)
	_ = b.ping(onlyInstance)
	nameless := b.subscribe("", "nameless")
	for _, s := range []*subscriber{kicked, dying, nameless} {
		cause, err := b.awaitCause(s)
		if err != nil {
			return err
		}
		if got := errors.Is(cause, ErrKicked); got != (s == kicked) {
			return mismatch(fmt.Sprintf("the %s daemon received the cause %q; does it match ErrKicked?", s.name, textOf(cause)), got, s == kicked)
		}
		if _, got := AsFatal(cause); got != (s == dying) {
			return mismatch(fmt.Sprintf("the %s daemon received the cause %q; does AsFatal find a FatalError in it?", s.name, textOf(cause)), got, s == dying)
		}
	}
	return nil
}

// oneChannel has all subscriptions, of two instances, share one channel, which receives a
// cause for each that ends.
func oneChannel(b *busTest) error {
	elsewhere := b.connect(otherInstance)
	other := b.subscribe(otherInstance, "other instance's")
	var last *subscriber
	for i := range 3 {
		s := newSubscriber(onlyInstance, fmt.Sprintf("no. %d", i))
		s.done = other.done
		last = b.add(s)
	}
	for range 2 {
		if _, err := b.awaitCause(last); err != nil {
			return err
		}
	}
	return firstError(
		func() error { return b.noMoreCauses(last) },
		func() error { return b.reaches(elsewhere, other) },
	)
}

// onePlatform has one Platform serve two instances.
func onePlatform(b *busTest) error {
	elsewhere := b.connect(otherInstance)
	one := newSubscriber(onlyInstance, "one")
	two := newSubscriber(otherInstance, "one")
	p := one.far.platform()
	for _, s := range []*subscriber{one, two} {
		b.setStep("Subscribe of one Platform for %q", s.inst)
		b.bus.Subscribe(s.inst, p, s.done)
	}
	b.subscribe(onlyInstance, "newer")
	return firstError(
		func() error { return b.noMoreCauses(two) },
		func() error { return b.reaches(elsewhere, one) },
	)
}

// followsFatal uses one handle before a FatalError, without a daemon, and after.
func followsFatal(b *busTest) error {
	handle := b.connect(onlyInstance)
	for i := range 3 {
		dying := newSubscriber(onlyInstance, fmt.Sprintf("dying no. %d", i))
		dying.returns("Ping", FatalError{Err: errors.New("boom")})
		b.add(dying)
		if err := b.reaches(handle, dying); err != nil {
			return err
		}
		if err := b.awaitUnavailable(); err != nil { // after a Ping, which returns the FatalError
			return err
		}
		b.setStep("Version without a daemon")
		_, err := handle.Version()
		if err := unavailable("Version of a handle that has been used", err); err != nil {
			return err
		}
	}
	return nil
}

// viewFollows has a view of a handle, made before any daemon, outlive a kick.
func viewFollows(b *busTest) error {
	handle := b.connect(onlyInstance)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	view := WithContext(ctx, handle)
	for i := range 3 {
		if err := b.reaches(view, b.subscribe(onlyInstance, fmt.Sprintf("no. %d", i))); err != nil {
			return fmt.Errorf("through a view of a handle: %w", err)
		}
	}
	return nil
}

// manyHandles uses several handles of an instance, made at different times, in turn.
func manyHandles(b *busTest) error {
	var handles []Platform
	for i := range 4 {
		handle := b.connect(onlyInstance)
		handles = append(handles, handle)
		s := b.subscribe(onlyInstance, fmt.Sprintf("no. %d", i))
		for _, handle := range handles {
			if err := b.reaches(handle, s); err != nil {
				return fmt.Errorf("through one of %d handles: %w", len(handles), err)
			}
		}
	}
	return nil
}

// busyInstance has calls of one instance block, and uses another.
func busyInstance(b *busTest) error {
	handle := b.connect(onlyInstance)
	calls, err := b.hold(onlyInstance, handle)
	if err != nil {
		return err
	}
	defer calls.s.far.close()
	elsewhere := b.connect(otherInstance)
	s := b.subscribe(otherInstance, "other instance's")
	return firstError(
		func() error { return b.reaches(elsewhere, s) },
		func() error { return b.ping(otherInstance) },
	)
}

// busySubscribe has calls of an instance block, and subscribes another daemon for it.
func busySubscribe(b *busTest) error {
	handle := b.connect(onlyInstance)
	calls, err := b.hold(onlyInstance, handle)
	if err != nil {
		return err
	}
	defer calls.s.far.close()
	if err := b.reaches(handle, b.subscribe(onlyInstance, "newer")); err != nil {
		return err
	}
	return b.endsOnce(calls.s) // though its calls are still in progress
}

// busyPing has the Ping of a platform block.
func busyPing(b *busTest) error {
	handle := b.connect(onlyInstance)
	s := newSubscriber(onlyInstance, "slow")
	held := s.far.hold(func(r request) bool { return r.method == "Ping" })
	defer s.far.close()
	b.add(s)
	ping := &adapter{func(request) answer { return answer{err: b.bus.Ping(onlyInstance)} }}
	if _, err := b.arrival(held, start(ping, request{method: "Ping"})); err != nil {
		return err
	}
	b.setStep("a call during a Ping")
	r := sampleRequest("SomeServices")
	if err := r.send(handle).diff(r, echo(r)); err != nil {
		return err
	}
	b.subscribe(onlyInstance, "newer")
	return nil
}

// delaysNoOther ends subscriptions whose channels are read in another order than they ended.
func delaysNoOther(b *busTest) error {
	var all []*subscriber
	for i := range 3 {
		s := newSubscriber(onlyInstance, fmt.Sprintf("no. %d", i))
		s.done = make(chan error)
		all = append(all, b.add(s))
	}
	for i := len(all) - 2; i >= 0; i-- { // the last one is current
		if _, err := b.awaitCause(all[i]); err != nil {
			return fmt.Errorf("with the channels of earlier daemons unread: %w", err)
		}
	}
	return nil
}
