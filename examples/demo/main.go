// Command demo demonstrates the library on real control planes, in under a minute: daemons offer
// two clusters, a service uses them, and a bus connects them.
//
//	make demo                       # daemons and a service of cmd/platform, as processes
//	make demo-standalone            # the same story within one process
//	DEMO_KUBECONFIG=path make demo  # one of the clusters is yours; it asks first
//
// The service's half uses only the bus. Read [story.run] from top to bottom; each of the
// other files has one thing that it needs.
//
// It exits with 1 if any check fails, and removes everything that it created, also when it
// is interrupted. If it is killed, its processes and files go too, but what it has made in a
// cluster of yours stays: the namespace platform-demo and a CustomResourceDefinition.
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

	"github.com/platformbus/platform"
	"github.com/platformbus/platform/flux"
	"github.com/platformbus/platform/internal/controlplane"
)

const (
	east = flux.InstanceID("east") // of the cluster that may be the user's
	west = flux.InstanceID("west")

	namespace = "platform-demo" // see manifests/namespace.yaml
	frontend  = flux.ServiceID(namespace + "/frontend")
	api       = flux.ServiceID(namespace + "/api")

	image        = "nginx:1.27" // see manifests/frontend.yaml
	newerImage   = "nginx:1.28"
	missingImage = "nginx:" + controlplane.MissingTag
	missingAPI   = "httpd:" + controlplane.MissingTag
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
	if flag.NArg() > 0 {
		fmt.Fprintf(os.Stderr, "demo: it takes no arguments, and has %q\n", flag.Args())
		flag.Usage()
		os.Exit(2)
	}
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

// run opens the clusters, runs the story on them, and removes everything that the story created.
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
		n.step("Cleaning up", "a killed process cannot do it: shells that outlive it end and remove what it started")
		var failed error
		if f != nil {
			failed = f.close()
		}
		if failed = errors.Join(failed, c.close(n)); failed != nil && err == nil {
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

// A story is one run of the demo.
type story struct {
	*narrator
	ctx     context.Context
	cluster *cluster // east, and west too
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

	s.step("A service calls a cluster whose daemon is not there",
		"a request that nobody receives looks like one that takes long; this one fails at once")
	connected, err := s.setup.Connect(east)
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	service := platform.WithContext(s.ctx, connected) // Ctrl-C ends its calls
	if err := s.checkUnavailable(service, east); err != nil {
		return err
	}

	s.step("Two daemons offer two clusters",
		"one connection of the service carries the calls of all its clusters, however many")
	first, err := s.setup.offer(s.ctx, east, "daemon 1 of east")
	if err != nil {
		return err
	}
	if _, err := s.setup.offer(s.ctx, west, "daemon 1 of west"); err != nil {
		return err
	}
	connected, err = s.setup.Connect(west)
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	serviceWest := platform.WithContext(s.ctx, connected)
	if err := s.checkVersion(service, "daemon 1 of east"); err != nil { // the handle that was there before the daemon
		return err
	}
	if err := s.checkVersion(serviceWest, "daemon 1 of west"); err != nil {
		return err
	}

	s.step(fmt.Sprintf("East gets %d objects from %d files: a plan, and a sync of it", shop.objects(), len(shop.files)),
		"objects need others, such as a namespace or a kind; Sync finds the order")
	def, report, err := s.plan(service, shop)
	if err != nil {
		return err
	}
	s.say("%s", counts(report))
	if err := s.setup.sync(s.ctx, east, def); err != nil {
		return fmt.Errorf("sync: %w", err)
	}
	if err := s.showReport(); err != nil {
		return err
	}

	s.step("It watches the services become ready",
		"each kind of workload tells in another way how far it is, and a Service not at all")
	if err := s.watch(service, allReady); err != nil {
		return err
	}

	s.step(fmt.Sprintf("It rolls out %s in place of %s, and waits", newerImage, image),
		"at first the cluster still shows the status of the rollout before, a success")
	newer := shop.with(image, newerImage)
	if err := s.rollOut(service, newer.rollout(frontend)); err != nil {
		return fmt.Errorf("apply: %w", err)
	}
	if err := s.watch(service, runs(frontend, newerImage)); err != nil {
		return err
	}

	s.step("It rolls out an image that does not exist",
		"the cluster accepts it without an error; only its pods tell why it does not run")
	broken := newer.with(newerImage, missingImage).with("progressDeadlineSeconds: 120", s.cluster.deadline)
	err = s.rollOut(service, broken.rollout(frontend))
	if err := s.watch(service, isStalled(frontend)); err != nil {
		return err
	}
	if err := checkRolloutError(err); err != nil {
		return err
	}
	s.failure(platform.ClusterError(err)) // with the help text for the end user

	s.step("It starts another rollout, and cancels the call",
		"the end of a context crosses no network by itself: here the daemon stops its work too")
	if err := s.cancelRollout(service, newer.with("httpd:2.4", missingAPI).rollout(api)); err != nil {
		return err
	}

	s.step("A plan shows how the cluster differs from the files, and its sync heals that",
		"a cluster adds defaults to each object: the diff has only what differs from the files")
	def, report, err = s.plan(service, newer)
	if err != nil {
		return err
	}
	s.quote("   ", report.String())
	if err := checkEntries("change", report.Change, "deployment/api", "deployment/frontend"); err != nil {
		return err
	}
	if err := s.setup.sync(s.ctx, east, def); err != nil {
		return fmt.Errorf("sync: %w", err)
	}
	if err := s.watch(service, runs(frontend, newerImage)); err != nil {
		return err
	}

	s.step("A file is removed: a plan deletes what came from it",
		"what no file names may be somebody else's: a plan deletes only what plans have marked")
	if err := s.setup.sync(s.ctx, east, somebodyElses); err != nil {
		return fmt.Errorf("sync: %w", err)
	}
	fewer := newer.without("worker.yaml")
	def, report, err = s.plan(service, fewer)
	if err != nil {
		return err
	}
	s.say("%s", counts(report))
	for _, entry := range report.Delete {
		s.say("- %s", entry.ID)
	}
	if err := checkEntries("delete", report.Delete, "configmap/worker", "serviceaccount/worker", "deployment/worker", "rolebinding/worker-reads-parcels"); err != nil {
		return err
	}
	if err := s.setup.sync(s.ctx, east, def); err != nil {
		return fmt.Errorf("sync: %w", err)
	}
	if err := s.checkDeleted(service); err != nil {
		return err
	}

	s.step("It syncs everything once more: nothing is left to do",
		"each object has to be compared with what it would become, without a write")
	all, _, err := fewer.plan(nil) // as if the cluster were empty
	if err != nil {
		return err
	}
	if err := s.checkUnchanged(service, all); err != nil {
		return err
	}

	s.step("The same files for west",
		"a plan is for one cluster as it is now; the same files are another plan elsewhere")
	if err := s.bringWest(serviceWest, fewer); err != nil {
		return err
	}

	s.step("A second daemon of east takes the first one's place",
		"while two daemons overlap, as in each upgrade, no call may be made twice or lost")
	second, err := s.setup.offer(s.ctx, east, "daemon 2 of east")
	if err != nil {
		return err
	}
	if err := s.checkKicked(first); err != nil {
		return err
	}
	if err := s.checkVersion(service, "daemon 2 of east"); err != nil {
		return err
	}
	s.say("The service has noticed nothing: its handle follows the instance.")
	if err := second.checkOffered(); err != nil {
		return err
	}

	s.step("What was measured meanwhile",
		"in the fleet's metrics a call must count once, at the daemon that made it")
	counted, err := s.setup.metrics()
	if err != nil {
		return err
	}
	unchanged := fewer.objects() + 2 // two plans applied the Secret, which an export does not show
	if err := s.checkMetrics(counted, unchanged); err != nil {
		return err
	}

	s.step("The daemon of east is killed, and another takes over",
		"a killed process says nothing: its silence must be told from a slow answer")
	return s.replaceKilled(service, serviceWest, second)
}

// showReport takes the report of the daemons, and shows it.
func (s *story) showReport() error {
	text, err := s.setup.takeReport()
	if err == nil {
		s.say("%s", text)
	}
	return err
}
