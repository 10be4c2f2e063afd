package platform

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

var (
	ruleConcurrent = rule{"a Platform may be used by many goroutines at once, with 256 calls in progress: each call gets its own answer",
		"give each call an ID that no other call in progress has, and its answer the same"}
	ruleSlow = rule{"a slow call holds up no other",
		"do not hold a lock, a worker or a connection for as long as a call takes"}
	ruleDuration = rule{"a call may take as long as its context allows",
		"have no time-out of your own: the caller has WithContext"}
	ruleView = rule{"WithContext returns a view whose calls obey the context, and passes everything else on",
		"forward to the Platform inside, or to WithContext of it"}
	ruleEnded = rule{"a call whose context has ended is not made, and its error matches the context's cause",
		"return context.Cause(ctx), before anything is sent"}
	ruleNested = rule{"a view of a view obeys both contexts",
		"keep the contexts of the view that WithContext is called on"}
	ruleOthers = rule{"a context that has ended affects only calls of its own view",
		"return a new Platform from WithContext; do not close what others use"}
	ruleStops = rule{"when its context ends, a call in progress returns an error that matches the cause, or its own result if it cannot be stopped",
		"return context.Cause(ctx), and expect the answer of a call that nobody waits for"}
)

func overlapCases() []conformanceCase {
	cases := []conformanceCase{
		{"Overlap/gives each of 64 concurrent calls its own answer", ruleConcurrent, func(pt *platformTest) error {
			pt.far.echoes()
			return concurrently(64, func(i int) error {
				r := numberedRequest(methods[i%len(methods)], i)
				return pt.send(r).diff(r, echo(r))
			})
		}},
		{"Overlap/gives 256 calls that end in reverse order their own answers", ruleConcurrent, endsInReverse},
		{"Overlap/gives a call its own answer after 300 others", ruleConcurrent, outlastsOthers},
		{"Overlap/lets calls take their time", ruleDuration, takesItsTime},
	}
	for _, method := range methods {
		cases = append(cases, conformanceCase{"Overlap/is not held up by " + method, ruleSlow, func(pt *platformTest) error {
			return holdsUpNoOther(pt, method)
		}})
	}
	for _, method := range withArguments {
		cases = append(cases, conformanceCase{"Overlap/keeps the arguments of " + method, ruleCaller, func(pt *platformTest) error {
			return keepsWhatIsRead(pt, method)
		}})
	}
	return cases
}

// endsInReverse holds 256 calls, and has the platform answer them from the last to the first.
func endsInReverse(pt *platformTest) error {
	held := pt.far.hold(func(request) bool { return true })
	var calls []startedCall
	var there []heldCall
	for i := range 256 {
		call := start(pt.p, numberedRequest(withArguments[i%4], i))
		h, err := pt.arrival(held, call)
		if err != nil {
			return err
		}
		calls, there = append(calls, call), append(there, h)
	}
	type numbered struct {
		n int
		a answer
	}
	returned := make(chan numbered, len(calls))
	for n, call := range calls {
		go func() { returned <- numbered{n, <-call.returned} }() // ends with the call
	}
	for n, h := range slices.Backward(there) {
		pt.setStep("%s, which the platform has answered,", h.method)
		want := numberedAnswer(h.method, n)
		h.answer <- want
		if got := <-returned; got.n != n {
			return withError(mismatch("the platform answered a call, and there returned call no.", got.n, n), got.a.err)
		} else if err := got.a.diff(h.request, want); err != nil {
			return err
		}
	}
	return nil
}

// outlastsOthers holds a call during more calls than a byte can count.
func outlastsOthers(pt *platformTest) error {
	held := pt.far.hold(func(r request) bool { return r.method == "Sync" })
	call := start(pt.p, sampleRequest("Sync"))
	h, err := pt.arrival(held, call)
	if err != nil {
		return err
	}
	for i := range 300 {
		r := numberedRequest("SomeServices", i)
		if err := pt.send(r).diff(r, echo(r)); err != nil {
			return err
		}
	}
	return pt.end(h, call, numberedAnswer("Sync", 1))
}

