package natsbus

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/platformbus/platform"
	"github.com/platformbus/platform/internal/faultproxy"
	"github.com/platformbus/platform/internal/natstest"
	"github.com/platformbus/platform/natsbus/internal/protocol"
	"github.com/platformbus/platform/natsbus/internal/wire"
)

// startBus makes a bus. With a beat of an hour it looks at the time only when the test says so.
func startBus(t *testing.T, url string, beat time.Duration) *Bus {
	t.Helper()
	conn, err := nats.Connect(url, ConnectOptions()...)
	require.NoError(t, err)
	t.Cleanup(conn.Close)
	b, err := New(conn, Options{Beat: beat})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, b.Close(context.Background())) })
	return b
}

// accept has a call of the instance "a" accepted, whose request is still to come.
func accept(t *testing.T, b *Bus) *inboundCall {
	t.Helper()
	name := wire.NewName()
	b.inbound.onCall(wire.Address{Token: "a", Direction: wire.Calls, Method: "Sync"},
		&wire.Frame{Kind: wire.Open, Version: wire.Version, Call: name, Service: "service", Bus: "BUS"})
	b.mu.Lock()
	defer b.mu.Unlock()
	for c := range b.inbound.serving {
		return c
	}
	require.FailNow(t, "it is not accepted")
	return nil
}

func registered(b *Bus) *registration {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.inbound.registrations.get("a")
}

// What goes on for a call, for instance when the connection is back, may come when its
// registration was taken down already.
func TestRegistrationThatIsTakenDownListensNoMore(t *testing.T) {
	NoLeaks(t)
	b := startBus(t, natstest.Start(t, nil).ClientURL(), time.Hour)
	b.Subscribe("a", &platform.MockPlatform{}, nil)
	c := accept(t, b)
	require.Equal(t, 2, b.conn.NumSubscriptions())
	b.inbound.end(c.registration, errors.New("over"))
	require.Equal(t, protocol.CalleeOver, c.State(), "it had not begun")
	b.inbound.forgetIfOver(c)
	b.inbound.takeDown(time.Now(), false)
	require.Zero(t, b.conn.NumSubscriptions())
	require.Error(t, b.inbound.listen(c.daemon))
	require.Zero(t, b.conn.NumSubscriptions())
	require.Empty(t, b.inbound.sessions)
	require.Empty(t, b.inbound.daemons)
	require.Empty(t, b.inbound.retired)
}

// A call that Close cuts off is told so, also if its caller, which Close cuts off too, says
// first that it has ended.
func TestCutOffBeforeItsCallerEnds(t *testing.T) {
	NoLeaks(t)
	b := startBus(t, natstest.Start(t, nil).ClientURL(), time.Hour)
	b.Subscribe("a", &platform.MockPlatform{}, nil)
	c := accept(t, b)
	c.ctx, c.cancel = context.WithCancelCause(t.Context()) // which does not hear yet of what follows
	b.abort(ErrClosed)
	b.inbound.carry(c, c.daemon, protocol.CalleeOutput{Task: protocol.CancelRun, Err: protocol.ErrEnded})
	require.ErrorIs(t, context.Cause(c.ctx), ErrClosed)
}

// A Platform that fails for good ends its own subscription, and never that of the one that
// takes its place meanwhile.
func TestFatalErrorDoesNotEndTheNextSubscription(t *testing.T) {
	NoLeaks(t)
	b := startBus(t, natstest.Start(t, nil).ClientURL(), 100*time.Millisecond)
	for range 3000 {
		first, second := make(chan error, 1), make(chan error, 1)
		b.Subscribe("a", &platform.MockPlatform{}, first)
		of := registered(b)
		over := make(chan struct{})
		go func() {
			defer close(over)
			b.inbound.end(of, platform.FatalError{Err: errors.New("broken")})
		}()
		b.Subscribe("a", &platform.MockPlatform{}, second)
		<-over
		if errors.Is(<-first, platform.ErrKicked) {
			require.Empty(t, second)
		}
		b.inbound.end(registered(b), errors.New("over"))
		<-second
	}
}

