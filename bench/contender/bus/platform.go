package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/platformbus/platform"
	"github.com/platformbus/platform/bench/contender"
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
	trace  func(platform.Platform) platform.Platform
	handle platform.Platform
	calls  chan struct{} // receives a value for each call that blocks
}

// newBus returns an end. If it is traced, each of its calls has a span, which is sent nowhere.
func newBus(conn *nats.Conn, isTraced bool) (*bus, error) {
	trace := func(p platform.Platform) platform.Platform { return p }
	if isTraced {
		provider := sdktrace.NewTracerProvider()
		trace = func(p platform.Platform) platform.Platform { return platform.Trace(p, provider) }
	}
	b, err := natsbus.New(conn, natsbus.Options{})
	if err != nil {
		return nil, err
	}
	handle, err := b.Connect(instance)
	if err != nil {
		return nil, err
	}
	return &bus{b, trace, trace(handle), make(chan struct{}, 1)}, nil
}

func (b *bus) serve(body []byte) error {
	hold := func(platform.SyncDef) error {
		b.calls <- struct{}{}
		select {} // until this process is killed
	}
	b.Subscribe(instance, b.trace(&platform.MockPlatform{ExportAnswer: body, SyncArgTest: hold}), nil)
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

func (b *bus) subscribe(from, n int) error {
	var (
		cluster platform.MockPlatform // the bus does not use it
		ended   = make(chan error, 1)
		all     sync.WaitGroup
	)
	for s := range subscribers {
		all.Go(func() {
			for i := s; i < n; i += subscribers {
				b.Subscribe(numbered(from+i), &cluster, ended)
			}
		})
	}
	all.Wait()
	if len(ended) > 0 {
		return fmt.Errorf("a subscription has ended: %w", <-ended)
	}
	return nil
}

func numbered(i int) flux.InstanceID { return flux.InstanceID(fmt.Sprint("instance-", i)) }

// pingAll makes a Ping of each of n instances that are subscribed.
func (b *bus) pingAll(n int) error {
	const callers = 64
	var (
		lost [callers]error
		all  sync.WaitGroup
	)
	for c := range callers {
		all.Go(func() {
			for i := c; i < n; i += callers {
				if err := b.Ping(numbered(i)); err != nil {
					lost[c] = errors.Join(lost[c], err)
				}
			}
		})
	}
	all.Wait()
	return errors.Join(lost[:]...)
}

func (b *bus) sync(inst flux.InstanceID, body []byte) error {
	p, err := b.Connect(inst)
	if err != nil {
		return err
	}
	return p.Sync(definition(body))
}

func definition(body []byte) platform.SyncDef {
	return platform.SyncDef{Actions: []platform.SyncAction{{ResourceID: "noise", Apply: body}}}
}

// syncBesideSlow measures a Sync of the body while one of many times its size is on its way to
// each of the slow daemons.
func (b *bus) syncBesideSlow(ctx context.Context, body []byte) (m contender.Measurement, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var (
		large = noise(4 * len(body))
		ended = make(chan error, contender.Stalled)
	)
	for i := range contender.Stalled {
		p, err := b.Connect(numbered(i))
		if err != nil {
			return m, err
		}
		go func() { ended <- platform.WithContext(ctx, p).Sync(definition(large)) }()
	}
	select { // they send as much as they may
	case <-time.After(time.Second):
	case <-ctx.Done():
	}
	m, err = contender.Measure(func() error { return b.sync(instance, body) })
	if len(ended) > 0 {
		err = errors.Join(err, fmt.Errorf("a daemon was not slow enough: %w", <-ended))
	}
	return m, err
}
