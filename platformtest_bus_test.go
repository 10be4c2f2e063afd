package platform

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"path"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/platformbus/platform/flux"
)

func TestStandaloneMessageBusBattery(t *testing.T) {
	MessageBusTestBatteryWith(t, func(*testing.T) MessageBus { return NewStandaloneMessageBus(BusMetrics{}) }, BatteryOptions{StopsCalls: true})
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

	plainKick      bool   // the cause of a kick does not match ErrKicked
	fatalKick      bool   // the cause of a kick is a FatalError too
	kickedRefusal  bool   // the cause of a refusal matches ErrKicked
	kickedDeath    bool   // the cause after a FatalError is ErrKicked
	byChannel      bool   // identifies subscriptions by their channels
	byPlatform     bool   // a kick ends all subscriptions of the same Platform
	staysAbsent    bool   // a handle that found no daemon never finds one
	pinsViews      bool   // a view has the platform that was there when it was made
	newestHandle   bool   // only the newest handle of an instance works
	locksInstance  bool   // Subscribe waits for the calls of the instance
	locksPing      bool   // nothing else is done during a Ping of the bus
	oneSender      bool   // sends causes in turn, one after the other
	drains         bool   // sends the cause after the calls in progress have ended
	late           bool   // a subscription takes effect with the next Ping of the bus
	noTrees        bool   // looks for a FatalError in a chain of causes only
	nilPanics      bool   // sends to a channel that is nil
	cachesPing     bool   // Ping answers from memory
	plainPing      bool   // the error of Ping is a text
	cutsAtNUL      bool   // IDs are C strings
	cleans         bool   // IDs are paths
	unescapes      bool   // IDs are URL-encoded
	prefixes       bool   // an ID stands for those that begin with it
	unicode        bool   // IDs lose their accents
	pinsMethod     string // calls of this method go to the first platform
	presentFor     string // without a daemon this method succeeds
	ignoresFatalOf string // does not look at what this method returns
}

// A faultyBus is a MessageBus that has the faults given. Without faults it is correct.
type faultyBus struct {
	faults
	released chan struct{} // closed by the test, to end calls and sends that block

	mu      sync.Mutex
	subs    map[flux.InstanceID]*faultySub // guarded by mu
	first   map[flux.InstanceID]*faultySub // guarded by mu
	pending []func()                       // guarded by mu; subscriptions that take effect late
	pinged  map[flux.InstanceID]error      // guarded by mu
	handles map[flux.InstanceID]int        // guarded by mu
	busy    map[flux.InstanceID]*sync.RWMutex

	pingLock sync.Mutex
	sender   chan func()

	turn chan struct{} // full during a call, if oneCall is set
}

type faultySub struct {
	calls sync.WaitGroup
	p     Platform
	done  chan<- error
	ended chan struct{}
	over  bool // guarded by the bus's mu
}