// Claims are due when they are due; those that were not made in time stay so; and those of
// registrations that are over do not wait for their turn.
func TestClaimQueue(t *testing.T) {
	var q claimQueue
	one, two, three, over := &registration{number: 1}, &registration{number: 2}, &registration{number: 3}, &registration{over: true}
	q.add(one, 2)
	q.add(two, 1)
	q.add(over, 1)
	q.add(three, 1000) // as long as there is room for
	require.Nil(t, q.take())
	q.advance()
	q.advance()
	require.Same(t, two, q.take(), "it was due before")
	require.Same(t, one, q.take())
	require.Nil(t, q.take())
	require.False(t, over.queued)
	waited := 2
	for ; !func() bool { q.advance(); return q.take() == three }(); waited++ {
		require.Less(t, waited, 100)
	}
	require.GreaterOrEqual(t, waited, 15*ticks)

	q.addFirst(one)
	require.Nil(t, q.takeFirst(false), "more are being subscribed")
	require.Same(t, one, q.takeFirst(true))
	q.addFirst(two)
	for range 2 * ticks {
		q.advance()
	}
	require.Same(t, two, q.takeFirst(false), "it has waited for two beats")
}

// Who subscribes while the connection is down gets the instance when it is back, however long
// that takes, and though the clock of the holder is ahead.
func TestSubscribedWhileDown(t *testing.T) {
	NoLeaks(t)
	url := natstest.Start(t, nil).ClientURL()
	proxy, err := faultproxy.Start(url[len("nats://"):])
	require.NoError(t, err)
	t.Cleanup(proxy.Close)
	older, newer := startBus(t, url, 100*time.Millisecond), startBus(t, "nats://"+proxy.Addr(), 100*time.Millisecond)
	proxy.Refuse(true)
	proxy.Cut()
	require.Eventually(t, func() bool { return !newer.conn.IsConnected() }, Limit, time.Millisecond)
	first, second := make(chan error, 1), make(chan error, 1)
	older.Subscribe("a", &platform.MockPlatform{}, first)
	require.Eventually(t, func() bool {
		of := registered(older)
		older.mu.Lock()
		defer older.mu.Unlock()
		return of.claim.State() == protocol.ClaimSettled
	}, Limit, time.Millisecond)
	of := registered(older)
	older.mu.Lock()
	of.claim = protocol.NewClaim(time.Now().Add(time.Minute), older.now())
	for of.claim.State() != protocol.ClaimSettled {
		of.claim.Settle(older.shared, older.now())
		of.claim.Step(older.shared, older.inbound.claimant(of), protocol.Event{Kind: protocol.Tick}, older.now())
	}
	older.mu.Unlock()
	newer.Subscribe("a", &platform.MockPlatform{}, second)
	proxy.Refuse(false)
	require.Eventually(t, func() bool { return len(first)+len(second) > 0 }, Limit, time.Millisecond)
	require.Empty(t, second)
	require.ErrorIs(t, <-first, platform.ErrKicked)
}

// Of two who subscribe an instance at once, on a connection that is closed, both are told: the one
// that has taken the other's place waits for the other's subscription to be made.
func TestReplacedOnAClosedConnection(t *testing.T) {
	NoLeaks(t)
	b := startBus(t, natstest.Start(t, nil).ClientURL(), time.Hour)
	all, first, second := make(chan error, 1), make(chan error, 1), make(chan error, 1)
	b.Subscribe("b", &platform.MockPlatform{}, all)
	b.conn.Close()
	require.ErrorIs(t, <-all, nats.ErrConnectionClosed, "what was subscribed has been ended")
	b.mu.Lock()
	older := &registration{inst: "a", number: b.inbound.number(), done: first, claim: protocol.NewClaim(time.Now(), b.now())}
	b.inbound.registrations.add(older)
	b.inbound.pending[older] = &pending{ready: make(chan struct{}), answered: make(signal, 1)}
	b.inbound.admission.underway++
	b.mu.Unlock()
	subscribed := make(chan struct{})
	go func() {
		defer close(subscribed)
		b.Subscribe("a", &platform.MockPlatform{}, second)
	}()
	require.ErrorIs(t, <-first, platform.ErrKicked)
	b.inbound.install(pendingSubscription{older, b.subjects.Registration("a")})
	<-subscribed
	require.Len(t, second, 1)
	require.ErrorIs(t, <-second, nats.ErrConnectionClosed)
}

