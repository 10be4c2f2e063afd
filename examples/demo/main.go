// Command demo demonstrates the library on a real control plane, in under a minute: a
// daemon offers a cluster, a service uses it, and a bus connects them.
//
//	make demo                       # a daemon and a service of cmd/platform, as processes
//	make demo-standalone            # the same story within one process
//	DEMO_KUBECONFIG=path make demo  # on a cluster of yours; it asks first
//
// The service's half uses only the bus. Read [story.run] from top to bottom; each of the
// other files has one thing that it needs.
//
// It exits with 1 if any check fails, and removes everything that it created, also when it
// is interrupted.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/platformbus/platform"
	"github.com/platformbus/platform/flux"
	"github.com/platformbus/platform/internal/controlplane"
)

const (
	instance  = flux.InstanceID("demo")
	namespace = "platform-demo" // see manifests/namespace.yaml
	frontend  = flux.ServiceID(namespace + "/frontend")

	image        = "nginx:1.27" // see manifests/frontend.yaml
	newerImage   = "nginx:1.28"
	missingImage = "nginx:" + controlplane.MissingTag
)

func main() {
	ctx, restore := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGPIPE)
	context.AfterFunc(ctx, func() {
		signal.Ignore(syscall.SIGPIPE) // the clean-up continues if nobody reads the output
		restore()                      // a second Ctrl-C does not wait for the clean-up
	})
	o := options{kubeconfig: os.Getenv("DEMO_KUBECONFIG")}
	flag.BoolVar(&o.standalone, "standalone", false, "have daemon, service and bus in this process")
	flag.Parse()
	if self, err := os.Executable(); err == nil {
		o.programs = filepath.Dir(self)
	}
	if err := run(ctx, os.Stdout, terminal(), o); err != nil {
		fmt.Fprintf(os.Stderr, "\ndemo: %v\n", err)
		os.Exit(1)
	}
}

// options are the choices of the user.
type options struct {
	kubeconfig string // of the user's cluster; none if empty
	standalone bool
	programs   string // the folder of the program platform, unless standalone
}

// run opens a cluster, runs the story on it, and removes everything that the story created.
// The person answers questions; it is nil if there is no terminal.
func run(ctx context.Context, out io.Writer, person io.Reader, o options) (err error) {
	n := newNarrator(out)
	c, err := open(ctx, n, person, o.kubeconfig)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var f setup
	defer func() {
		n.step("Cleaning up")
		var failed error
		if f != nil {
			failed = f.close()
		}
		if failed = errors.Join(failed, c.close()); failed != nil && err == nil {
			err = failed
		} else if failed != nil {
			err = fmt.Errorf("%w; and then: %w", err, failed)
		}
		n.end(err)
	}()
	defer c.cancelOnFailure(cancel)()
	if f, err = newSetup(ctx, n, c, o, cancel); err == nil {
		s := &story{ctx: ctx, cluster: c, narrator: n, setup: f, shown: map[flux.ServiceID]string{}}
		err = s.run()
	}
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx) // the errors of the aborted calls are of no use
	}
	return err
}

// A story is one run of the demo on a cluster.
type story struct {
	*narrator
	ctx     context.Context
	cluster *cluster
	setup   setup
	shown   map[flux.ServiceID]string // the line last shown for each service
}

// run executes the steps in order. It stops at the first check that fails, and returns its
// error.
func (s *story) run() error {
	shop, err := loadManifests(s.cluster.hasKinds)
	if err != nil {
		return err
	}

	s.step("A service connects to %q before there is a daemon", instance)
	connected, err := s.setup.Connect(instance)
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	service := platform.WithContext(s.ctx, connected) // Ctrl-C ends its calls
	err = service.Ping()
	if !errors.Is(err, platform.ErrPlatformNotAvailable) {
		return fmt.Errorf("ping without a daemon: want an UnavailableError, got: %w", orNone(err))
	}
	s.failure(err)
	if err := s.setup.showUnavailable(); err != nil {
		return err
	}

	s.step("A daemon offers the cluster")
	first, err := s.setup.offer(s.ctx, "demo daemon 1")
	if err != nil {
		return err
	}
	if err := service.Ping(); err != nil {
		return fmt.Errorf("ping through the handle that was there before the daemon: %w", err)
	}
	if err := s.checkVersion(service, "demo daemon 1"); err != nil {
		return err
	}

	s.step("The service syncs %d objects from %d files, in no particular order", shop.objects(), len(shop.files))
	if err := s.setup.sync(s.ctx, shop.syncDef()); err != nil {
		return fmt.Errorf("sync: %w", err)
	}
	s.say("Sync found out the order: the namespace first, the kind of a Parcel before the Parcel.")
	if err := s.showReport(true); err != nil {
		return err
	}

	s.step("It watches the services become ready")
	if err := s.watch(service, allReady); err != nil {
		return err
	}

	s.step("It rolls out %s in place of %s, and waits", newerImage, image)
	newer := shop.with(image, newerImage)
	if err := s.rollOut(service, newer.rollout(frontend)); err != nil {
		return fmt.Errorf("apply: %w", err)
	}
	if err := s.watch(service, runs(frontend, newerImage)); err != nil {
		return err
	}

	s.step("It rolls out an image that does not exist")
	broken := newer.with(newerImage, missingImage).with("progressDeadlineSeconds: 120", s.cluster.deadline)
	err = s.rollOut(service, broken.rollout(frontend))
	if err := s.watch(service, isStalled(frontend)); err != nil {
		return err
	}
	if err := checkRolloutError(err); err != nil {
		return err
	}
	s.failure(platform.ClusterError(err)) // with the help text for the end user

	s.step("It heals that with the definition from before")
	if err := s.rollOut(service, newer.rollout(frontend)); err != nil {
		return fmt.Errorf("apply: %w", err)
	}
	if err := s.watch(service, runs(frontend, newerImage)); err != nil {
		return err
	}

	s.step("It syncs again: nothing is left to do")
	before, err := s.export(service)
	if err != nil {
		return err
	}
	if err := s.showReport(false); err != nil { // discards the report of the steps before
		return err
	}
	began := time.Now()
	if err := s.setup.sync(s.ctx, newer.syncDef()); err != nil {
		return fmt.Errorf("sync: %w", err)
	}
	took := time.Since(began)
	after, err := s.export(service)
	if err != nil {
		return err
	}
	if err := sameExport(before, after); err != nil {
		return fmt.Errorf("a second Sync of the same definitions: %w", err)
	}
	s.say("Sync took %s and had nothing to send. Export gives the same as before:", round(took))
	if err := s.showReport(true); err != nil {
		return err
	}
	s.showExport(after)

	s.step("A second daemon takes the first one's place")
	second, err := s.setup.offer(s.ctx, "demo daemon 2")
	if err != nil {
		return err
	}
	if err := s.checkKicked(first); err != nil {
		return err
	}
	if err := s.checkVersion(service, "demo daemon 2"); err != nil {
		return err
	}
	s.say("The service has noticed nothing: its handle follows the instance.")
	if err := second.checkOffered(); err != nil {
		return err
	}

	s.step("What was measured meanwhile")
	counted, err := s.setup.metrics()
	if err != nil {
		return err
	}
	return s.checkMetrics(counted, newer.objects())
}

// showReport takes the report of the daemons, and shows it if show is set.
func (s *story) showReport(show bool) error {
	text, err := s.setup.takeReport()
	if show && err == nil {
		s.say("%s", text)
	}
	return err
}
