package platform

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"
)

func kicks(b *busTest) error {
	older := b.subscribe(onlyInstance, "older")
	newer := b.subscribe(onlyInstance, "newer")
	return firstError(
		func() error { return b.endsOnce(older) },
		func() error { return b.noMoreCauses(newer) },
	)
}

func kicksInTurn(b *busTest) error {
	handle := b.connect(onlyInstance)
	var all []*subscriber
	for i := range 10 {
		s := b.subscribe(onlyInstance, fmt.Sprintf("no. %d", i))
		if err := b.reaches(handle, s); err != nil {
			return err
		}
		all = append(all, s)
	}
	last := len(all) - 1
	for _, s := range all[:last] {
		if _, err := b.awaitCause(s); err != nil {
			return err
		}
	}
	for _, s := range all {
		if err := b.noMoreCauses(s); err != nil {
			return err
		}
	}
	return b.reaches(handle, all[last])
}

// An uncomparable Platform panics under ==, and as a map key.
type uncomparable struct {
	Platform
	_ []string
}

// sameAgain subscribes one Platform twice, where the end of the first subscription must not
// end the second.
func sameAgain(b *busTest, as func(Platform) Platform) error {
	handle := b.connect(onlyInstance)
	first := newSubscriber(onlyInstance, "first")
	p := as(first.far.platform())
	for _, done := range []chan error{first.done, make(chan error, 4)} {
		b.setStep("Subscribe of one Platform, twice")
		b.bus.Subscribe(onlyInstance, p, done)
	}
	return firstError(
		func() error { return b.endsOnce(first) },
		func() error { return b.reaches(handle, first) }, // both subscriptions have one Platform
	)
}

// kickDuringCalls kicks a daemon while calls are in progress. Their answer is result, and
// they must return it.
func kickDuringCalls(b *busTest, result error) error {
	handle := b.connect(onlyInstance)
	calls, err := b.hold(onlyInstance, handle)
	if err != nil {
		return err
	}
	defer calls.s.far.close()
	newer := b.subscribe(onlyInstance, "newer")
	calls.release(result)
	for _, call := range calls.started {
		b.setStep("Sync, in progress during a kick, which the platform has answered,")
		if err := diffError("Sync, in progress during a kick,", (<-call.returned).err, result); err != nil {
			return err
		}
	}
	return firstError(
		func() error { return b.endsOnce(calls.s) },
		func() error { return b.noMoreCauses(newer) },
	)
}

func finishesCalls(b *busTest) error {
	return kickDuringCalls(b, errors.New("the call's own result"))
}

func fatalAfterKick(b *busTest) error {
	return kickDuringCalls(b, FatalError{Err: errors.New("died late")})
}

// subscribesConcurrently subscribes many daemons concurrently.
func subscribesConcurrently(b *busTest) error {
	const goroutines, each = 8, 8
	handle := b.connect(onlyInstance)
	b.setStep("Subscribe of %d daemons at once", goroutines*each)
	subscribers := make([]*subscriber, goroutines*each)
	if err := concurrently(goroutines, func(c int) error {
		for i := c * each; i < (c+1)*each; i++ {
			s := newSubscriber(onlyInstance, fmt.Sprintf("no. %d", i))
			subscribers[i] = s
			b.bus.Subscribe(onlyInstance, s.far.platform(), s.done)
		}
		return nil
	}); err != nil {
		return err
	}
	last, err := b.awaitLast(subscribers)
	if err != nil {
		return err
	}
	for _, s := range subscribers {
		if err := b.noMoreCauses(s); err != nil {
			return err
		}
	}
	return b.reaches(handle, last)
}

// awaitLast waits until all subscriptions but one have ended, takes their causes, and
// returns that one.
func (b *busTest) awaitLast(subscribers []*subscriber) (*subscriber, error) {
	for begin := time.Now(); ; time.Sleep(pollInterval) {
		left := slices.DeleteFunc(slices.Clone(subscribers), func(s *subscriber) bool { return len(s.done) > 0 })
		ended := len(subscribers) - len(left)
		switch {
		case len(left) == 0:
			return nil, fmt.Errorf("all of %d subscriptions have ended; want one to stay", ended)
		case len(left) == 1:
			for _, s := range subscribers {
				if s != left[0] {
					<-s.done
				}
			}
			return left[0], nil
		case time.Since(begin) > b.Wait:
			return nil, fmt.Errorf("of %d subscriptions, only %d have ended within %v", len(subscribers), ended, b.Wait)
		}
	}
}

// fatal has the platform return each form of FatalError from a call to the method.
func fatal(b *busTest, method string, call func(handle Platform) error) error {
	handle := b.connect(onlyInstance)
	forms := fatalForms(errors.New("the disk is full"))
	for _, form := range slices.Sorted(maps.Keys(forms)) {
		if err := endsWithFatal(b, handle, method, forms[form], call); err != nil {
			return fmt.Errorf("FatalError, %s: %w", form, err)
		}
	}
	return nil
}

// endsWithFatal checks that a FatalError ends the subscription, and what the caller and the
// subscriber receive.
func endsWithFatal(b *busTest, handle Platform, method string, fatal error, call func(handle Platform) error) error {
	dying := newSubscriber(onlyInstance, "dying")
	dying.returns(method, fatal)
	b.add(dying)
	b.setStep("%s, which returns a FatalError", method)
	if err := diffError(method, call(handle), fatal); err != nil {
		return err
	}
	cause, err := b.awaitCause(dying)
	if err != nil {
		return err
	}
	if err := diffError("the subscription", cause, fatal); err != nil {
		return err
	}
	return b.awaitUnavailable()
}

// fatalOnce makes many calls at once, all of which return a FatalError.
func fatalOnce(b *busTest) error {
	handle := b.connect(onlyInstance)
	dying := newSubscriber(onlyInstance, "dying")
	dying.returns("Sync", FatalError{Err: errors.New("boom")})
	b.add(dying)
	b.setStep("calls that all return a FatalError")
	if err := concurrently(32, func(int) error {
		_ = handle.Sync(SyncDef{}) // fatal, or after the subscription had ended
		return nil
	}); err != nil {
		return err
	}
	return b.endsOnce(dying)
}

// otherErrors has a platform return, from every method, errors that are not a FatalError.
func otherErrors(b *busTest) error {
	handle := b.connect(onlyInstance)
	s := b.subscribe(onlyInstance, "only")
	for _, method := range methods {
		for _, other := range []error{
			errors.New(plainText), ClusterError(errors.New("refused")), UnavailableError(errors.New("lost")), UpgradeNeededError(errors.New("old")),
			ApplyError{"a/b": errors.New("boom")}, SyncError{"a": errors.New("boom")},
		} {
			s.returns(method, other)
			b.setStep("%s, which returns an error", method)
			sampleRequest(method).send(handle)
		}
		s.returns("", nil)
		if err := b.noMoreCauses(s); err != nil {
			return err
		}
		if err := b.reaches(handle, s); err != nil {
			return fmt.Errorf("after errors of %s, %w", method, err)
		}
	}
	return nil
}
