package natsbus

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/platformbus/platform"
	"github.com/platformbus/platform/flux"
)

// A Bus is a platform.MessageBus over a NATS connection. Make one with New.
//
// It has four goroutines of its own, however many instances are subscribed: one takes
// what comes, two keep time, one watches the connection. Besides there is one for
// each call that is being served, see crew, and one for each cause that a subscriber is not
// ready to take.
type Bus struct {
	conn     *nats.Conn
	options  Options
	root     string // what every subject begins with
	name     string // in the subjects of what is for this bus
	place    string // which the names of its sessions begin with
	born     time.Time
	counters counters
	window   window
	quota    quota
	crew     crew
	frames   chan *nats.Msg // what comes on every subscription; never closed
	replies  *nats.Subscription
	status   chan nats.Status // the connection's

	base  context.Context // of served calls; ended if Close runs out of time
	abort context.CancelCauseFunc

	stop    chan struct{}  // closed by Close, when no call is under way
	workers sync.WaitGroup // the bus's goroutines, without those that serve calls
	running sync.WaitGroup // calls, made and served; one is added only while not closing
	closed  chan struct{}  // closed when Close is over

	mu       sync.Mutex
	closing  bool                            // guarded by mu
	stopped  bool                            // guarded by mu; no goroutine is started any more
	calls    map[string]*call                // guarded by mu; those made
	made     int                             // guarded by mu; calls made, between two attempts too
	serving  map[*serving]struct{}           // guarded by mu; those served
	seats    directory                       // guarded by mu; those in force
	desks    map[*seat]*desk                 // guarded by mu; of seats that have had a call
	numbers  uint32                          // guarded by mu; given to seats
	pending  map[*seat]*installation         // guarded by mu; of those that wait for the answer to their claim
	sessions map[string]*seat                // guarded by mu; those that listen to what is in calls
	retired  map[*seat]time.Time             // guarded by mu; no longer in force, not yet taken down: when they stop sending callers elsewhere
	stale    map[string][]*nats.Subscription // guarded by mu; by token, of the retired seats that linger
	rush     rush                            // guarded by mu
	batch    *batch                          // guarded by mu; of seats that are subscribed next; nil if there is none
	spare    []newcomer                      // guarded by mu; room for the newcomers of a batch
	lines    [stages]line                    // guarded by mu; of claims to be made
	tick     uint32                          // guarded by mu; how often keepTime has looked
	trouble  trouble                         // guarded by mu

	batching sync.Mutex // held while a batch is subscribed
}

var _ platform.MessageBus = (*Bus)(nil)

// queued is how many frames may wait for the dispatcher. Beyond it the connection
// reports a slow consumer, and what is lost is sent again.
const queued = 16 << 10

// New returns a bus on the connection, which remains the caller's: the bus does not
// close it, and Close of the bus comes before that of the connection. The bus adds to
// the connection's error handler; one that is set later must call the one before.
func New(conn *nats.Conn, options Options) (*Bus, error) {
	if conn == nil {
		return nil, errors.New("natsbus: connection is nil")
	}
	options, err := options.withDefaults()
	if err != nil {
		return nil, err
	}
	b := &Bus{
		conn:     conn,
		root:     options.Prefix + "." + subjectVersion + ".",
		options:  options,
		name:     newName(),
		place:    newName(),
		born:     time.Now(),
		counters: options.Metrics.counters(),
		window:   window{size: options.Window},
		quota:    quota{limit: options.MaxBytes},
		frames:   make(chan *nats.Msg, queued),
		stop:     make(chan struct{}),
		closed:   make(chan struct{}),
		calls:    map[string]*call{},
		serving:  map[*serving]struct{}{},
		seats:    newDirectory(),
		desks:    map[*seat]*desk{},
		pending:  map[*seat]*installation{},
		sessions: map[string]*seat{},
		retired:  map[*seat]time.Time{},
		stale:    map[string][]*nats.Subscription{},
	}
	b.base, b.abort = context.WithCancelCause(context.Background())
	b.status = conn.StatusChanged(nats.CONNECTED, nats.RECONNECTING, nats.CLOSED)
	b.watchErrors()
	b.workers.Go(b.dispatchAll)
	b.workers.Go(b.keepTime)
	b.workers.Go(b.tickCalls)
	b.workers.Go(b.watchStatus)
	return b, nil
}

// Connect returns a handle of the instance, which looks for its daemon at each call. The
// error is for an empty ID only.
func (b *Bus) Connect(inst flux.InstanceID) (platform.Platform, error) {
	if inst == "" {
		return nil, fmt.Errorf("connect: %w", errNoInstance)
	}
	return b.handle(inst), nil
}

// Ping returns nil if the daemon of the instance answers, see platform.MessageBus.
func (b *Bus) Ping(inst flux.InstanceID) error {
	if inst == "" {
		return fmt.Errorf("ping: %w", errNoInstance)
	}
	return b.handle(inst).Ping()
}

// Version returns the version of the instance's daemon.
func (b *Bus) Version(inst flux.InstanceID) (string, error) {
	if inst == "" {
		return "", fmt.Errorf("version: %w", errNoInstance)
	}
	return b.handle(inst).Version()
}

var (
	errNoInstance  = errors.New("instance ID is empty")
	errNilPlatform = errors.New("subscribe: platform is nil")
)