func newFaultyBus(t *testing.T, f faults) *faultyBus {
	b := &faultyBus{faults: f, released: make(chan struct{}), turn: make(chan struct{}, 1), subs: map[flux.InstanceID]*faultySub{},
		first: map[flux.InstanceID]*faultySub{}, pinged: map[flux.InstanceID]error{}, handles: map[flux.InstanceID]int{},
		busy: map[flux.InstanceID]*sync.RWMutex{}, sender: make(chan func(), 1000)}
	t.Cleanup(func() { close(b.released) })
	if b.oneSender {
		go func() {
			for {
				select {
				case send := <-b.sender:
					send()
				case <-b.released:
					return
				}
			}
		}()
	}
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
	if b.cutsAtNUL {
		before, _, _ := strings.Cut(string(inst), "\x00")
		inst = flux.InstanceID(before)
	}
	if b.cleans && inst != "" {
		inst = flux.InstanceID(strings.TrimPrefix(path.Clean("/"+string(inst)), "/"))
	}
	if plain, err := url.QueryUnescape(string(inst)); b.unescapes && err == nil {
		inst = flux.InstanceID(plain)
	}
	if b.unicode {
		inst = flux.InstanceID(strings.NewReplacer("ü", "u", "u\u0308", "u").Replace(string(inst)))
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
	if b.prefixes {
		for id, s := range b.subs {
			if strings.HasPrefix(string(inst), string(id)) {
				return s
			}
		}
	}
	return b.subs[b.key(inst)]
}

// lockOf returns the lock of an instance.
func (b *faultyBus) lockOf(inst flux.InstanceID) *sync.RWMutex {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.busy[inst] == nil {
		b.busy[inst] = &sync.RWMutex{}
	}
	return b.busy[inst]
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
	b.mu.Lock()
	b.handles[inst]++
	number := b.handles[inst]
	b.mu.Unlock()
	var mu sync.Mutex
	var absent bool
	call := func(r request) answer {
		mu.Lock()
		if !b.binds && (!b.pins || s == nil) {
			s = b.find(inst)
		}
		absent = b.staysAbsent && (absent || s == nil)
		found := s
		if absent {
			found = nil
		}
		mu.Unlock()
		b.mu.Lock()
		if b.newestHandle && number != b.handles[inst] {
			found = nil
		}
		if r.method == b.pinsMethod && found != nil {
			found = b.first[inst]
		}
		b.mu.Unlock()
		return b.call(inst, found, r)
	}
	if b.pinsViews {
		return viewer{&adapter{call}, func(context.Context) Platform {
			var pinned *faultySub
			return &adapter{func(r request) answer {
				if pinned == nil {
					pinned = b.find(inst)
				}
				return b.call(inst, pinned, r)
			}}
		}}, nil
	}
	return &adapter{call}, nil
}

func (b *faultyBus) call(inst flux.InstanceID, s *faultySub, r request) answer {
	if s == nil && r.method == b.presentFor {
		return answer{}
	}
	if s == nil {
		return answer{err: b.absent()}
	}
	s.calls.Add(1)
	defer s.calls.Done()
	if b.locksInstance {
		busy := b.lockOf(inst)
		busy.RLock()
		defer busy.RUnlock()
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
	if b.noTrees {
		fatal = false
		for err := a.err; err != nil && !fatal; err = errors.Unwrap(err) {
			switch err.(type) {
			case FatalError, *FatalError:
				fatal = true
			}
		}
	}
	fatal = fatal && r.method != b.ignoresFatalOf
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
	switch {
	case b.plainCause:
		cause = errors.New(textOf(cause))
	case b.kickedDeath:
		cause = ErrKicked
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
	if b.neverEnds || s.done == nil && !b.nilPanics {
		return
	}
	if s.done == nil {
		panic("no channel")
	}
	if b.drains {
		go func() {
			s.calls.Wait()
			b.send(s.done, cause)
		}()
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
	if b.oneSender {
		b.sender <- func() {
			select {
			case done <- cause:
			case <-b.released:
			}
		}
		return
	}
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

// refusal returns the cause of a subscription that was refused.
func (b *faultyBus) refusal(text string) error {
	if b.kickedRefusal {
		return fmt.Errorf("%s: %w", text, ErrKicked)
	}
	return errors.New(text)
}

// kick returns the cause of a subscription that was kicked.
func (b *faultyBus) kick() error {
	switch {
	case b.plainKick:
		return errors.New("kicked")
	case b.fatalKick:
		return FatalError{Err: ErrKicked}
	}
	return ErrKicked
}

func (b *faultyBus) Subscribe(inst flux.InstanceID, p Platform, done chan<- error) {
	if b.late {
		b.mu.Lock()
		b.pending = append(b.pending, func() { b.subscribe(inst, p, done) })
		b.mu.Unlock()
		return
	}
	if b.locksPing {
		b.pingLock.Lock()
		defer b.pingLock.Unlock()
	}
	if b.locksInstance {
		busy := b.lockOf(inst)
		busy.Lock()
		defer busy.Unlock()
	}
	b.subscribe(inst, p, done)
}

func (b *faultyBus) subscribe(inst flux.InstanceID, p Platform, done chan<- error) {
	next := &faultySub{p: p, done: done, ended: make(chan struct{})}
	switch {
	case inst == "" && !b.emptyID:
		b.end(next, b.refusal("empty ID"))
		return
	case p == nil && b.silentRefusal:
		return
	case p == nil && b.vagueRefusal:
		b.end(next, errors.New("refused"))
		return
	case p == nil && !b.nilPlatform && !b.nilKicks:
		b.end(next, b.refusal("the platform is nil"))
		return
	}
	b.mu.Lock()
	key := b.key(inst)
	var kicked []*faultySub
	last := b.subs[key]
	for id, s := range b.subs {
		if id == key || b.sharedKick || b.byPlatform && last != nil && s.p == last.p {
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
		if b.byChannel && last != nil && last.done == done { // the clean-up after the kick
			delete(b.subs, key)
		}
	}
	if b.first[inst] == nil {
		b.first[inst] = next
	}
	b.mu.Unlock()
	for _, s := range kicked {
		if b.comparesValues && b.removeByValue(key, s.p) {
			continue
		}
		switch {
		case b.endsNewer:
			b.end(next, b.kick())
		case p == nil && s == next:
			b.end(next, errors.New("the platform is nil"))
		default:
			b.end(s, b.kick())
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
		b.end(s, b.kick())
	}
	return same
}

func (b *faultyBus) Ping(inst flux.InstanceID) error {
	if inst == "" && !b.emptyID {
		return errors.New("empty ID")
	}
	if b.locksPing {
		b.pingLock.Lock()
		defer b.pingLock.Unlock()
	}
	b.mu.Lock()
	pending := b.pending
	b.pending = nil
	known, ok := b.pinged[inst]
	b.mu.Unlock()
	for _, subscribe := range pending {
		subscribe()
	}
	if b.cachesPing && ok {
		return known
	}
	err := b.ping(inst)
	b.mu.Lock()
	b.pinged[inst] = err
	b.mu.Unlock()
	if err != nil && b.plainPing {
		return errors.New("ping: " + err.Error())
	}
	return err
}

func (b *faultyBus) ping(inst flux.InstanceID) error {
	s := b.find(inst)
	if b.alwaysThere || b.presence && s != nil {
		return nil
	}
	if b.ignoresPing && s != nil {
		return s.p.Ping()
	}
	return b.call(inst, s, request{method: "Ping"}).err
}

type brokenBus struct {
	breaks rule
	name   string
	faults faults
	wait   time.Duration // the default if zero; short for buses that hang or send no cause
	in     string        // the case that must fail
	says   []string      // texts that the failure must contain beside the rule
}

var brokenBuses = []brokenBus{
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
	{ruleOneAtEnd, "ends the newer one of a subscribesConcurrently", faults{endsNewer: true}, 0,
		"Kick/leaves one of many concurrent subscriptions", []string{"a call was answered by the daemon"}},
	{ruleInFlight, "cuts calls short", faults{cuts: true}, 0,
		"Kick/lets a call in progress finish", []string{"in progress", "kicked"}},
	{ruleInFlight, "serves one call at a time", faults{oneCall: true}, hasty,
		"Kick/lets a call in progress finish", []string{"no call reached the platform within 300ms"}},
	{ruleUnread, "waits for the subscriber", faults{blocks: true}, hasty,
		"Channel/may stay unread", []string{"hang: Subscribe of the dying daemon did not return within 600ms"}},
	{ruleUnread, "drops what nobody reads", faults{drops: true}, hasty,
		"Channel/may be read later", []string{"the channel of the older daemon received no cause"}},
	{ruleFatalEnds, "recognises a bare FatalError only", faults{bareFatal: true}, hasty,
		"FatalError/from Apply", []string{"FatalError, ", "the channel of the dying daemon received no cause"}},
	{ruleFatalEnds, "does not recognise pointers", faults{noPointers: true}, hasty,
		"FatalError/from Export", []string{"pointer", "the channel of the dying daemon received no cause"}},
	{ruleFatalEnds, "recognises a FatalError of Sync only", faults{syncFatal: true}, hasty,
		"FatalError/from SomeServices", []string{"the channel of the dying daemon received no cause"}},
	{ruleFatalEnds, "ignores a FatalError of its own Ping", faults{ignoresPing: true}, hasty,
		"FatalError/from the bus's Ping", []string{"the channel of the dying daemon received no cause"}},
	{ruleFatalEnds, "swallows the FatalError", faults{swallowsFatal: true}, 0,
		"FatalError/from Version", []string{"AsFatal finds no FatalError", "the daemon has died"}},
	{ruleFatalEnds, "gives the subscriber a text", faults{plainCause: true}, 0,
		"FatalError/from Sync", []string{"the subscriber received a cause that is no FatalError"}},
	{ruleFatalEnds, "keeps using an ended subscription", faults{staysAfterDead: true}, hasty,
		"FatalError/from Version", []string{"Ping, 300ms after the subscription had ended, returned", "got nil"}},
	{ruleEnds, "sends every FatalError to the subscriber", faults{fatalRepeats: true}, 0,
		"FatalError/of an older call does not end the newer subscription", []string{"the channel of the older daemon received one cause too many", "died late"}},
	{ruleEnds, "sends every FatalError of an ended subscription", faults{fatalRepeats: true, staysAfterDead: true}, 0,
		"FatalError/ends once for many calls", []string{"the channel of the dying daemon received one cause too many"}},
	{ruleEnds, "ends the newer subscription at a late FatalError", faults{fatalEndsNewer: true}, 0,
		"FatalError/of an older call does not end the newer subscription", []string{"the channel of the newer daemon received one cause too many", "died late"}},
	{ruleNotFatal, "ends at any error", faults{anyErrorEnds: true}, 0,
		"FatalError/is the only error that ends a subscription", []string{"the channel of the only daemon received one cause too many"}},
	{ruleIsolated, "trims IDs", faults{trims: true}, 0,
		"Instances/have opaque IDs", []string{`Ping("a "), with no daemon subscribed`}},
	{ruleIsolated, "folds the case of IDs", faults{folds: true}, 0,
		"Instances/have opaque IDs", []string{`Ping("A"), with no daemon subscribed`}},
	{ruleIsolated, "takes IDs for patterns", faults{patterns: true}, 0,
		"Instances/have opaque IDs", []string{`Ping("a.*"), with no daemon subscribed`}},
	{ruleIsolated, "cuts long IDs", faults{truncates: true}, 0,
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
	{ruleFollows, "serves the newest handle only", faults{newestHandle: true}, 0,
		"Handle/is one of many", []string{"through one of 2 handles"}},
	{ruleFollows, "subscribes with the next Ping", faults{late: true}, 0,
		"Handle/works once a daemon subscribes", []string{"not connected"}},
	{ruleBusy, "serves one call at a time, of all instances", faults{oneCall: true}, hasty,
		"Busy/calls of one instance hold up no other", []string{"no call reached the platform"}},
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
	{ruleNilDone, "sends to a channel that is nil", faults{nilPanics: true}, 0,
		"Channel/may be nil", []string{"panic: no channel"}},
	{ruleFatalEnds, "looks for a FatalError in chains", faults{noTrees: true}, hasty,
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
	{ruleIsolated, "takes IDs for C strings", faults{cutsAtNUL: true}, 0,
		"Instances/have opaque IDs", []string{`Ping("a\x00b"), with no daemon subscribed`}},
	{ruleIsolated, "takes IDs for paths", faults{cleans: true}, 0,
		"Instances/have opaque IDs", []string{`Ping("../a"), with no daemon subscribed`}},
	{ruleIsolated, "unescapes IDs", faults{unescapes: true}, 0,
		"Instances/have opaque IDs", []string{", with no daemon subscribed"}},
	{ruleIsolated, "takes IDs for prefixes", faults{prefixes: true}, 0,
		"Instances/have opaque IDs", []string{`Ping("a.b"), with no daemon subscribed`}},
	{ruleIsolated, "folds accents of IDs", faults{unicode: true}, 0,
		"Instances/have opaque IDs", []string{`Ping("u`, ", with no daemon subscribed"}},
	{ruleOneAtEnd, "ends all of many", faults{endsNewer: true, neverEnds: true}, hasty,
		"Kick/leaves one of many concurrent subscriptions", []string{"of 64 subscriptions"}},
}

// Each method is looked at for a FatalError by code of its own.
func init() {
	for _, method := range methods {
		brokenBuses = append(brokenBuses, brokenBus{ruleFatalEnds, "does not look at what " + method + " returns", faults{ignoresFatalOf: method}, hasty,
			"FatalError/from " + method, []string{"the channel of the dying daemon received no cause"}})
	}
}

func TestBusBatteryFailsBrokenBuses(t *testing.T) {
	byName := map[string]busCase{}
	for _, c := range busCases() {
		require.NotContains(t, byName, c.name, "names tell cases apart")
		byName[c.name] = c
	}
	named := map[string]bool{}
	for _, bus := range brokenBuses {
		require.False(t, named[bus.name], "two buses are called %q", bus.name)
		named[bus.name] = true
		t.Run(bus.name, func(t *testing.T) {
			t.Parallel() // many wait until a limit passes
			c, ok := byName[bus.in]
			require.True(t, ok, "there is no case %q", bus.in)
			err := c.run(newFaultyBus(t, bus.faults), BatteryOptions{Wait: bus.wait})
			require.Error(t, err, "%s did not notice", bus.in)
			for _, text := range append(bus.says, "rule: "+bus.breaks.says, "hint: "+bus.breaks.hint) {
				assert.ErrorContains(t, err, text)
			}
		})
	}
	assert.GreaterOrEqual(t, len(named), 75)
	for name := range byName {
		assert.True(t, slices.ContainsFunc(brokenBuses, func(b brokenBus) bool { return b.in == name }), "no broken bus fails %q", name)
	}
}

// Without faults the bus passes: the battery finds the faults, not the bus.
func TestFaultyBusWithoutFaultsBattery(t *testing.T) {
	MessageBusTestBattery(t, func(t *testing.T) MessageBus { return newFaultyBus(t, faults{}) })
}
