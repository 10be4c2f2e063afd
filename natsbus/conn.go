package natsbus

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/platformbus/platform/natsbus/internal/protocol"
	"github.com/platformbus/platform/natsbus/internal/wire"
)

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
	switch {
	case errors.Is(err, nats.ErrPermissionViolation):
		b.onDenied(err)
	case errors.Is(err, nats.ErrMaxSubscriptionsExceeded):
		b.onTooMany(err)
	}
}

// onDenied ends a subscription, or the calls, that the server denies. Which ones is in
// the server's text.
func (b *Bus) onDenied(err error) {
	_, subject, quoted := strings.Cut(err.Error(), `"`)
	subject, _, _ = strings.Cut(subject, `"`)
	subscribing := strings.Contains(strings.ToLower(err.Error()), "for subscription")
	if subscribing { // it may have wildcards where Parse wants a name; this one is no instance's token
		subject = strings.NewReplacer("*", "ANY", ">", "ANY").Replace(subject)
	}
	a, ok := b.subjects.Parse(subject)
	if !quoted || !ok { // a subscription of somebody else on the connection, perhaps
		return
	}
	failed := protocol.Event{Kind: protocol.Failed, Err: err}
	switch {
	case subscribing && a.Direction == wire.Replies:
		if a.Bus == b.shared.Bus {
			b.outbound.forgetReplies(err) // so that the next call is told too
			b.outbound.stepAll(failed, nil)
		}
		return
	case !subscribing && a.Direction == wire.Calls:
		b.outbound.stepAll(failed, func(c *outboundCall) bool { return c.Token == a.Token && c.Method == a.Method })
		return
	case !subscribing && a.Direction == wire.InCall:
		b.outbound.stepAll(failed, func(c *outboundCall) bool { return c.Name() == a.Call })
		return
	}
	// A daemon that may not listen, claim or answer is none.
	b.mu.Lock()
	r := b.inbound.registrations.get(a.Token)
	b.mu.Unlock()
	if r != nil {
		b.inbound.end(r, fmt.Errorf("subscription ended: the NATS server denies it: %w", err))
	}
}

// onTooMany ends those subscriptions that the server may have refused, since there are too
// many. It does not say which, and nats.go cannot know either. Those that have settled are none
// of them, unless the connection has just come back: then all were made again.
func (b *Bus) onTooMany(err error) {
	times := b.conn.Stats().Reconnects
	b.mu.Lock()
	again := times != b.back.times || !b.back.at.IsZero() && time.Since(b.back.at) < b.options.Silence
	all := b.inbound.registrations.all()
	refused := all[:0]
	for _, r := range all {
		if again || r.claim.State() != protocol.ClaimSettled {
			refused = append(refused, r)
		}
	}
	b.mu.Unlock()
	for _, r := range refused {
		b.inbound.end(r, fmt.Errorf("subscription ended: the NATS server refuses it: %w", err))
	}
}

// watchStatus follows the connection.
func (b *Bus) watchStatus() {
	down := false
	if b.conn.IsClosed() { // before New, perhaps
		b.onClosed()
		return
	}
	b.learnRTT()
	for {
		select {
		case status, open := <-b.status:
			if !open {
				return
			}
			if b.conn.IsClosed() { // its event is dropped if the channel is full
				b.onClosed()
				return
			}
			switch status {
			case nats.RECONNECTING: // also with each attempt that fails
				if !down {
					b.options.Logger.Warn("natsbus: the NATS connection is down")
					b.outbound.stepAll(protocol.Event{Kind: protocol.Disconnected, Err: b.connectionError(b.downError(status))}, nil)
				}
				down = true
			case nats.CONNECTED:
				b.noteBack()
				b.learnChunk()
				if down {
					down = false
					b.options.Metrics.Reconnects.Add(1)
					b.options.Logger.Info("natsbus: the NATS connection is back", "server", b.conn.ConnectedUrlRedacted())
				}
				b.inbound.claimAgain()
				b.outbound.stepAll(protocol.Event{Kind: protocol.Resumed}, nil)
				b.inbound.stepAll(protocol.Event{Kind: protocol.Resumed})
				b.learnRTT()
			}
		case <-b.stop:
			return
		}
	}
}

// noteBack notes that the connection has come back.
func (b *Bus) noteBack() {
	times := b.conn.Stats().Reconnects
	b.mu.Lock()
	defer b.mu.Unlock()
	b.back = back{time.Now(), times}
}

// onClosed ends everything: a connection that is closed does not come back.
func (b *Bus) onClosed() {
	cause := b.connectionError(nats.ErrConnectionClosed)
	b.options.Logger.Error("natsbus: the NATS connection is closed for good", "err", cause)
	b.outbound.stepAll(protocol.Event{Kind: protocol.Failed, Err: cause}, nil)
	b.mu.Lock()
	all := b.inbound.registrations.all()
	b.mu.Unlock()
	for _, r := range all {
		b.inbound.end(r, fmt.Errorf("subscription ended: %w", cause))
	}
}
