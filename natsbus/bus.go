package natsbus

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/platformbus/platform"
	"github.com/platformbus/platform/flux"
	"github.com/platformbus/platform/natsbus/internal/protocol"
	"github.com/platformbus/platform/natsbus/internal/wire"
)

// A Bus is a platform.MessageBus over a NATS connection. Make one with New.
//
// It has three goroutines of its own, however many instances are subscribed: one receives
// messages, one keeps time, one watches the connection. There is one more for each call that is
// being served, and one for each cause that a subscriber is not ready to take.
type Bus struct {
	*core
	outbound outbound
	inbound  inbound
	status   chan nats.Status // the connection's
	closed   chan struct{}    // closed when Close is over
}

var _ platform.MessageBus = (*Bus)(nil)

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
	c := &core{
		conn:     conn,
		options:  options,
		subjects: wire.NewSubjects(options.Prefix),
		counters: options.Metrics.counters(),
		born:     time.Now(),
		frames:   make(chan *nats.Msg, queued),
		stop:     make(chan struct{}),
	}
	c.shared = protocol.NewShared(protocol.Config{
		Subjects:            c.subjects,
		Service:             wire.Token(flux.InstanceID(options.Service)),
		Bus:                 wire.NewName(),
		Beat:                options.Beat,
		Silence:             options.Silence,
		MaxBody:             options.MaxBody,
		MaxBytes:            options.MaxBytes,
		MaxCalls:            options.MaxCalls,
		MaxCallsPerInstance: options.MaxCallsPerInstance,
		Window:              options.Window,
		NewName:             wire.NewName,
		NewTicket:           wire.NewTicket,
		Random:              rand.N[time.Duration],
	})
	c.back.times = conn.Stats().Reconnects
	c.learnChunk()
	c.base, c.abort = context.WithCancelCause(context.Background())
	b := &Bus{
		core:     c,
		outbound: outbound{core: c, settle: c.settleTime, calls: map[string]*outboundCall{}},
		inbound: inbound{
			registry: &registry{
				core:          c,
				sessionPrefix: wire.NewName(),
				registrations: newDirectory(),
				daemons:       map[*registration]*daemon{},
				sessions:      map[string]*registration{},
				retired:       map[*registration]struct{}{},
				lingering:     map[string]lingering{},
				pending:       map[*registration]*pending{},
				unread:        map[chan struct{}]struct{}{},
			},
			serving: map[*inboundCall]struct{}{},
		},
		closed: make(chan struct{}),
	}
	b.status = conn.StatusChanged(nats.CONNECTED, nats.RECONNECTING, nats.CLOSED)
	b.watchErrors()
	b.workers.Go(b.dispatchAll)
	b.workers.Go(b.keepTime)
	b.workers.Go(b.watchStatus)
	return b, nil
}

// Connect returns a handle of the instance, which looks for its daemon at each call. The
// error is for an empty ID only.
func (b *Bus) Connect(inst flux.InstanceID) (platform.Platform, error) {
	if inst == "" {
		return nil, fmt.Errorf("connect: %w", errNoInstance)
	}
	return b.outbound.handle(inst), nil
}

// Ping returns nil if the daemon of the instance answers, see platform.MessageBus. No daemon can
// have an empty ID: that is an UnavailableError too.
func (b *Bus) Ping(inst flux.InstanceID) error {
	if inst == "" {
		return platform.UnavailableError(fmt.Errorf("ping: %w", errNoInstance))
	}
	return b.outbound.handle(inst).Ping()
}

// Version returns the version of the instance's daemon, or an error like that of Ping.
func (b *Bus) Version(inst flux.InstanceID) (string, error) {
	if inst == "" {
		return "", platform.UnavailableError(fmt.Errorf("version: %w", errNoInstance))
	}
	return b.outbound.handle(inst).Version()
}

