package main

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/nats-io/nats.go"

	"github.com/platformbus/platform"
	"github.com/platformbus/platform/flux"
	"github.com/platformbus/platform/natsbus"
)

const instance = flux.InstanceID("bench")

// subscribers is the number of concurrent subscribers: each waits until the server knows its
// subscription.
const subscribers = 512

// A bus is an end with this library.
type bus struct {
	*natsbus.Bus
	handle platform.Platform
	calls  chan struct{} // receives a value for each call that blocks
}

func newBus(conn *nats.Conn) (*bus, error) {
	b, err := natsbus.New(conn, natsbus.Options{})
	if err != nil {
		return nil, err
	}
	handle, err := b.Connect(instance)
	return &bus{b, handle, make(chan struct{}, 1)}, err
}

func (b *bus) serve(body []byte) error {
	hold := func(platform.SyncDef) error {
		b.calls <- struct{}{}
		select {} // until this process is killed
	}
	b.Subscribe(instance, &platform.MockPlatform{ExportAnswer: body, SyncArgTest: hold}, nil)
	return nil
}

func (b *bus) hold() error {
	if err := b.handle.Sync(platform.SyncDef{}); !errors.Is(err, platform.ErrPlatformNotAvailable) {
		return fmt.Errorf("the daemon was not detected to be lost: %w", err)
	}
	return nil
}

func (b *bus) held(ctx context.Context) error {
	select {
	case <-b.calls:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (b *bus) ping() error { return b.handle.Ping() }

func (b *bus) export() (int, error) {
	body, err := b.handle.Export()
	return len(body), err
}

func (b *bus) subscribe(n int) error {
	var (
		cluster platform.MockPlatform // the bus does not use it
		ended   = make(chan error, 1)
		all     sync.WaitGroup
	)
	for s := range subscribers {
		all.Go(func() {
			for i := s; i < n; i += subscribers {
				b.Subscribe(flux.InstanceID(fmt.Sprint("instance-", i)), &cluster, ended)
			}
		})
	}
	all.Wait()
	if len(ended) > 0 {
		return fmt.Errorf("a subscription has ended: %w", <-ended)
	}
	return nil
}