// takesItsTime makes a call of each method that takes as long as the options say, at once.
func takesItsTime(pt *platformTest) error {
	held := pt.far.hold(func(request) bool { return true })
	var calls []startedCall
	var there []heldCall
	for _, method := range methods {
		call := start(pt.p, sampleRequest(method))
		h, err := pt.arrival(held, call)
		if err != nil {
			return err
		}
		calls, there = append(calls, call), append(there, h)
	}
	<-time.After(pt.SlowCall)
	for i, h := range there {
		if err := pt.end(h, calls[i], numberedAnswer(h.method, i)); err != nil {
			return fmt.Errorf("after a call that took %v: %w", pt.SlowCall, err)
		}
	}
	made := map[string]int{}
	for _, r := range pt.far.seen() {
		made[r.method]++
	}
	for _, method := range []string{"Apply", "Sync"} {
		if made[method] != 1 {
			return mismatch("the number of times that a slow "+method+" was made", made[method], 1)
		}
	}
	return nil
}

// holdsUpNoOther holds 8 calls of the method, and calls every method meanwhile.
func holdsUpNoOther(pt *platformTest, method string) error {
	const n = 8
	var mu sync.Mutex
	left := n
	pt.send(request{method: "Ping"}) // what is asked for on connecting is asked for now
	held := pt.far.hold(func(r request) bool {
		mu.Lock()
		defer mu.Unlock()
		if r.method != method || left == 0 {
			return false
		}
		left--
		return true
	})
	for i := range n {
		if _, err := pt.arrival(held, start(pt.p, numberedRequest(method, 100+i))); err != nil {
			return err
		}
	}
	for _, other := range methods {
		r := sampleRequest(other)
		pt.setStep("%s, during %d calls of %s,", other, n, method)
		if err := r.send(pt.p).diff(r, echo(r)); err != nil {
			return err
		}
	}
	return nil
}

// keepsWhatIsRead holds a call, and makes others of the same size meanwhile: the arguments
// that the far end received must not change before the call has ended.
func keepsWhatIsRead(pt *platformTest, method string) error {
	want := sampleRequest(method)
	held := pt.far.hold(func(r request) bool { return r.sameAs(want) })
	call := start(pt.p, sampleRequest(method))
	h, err := pt.arrival(held, call)
	if err != nil {
		return err
	}
	for i := 1; i < 4; i++ {
		pt.send(numberedRequest(method, i))
	}
	if !h.sameAs(want) {
		return mismatch(method+", during the call, had its arguments changed", h.arguments(), want.arguments())
	}
	return nil
}

// contextCases check WithContext.
func contextCases() []conformanceCase {
	var cases []conformanceCase
	for _, method := range methods {
		cases = append(cases, conformanceCase{"WithContext/passes on " + method, ruleView, func(pt *platformTest) error {
			pt.p = WithContext(context.Background(), pt.p)
			for n := range 2 {
				r, want := numberedRequest(method, n), numberedAnswer(method, n)
				pt.far.set(method, want)
				a, err := pt.reaches(r)
				if err := cmp.Or(err, a.diff(r, want)); err != nil {
					return err
				}
			}
			return nil
		}}, conformanceCase{"WithContext/refuses " + method + " once the context has ended", ruleEnded, func(pt *platformTest) error {
			cause := errors.New("the user went home")
			ctx, cancel := context.WithCancelCause(context.Background())
			view := WithContext(ctx, pt.p)
			cancel(cause)
			pt.setStep("%s of a view whose context had ended", method)
			err := diffCause(method, sampleRequest(method).send(view).err, cause)
			for _, made := range pt.far.seen() {
				if made.method == method && method != "Ping" && method != "Version" { // which may be the transport's own
					return errors.New(method + " reached the platform though the context had ended")
				}
			}
			return err
		}})
	}
	return append(cases,
		conformanceCase{"WithContext/obeys each context of a view of a view", ruleNested, obeysBoth},
		conformanceCase{"WithContext/leaves other calls alone", ruleOthers, leavesOthersAlone},
		conformanceCase{"WithContext/ends a call in progress, or lets it end", ruleStops, endsInProgress},
	)
}

