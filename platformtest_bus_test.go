package platform

import (
	"errors"
	"fmt"
	"path"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/platformbus/platform/flux"
)

func TestStandaloneMessageBusBattery(t *testing.T) {
	MessageBusTestBattery(t, func(*testing.T) MessageBus { return NewStandaloneMessageBus(BusMetrics{}) })
}

func TestZeroStandaloneMessageBusBattery(t *testing.T) {
	MessageBusTestBattery(t, func(*testing.T) MessageBus { return &StandaloneMessageBus{} })
}

// faults configure a faultyBus. Each fault is one that a real bus could have.
type faults struct {
	connectFails   bool // if there is no daemon
	pins           bool // a handle keeps the platform of its first call
	binds          bool // a handle has the platform that was there when it was made
	plainAbsence   bool // the error for "no daemon" is a plain one
	bareAbsence    bool // the error for "no daemon" has no help
	absenceIsNil   bool // a call without a daemon succeeds
	presence       bool // Ping does not ask the platform
	alwaysThere    bool // Ping does not even look for a daemon
	emptyID        bool // an empty ID is accepted
	nilPlatform    bool // a nil Platform is accepted
	nilKicks       bool // a nil Platform is refused, but kicks
	vagueRefusal   bool // a nil Platform is refused without a reason
	silentRefusal  bool // a nil Platform is ignored without an error
	comparesValues bool // identifies subscriptions by their Platforms
	neverEnds      bool // sends no cause to a kicked subscriber
	endsTwice      bool // sends the cause twice
	endsNewer      bool // sends the cause to the wrong subscriber
	endsWithNil    bool // sends a nil cause
	closes         bool // closes the channel afterwards
	blocks         bool // sends to the channel and waits
	drops          bool // sends to the channel only if someone waits
	firstWins      bool // refuses the newer subscription
	keepsBoth      bool // ends no subscription
	cuts           bool // ends the calls of a kicked subscription
	oneCall        bool // serves one call at a time
	bareFatal      bool // recognises only a FatalError that is not wrapped
	noPointers     bool // recognises a FatalError by value, but not a pointer
	syncFatal      bool // recognises a FatalError only from Sync
	ignoresPing    bool // does not recognise a FatalError in its own Ping
	anyErrorEnds   bool
	fatalEndsNewer bool // a FatalError ends whichever subscription is current
	fatalRepeats   bool // each FatalError is sent to the subscriber
	swallowsFatal  bool // the caller gets another error
	staysAfterDead bool // a subscription that has ended is still used
	plainCause     bool // the subscriber receives only the text
	trims          bool // trims spaces around IDs
	folds          bool // ignores the case of IDs
	patterns       bool // treats IDs as patterns
	truncates      bool // truncates IDs to 1 KiB less one
	sharedKick     bool // ends the subscriptions of all instances
	sharedDeath    bool // a FatalError ends the subscriptions of all instances
}

// A faultyBus is a MessageBus that has the faults given. Without faults it is correct.
type faultyBus struct {
	faults
	released chan struct{} // closed by the test, to end calls and sends that block

	mu   sync.Mutex
	subs map[flux.InstanceID]*faultySub // guarded by mu

	turn chan struct{} // full during a call, if oneCall is set
}

type faultySub struct {
	p     Platform
	done  chan<- error
	ended chan struct{}
	over  bool // guarded by the bus's mu
}

func newFaultyBus(t *testing.T, f faults) *faultyBus {
	b := &faultyBus{faults: f, released: make(chan struct{}), turn: make(chan struct{}, 1), subs: map[flux.InstanceID]*faultySub{}}
	t.Cleanup(func() { close(b.released) })
	return b
}

func (b *faultyBus) key(inst flux.InstanceID) flux.InstanceID {
	if b.trims {
		inst = flux.InstanceID(strings.TrimSpace(string(inst)))
	}
	if b.folds {
		inst = flux.InstanceID(strings.ToLower(string(inst)))
	}
	if b.truncates {
		inst = inst[:min(len(inst), 1023)]
	}
	return inst
}

func (b *faultyBus) find(inst flux.InstanceID) *faultySub {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.patterns {
		for id, s := range b.subs {
			if ok, _ := path.Match(string(inst), string(id)); ok {
				return s
			}
		}
	}
	return b.subs[b.key(inst)]
}

