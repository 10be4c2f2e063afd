package natsbus

import (
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/platformbus/platform"
	"github.com/platformbus/platform/flux"
)

// A seat is an instance's place on this bus. Who subscribes takes it from whoever has
// it, here at once, and elsewhere by a claim: the later epoch wins, and if neither is later,
// the session. Whoever hears a later claim than his own ends; whoever hears an
// earlier one repeats his own. Claims are repeated from time to time, and when the
// connection has come back, so that one is left however the network was parted.
//
// Clocks differ, so a later claim may be from before. A claim says how old it is, and a
// seat that is fresh outbids one that is older than itself.
//
// A bus may have very many, so a seat has what all need, and the bus what only some need
// at a time.
type seat struct {
	inst flux.InstanceID

	// What follows is guarded by bus.mu, but for number.
	platform platform.Platform
	done     chan<- error // made and closed by the subscriber; nil if it does not want to know
	epoch    uint64
	rpc      *nats.Subscription // to what callers ask, and daemons claim
	next     *seat              // in the line that it is in
	number   uint32             // no other seat of the bus has it; it never changes
	born     uint32             // when it was taken last, in milliseconds since the bus was made
	due      uint32             // the tick in which it has its turn in its line
	line     stage              // which line that is
	outbids  uint8              // how often it has outbid others
	fresh    bool               // whoever held it before may not have heard of it
	over     bool               // no longer in force
}

// tok returns what stands for the instance in subjects.
func (s *seat) tok() string { return token(s.inst) }

// session returns the name of a seat in subjects and claims.
func (b *Bus) session(s *seat) string {
	return b.place + "-" + strconv.FormatUint(uint64(s.number), 36)
}

// A desk is where the calls for a seat are served.
type desk struct {
	listening sync.Mutex         // held while in is made or taken down
	in        *nats.Subscription // guarded by listening; to what callers say; nil if there are no calls

	// What follows is guarded by bus.mu.
	tickets uint64 // given to calls
	reads   int
	writes  int
	calls   map[string]*serving
}

// deskLocked returns where calls for a seat that is in force are served.
func (b *Bus) deskLocked(s *seat) *desk {
	d := b.desks[s]
	if d == nil {
		d = &desk{calls: map[string]*serving{}}
		b.desks[s] = d
	}
	return d
}

// endSeat ends the seat's subscription, if it is still in force.
func (b *Bus) endSeat(s *seat, cause error) {
	b.mu.Lock()
	if s.over {
		b.mu.Unlock()
		return
	}
	finish := b.endSeatLocked(s, cause, 0)
	b.mu.Unlock()
	finish()
}

// endSeatLocked ends a seat that is in force, but for what is to be done without the
// lock, which it returns. For as long as linger says, callers who still ask here are
// told to ask again.
func (b *Bus) endSeatLocked(s *seat, cause error, linger time.Duration) (finish func()) {
	done, rpc := s.done, s.rpc
	s.over = true
	b.seats.remove(s.tok())
	b.retired[s] = time.Now().Add(linger)
	if rpc != nil && linger > 0 {
		b.stale[s.tok()] = append(b.stale[s.tok()], rpc)
	}
	return func() {
		if rpc != nil && linger == 0 {
			_ = rpc.Unsubscribe()
		}
		b.options.Metrics.Subscriptions.Add(-1)
		b.deliver(done, cause)
	}
}

// listen makes sure that what callers say during calls is heard, for a call that is served.
// The server knows of it before it knows of what is sent afterwards.
func (b *Bus) listen(sv *serving) error {
	s, d := sv.seat, sv.desk
	d.listening.Lock()
	defer d.listening.Unlock()
	if d.in != nil {
		return nil
	}
	b.mu.Lock()
	down := b.stopped || s.over && len(d.calls) == 0
	b.mu.Unlock()
	if down { // it is taken down, or will be, and nothing may be left on the connection
		return errGone
	}
	session := b.session(s)
	in, err := b.conn.ChanSubscribe(b.subject(s.tok(), inCall, session, "*"), b.frames)
	if err != nil {
		return err
	}
	d.in = in
	b.mu.Lock()
	b.sessions[session] = s
	b.mu.Unlock()
	return nil
}

// unlisten undoes listen, when the seat has no desk any more.
func (b *Bus) unlisten(s *seat, d *desk) {
	d.listening.Lock()
	defer d.listening.Unlock()
	b.mu.Lock()
	delete(b.sessions, b.session(s))
	b.mu.Unlock()
	if d.in != nil {
		_ = d.in.Unsubscribe()
		d.in = nil
	}
}
