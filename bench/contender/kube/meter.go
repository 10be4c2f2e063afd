package kube

import (
	"context"
	"net"
	"sync/atomic"
	"time"
)

// A meter counts the bytes that its connections receive, encrypted as they are.
type meter struct{ received atomic.Int64 }

// dial connects as client-go does by itself.
func (m *meter) dial(ctx context.Context, network, address string) (net.Conn, error) {
	dialer := net.Dialer{Timeout: 30 * time.Second, KeepAlive: 30 * time.Second}
	conn, err := dialer.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	return &metered{conn, m}, nil
}

type metered struct {
	net.Conn
	meter *meter
}

func (c *metered) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.meter.received.Add(int64(n))
	return n, err
}