func (b *faultyBus) absent() error {
	switch {
	case b.absenceIsNil:
		return nil
	case b.plainAbsence:
		return errors.New("not connected")
	case b.bareAbsence:
		return ErrPlatformNotAvailable
	}
	return UnavailableError(errors.New("not connected"))
}

func (b *faultyBus) Connect(inst flux.InstanceID) (Platform, error) {
	if inst == "" && !b.emptyID {
		return nil, errors.New("empty ID")
	}
	s := b.find(inst)
	if b.connectFails && s == nil {
		return nil, b.absent()
	}
	var mu sync.Mutex
	return &interceptor{handle: func(_ Platform, r request) answer {
		mu.Lock()
		if !b.binds && (!b.pins || s == nil) {
			s = b.find(inst)
		}
		found := s
		mu.Unlock()
		return b.call(inst, found, r)
	}}, nil
}

func (b *faultyBus) call(inst flux.InstanceID, s *faultySub, r request) answer {
	if s == nil {
		return answer{err: b.absent()}
	}
	if b.oneCall {
		select {
		case b.turn <- struct{}{}:
			defer func() { <-b.turn }()
		case <-b.released:
			return answer{err: errors.New("the test is over")}
		}
	}
	var a answer
	if b.cuts {
		answered := make(chan answer, 1)
		go func() { answered <- r.send(s.p) }()
		select {
		case a = <-answered:
		case <-s.ended:
		}
		select {
		case <-s.ended: // even if the answer has arrived
			return answer{err: UnavailableError(errors.New("kicked"))}
		default:
		}
	} else {
		a = r.send(s.p)
	}
	_, fatal := AsFatal(a.err)
	if b.bareFatal {
		_, fatal = a.err.(FatalError)
	}
	if b.noPointers {
		_, fatal = errors.AsType[FatalError](a.err)
	}
	fatal = fatal && (r.method == "Sync" || !b.syncFatal) || b.anyErrorEnds && a.err != nil
	if fatal {
		b.endFatal(inst, s, a.err)
		if b.swallowsFatal {
			a.err = UnavailableError(errors.New("the daemon has died"))
		}
	}
	return a
}

func (b *faultyBus) endFatal(inst flux.InstanceID, s *faultySub, cause error) {
	b.mu.Lock()
	var dead []*faultySub
	for id, other := range b.subs {
		if id == b.key(inst) && (other == s || b.fatalEndsNewer) || b.sharedDeath {
			dead = append(dead, other)
			if !b.staysAfterDead {
				delete(b.subs, id)
			}
		}
	}
	if b.fatalRepeats {
		dead = []*faultySub{s}
	}
	b.mu.Unlock()
	if b.plainCause {
		cause = errors.New(cause.Error())
	}
	for _, s := range dead {
		b.end(s, cause)
	}
}

func (b *faultyBus) end(s *faultySub, cause error) {
	b.mu.Lock()
	if !s.over {
		s.over = true
		close(s.ended)
	}
	b.mu.Unlock()
	if b.neverEnds || s.done == nil {
		return
	}
	if b.endsWithNil {
		cause = nil
	}
	b.send(s.done, cause)
	if b.endsTwice {
		b.send(s.done, cause)
	}
	if b.closes {
		close(s.done)
	}
}

func (b *faultyBus) send(done chan<- error, cause error) {
	select {
	case done <- cause:
		return
	default:
	}
	wait := func() {
		select {
		case done <- cause:
		case <-b.released:
		}
	}
	switch {
	case b.drops:
	case b.blocks:
		wait()
	default:
		go wait()
	}
}

func (b *faultyBus) Subscribe(inst flux.InstanceID, p Platform, done chan<- error) {
	next := &faultySub{p: p, done: done, ended: make(chan struct{})}
	switch {
	case inst == "" && !b.emptyID:
		b.end(next, errors.New("empty ID"))
		return
	case p == nil && b.silentRefusal:
		return
	case p == nil && b.vagueRefusal:
		b.end(next, errors.New("refused"))
		return
	case p == nil && !b.nilPlatform && !b.nilKicks:
		b.end(next, errors.New("the platform is nil"))
		return
	}
	b.mu.Lock()
	key := b.key(inst)
	var kicked []*faultySub
	last := b.subs[key]
	for id, s := range b.subs {
		if id == key || b.sharedKick {
			kicked = append(kicked, s)
			delete(b.subs, id)
		}
	}
	switch {
	case b.firstWins && last != nil:
		kicked = []*faultySub{next}
		b.subs[key] = last
	case b.keepsBoth:
		kicked = nil
		b.subs[key] = next
	case p == nil && b.nilKicks:
		kicked = append(kicked, next)
	default:
		b.subs[key] = next
	}
	b.mu.Unlock()
	for _, s := range kicked {
		if b.comparesValues && b.removeByValue(key, s.p) {
			continue
		}
		switch {
		case b.endsNewer:
			b.end(next, errors.New("kicked"))
		case p == nil && s == next:
			b.end(next, errors.New("the platform is nil"))
		default:
			b.end(s, errors.New("kicked"))
		}
	}
}

