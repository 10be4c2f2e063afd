// Command daemon offers the cluster in which it runs, or that of a kubeconfig, to the services
// on a NATS server.
//
//	daemon -instance my-cluster -nats nats://127.0.0.1:4222 -kubeconfig ~/.kube/config
//
// It serves /metrics; /healthz, which is 200 while services can reach the cluster through
// it, and 503 with the reason otherwise; and /livez, which is 200 while the process lives.
//
// # Shutdown
//
// On SIGTERM the daemon accepts no new calls, finishes the calls in progress, and exits with
// status 0, or with 1 if that takes longer than -drain-timeout.
//
// When another daemon subscribes the same instance, the daemon is kicked: it finishes its
// calls, reports the kick in its log and at /healthz, and stays idle until SIGTERM. It does
// not exit, because a supervisor such as a Deployment would restart it: it would then kick
// the other daemon, whose Deployment would restart that one, and so on for ever. For the
// same reason a liveness probe must not use /healthz.
//
// If its subscription ends for any other reason, the daemon exits with status 1: the cluster
// is dead (platform.FatalError), NATS denies it the instance, or the bus refused it. A restart
// with growing pauses is appropriate then. It exits with 2 if its arguments are invalid.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/platformbus/platform"
	"github.com/platformbus/platform/examples/internal/program"
	"github.com/platformbus/platform/flux"
	"github.com/platformbus/platform/kubernetes"
	"github.com/platformbus/platform/natsbus"
)

func main() { program.Main("daemon", run) }

// patience is the time after which NATS and the API server count as unreachable if they do
// not answer.
const patience = 4 * time.Second

// A config holds the parsed arguments.
type config struct {
	nats       program.NATS
	instance   string
	kubeconfig string
	namespace  string
	version    string
	listen     string
	call       time.Duration
	watch      time.Duration
	drain      time.Duration
}

func parse(args []string) (c config, err error) {
	flags := flag.NewFlagSet("daemon", flag.ContinueOnError)
	c.nats.AddFlags(flags)
	flags.StringVar(&c.instance, "instance", os.Getenv("INSTANCE"), "`ID` of the instance that services connect to (or set INSTANCE)")
	flags.StringVar(&c.kubeconfig, "kubeconfig", "", "`file` with the access to the cluster; by default, the cluster of this pod")
	flags.StringVar(&c.namespace, "namespace", "default", "`namespace` of definitions without one")
	flags.StringVar(&c.version, "announce", program.Version(), "`version` that services see")
	flags.StringVar(&c.listen, "listen", "127.0.0.1:8081", "`address` of /metrics, /healthz and /livez")
	flags.DurationVar(&c.call, "call-timeout", 10*time.Minute, "limit of each call, waiting for rollouts included")
	flags.DurationVar(&c.watch, "watch", 0, "watch what Syncs look at until none has needed it for so `long`, so that they cost nothing while it is quiet; 0 watches nothing")
	flags.DurationVar(&c.drain, "drain-timeout", 10*time.Minute, "limit of the wait for calls in progress on SIGTERM")
	if err := program.Parse(flags, args); err != nil {
		return c, err
	}
	if c.nats.URL == "" {
		return c, program.Usage("-nats is not set, nor is NATS_URL: the URL of the NATS server that services use too")
	}
	return c, nil
}

func run(ctx context.Context, log *slog.Logger, args []string) error {
	c, err := parse(args)
	if err != nil {
		return err
	}
	instance, err := program.InstanceID(c.instance)
	if err != nil {
		return program.Usage("-instance: %w", err)
	}
	registry, metrics := program.NewRegistry()
	measure, err0 := platform.NewMetrics(registry)
	ofCluster, err1 := kubernetes.NewMetrics(registry)
	ofBus, err2 := natsbus.NewMetrics(registry)
	if err := errors.Join(err0, err1, err2); err != nil {
		return err
	}

	cluster, err := c.cluster(ofCluster, log)
	if err != nil {
		return err
	}
	defer cluster.Close()
	conn, _, err := c.nats.Connect("daemon of "+c.instance, log)
	if err != nil {
		return err
	}
	defer conn.Close()
	bus, err := natsbus.New(conn, natsbus.Options{Metrics: ofBus, Logger: log})
	if err != nil {
		return err
	}
	d := &daemon{conn: conn, cluster: cluster}
	d.setEnded(errors.New("the instance is not subscribed yet"))
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", metrics)
	mux.Handle("GET /healthz", program.Health(d.check))
	mux.HandleFunc("GET /livez", program.Live)
	server, err := program.Serve(c.listen, mux, program.Limits{Call: 10 * time.Second, Body: 10 * time.Second}, log)
	if err != nil {
		return err
	}

	done := make(chan error, 1) // has room for the one cause
	bus.Subscribe(instance, measure.Instrument(cluster), done)
	d.setEnded(nil)
	log.Info("the cluster is offered", "instance", instance, "version", c.version)
	if err := d.check(ctx); err != nil && ctx.Err() == nil {
		log.Warn("services cannot reach the cluster yet", "err", err)
	}
	ended := d.wait(ctx, log, instance, done, server.Failed())

	log.Info("shutting down: waiting for calls in progress", "limit", c.drain)
	d.setEnded(errors.New("the daemon is ending"))
	limit, cancel := context.WithTimeout(context.Background(), c.drain)
	defer cancel()
	return errors.Join(ended, bus.Close(limit), server.Close(limit))
}

// cluster returns the cluster to offer. It makes no requests.
func (c *config) cluster(metrics kubernetes.Metrics, log *slog.Logger) (*kubernetes.Cluster, error) {
	access, err := rest.InClusterConfig()
	if c.kubeconfig != "" {
		access, err = clientcmd.BuildConfigFromFlags("", c.kubeconfig)
	}
	switch {
	case errors.Is(err, rest.ErrNotInCluster):
		return nil, program.Usage("this is not a pod in a cluster: set -kubeconfig")
	case err != nil:
		return nil, fmt.Errorf("find the cluster: %w", err)
	}
	return kubernetes.NewCluster(access, kubernetes.Options{
		Version: c.version, Namespace: c.namespace, Timeout: c.call, Watch: c.watch, Metrics: metrics, Logger: log,
	})
}

// wait waits until the daemon is to end. It returns nil if ctx has ended, and otherwise the
// failure.
func (d *daemon) wait(ctx context.Context, log *slog.Logger, instance flux.InstanceID, done, failed <-chan error) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-failed:
			return err
		case cause := <-done:
			d.setEnded(cause)
			if !errors.Is(cause, platform.ErrKicked) {
				return fmt.Errorf("instance %s: %w", instance, cause)
			}
			log.Error("kicked: another daemon has subscribed this instance; staying idle until told to end",
				"instance", instance, "err", cause)
		}
	}
}
