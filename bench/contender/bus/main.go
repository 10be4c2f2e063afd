// Command bus is one end of a bus on a NATS server, with this library or with nats.go alone.
// It is a daemon, a caller or a subscriber.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/platformbus/platform"
	"github.com/platformbus/platform/bench/contender"
	"github.com/platformbus/platform/natsbus"
)

// An end is one end of a bus, implemented with one library.
type end interface {
	// serve answers pings, and exports of the body.
	serve(body []byte) error
	ping() error
	// export returns the number of bytes received.
	export() (int, error)
	// subscribe subscribes n instances from the one with that number on, and returns when the
	// server knows all of them.
	subscribe(from, n int) error
	// hold makes a call that the daemon does not answer, and returns when the daemon is
	// detected to be lost. At the other end, held returns when the call has arrived.
	hold() error
	held(ctx context.Context) error
}

// An opener makes ends, each with a connection of its own.
type opener struct{ who, url string }

func (o opener) open() (end, error) {
	conn, err := nats.Connect(o.url, natsbus.ConnectOptions()...)
	if err != nil {
		return nil, err
	}
	if o.who == "nats" {
		return &bare{conn: conn}, nil
	}
	return newBus(conn, o.who == "platform-traced")
}

func main() {
	var o opener
	flag.StringVar(&o.who, "who", "platform", "the library to use: platform, platform-traced or nats")
	flag.StringVar(&o.url, "url", "", "of the NATS servers, separated by commas")
	flag.String("profile", "", "not used")
	flag.Parse()
	var e end
	contender.Serve(func(ctx context.Context, r contender.Request) (m contender.Measurement, err error) {
		if r.Phase == "spread" {
			return contender.Measure(func() error { return spread(o, r.Size) })
		}
		if e == nil {
			if e, err = o.open(); err != nil {
				return m, err
			}
		}
		return handle(ctx, e, r)
	})
}

// spread subscribes n instances on a hundred connections.
func spread(o opener, n int) error {
	const connections = 100
	var (
		errs [connections]error
		all  sync.WaitGroup
	)
	for i := range connections {
		all.Go(func() {
			e, err := o.open()
			if err == nil {
				err = e.subscribe(i*n/connections, n/connections)
			}
			errs[i] = err
		})
	}
	all.Wait()
	return errors.Join(errs[:]...)
}

func handle(ctx context.Context, e end, o contender.Request) (m contender.Measurement, err error) {
	switch o.Phase {
	case "serve":
		return m, e.serve(noise(o.Size))
	case "reset":
		return m, contender.ResetPeak()
	case "peak":
		m.PeakRSSMB, err = contender.PeakRSS()
		return m, err
	case "ping":
		return pings(e, o.Size)
	case "export":
		return contender.Measure(func() error { return exports(e, o.Size) })
	case "ping-during-export":
		return pingsDuring(ctx, e, o.Size)
	case "hold":
		return contender.Measure(e.hold)
	case "held":
		return m, e.held(ctx)
	case "subscribe":
		return contender.Measure(func() error { return e.subscribe(0, o.Size) })
	case "greet":
		return contender.Measure(e.ping)
	}
	if b, ok := e.(*bus); ok {
		switch o.Phase {
		case "take":
			b.Subscribe(instance, &platform.MockPlatform{}, nil)
			return m, nil
		case "ping-all":
			return contender.Measure(func() error { return b.pingAll(o.Size) })
		case "sync":
			return contender.Measure(func() error { return b.sync(instance, noise(o.Size)) })
		case "sync-beside-slow":
			return b.syncBesideSlow(ctx, noise(o.Size))
		}
	}
	return m, fmt.Errorf("there is no phase %q", o.Phase)
}

// noise returns bytes that cannot be compressed.
func noise(n int) []byte {
	source := rand.NewChaCha8([32]byte{1})
	body := make([]byte, n)
	_, _ = source.Read(body) // it has no errors
	return body
}

// The number of pings before the measurement, and of those measured.
const (
	warmUp = 2_000
	calls  = 20_000
)

// pings makes pings with a number of concurrent callers. The time is the median of a call.
func pings(e end, callers int) (contender.Measurement, error) {
	if _, err := pingAll(e, callers, warmUp); err != nil {
		return contender.Measurement{}, err
	}
	var took []time.Duration
	m, err := contender.Measure(func() (err error) {
		took, err = pingAll(e, callers, calls)
		return err
	})
	if err != nil {
		return m, err
	}
	m.PerSecond = float64(len(took)) / (m.MS / 1000)
	slices.Sort(took)
	m.MS = contender.Milliseconds(took[len(took)/2])
	return m, nil
}

// pingAll makes n calls and returns the duration of each.
func pingAll(e end, callers, n int) ([]time.Duration, error) {
	var (
		took = make([]time.Duration, n/callers*callers)
		errs = make([]error, callers)
		all  sync.WaitGroup
	)
	for c := range callers {
		all.Go(func() {
			for i := c; i < len(took) && errs[c] == nil; i += callers {
				begin := time.Now()
				errs[c] = e.ping()
				took[i] = time.Since(begin)
			}
		})
	}
	all.Wait()
	return took, errors.Join(errs...)
}

func exports(e end, size int) error {
	n, err := e.export()
	if err == nil && n != size {
		err = fmt.Errorf("%d bytes came, want %d", n, size)
	}
	return err
}

// pingsDuring pings while an export is in progress. The time is the 99th percentile of a call.
func pingsDuring(ctx context.Context, e end, size int) (contender.Measurement, error) {
	var took []time.Duration
	m, err := contender.Measure(func() error {
		exported := make(chan error, 1)
		go func() { exported <- exports(e, size) }()
		pause := time.NewTicker(5 * time.Millisecond)
		defer pause.Stop()
		for {
			select {
			case err := <-exported:
				return err
			case <-ctx.Done():
				return context.Cause(ctx)
			case <-pause.C:
			}
			begin := time.Now()
			if err := e.ping(); err != nil {
				return err
			}
			took = append(took, time.Since(begin))
		}
	})
	if err == nil && len(took) == 0 {
		err = errors.New("no ping was made")
	}
	if err != nil {
		return m, err
	}
	slices.Sort(took)
	m.MS = contender.Milliseconds(took[len(took)*99/100])
	return m, nil
}
