package natsbus

import (
	"maps"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/platformbus/platform"
	"github.com/platformbus/platform/flux"
	"github.com/platformbus/platform/natsbus/internal/protocol"
	"github.com/platformbus/platform/natsbus/internal/wire"
)

// A registry has the instances that are subscribed on a bus.
type registry struct {
	*core
	sessionPrefix string // which the names of its sessions begin with

	registrations directory                  // guarded by mu; those in force
	numbers       uint32                     // guarded by mu; given to registrations
	daemons       map[*registration]*daemon  // guarded by mu; of those that have had a call
	sessions      map[string]*registration   // guarded by mu; of those that have a daemon
	retired       map[*registration]struct{} // guarded by mu; no longer in force, not yet taken down
	lingering     map[string]lingering       // guarded by mu; subscriptions, by token, without a registration
	pending       map[*registration]*pending // guarded by mu; those that wait for the answer to their claim
	admission     admission                  // guarded by mu
	claims        claimQueue                 // guarded by mu
	batch         *batch                     // guarded by mu; of those that are subscribed next; nil if there is none
	spare         []pendingSubscription      // guarded by mu; room for the subscriptions of a batch
	batching      sync.Mutex                 // held while a batch is subscribed
	unread        map[chan struct{}]struct{} // guarded by mu; one for each cause that is not read yet, closed when it is
}

// A registration is an instance that is subscribed on this bus. Whoever subscribes takes it
// from whoever has it, here at once, and elsewhere by a claim, see protocol.Claim.
//
// A bus may have very many, so a registration has what all need, and the registry what only
// some need at a time.
type registration struct {
	inst flux.InstanceID

	// What follows is guarded by mu, but for number.
	platform  platform.Platform
	done      chan<- error // made and closed by the subscriber; nil if it does not want to know
	claim     protocol.Claim
	sub       *nats.Subscription // to calls and claims
	next      *registration      // in the queue that it is in
	number    uint32             // no other registration of the bus has it; it never changes
	queued    bool               // it is in a queue
	unclaimed bool               // which is that of those whose claims were never made
	over      bool               // no longer in force
}

// token returns what stands for the instance in subjects.
func (r *registration) token() string { return wire.Token(r.inst) }

// session returns the name of a registration in subjects and claims.
func (r *registry) session(of *registration) string {
	return r.sessionPrefix + "-" + strconv.FormatUint(uint64(of.number), 36)
}

func (r *registry) claimant(of *registration) protocol.Claimant {
	return protocol.Claimant{Token: of.token(), Session: r.session(of)}
}

// lingering is a subscription that has callers sent on.
type lingering struct {
	sub   *nats.Subscription
	until time.Time
}

// end ends a registration, if it is still in force.
func (r *registry) end(of *registration, cause error) {
	r.mu.Lock()
	if of.over {
		r.mu.Unlock()
		return
	}
	finish := r.endLocked(of, cause, 0)
	r.mu.Unlock()
	finish()
}

// endLocked ends a registration that is in force. It returns what must be done without the lock.
// For as long as linger says, callers who still ask here are told to ask again.
func (r *registry) endLocked(of *registration, cause error, linger time.Duration) (finish func()) {
	token, done, sub := of.token(), of.done, of.sub
	of.over, of.sub = true, nil
	r.registrations.remove(token)
	gone := r.retireLocked(of)
	if sub != nil && linger > 0 {
		r.lingering[token] = lingering{sub, time.Now().Add(linger)}
	}
	return func() {
		if sub != nil && linger == 0 {
			_ = sub.Unsubscribe()
		}
		_ = r.send(gone...) // a caller that misses it notices the silence
		r.options.Metrics.Subscriptions.Add(-1)
		r.deliver(done, cause)
	}
}

// retireLocked has no call begin for a registration any more. It returns what tells callers so.
func (r *registry) retireLocked(of *registration) []protocol.Message {
	r.retired[of] = struct{}{}
	d := r.daemons[of]
	if d == nil {
		return nil
	}
	out := d.End()
	r.steppedLocked()
	return out.Send
}

// lateReader is for how long a subscriber that is not ready to read why its subscription has ended
// is waited for when the bus is closed.
const lateReader = time.Second

// deliver sends the cause for which a subscription has ended. If the channel is full, a goroutine
// does. It ends when the cause is read, or with the bus, but not sooner than after lateReader.
func (r *registry) deliver(done chan<- error, cause error) {
	if done == nil {
		return
	}
	select {
	case done <- cause:
		return
	default:
	}
	read := make(chan struct{})
	r.mu.Lock()
	r.unread[read] = struct{}{}
	r.mu.Unlock()
	go func() {
		late := time.After(lateReader)
		select {
		case done <- cause:
		case <-r.stop:
			select {
			case done <- cause:
			case <-late:
			}
		}
		close(read)
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.unread, read)
	}()
}

// awaitReaders waits until the causes that are not read yet are, for lateReader at most.
func (r *registry) awaitReaders() {
	r.mu.Lock()
	unread := slices.Collect(maps.Keys(r.unread))
	r.mu.Unlock()
	late := time.After(lateReader)
	for _, read := range unread {
		select {
		case <-read:
		case <-late:
			return
		}
	}
}