// removeByValue is the clean-up after a kick in a bus that identifies a subscription by its
// Platform.
func (b *faultyBus) removeByValue(key flux.InstanceID, p Platform) bool {
	b.mu.Lock()
	s := b.subs[key]
	same := s.p == p
	if same {
		delete(b.subs, key)
	}
	b.mu.Unlock()
	if same {
		b.end(s, errors.New("kicked"))
	}
	return same
}

func (b *faultyBus) Ping(inst flux.InstanceID) error {
	if inst == "" && !b.emptyID {
		return errors.New("empty ID")
	}
	s := b.find(inst)
	if b.alwaysThere || b.presence && s != nil {
		return nil
	}
	if b.ignoresPing && s != nil {
		return s.p.Ping()
	}
	return b.call(inst, s, request{method: "Ping"}).err
}

// hasty is the limit for buses that are expected to hang or to send no cause.
const hasty = 300 * time.Millisecond

var brokenBuses = []struct {
	name   string
	faults faults
	limit  time.Duration // caseLimit if zero
	in     string        // the case that must fail
	says   []string      // texts that the failure must contain beside the rule
}{
	{"connects to what is there only", faults{connectFails: true}, 0,
		"Connect/returns a handle before any daemon", []string{`Connect("the instance") returned the error`, "not connected"}},
	{"pins a handle to its first platform", faults{pins: true}, 0,
		"Handle/follows a kick", []string{"after a kick, the older daemon still got AllServices"}},
	{"binds a handle when it is made", faults{binds: true}, 0,
		"Handle/works once a daemon subscribes", []string{`the first daemon was to answer returned the error`, "not connected"}},
	{"has a plain error for no daemon", faults{plainAbsence: true}, 0,
		"Handle/reports that no daemon is connected", []string{"AllServices, with no daemon subscribed, returned an error that does not match ErrPlatformNotAvailable"}},
	{"has no help for no daemon", faults{bareAbsence: true}, 0,
		"Handle/reports that no daemon is connected", []string{"errors.As finds no flux.HelpfulError"}},
	{"succeeds without a daemon", faults{absenceIsNil: true}, 0,
		"Handle/reports that no daemon is connected", []string{"AllServices, with no daemon subscribed", "got nil"}},
	{"reports a daemon that is not connected", faults{alwaysThere: true}, 0,
		"Ping/reports whether a daemon is connected", []string{"Ping of the bus, with no daemon subscribed", "got nil"}},
	{"does not ping the platform", faults{presence: true}, 0,
		"Ping/returns what the platform answers", []string{"Ping of the bus failed, but returned no error"}},
	{"connects to an empty ID", faults{emptyID: true}, 0,
		"Connect/refuses an empty ID", []string{`Connect("") returned no error`}},
	{"pings an empty ID", faults{emptyID: true, alwaysThere: true}, 0,
		"Ping/refuses an empty ID", []string{`Ping("") returned no error`}},
	{"accepts a subscription of an empty ID", faults{emptyID: true}, hasty,
		"Subscribe/refuses an empty ID", []string{"the channel of the nameless daemon received no cause within 300ms"}},
	{"takes a nil Platform", faults{nilPlatform: true}, hasty,
		"Subscribe/refuses a nil Platform", []string{"the channel of the nil daemon received no cause"}},
	{"is kicked by a nil Platform", faults{nilKicks: true}, 0,
		"Subscribe/refuses a nil Platform", []string{"the channel of the present daemon received one cause too many"}},
	{"refuses a nil Platform without a reason", faults{vagueRefusal: true}, 0,
		"Subscribe/refuses a nil Platform", []string{`the cause does not say that the Platform is nil: *errors.errorString "refused"`}},
	{"refuses a nil Platform without a word", faults{silentRefusal: true}, hasty,
		"Subscribe/refuses a nil Platform", []string{"the channel of the nil daemon received no cause"}},
	{"compares platforms with ==", faults{comparesValues: true}, hasty,
		"Kick/accepts the same Platform again", []string{"the channel of the first daemon received no cause"}},
	{"compares what cannot be compared", faults{comparesValues: true}, 0,
		"Kick/accepts a Platform that cannot be compared", []string{"panic: runtime error: comparing uncomparable type"}},
	{"ends nothing", faults{neverEnds: true}, hasty,
		"Kick/ends the older subscription once", []string{"the channel of the older daemon received no cause within 300ms"}},
	{"ends everything twice", faults{endsTwice: true}, 0,
		"Kick/ends the older subscription once", []string{"the channel of the older daemon received one cause too many", "kicked"}},
	{"ends the newer one", faults{endsNewer: true}, hasty,
		"Kick/ends the older subscription once", []string{"the channel of the older daemon received no cause"}},
	{"gives no cause", faults{endsWithNil: true}, 0,
		"Kick/ends the older subscription once", []string{"ended with a cause that is nil"}},
	{"closes channels", faults{closes: true}, 0,
		"Kick/ends each of many in turn", []string{"the bus closed the channel of the no. 0 daemon"}},
	{"lets the first one win", faults{firstWins: true}, 0,
		"Kick/ends each of many in turn", []string{"a call was answered by the daemon", `got "no. 0"`, `want "no. 1"`}},
	{"keeps both", faults{keepsBoth: true}, hasty,
		"Kick/leaves one of many concurrent subscriptions", []string{"of 64 subscriptions, only 0 have ended"}},
	{"ends the newer one of a subscribesConcurrently", faults{endsNewer: true}, 0,
		"Kick/leaves one of many concurrent subscriptions", []string{"a call was answered by the daemon"}},
	{"cuts calls short", faults{cuts: true}, 0,
		"Kick/lets a call in progress finish", []string{"in progress", "kicked"}},
	{"serves one call at a time", faults{oneCall: true}, hasty,
		"Kick/lets a call in progress finish", []string{"no call reached the platform within 300ms"}},
	{"waits for the subscriber", faults{blocks: true}, hasty,
		"Channel/may stay unread", []string{"hang: a call did not return within 600ms; last step: Subscribe of the dying daemon, whose channel nobody reads"}},
	{"drops what nobody reads", faults{drops: true}, hasty,
		"Channel/may be read later", []string{"the channel of the older daemon received no cause"}},
	{"recognises a bare FatalError only", faults{bareFatal: true}, hasty,
		"FatalError/from Apply", []string{"FatalError, ", "the channel of the dying daemon received no cause"}},
	{"does not recognise pointers", faults{noPointers: true}, hasty,
		"FatalError/from Export", []string{"pointer", "the channel of the dying daemon received no cause"}},
	{"recognises a FatalError of Sync only", faults{syncFatal: true}, hasty,
		"FatalError/from SomeServices", []string{"the channel of the dying daemon received no cause"}},
	{"recognises a FatalError of Sync only, and none of AllServices", faults{syncFatal: true}, hasty,
		"FatalError/from AllServices", []string{"the channel of the dying daemon received no cause"}},
	{"recognises a FatalError of Sync only, and none of Ping", faults{syncFatal: true}, hasty,
		"FatalError/from Ping", []string{"the channel of the dying daemon received no cause"}},
	{"ignores a FatalError of its own Ping", faults{ignoresPing: true}, hasty,
		"FatalError/from the bus's Ping", []string{"the channel of the dying daemon received no cause"}},
	{"swallows the FatalError", faults{swallowsFatal: true}, 0,
		"FatalError/from Version", []string{`does it match "platform not available"?`, "got true"}},
	{"gives the subscriber a text", faults{plainCause: true}, 0,
		"FatalError/from Sync", []string{"the subscriber received a cause that is no FatalError"}},
	{"keeps using an ended subscription", faults{staysAfterDead: true}, hasty,
		"FatalError/from Version", []string{"Ping, 300ms after the subscription had ended, returned", "got nil"}},
	{"sends every FatalError to the subscriber", faults{fatalRepeats: true}, 0,
		"FatalError/of an older call does not end the newer subscription", []string{"the channel of the older daemon received one cause too many", "died late"}},
	{"sends every FatalError of an ended subscription", faults{fatalRepeats: true, staysAfterDead: true}, 0,
		"FatalError/ends once for many calls", []string{"the channel of the dying daemon received one cause too many"}},
	{"ends the newer subscription at a late FatalError", faults{fatalEndsNewer: true}, 0,
		"FatalError/of an older call does not end the newer subscription", []string{"the channel of the newer daemon received one cause too many", "died late"}},
	{"ends at any error", faults{anyErrorEnds: true}, 0,
		"FatalError/is the only error that ends a subscription", []string{"the channel of the only daemon received one cause too many"}},
	{"trims IDs", faults{trims: true}, 0,
		"Instances/have opaque IDs", []string{`Ping("a "), with no daemon subscribed`}},
	{"folds the case of IDs", faults{folds: true}, 0,
		"Instances/have opaque IDs", []string{`Ping("A"), with no daemon subscribed`}},
	{"takes IDs for patterns", faults{patterns: true}, 0,
		"Instances/have opaque IDs", []string{`Ping("a.*"), with no daemon subscribed`}},
	{"cuts long IDs", faults{truncates: true}, 0,
		"Instances/have opaque IDs", []string{`xxx"…), with no daemon subscribed`}},
	{"kicks all instances", faults{sharedKick: true}, 0,
		"Instances/are not kicked together", []string{"the channel of the other instance's daemon received one cause too many"}},
	{"lets all instances die", faults{sharedDeath: true}, 0,
		"Instances/are not ended together", []string{"the channel of the other instance's daemon received one cause too many", "boom"}},
	{"kicks all instances of many", faults{sharedKick: true}, hasty,
		"Instances/may be many", []string{"daemon"}},
}