// Close ends the bus. Nothing begins any more; calls that are under way, made and
// served, may finish until ctx ends, and are cancelled then. Subscriptions end with
// ErrClosed when the calls have ended. The error says how many calls were cut off.
func (b *Bus) Close(ctx context.Context) error {
	b.mu.Lock()
	if b.closing {
		b.mu.Unlock()
		select {
		case <-b.closed:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	b.closing = true
	seats := b.seats.all()
	waiting := make([]*serving, 0)
	for sv := range b.serving {
		if !sv.begun {
			waiting = append(waiting, sv)
		}
	}
	b.mu.Unlock()
	defer close(b.closed)

	for _, sv := range waiting {
		b.refuseBegin(sv)
	}
	err := b.finishCalls(ctx)
	for _, s := range seats {
		b.endSeat(s, fmt.Errorf("subscription ended: %w", ErrClosed))
	}
	b.mu.Lock()
	replies := b.replies
	b.stopped = true
	b.mu.Unlock()
	b.takeDown(time.Now(), true)
	if replies != nil {
		_ = replies.Unsubscribe()
	}
	if b.conn.IsConnected() {
		flush, cancel := context.WithTimeout(context.WithoutCancel(ctx), b.options.silence())
		_ = b.conn.FlushWithContext(flush) // what was answered last is on its way
		cancel()
	}
	close(b.stop)
	b.conn.RemoveStatusListener(b.status)
	b.workers.Wait()
	b.abort(ErrClosed)
	return err
}

// finishCalls waits until no call is under way, or cuts them off when ctx ends.
func (b *Bus) finishCalls(ctx context.Context) error {
	idle := make(chan struct{})
	go func() { // ends with the last call
		b.running.Wait()
		close(idle)
	}()
	select {
	case <-idle:
		return nil
	case <-ctx.Done():
	}
	b.mu.Lock()
	n := b.made + len(b.serving)
	b.mu.Unlock()
	b.abort(ErrClosed)
	return fmt.Errorf("close: %d calls under way were cut off: %w", n, context.Cause(ctx))
}

// deliver sends the cause for which a subscription has ended, which may take a goroutine.
func (b *Bus) deliver(done chan<- error, cause error) {
	if done == nil {
		return
	}
	select {
	case done <- cause:
		return
	default:
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.stopped {
		return
	}
	b.workers.Go(func() {
		select {
		case done <- cause:
		case <-b.stop: // nobody has read it while the bus was there
		}
	})
}

// publish sends a frame. What is lost is sent again by those who wait for an answer; the
// error is for those who need not wait.
func (b *Bus) publish(to, reply string, f frame) error {
	if len(f.body) > 0 {
		b.countBytes(sent, len(f.body))
	}
	buf := buffers.Get().(*[]byte)
	defer buffers.Put(buf)
	*buf = f.appendTo((*buf)[:0])
	if reply == "" {
		return b.conn.Publish(to, *buf) // which copies it, as the other does
	}
	return b.conn.PublishRequest(to, reply, *buf)
}

// buffers are for frames on their way to the connection; none is larger than a chunk and
// its head.
var buffers = sync.Pool{New: func() any { return new([]byte) }}

// flooded says whether more comes than can be answered. Who can ask again is not told then
// that he is refused, so that what others have sent is not lost behind it.
func (b *Bus) flooded() bool { return len(b.frames) > queued/8 }

func (b *Bus) dispatchAll() {
	for {
		select {
		case m := <-b.frames:
			b.dispatch(m)
		case <-b.stop:
			return
		}
	}
}

// dispatch does what a frame asks for, or has another goroutine do it. It never waits.
// What it does not understand it leaves alone: it may come from anybody.
func (b *Bus) dispatch(m *nats.Msg) {
	tok, direction, first, second, ok := b.parseSubject(m.Subject)
	if !ok || len(tok) > maxToken || !isName(first) || second != "" && !isName(second) {
		// What answers goes to a subject that is made of this one, and a server closes the
		// connection of who sends to a subject that is too long.
		return
	}
	if noResponders(m) {
		b.onNobody(tok, direction, first, second)
		return
	}
	f, err := parseFrame(m.Data)
	if err != nil {
		b.options.Logger.Debug("natsbus: frame left alone", "subject", m.Subject, "err", err)
		return
	}
	switch direction {
	case toCaller:
		if first == b.name {
			b.onReply(tok, second, &f)
		}
	case inCall:
		b.onInCall(tok, first, second, &f)
	case toDaemon:
		if first == methodKick {
			b.onClaim(m.Sub, tok, &f)
		} else if f.kind == kindOpen {
			b.onOpen(m.Sub, tok, first, &f)
		}
	}
}

// onNobody takes note that nobody has subscribed to the subject of what was sent.
func (b *Bus) onNobody(tok, direction, first, second string) {
	b.mu.Lock()
	var l *link
	var s *seat
	switch direction {
	case toCaller:
		if c := b.calls[second]; c != nil && first == b.name && c.tok == tok {
			l = &c.link
		}
	case inCall:
		s = b.seatLocked(tok, first)
		if d := b.desks[s]; d != nil && d.calls[second] != nil {
			l = &d.calls[second].link
		}
	}
	b.mu.Unlock()
	switch {
	case l != nil:
		l.nobody()
		l.wakeUp()
	case s != nil:
		b.answerClaim(s, frame{kind: kindEnded, call: second})
	}
}
