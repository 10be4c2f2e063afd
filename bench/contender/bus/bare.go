package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
)

const (
	pingSubject   = "bare.ping"
	exportSubject = "bare.export"
	// chunk is the size of the parts of an export.
	chunk = 128 << 10
	// patience is the time limit of an answer.
	patience = time.Minute
)

// A bare end is the minimum with nats.go: a request and its answer, the bytes of an export
// in consecutive messages, and a subscription for each instance.
type bare struct {
	conn *nats.Conn
	kept chan *nats.Msg
}

func (b *bare) serve(body []byte) error {
	_, err1 := b.conn.Subscribe(pingSubject, func(m *nats.Msg) { _ = m.Respond([]byte("pong")) })
	_, err2 := b.conn.Subscribe(exportSubject, func(m *nats.Msg) {
		for i := 0; i < len(body); i += chunk {
			_ = b.conn.Publish(m.Reply, body[i:min(i+chunk, len(body))])
		}
		_ = b.conn.Publish(m.Reply, nil)
	})
	return errors.Join(err1, err2, b.conn.Flush())
}

func (b *bare) ping() error {
	_, err := b.conn.Request(pingSubject, []byte("ping"), patience)
	return err
}

func (b *bare) export() (int, error) {
	inbox := b.conn.NewRespInbox()
	chunks, err := b.conn.SubscribeSync(inbox)
	if err != nil {
		return 0, err
	}
	defer chunks.Unsubscribe() //nolint:errcheck // it fails if the connection is closed
	if err := b.conn.PublishRequest(exportSubject, inbox, nil); err != nil {
		return 0, err
	}
	var body []byte
	for {
		m, err := chunks.NextMsg(patience)
		if err != nil {
			return len(body), err
		}
		if len(m.Data) == 0 {
			return len(body), nil
		}
		body = append(body, m.Data...)
	}
}

func (b *bare) subscribe(from, n int) error {
	b.kept = make(chan *nats.Msg, 1024)
	for i := range n {
		if _, err := b.conn.ChanSubscribe(fmt.Sprintf("flux.v1.instance-%d.rpc.>", from+i), b.kept); err != nil {
			return err
		}
	}
	return b.conn.Flush()
}

// With nats.go alone, a call is not notified of a lost daemon: it waits until its timeout.
func (b *bare) hold() error                { return errors.ErrUnsupported }
func (b *bare) held(context.Context) error { return errors.ErrUnsupported }
