package natsbus

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

// trouble is what the connection reported last.
type trouble struct {
	err error
	at  time.Time
}

// recentTrouble returns what the connection has reported in the time that a call may
// have waited for its answer.
func (b *Bus) recentTrouble() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.trouble.err == nil || time.Since(b.trouble.at) > 2*b.options.silence() {
		return nil
	}
	return b.trouble.err
}

// connectionError returns err, which is what came of using the connection, with the
// reason if it is closed: credentials that are refused, for instance.
func (b *Bus) connectionError(err error) error {
	if !b.conn.IsClosed() {
		return fmt.Errorf("NATS connection: %w", err)
	}
	closed := fmt.Errorf("the NATS connection is closed: %w", nats.ErrConnectionClosed)
	reason := b.conn.LastError()
	if reason == nil || errors.Is(reason, nats.ErrConnectionClosed) {
		reason = b.recentTrouble()
	}
	if reason == nil || errors.Is(reason, nats.ErrConnectionClosed) {
		return closed
	}
	return fmt.Errorf("%w: %w", closed, reason)
}

// watchErrors puts the bus in front of the connection's error handler.
func (b *Bus) watchErrors() {
	before := b.conn.ErrorHandler()
	b.conn.SetErrorHandler(func(conn *nats.Conn, sub *nats.Subscription, err error) {
		b.onError(sub, err)
		if before != nil {
			before(conn, sub, err)
		}
	})
}

// onError has an error of the connection reach those whom it concerns.
func (b *Bus) onError(sub *nats.Subscription, err error) {
	if err == nil {
		return
	}
	b.mu.Lock()
	b.trouble = trouble{err, time.Now()}
	over := b.stopped
	b.mu.Unlock()
	if over {
		return
	}
	subject := ""
	if sub != nil {
		subject = sub.Subject
	}
	b.options.Logger.Warn("natsbus: the NATS connection reports an error", "err", err, "subject", subject)
	if errors.Is(err, nats.ErrPermissionViolation) {
		b.onDenied(err)
	}
}

// onDenied ends a subscription, or the calls, that the server denies. Which ones is in
// the server's text.
func (b *Bus) onDenied(err error) {
	_, subject, quoted := strings.Cut(err.Error(), `"`)
	subject, _, _ = strings.Cut(subject, `"`)
	tok, direction, first, _, ok := b.parseSubject(subject)
	if !quoted || !ok {
		return
	}
	subscribing := strings.Contains(strings.ToLower(err.Error()), "for subscription")
	switch {
	case subscribing && direction == toCaller:
		if first == b.name {
			b.forgetReplies() // so that the next call is told too
			b.failCalls("", err)
		}
		return
	case !subscribing && direction == toDaemon && first != methodKick:
		b.failCalls(tok, err)
		return
	case !subscribing && direction == inCall:
		b.failCalls(tok, err)
	}
	// A daemon that may not listen, claim or answer is none.
	b.mu.Lock()
	s := b.seats.get(tok)
	b.mu.Unlock()
	if s != nil {
		b.endSeat(s, fmt.Errorf("subscription ended: the NATS server denies it: %w", err))
	}
}

// watchStatus follows the connection.
func (b *Bus) watchStatus() {
	down := false
	if b.conn.IsClosed() { // before New, perhaps
		b.onClosed()
		return
	}
	for {
		select {
		case status, open := <-b.status:
			if !open {
				return
			}
			switch status {
			case nats.RECONNECTING: // also with each attempt that fails
				if !down {
					b.options.Logger.Warn("natsbus: the NATS connection is down")
				}
				down = true
			case nats.CONNECTED:
				if down {
					down = false
					b.options.Metrics.Reconnects.Add(1)
					b.options.Logger.Info("natsbus: the NATS connection is back", "server", b.conn.ConnectedUrlRedacted())
				}
				b.claimAgain()
				b.resumeAll()
			case nats.CLOSED:
				b.onClosed()
				return
			}
		case <-b.stop:
			return
		}
	}
}

// onClosed ends everything: a connection that is closed does not come back.
func (b *Bus) onClosed() {
	cause := b.connectionError(nats.ErrConnectionClosed)
	b.options.Logger.Error("natsbus: the NATS connection is closed for good", "err", cause)
	b.failCalls("", cause)
	b.mu.Lock()
	seats := b.seats.all()
	b.mu.Unlock()
	for _, s := range seats {
		b.endSeat(s, fmt.Errorf("subscription ended: %w", cause))
	}
}