func TestBusBatteryFailsBrokenBuses(t *testing.T) {
	byName := map[string]busCase{}
	for _, c := range busCases() {
		require.NotContains(t, byName, c.name, "names tell cases apart")
		byName[c.name] = c
	}
	for _, bus := range brokenBuses {
		t.Run(bus.name, func(t *testing.T) {
			t.Parallel() // many wait until a limit passes
			c, ok := byName[bus.in]
			require.True(t, ok, "there is no case %q", bus.in)
			limit := caseLimit
			if bus.limit > 0 {
				limit = bus.limit
			}
			err := c.run(newFaultyBus(t, bus.faults), limit)
			require.Error(t, err, "%s did not notice", bus.in)
			for _, text := range append(bus.says, "rule: "+c.rule) {
				assert.ErrorContains(t, err, text)
			}
		})
	}
}

// As for transports, each case must fail for at least one broken bus.
func TestEveryBusCaseFailsForSomeBrokenBus(t *testing.T) {
	unproven := map[string]bool{}
	for _, c := range busCases() {
		unproven[c.name] = c.name != "Channel/may be nil" // see TestBusBatteryNamesAPanic
	}
	for _, bus := range brokenBuses {
		unproven[bus.in] = false
	}
	for name, is := range unproven {
		assert.False(t, is, "no broken bus fails %s", name)
	}
}

// Without faults the bus passes: the battery finds the faults, not the bus.
func TestFaultyBusWithoutFaultsBattery(t *testing.T) {
	MessageBusTestBattery(t, func(t *testing.T) MessageBus { return newFaultyBus(t, faults{}) })
}

// nilSendingBus does not handle a nil channel.
type nilSendingBus struct{ *faultyBus }

func (b nilSendingBus) Subscribe(inst flux.InstanceID, p Platform, done chan<- error) {
	if done == nil {
		panic(fmt.Sprintf("no channel for %q", inst))
	}
	b.faultyBus.Subscribe(inst, p, done)
}

func TestBusBatteryNamesAPanic(t *testing.T) {
	noticed := false
	newBus := func() MessageBus { return nilSendingBus{newFaultyBus(t, faults{})} }
	for name, err := range busFailures(newBus, caseLimit) {
		if name == "Channel/may be nil" {
			noticed = true
			assert.ErrorContains(t, err, `panic: no channel for "the instance"`)
			assert.ErrorContains(t, err, "rule: "+ruleNilDone)
		} else {
			assert.NoError(t, err, name)
		}
	}
	assert.True(t, noticed)
}
