package natsbus

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/platformbus/platform"
	"github.com/platformbus/platform/internal/faultproxy"
	"github.com/platformbus/platform/internal/natstest"
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

// serve notes a call of the seat of "a", whose request is still to come.
func serve(t *testing.T, b *Bus) *serving {
	t.Helper()
	b.mu.Lock()
	s := b.seats.get("a")
	sv, err := b.admitLocked(s, methods["Version"], &frame{call: newName(), bus: "BUS"})
	b.mu.Unlock()
	require.NoError(t, err)
	return sv
}

// What goes on for a call, for instance when the connection is back, may come when its
// seat was taken down already.
func TestSeatThatIsTakenDownListensNoMore(t *testing.T) {
	NoLeaks(t)
	b := startBus(t, natstest.Start(t, nil).ClientURL(), time.Hour)
	b.Subscribe("a", &platform.MockPlatform{}, nil)
	sv := serve(t, b)
	require.NoError(t, b.listen(sv))
	require.Equal(t, 2, b.conn.NumSubscriptions())
	b.endSeat(sv.seat, errors.New("over"))
	b.takeDown(time.Now(), false)
	require.NoError(t, b.listen(sv), "the call goes on")
	b.drop(sv, nil)
	b.takeDown(time.Now(), false)
	require.Zero(t, b.conn.NumSubscriptions())
	require.Error(t, b.listen(sv))
	require.Zero(t, b.conn.NumSubscriptions())
	require.Empty(t, b.sessions)
	require.Empty(t, b.desks)
}

// A call may come on the subscription of the seat before, and the seat be over before it has
// one of its own.
func TestSeatThatWasNeverSubscribedIsTakenDown(t *testing.T) {
	NoLeaks(t)
	b := startBus(t, natstest.Start(t, nil).ClientURL(), time.Hour)
	s := &seat{inst: "a", number: 1}
	b.mu.Lock()
	b.seats.add(s)
	b.mu.Unlock()
	sv := serve(t, b)
	require.NoError(t, b.listen(sv))
	b.endSeat(s, errors.New("over"))
	b.takeDown(time.Now(), false)
	b.drop(sv, nil)
	b.takeDown(time.Now(), false)
	require.Zero(t, b.conn.NumSubscriptions())
	require.Empty(t, b.sessions)
	require.Empty(t, b.desks)
}

// A Platform that fails for good ends its own subscription, and never that of the one that
// takes its place meanwhile.
func TestFatalErrorDoesNotEndTheNextSubscription(t *testing.T) {
	NoLeaks(t)
	b := startBus(t, natstest.Start(t, nil).ClientURL(), 100*time.Millisecond)
	fatal := &platform.MockPlatform{VersionError: platform.FatalError{Err: errors.New("broken")}}
	for range 3000 {
		first, second := make(chan error, 1), make(chan error, 1)
		b.Subscribe("a", fatal, first)
		sv := serve(t, b)
		sv.onData(&frame{last: true, body: []byte{0xa0}})
		over := make(chan struct{})
		go func() {
			defer close(over)
			_, _ = b.callPlatform(sv)
		}()
		b.Subscribe("a", &platform.MockPlatform{}, second)
		<-over
		if errors.Is(<-first, platform.ErrKicked) {
			require.Empty(t, second)
		}
		b.drop(sv, nil)
		b.mu.Lock()
		s := b.seats.get("a")
		b.mu.Unlock()
		b.endSeat(s, errors.New("over"))
		<-second
	}
}

// Seats that are over do not wait in line for their turn.
func TestSeatsThatAreOverLeaveTheirLine(t *testing.T) {
	NoLeaks(t)
	b := startBus(t, natstest.Start(t, nil).ClientURL(), time.Hour)
	b.mu.Lock()
	for range 10 * maxRepeatedClaims {
		b.enqueueLocked(&seat{inst: "a", over: true}, settled)
	}
	b.mu.Unlock()
	b.makeClaims(time.Now())
	require.Nil(t, b.lines[settled].first)
}

// Of two whose claims are half a circle apart, neither is later; the session decides.
func TestOpposedEpochs(t *testing.T) {
	NoLeaks(t)
	ended := 0
	for _, session := range []string{"-", "zzzz"} { // one before those of a bus, one behind
		b := startBus(t, natstest.Start(t, nil).ClientURL(), time.Hour)
		done := make(chan error, 1)
		b.Subscribe("a", &platform.MockPlatform{}, done)
		b.mu.Lock()
		epoch := b.seats.get("a").epoch + 1<<63
		b.mu.Unlock()
		b.onClaim(nil, "a", &frame{kind: kindClaim, session: session, epoch: epoch})
		ended += len(done)
	}
	require.Equal(t, 1, ended)
}

// Only what is said of the claim ends waiting for the answer to it.
func TestAnswerToAnotherCall(t *testing.T) {
	b := &Bus{pending: map[*seat]*installation{}}
	s := &seat{}
	b.pending[s] = &installation{call: "CLAIM", answers: make(chan frame, 1)}
	b.answerClaim(s, frame{kind: kindEnded, call: "CALL"})
	require.Empty(t, b.pending[s].answers)
	b.answerClaim(s, frame{kind: kindEnded, call: "CLAIM"})
	require.Len(t, b.pending[s].answers, 1)
}

// Who subscribes while the connection is down gets the instance when it is back, however long
// that takes, and though the clock of the holder is ahead.
func TestSubscribedWhileDown(t *testing.T) {
	NoLeaks(t)
	url := natstest.Start(t, nil).ClientURL()
	proxy, err := faultproxy.Start(url[len("nats://"):])
	require.NoError(t, err)
	t.Cleanup(proxy.Close)
	older, newer := startBus(t, url, time.Hour), startBus(t, "nats://"+proxy.Addr(), time.Hour)
	proxy.Refuse(true)
	proxy.Cut()
	require.Eventually(t, func() bool { return !newer.conn.IsConnected() }, Limit, time.Millisecond)
	first, second := make(chan error, 1), make(chan error, 1)
	older.Subscribe("a", &platform.MockPlatform{}, first)
	for range 100 { // until it is not fresh any more
		older.makeClaims(time.Now())
	}
	older.mu.Lock()
	older.seats.get("a").epoch += 60_000
	older.mu.Unlock()
	newer.Subscribe("a", &platform.MockPlatform{}, second)
	for range 100 {
		newer.makeClaims(time.Now())
	}
	proxy.Refuse(false)
	require.Eventually(t, func() bool {
		newer.makeClaims(time.Now())
		return len(first)+len(second) > 0
	}, Limit, 50*time.Millisecond)
	require.Empty(t, second)
	require.ErrorIs(t, <-first, platform.ErrKicked)
}
