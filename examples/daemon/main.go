// Command daemon offers the cluster that it runs in, or that a kubeconfig leads to, to the
// services on a NATS server.
//
//	daemon -instance my-cluster -nats nats://127.0.0.1:4222 -kubeconfig ~/.kube/config
//
// It serves /metrics; /healthz, which is 200 while services can reach the cluster through
// it, and 503 with the reason otherwise; and /livez, which is 200 while the process lives.
//
// # How it ends
//
// On SIGTERM it begins nothing new, finishes the calls that are under way, and exits with
// 0; with 1 if that takes longer than -drain-timeout.
//
// When another daemon has subscribed the same instance it has been kicked: it finishes its
// calls, says so in its log and at /healthz, and stays idle until it is told to end. It does
// not exit, because whatever watches over it, such as a Deployment, would start it again,
// and then it would kick the other, whose Deployment would start that again, and so on for
// ever. For the same reason no liveness probe may use /healthz.
//
// Anything else that ends its subscription is an error with which it exits, with 1: the
// cluster is dead (platform.FatalError), NATS denies it the instance, or it was refused there.
// To be started again, with growing pauses, is right then. It exits with 2 if it was called
// wrongly.
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

// patience is how long NATS and the API server may take to answer until they are taken for
// unreachable.
const patience = 4 * time.Second

// A config is what the arguments say.
type config struct {
	nats       program.NATS
	instance   string
	kubeconfig string
	namespace  string
	version    string
	listen     string
	call       time.Duration
	drain      time.Duration
}

func parse(args []string) (c config, err error) {
	flags := flag.NewFlagSet("daemon", flag.ContinueOnError)
	c.nats.AddFlags(flags)
	flags.StringVar(&c.instance, "instance", os.Getenv("INSTANCE"), "`ID` under which services find the cluster (or set INSTANCE)")
	flags.StringVar(&c.kubeconfig, "kubeconfig", "", "`file` that leads to the cluster; without it, the cluster that we run in")
	flags.StringVar(&c.namespace, "namespace", "default", "of definitions that name none")
	flags.StringVar(&c.version, "announce", program.Version(), "`version` that services are told")
	flags.StringVar(&c.listen, "listen", "127.0.0.1:8081", "`address` of /metrics, /healthz and /livez")
	flags.DurationVar(&c.call, "call-timeout", 10*time.Minute, "limit of each call, waiting for rollouts included")
	flags.DurationVar(&c.drain, "drain-timeout", 10*time.Minute, "limit of waiting for calls under way, on SIGTERM")
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
	d.set(errors.New("the instance is not subscribed yet"))
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", metrics)
	mux.Handle("GET /healthz", program.Health(d.check))
	mux.HandleFunc("GET /livez", program.Live)
	server, err := program.Serve(c.listen, mux, program.Limits{Call: 10 * time.Second, Body: 10 * time.Second}, log)
	if err != nil {
		return err
	}

	done := make(chan error, 1) // with room for the one cause that comes
	bus.Subscribe(instance, measure.Instrument(cluster), done)
	d.set(nil)
	log.Info("the cluster is offered", "instance", instance, "version", c.version)
	if err := d.check(ctx); err != nil && ctx.Err() == nil {
		log.Warn("services cannot reach the cluster yet", "err", err)
	}
	ended := d.wait(ctx, log, instance, done, server.Failed())

	log.Info("ending, when the calls under way have ended", "limit", c.drain)
	d.set(errors.New("the daemon is ending"))
	limit, cancel := context.WithTimeout(context.Background(), c.drain)
	defer cancel()
	return errors.Join(ended, bus.Close(limit), server.Close(limit))
}

// cluster returns the cluster to be offered. It contacts nothing yet.
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
		Version: c.version, Namespace: c.namespace, Timeout: c.call, Metrics: metrics, Logger: log,
	})
}

// wait returns when the daemon is to end: nil when it is told to, otherwise what has failed.
func (d *daemon) wait(ctx context.Context, log *slog.Logger, instance flux.InstanceID, done, failed <-chan error) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-failed:
			return err
		case cause := <-done:
			d.set(cause)
			if !errors.Is(cause, platform.ErrKicked) {
				return fmt.Errorf("instance %s: %w", instance, cause)
			}
			log.Error("kicked: another daemon has subscribed this instance; staying idle until told to end",
				"instance", instance, "err", cause)
		}
	}
}
