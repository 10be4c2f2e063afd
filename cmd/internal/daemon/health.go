package daemon

import (
	"context"
	"fmt"
	"sync"

	"github.com/nats-io/nats.go"

	"github.com/platformbus/platform"
)

// A daemon holds the state that the health check depends on.
type daemon struct {
	conn    *nats.Conn
	cluster platform.Platform

	mu    sync.Mutex
	ended error // guarded by mu: why the instance is not subscribed
}

func (d *daemon) setEnded(ended error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.ended = ended
}

// check returns nil if, as far as the daemon can determine, services can reach the cluster
// through it: it is subscribed, and NATS and the API server answer.
func (d *daemon) check(ctx context.Context) error {
	d.mu.Lock()
	ended := d.ended
	d.mu.Unlock()
	if ended != nil {
		return ended
	}
	if !d.conn.IsConnected() {
		return fmt.Errorf("NATS cannot be reached: the connection is %v", d.conn.Status())
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if err := d.conn.FlushWithContext(ctx); err != nil { // waits for an answer
		return fmt.Errorf("NATS does not answer: %w", err)
	}
	if err := platform.WithContext(ctx, d.cluster).Ping(); err != nil {
		return fmt.Errorf("the API server cannot be reached: %w", err)
	}
	return nil
}
