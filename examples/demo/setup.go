package main

import (
	"context"
	"fmt"

	"github.com/platformbus/platform"
	"github.com/platformbus/platform/flux"
)

// A setup runs daemon, service and bus: all in this process, or as the programs of the
// examples. The story is the same.
type setup interface {
	// Connecter connects the story to the bus.
	platform.Connecter

	// showUnavailable shows how else, if at all, the service reports that no daemon is
	// connected.
	showUnavailable() error

	// offer starts a daemon of that version, which offers the cluster of the instance.
	offer(ctx context.Context, inst flux.InstanceID, version string) (daemon, error)

	// sync has a service sync def.
	sync(ctx context.Context, inst flux.InstanceID, def platform.SyncDef) error

	// takeReport returns the number of objects by result that the daemons have processed
	// since the last call.
	takeReport() (string, error)

	// metrics returns the metrics of the daemons and of their bus.
	metrics() (samples, error)

	// close ends everything that was started.
	close() error
}

// A daemon is a daemon that the story has started.
type daemon interface {
	// kicked waits until the daemon is kicked, and returns the cause that it received.
	kicked(ctx context.Context) (string, error)

	// checkOffered returns an error if the daemon no longer offers the cluster.
	checkOffered() error

	// kill kills the daemon. The error matches errors.ErrUnsupported if it is in this process.
	kill() error
}

// newSetup starts the setup that the options select. It calls fail if a program ends by
// itself.
func newSetup(ctx context.Context, n *narrator, c *cluster, o options, fail func(error)) (setup, error) {
	if o.standalone {
		return newStandalone(c)
	}
	p := &programs{narrator: n, cluster: c}
	if err := p.start(ctx, o.programs, fail); err != nil {
		if failed := p.close(); failed != nil {
			err = fmt.Errorf("%w; and then: %w", err, failed)
		}
		return nil, err
	}
	return p, nil
}