// Causes may come while Close waits for those that are not read yet.
func TestCausesWhileCloseWaits(t *testing.T) {
	NoLeaks(t)
	b := startBus(t, natstest.Start(t, nil).ClientURL(), time.Hour)
	for range 200 {
		first, second := make(chan error), make(chan error)
		b.inbound.deliver(first, ErrClosed)
		waited := make(chan struct{})
		go func() {
			defer close(waited)
			b.inbound.awaitReaders()
		}()
		<-first
		b.inbound.deliver(second, ErrClosed)
		<-second
		<-waited
	}
}

// Claims that were left for later while very many subscribe still are when the connection is back.
func TestFirstClaimsWaitAfterReconnect(t *testing.T) {
	NoLeaks(t)
	b := startBus(t, natstest.Start(t, nil).ClientURL(), time.Hour)
	b.mu.Lock()
	defer b.mu.Unlock()
	for range 3 * ticks {
		b.inbound.claims.advance()
	}
	b.inbound.claims.addFirst(&registration{number: 1})
	b.mu.Unlock()
	b.inbound.claimAgain()
	b.mu.Lock()
	require.Nil(t, b.inbound.claims.takeFirst(false))
	require.NotNil(t, b.inbound.claims.takeFirst(true))
}

// A call that its caller has ended before its request was read counts as none.
func TestEndedBeforeItIsRead(t *testing.T) {
	NoLeaks(t)
	b := startBus(t, natstest.Start(t, nil).ClientURL(), time.Hour)
	b.Subscribe("a", &platform.MockPlatform{}, nil)
	c := accept(t, b)
	b.inbound.end(c.registration, errors.New("over"))
	_, err := b.inbound.call(c)
	require.ErrorIs(t, err, errNotBegun)
}

// A connection that is closed is noticed, though there was no room to say so.
func TestClosedWhileStatusIsFull(t *testing.T) {
	NoLeaks(t)
	s := natstest.Start(t, nil)
	conn, err := nats.Connect(s.ClientURL(), ConnectOptions()...)
	require.NoError(t, err)
	t.Cleanup(conn.Close)
	held, free := make(chan struct{}, 1), make(chan struct{})
	b, err := New(conn, Options{Logger: slog.New(holder{slog.DiscardHandler, held, free})})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, b.Close(context.Background())) })
	done := make(chan error, 1)
	b.Subscribe("a", &platform.MockPlatform{}, done)
	s.Shutdown()
	<-held // who follows the connection says that it is down
	for full := false; !full; {
		select {
		case b.status <- nats.RECONNECTING:
		default:
			full = true
		}
	}
	conn.Close()
	close(free)
	require.Eventually(t, func() bool { return len(done) == 1 }, Limit, time.Millisecond)
	require.ErrorIs(t, <-done, nats.ErrConnectionClosed)
}

// A holder is a log handler that holds whoever says that the connection is down.
type holder struct {
	slog.Handler
	held chan<- struct{}
	free <-chan struct{}
}

func (h holder) Enabled(context.Context, slog.Level) bool { return true }

func (h holder) Handle(_ context.Context, r slog.Record) error {
	if r.Message == "natsbus: the NATS connection is down" {
		h.held <- struct{}{}
		<-h.free
	}
	return nil
}