// Subscribe makes p the daemon of the instance, see platform.MessageBus. When it returns, the
// server has the subscription, and the previous daemon of the instance, on whichever bus, has been
// told to end, or has not answered for two beats. Of many concurrent Subscribes, those beyond 8 in
// a beat do not wait for that: previous daemons are told when no more subscriptions are being
// made, or after two beats, ten thousand in a beat.
//
// While the connection is down, it returns at once; the subscription is in force when
// the connection is back. Besides what platform.MessageBus says, a subscription ends if
// the server denies it, if the connection is closed, and with ErrClosed.
func (b *Bus) Subscribe(inst flux.InstanceID, p platform.Platform, done chan<- error) {
	b.inbound.subscribe(inst, p, done)
}

// Close ends the bus. No call begins any more; calls in progress, made and served, may finish
// until ctx ends, and are cancelled then. Subscriptions end with ErrClosed when the calls have
// ended; a subscriber that is not ready to read it has a second. The error says how many calls
// were cancelled.
func (b *Bus) Close(ctx context.Context) error {
	in := &b.inbound
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
	registrations := in.registrations.all()
	var gone []protocol.Message
	for _, d := range in.daemons {
		gone = append(gone, d.End().Send...)
	}
	b.steppedLocked()
	b.mu.Unlock()
	defer close(b.closed)

	_ = b.send(gone...) // a caller that misses it notices the silence
	err := b.finishCalls(ctx)
	for _, r := range registrations {
		in.end(r, fmt.Errorf("subscription ended: %w", ErrClosed))
	}
	in.awaitReaders()
	b.mu.Lock()
	replies := b.outbound.replies
	b.stopped = true
	b.mu.Unlock()
	in.takeDown(time.Now(), true)
	if replies != nil {
		_ = replies.Unsubscribe()
	}
	if b.conn.IsConnected() {
		flush, cancel := context.WithTimeout(context.WithoutCancel(ctx), b.options.Silence)
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
	n := len(b.inbound.serving)
	for i := range b.shared.Made {
		n += int(b.shared.Made[i].Used())
	}
	b.mu.Unlock()
	b.abort(ErrClosed)
	return fmt.Errorf("close: %d calls under way were cut off: %w", n, context.Cause(ctx))
}

func (b *Bus) dispatchAll() {
	var f wire.Frame // each in turn; no machine keeps it
	for {
		select {
		case m := <-b.frames:
			b.dispatch(m, &f)
		case <-b.stop:
			return
		}
	}
}

// dispatch does what a frame asks for, or has another goroutine do it. It never waits.
// What it does not understand it leaves alone: it may come from anybody. It puts the frame
// into f.
func (b *Bus) dispatch(m *nats.Msg, f *wire.Frame) {
	a, ok := b.subjects.Parse(m.Subject)
	if !ok {
		return
	}
	e := protocol.Event{Kind: protocol.Nobody}
	if !noResponders(m) {
		data := m.Data
		if m.Size() > len(m.Subject)+len(m.Reply)+len(data) { // NATS headers come before it in one array
			data = bytes.Clone(data) // a chunk would keep them in memory, where only its own bytes are counted
		}
		var err error
		if *f, err = wire.Parse(data); err != nil {
			b.options.Logger.Debug("natsbus: frame left alone", "subject", m.Subject, "err", err)
			return
		}
		if f.Kind == wire.Data || f.Kind == wire.Open {
			b.countBytes(received, len(f.Body))
		}
		e = protocol.Event{Kind: protocol.Received, Frame: f}
	}
	switch a.Direction {
	case wire.Replies:
		b.outbound.onReply(a, e)
	case wire.InCall:
		b.inbound.onInCall(a, e)
	case wire.Claims:
		b.inbound.onClaim(a, e)
	case wire.Calls:
		if e.Frame != nil && e.Frame.Kind == wire.Open {
			b.inbound.onCall(a, e.Frame)
		}
	}
}

// keepTime beats for all calls that are served, notices that their callers are gone,
// repeats claims, and takes down what is over. Those who make calls have timers.
func (b *Bus) keepTime() {
	tick := time.NewTicker(b.options.Beat / ticks)
	defer tick.Stop()
	for {
		select {
		case now := <-tick.C:
			b.inbound.stepAll(protocol.Event{Kind: protocol.Tick})
			b.inbound.makeClaims(now)
			b.inbound.takeDown(now, false)
		case <-b.stop:
			return
		}
	}
}
