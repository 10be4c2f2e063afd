package platform

import (
	"context"
	"errors"
	"fmt"
	"sync"
)

// A conformanceCase checks one rule of the contract of Platform.
type conformanceCase struct {
	name  string
	rule  rule
	check func(*platformTest) error // takes no testing.T: it may hang, and we test it against broken transports
}

// run checks the Platform that wrap returns. It returns nil if the rule holds.
func (c conformanceCase) run(wrap func(Platform) Platform, options BatteryOptions) error {
	pt := &platformTest{far: newFarEnd(), BatteryOptions: options.withDefaults()}
	limit := pt.Wait
	if c.rule == ruleDuration { // its calls take long by design
		limit += pt.SlowCall
	}
	err := runBounded(&pt.progress, limit, func() error {
		pt.setStep("wrap")
		if pt.p = wrap(pt.far.platform()); pt.p == nil {
			return errors.New("there is nothing to test: wrap returned nil")
		}
		return c.check(pt)
	})
	pt.far.close()
	return c.rule.broken(err)
}

// A farEnd is what calls reach at the far end. It records each call with a copy of the
// arguments, then answers it.
type farEnd struct {
	closed chan struct{} // closed by close: calls that are held then end

	mu     sync.Mutex
	calls  []request                             // guarded by mu
	answer func(context.Context, request) answer // guarded by mu; nil answers with nothing
}

func newFarEnd() *farEnd { return &farEnd{closed: make(chan struct{})} }

// close ends the calls that are still held.
func (f *farEnd) close() { close(f.closed) }

// platform returns the Platform of the far end, which supports contexts.
func (f *farEnd) platform() Platform { return f.view(context.Background()) }

func (f *farEnd) view(ctx context.Context) *farView {
	return &farView{adapter{func(r request) answer { return f.record(ctx, r) }}, f, ctx}
}

type farView struct {
	adapter
	far *farEnd
	ctx context.Context
}

// WithContext returns a view that obeys ctx and the view's context.
func (v *farView) WithContext(ctx context.Context) Platform {
	return v.far.view(either(v.ctx, ctx))
}

func (f *farEnd) record(ctx context.Context, r request) answer {
	if err := context.Cause(ctx); err != nil {
		return answer{err: err}
	}
	seen := r.clone()
	f.mu.Lock()
	f.calls = append(f.calls, seen)
	respond := f.answer
	f.mu.Unlock()
	if respond == nil {
		return answer{}
	}
	return respond(ctx, r)
}

// answerWith has calls answered by a function from now on.
func (f *farEnd) answerWith(respond func(context.Context, request) answer) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.answer = respond
}

// set has calls of the method answered with copies of a, which belong to the transport, and
// others with nothing, from now on.
func (f *farEnd) set(method string, a answer) {
	f.answerWith(func(_ context.Context, r request) answer {
		if r.method == method {
			return a.clone()
		}
		return answer{}
	})
}

// echoes has calls answered with their echo from now on.
func (f *farEnd) echoes() {
	f.answerWith(func(_ context.Context, r request) answer { return echo(r) })
}

// seen returns the calls that were made since the last time, and forgets them.
func (f *farEnd) seen() []request {
	f.mu.Lock()
	defer f.mu.Unlock()
	calls := f.calls
	f.calls = nil
	return calls
}

// expect compares the calls that were made since the last expect with the one wanted, and
// forgets them. A write must have been made once. A read may have been repeated, and
// beside the call there may be any number of Ping and Version.
func (f *farEnd) expect(want request) error {
	calls := f.seen()
	var other []request // neither wanted nor permitted
	made := 0
	for _, got := range calls {
		switch {
		case got.sameAs(want):
			made++
		case got.method != "Ping" && got.method != "Version":
			other = append(other, got)
		}
	}
	switch {
	case len(other) == 1 && other[0].method == want.method:
		return mismatch(want.method+" reached the platform with arguments", other[0].arguments(), want.arguments())
	case made == 0, len(other) > 0, made > 1 && writes(want.method):
		return mismatch("calls that the platform received", names(calls), []string{want.method})
	}
	return nil
}