// diffCause returns an error unless err matches the cause of a context that has ended.
func diffCause(call string, err, cause error) error {
	if !errors.Is(err, cause) {
		return mismatch(call+" of a view whose context had ended returned an error that does not match the cause", err, cause)
	}
	return nil
}

func obeysBoth(pt *platformTest) error {
	cause := errors.New("the user went home")
	ended, cancel := context.WithCancelCause(context.Background())
	cancel(cause)
	live, release := context.WithCancel(context.Background())
	defer release()
	pt.setStep("Ping of a view of a view")
	for _, p := range []Platform{
		WithContext(live, WithContext(ended, pt.p)), WithContext(ended, WithContext(live, pt.p)),
	} {
		if err := diffCause("Ping", p.Ping(), cause); err != nil {
			return err
		}
	}
	if err := WithContext(live, WithContext(live, pt.p)).Ping(); err != nil {
		return mismatch("Ping of a view of a view, both contexts of which are live, returned", err, nil)
	}
	return nil
}

// leavesOthersAlone ends the context of a view, before and during a call.
func leavesOthersAlone(pt *platformTest) error {
	live, release := context.WithCancel(context.Background())
	defer release()
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	sibling, view := WithContext(live, pt.p), WithContext(ctx, pt.p)

	held := pt.far.hold(func(r request) bool { return r.method == "Sync" })
	own := start(view, numberedRequest("Sync", 1))
	h, err := pt.arrival(held, own)
	if err != nil {
		return err
	}
	other := start(sibling, numberedRequest("Sync", 2))
	otherHeld, err := pt.arrival(held, other)
	if err != nil {
		return err
	}
	cancel(errors.New("the user went home"))
	if !pt.StopsCalls {
		h.answer <- answer{}
	}
	pt.setStep("Sync of the view whose context has ended")
	<-own.returned
	for _, p := range []Platform{pt.p, sibling} {
		r := sampleRequest("SomeServices")
		pt.setStep("a call whose context is live")
		if err := r.send(p).diff(r, echo(r)); err != nil {
			return fmt.Errorf("of another view, after the context of a view had ended: %w", err)
		}
	}
	if err := pt.end(otherHeld, other, numberedAnswer("Sync", 2)); err != nil {
		return fmt.Errorf("of another view, in progress when the context of a view ended: %w", err)
	}
	return nil
}

// endsInProgress ends the context of a call in progress of each method.
func endsInProgress(pt *platformTest) error {
	for _, method := range methods {
		if err := endsInProgressOf(pt, method); err != nil {
			return err
		}
	}
	return nil
}

func endsInProgressOf(pt *platformTest, method string) error {
	cause := errors.New("the user went home")
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	view := WithContext(ctx, pt.p)
	held := pt.far.hold(func(r request) bool { return r.method == method })
	call := start(view, sampleRequest(method))
	h, err := pt.arrival(held, call)
	if err != nil {
		return err
	}
	cancel(cause)
	pt.setStep("%s, whose context has ended,", method)
	want := numberedAnswer(method, 1)
	if !pt.StopsCalls {
		h.answer <- want
	}
	a := <-call.returned
	if !errors.Is(a.err, cause) {
		if err := a.diff(sampleRequest(method), want); err != nil {
			return fmt.Errorf("the context has ended, and the call returned neither the cause nor its own result: %w", err)
		}
	}
	pt.far.echoes()
	if err := pt.send(sampleRequest(method)).diff(sampleRequest(method), echo(sampleRequest(method))); err != nil {
		return fmt.Errorf("of the original, after the context of a view had ended: %w", err)
	}
	return nil
}
