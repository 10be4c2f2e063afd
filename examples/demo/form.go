package main

import (
	"context"
	"fmt"

	"github.com/platformbus/platform"
)

// A form is how daemon, service and bus are put together: all in this process, or as the
// programs that they would be. The story is the same.
type form interface {
	// Connecter is what the story has of the bus.
	platform.Connecter

	// early shows, if there is more to show, that no daemon is there yet.
	early() error

	// offer starts a daemon of that version, which offers the cluster.
	offer(ctx context.Context, version string) (daemon, error)

	// sync has a service make the cluster what def says.
	sync(ctx context.Context, def platform.SyncDef) error

	// tells returns what the daemons tell of the objects they have dealt with since it was
	// asked last.
	tells() (string, error)

	// measured returns the metrics of the daemons, and of their bus.
	measured() (samples, error)

	// close ends all that was started.
	close() error
}

// A daemon is one that the story has started.
type daemon interface {
	// kicked returns the cause that the daemon was given, once it was kicked.
	kicked(ctx context.Context) (string, error)

	// there returns an error if the daemon no longer offers the cluster.
	there() error
}

// newForm puts together what the options ask for. What fails by itself ends it by fail.
func newForm(ctx context.Context, n *narrator, c *cluster, o options, fail func(error)) (form, error) {
	if o.standalone {
		return newStandalone(c)
	}
	p := &programs{narrator: n, cluster: c, folder: o.programs, fail: fail}
	if err := p.start(ctx); err != nil {
		if failed := p.close(); failed != nil {
			err = fmt.Errorf("%w; and then: %w", err, failed)
		}
		return nil, err
	}
	return p, nil
}