func names(calls []request) []string {
	list := make([]string, len(calls))
	for i, r := range calls {
		list[i] = r.method
	}
	return list
}

// A platformTest is a Platform under test with its far end.
type platformTest struct {
	BatteryOptions
	progress
	p   Platform
	far *farEnd
}

// send makes the call.
func (pt *platformTest) send(r request) answer {
	pt.setStep("%s", r.method)
	return r.send(pt.p)
}

// reaches makes the call, which must reach the platform.
func (pt *platformTest) reaches(r request) (answer, error) {
	a := pt.send(r)
	return a, withError(pt.far.expect(r), a.err)
}

// withError adds to a failure the error that the call returned, which often has the reason.
func withError(failure, err error) error {
	if failure == nil || err == nil {
		return failure
	}
	return fmt.Errorf("%w\nthe call returned the error: %s", failure, shorten(textOf(err), showWhole))
}

// returns has the platform answer the call with want, which must arrive.
func (pt *platformTest) returns(r request, want answer) error {
	pt.far.set(r.method, want)
	return pt.send(r).diff(r, want)
}

// A heldCall is a call that the far end has received and not answered.
type heldCall struct {
	request
	answer chan answer   // has room for the one answer
	pass   chan struct{} // closed in place of an answer, for a call that the transport makes by itself
}

// hold has the far end hold the calls that which selects, and send them to the channel
// returned. Others are answered by echo. A call that repeats one which has been answered gets
// the same answer. A held call also ends with its context, and with the case.
func (f *farEnd) hold(which func(request) bool) <-chan heldCall {
	held := make(chan heldCall, 1024)
	var mu sync.Mutex
	answered := map[string][]answeredCall{} // by method
	f.answerWith(func(ctx context.Context, r request) answer {
		mu.Lock()
		for _, earlier := range answered[r.method] {
			if earlier.sameAs(r) {
				mu.Unlock()
				return earlier.a.clone()
			}
		}
		mu.Unlock()
		if !which(r) {
			return echo(r)
		}
		call := heldCall{r, make(chan answer, 1), make(chan struct{})}
		held <- call
		select {
		case a := <-call.answer:
			mu.Lock()
			defer mu.Unlock()
			answered[r.method] = append(answered[r.method], answeredCall{r.clone(), a})
			return a.clone()
		case <-ctx.Done():
			return answer{err: context.Cause(ctx)}
		case <-call.pass:
			return answer{}
		case <-f.closed:
			return answer{}
		}
	})
	return held
}

// An answeredCall is a call with its answer.
type answeredCall struct {
	request
	a answer
}

// A startedCall is a call in progress.
type startedCall struct {
	request
	returned chan answer
}

// start makes a call on p in a goroutine, which ends with the call.
func start(p Platform, r request) startedCall {
	call := startedCall{r, make(chan answer, 1)}
	go func() {
		a := answer{err: errExited}
		defer func() { call.returned <- a }()
		defer recoverInto(&a.err)
		a = r.send(p)
	}()
	return call
}

// arrival waits until the far end holds the call. Calls that the transport makes by itself
// are answered with nothing.
func (p *progress) arrival(held <-chan heldCall, call startedCall) (heldCall, error) {
	p.setStep("%s, before it reached the platform,", call.method)
	for {
		select {
		case h := <-held:
			if h.sameAs(call.request) {
				return h, nil
			}
			close(h.pass)
		case a := <-call.returned:
			return heldCall{}, withError(fmt.Errorf("%s returned, and had not reached the platform", call.method), a.err)
		}
	}
}

// end has the far end answer a held call, and waits for the call to return the answer.
func (pt *platformTest) end(h heldCall, call startedCall, with answer) error {
	pt.setStep("%s, which the platform has answered,", call.method)
	h.answer <- with
	return (<-call.returned).diff(call.request, with)
}
