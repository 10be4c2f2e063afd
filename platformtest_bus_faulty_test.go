package platform

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/platformbus/platform/flux"
)

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
	syncFatal      bool // recognises a FatalError only from Sync
	ignoresPing    bool // does not recognise a FatalError in its own Ping
	fatalEndsNewer bool // a FatalError ends whichever subscription is current
	fatalRepeats   bool // each FatalError is sent to the subscriber
	swallowsFatal  bool // the caller gets another error
	staysAfterDead bool // a subscription that has ended is still used
	plainCause     bool // the subscriber receives only the text
	sharedKick     bool // ends the subscriptions of all instances
	sharedDeath    bool // a FatalError ends the subscriptions of all instances

	endsBoth       bool   // a kick ends the newer subscription too
	plainKick      bool   // the cause of a kick does not match ErrKicked
	fatalKick      bool   // the cause of a kick is a FatalError too
	kickedRefusal  bool   // the cause of a refusal matches ErrKicked
	kickedDeath    bool   // the cause after a FatalError is ErrKicked
	byChannel      bool   // identifies subscriptions by their channels
	byPlatform     bool   // a kick ends all subscriptions of the same Platform
	staysAbsent    bool   // a handle that found no daemon never finds one
	pinsViews      bool   // a view has the platform that was there when it was made
	newestHandles  int    // only so many handles of an instance work, the newest ones
	locksInstance  bool   // Subscribe waits for the calls of the instance
	locksPing      bool   // nothing else is done during a Ping of the bus
	oneSender      bool   // sends causes in turn, one after the other
	drains         bool   // sends the cause after the calls in progress have ended
	late           bool   // a subscription takes effect with the next Ping of the bus
	cachesPing     bool   // Ping answers from memory
	plainPing      bool   // the error of Ping is a text
	pinsMethod     string // calls of this method go to the first platform
	presentFor     string // without a daemon this method succeeds
	ignoresFatalOf string // does not look at what this method returns

	endsLater       bool                               // sends the cause of a kick again with the next Ping
	slow            bool                               // sends each cause a while later, which is no fault
	forgetsLater    bool                               // a kick loses the newer subscription at the next Ping
	closesOnly      bool                               // closes the channel in place of a cause
	handleKeepsDead bool                               // a handle uses the platform that it used last while there is no other
	kickBreaks      bool                               // calls fail after a kick
	nilForgets      bool                               // a nil Platform is refused, but removes the daemon
	blocksDeath     bool                               // sends the cause after a FatalError and waits
	dropsDeath      bool                               // sends the cause after a FatalError only if someone waits
	otherFatal      bool                               // the subscriber receives another FatalError
	locksAll        bool                               // Subscribe waits for the calls of all instances
	pingWaits       bool                               // Ping waits for the calls of all instances
	pingLocksCalls  bool                               // a call waits for the Pings of the bus
	switchesLate    bool                               // a kick takes effect when the older daemon is idle
	losesIDs        bool                               // SomeServices asks for nothing
	busyFor         string                             // calls of this method fail while others are in progress
	panicsAt        string                             // calls of this method panic
	nilPanics       string                             // sends to a channel that is nil after this
	atMost          int                                // the number of instances; further ones are lost
	calls           int                                // the number of calls that are served at a time
	matches         func(inst, id string) bool         // whether an ID stands for another
	keys            func(id string) string             // IDs that are the same after this are the same
	loses           func(id string) bool               // subscriptions of these IDs are lost
	finds           func(error) bool                   // errors that are recognised as a FatalError
	endsAt          func(error) bool                   // further errors that end a subscription
	forgets         func(ended, other *faultySub) bool // subscriptions that are lost when one ends
}

// A faultyBus is a MessageBus that has the faults given. Without faults it is correct.
type faultyBus struct {
	faults
	released chan struct{} // closed by the test, to end calls and sends that block

	mu      sync.Mutex
	subs    map[flux.InstanceID]*faultySub    // guarded by mu
	first   map[flux.InstanceID]*faultySub    // guarded by mu
	pending []func()                          // guarded by mu; subscriptions that take effect late
	pinged  map[flux.InstanceID]error         // guarded by mu
	handles map[flux.InstanceID]int           // guarded by mu
	busy    map[flux.InstanceID]*sync.RWMutex // guarded by mu; the locks of locksInstance

	pingLock sync.RWMutex  // of locksPing and pingLocksCalls
	sender   chan func()   // what the goroutine of oneSender is to send
	turn     chan struct{} // has a value during each call, if calls is set
	inFlight atomic.Int32  // calls in progress
}

type faultySub struct {
	inst  flux.InstanceID
	calls sync.WaitGroup
	p     Platform
	done  chan<- error
	ended chan struct{}
	over  bool // guarded by the bus's mu
}

func newFaultyBus(t *testing.T, f faults) *faultyBus {
	b := &faultyBus{faults: f, released: make(chan struct{}), turn: make(chan struct{}, f.calls), subs: map[flux.InstanceID]*faultySub{},
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
	if b.keys == nil {
		return inst
	}
	return flux.InstanceID(b.keys(string(inst)))
}

func (b *faultyBus) find(inst flux.InstanceID) *faultySub {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.matches != nil {
		for id, s := range b.subs {
			if b.matches(string(inst), string(id)) {
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
	if b.locksAll {
		inst = ""
	}
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
		if b.pingLocksCalls {
			b.pingLock.RLock()
			defer b.pingLock.RUnlock()
		}
		mu.Lock()
		if !b.binds && (!b.pins || s == nil) {
			if current := b.find(inst); current != nil || !b.handleKeepsDead {
				s = current
			}
		}
		absent = b.staysAbsent && (absent || s == nil)
		found := s
		if absent {
			found = nil
		}
		mu.Unlock()
		b.mu.Lock()
		if b.newestHandles > 0 && number <= b.handles[inst]-b.newestHandles {
			found = nil
		}
		if r.method == b.pinsMethod && found != nil {
			found = b.first[inst]
		}
		stale := b.kickBreaks && found != b.first[inst]
		b.mu.Unlock()
		if stale {
			return answer{err: errors.New("stale connection")}
		}
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
	if r.method == b.busyFor && b.inFlight.Load() > 0 {
		return answer{err: UnavailableError(errors.New("busy"))}
	}
	b.inFlight.Add(1)
	defer b.inFlight.Add(-1)
	s.calls.Add(1)
	defer s.calls.Done()
	if b.losesIDs {
		r.ids = nil
	}
	if r.method == b.panicsAt {
		panic(r.method)
	}
	if b.locksInstance || b.locksAll {
		busy := b.lockOf(inst)
		busy.RLock()
		defer busy.RUnlock()
	}
	if b.calls > 0 {
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
	if b.finds != nil {
		fatal = b.finds(a.err)
	}
	fatal = fatal && r.method != b.ignoresFatalOf
	fatal = fatal && (r.method == "Sync" || !b.syncFatal)
	fatal = fatal || b.endsAt != nil && a.err != nil && b.endsAt(a.err)
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
	b.forgetLocked(dead)
	b.mu.Unlock()
	switch {
	case b.otherFatal:
		cause = FatalError{Err: errors.New("the connection was lost")}
	case b.plainCause:
		cause = errors.New(textOf(cause))
	case b.kickedDeath:
		cause = ErrKicked
	}
	for _, s := range dead {
		if b.dropsDeath {
			select {
			case s.done <- cause:
			default:
			}
			continue
		}
		if b.blocksDeath {
			select {
			case s.done <- cause:
			case <-b.released:
			}
			continue
		}
		b.end(s, cause)
	}
}

// forgetLocked loses other subscriptions than those that have ended.
func (b *faultyBus) forgetLocked(ended []*faultySub) {
	if b.forgets == nil {
		return
	}
	for _, s := range ended {
		maps.DeleteFunc(b.subs, func(_ flux.InstanceID, other *faultySub) bool { return b.forgets(s, other) })
	}
}

func (b *faultyBus) end(s *faultySub, cause error) {
	b.mu.Lock()
	if !s.over {
		s.over = true
		close(s.ended)
	}
	b.mu.Unlock()
	if b.neverEnds {
		return
	}
	if s.done == nil {
		after := "refusal"
		if _, fatal := AsFatal(cause); fatal {
			after = "FatalError"
		} else if errors.Is(cause, ErrKicked) {
			after = "kick"
		}
		if b.nilPanics == after {
			panic("no channel")
		}
		return
	}
	if b.closesOnly {
		close(s.done)
		return
	}
	if b.endsLater {
		b.mu.Lock()
		b.pending = append(b.pending, func() { b.send(s.done, cause) })
		b.mu.Unlock()
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
	wait := func() {
		select {
		case done <- cause:
		case <-b.released:
		}
	}
	if b.slow {
		time.AfterFunc(100*time.Millisecond, wait)
		return
	}
	select {
	case done <- cause:
		return
	default:
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
	if b.locksInstance || b.locksAll {
		busy := b.lockOf(inst)
		busy.Lock()
		defer busy.Unlock()
	}
	b.subscribe(inst, p, done)
}

func (b *faultyBus) subscribe(inst flux.InstanceID, p Platform, done chan<- error) {
	next := &faultySub{inst: inst, p: p, done: done, ended: make(chan struct{})}
	switch {
	case b.loses != nil && b.loses(string(inst)):
		return
	case p == nil && b.nilForgets:
		b.mu.Lock()
		delete(b.subs, b.key(inst))
		b.mu.Unlock()
		b.end(next, b.refusal("the platform is nil"))
		return
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
	case b.atMost > 0 && len(b.subs) == b.atMost:
	case b.switchesLate && last != nil:
		b.subs[key] = last
		go func() {
			last.calls.Wait()
			b.mu.Lock()
			defer b.mu.Unlock()
			b.subs[key] = next
		}()
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
	b.forgetLocked(kicked)
	if b.forgetsLater && last != nil {
		b.pending = append(b.pending, func() {
			b.mu.Lock()
			defer b.mu.Unlock()
			delete(b.subs, key)
		})
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
		if b.endsBoth {
			b.end(next, b.kick())
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
	if b.pingLocksCalls {
		b.pingLock.Lock()
		defer b.pingLock.Unlock()
	}
	b.mu.Lock()
	others := slices.Collect(maps.Values(b.subs))
	pending := b.pending
	b.pending = nil
	known, ok := b.pinged[inst]
	b.mu.Unlock()
	for _, subscribe := range pending {
		subscribe()
	}
	for _, s := range others {
		if b.pingWaits {
			s.calls.Wait()
		}
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
