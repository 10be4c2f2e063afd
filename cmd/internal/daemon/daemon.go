// Package daemon is the command that offers a cluster to the services on a NATS server.
package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/platformbus/platform"
	"github.com/platformbus/platform/cmd/internal/program"
	"github.com/platformbus/platform/flux"
	"github.com/platformbus/platform/kubernetes"
	"github.com/platformbus/platform/natsbus"
)

const long = `Offer a cluster to the services on a NATS server: that of $KUBECONFIG, --kubeconfig and
--context, as kubectl finds it, or else the one in which the daemon runs.

It serves /metrics; /healthz, which is 200 while services can reach the cluster through it,
and 503 with the reason otherwise; and /livez, which is 200 while the process lives.

On SIGTERM the daemon accepts no new calls, finishes those in progress, and exits with 0, or
with 1 if they take longer than --drain-timeout.

When another daemon subscribes the same instance, this one is kicked: it finishes its calls,
says so in its log and at /healthz, and stays idle until SIGTERM. It does not exit, because a
supervisor would restart it: it would then kick the other daemon, whose supervisor would
restart that one, and so on for ever. So a liveness probe must use /livez, never /healthz.

If its subscription ends for another reason the daemon exits with 1, and a restart with
growing pauses is right: the cluster is dead, NATS denies it the instance, or the bus
refused it. With 2 it exits if its settings are wrong; a restart does not help then.`

// Command returns the command.
func Command() *cobra.Command {
	c := new(config)
	cmd := &cobra.Command{
		Use:     "daemon",
		Short:   "Offer a cluster to the services on a NATS server",
		Long:    long,
		Example: "  platform daemon --instance my-cluster --nats nats://127.0.0.1:4222",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.run(cmd.Context())
		},
	}
	c.addFlags(cmd.Flags())
	return cmd
}

// patience is the time after which NATS and the API server count as unreachable if they do
// not answer.
const patience = 4 * time.Second

// A config holds the settings.
type config struct {
	nats       program.NATS
	log        program.Log
	trace      program.Trace
	instance   string
	kubeconfig string
	context    string
	options    kubernetes.Options
	listen     string
	drain      time.Duration
}

func (c *config) addFlags(flags *pflag.FlagSet) {
	c.nats.AddFlags(flags)
	c.log.AddFlags(flags)
	c.trace.AddFlags(flags)
	flags.StringVar(&c.instance, "instance", "", "`ID` of the instance that services connect to")
	flags.StringVar(&c.kubeconfig, "kubeconfig", "", "`file` with the access to the cluster (default $KUBECONFIG, ~/.kube/config, or the cluster of this pod)")
	flags.StringVar(&c.context, "context", "", "`name` of the kubeconfig's context (default its current one)")
	flags.StringVar(&c.listen, "listen", "127.0.0.1:8081", "`address` of /metrics, /healthz and /livez")
	flags.DurationVar(&c.drain, "drain-timeout", 10*time.Minute, "limit of the wait for calls in progress on SIGTERM")
	o := &c.options
	flags.StringVar(&o.Version, "announce", program.Version(), "`version` that services see")
	flags.StringVar(&o.Namespace, "namespace", "default", "`namespace` of definitions without one")
	flags.StringSliceVar(&o.Namespaces, "namespaces", nil, "`namespaces` whose services are offered, names or patterns (default all)")
	flags.StringSliceVar(&o.ExcludeNamespaces, "exclude-namespaces", nil, "`namespaces` whose services are not offered, names or patterns")
	flags.StringVar(&o.FieldManager, "field-manager", "platform", "`name` of the field manager of what is applied")
	flags.StringSliceVar(&o.AdoptFieldManagers, "adopt-field-managers", kubernetes.DefaultAdoptFieldManagers(), "field `managers` of other tools whose fields become ours; an empty list adopts nothing")
	flags.BoolVar(&o.FailOnConflict, "fail-on-conflict", false, "fail if a definition sets a field that another manages, instead of taking it over")
	flags.BoolVar(&o.ExportSecrets, "export-secrets", false, "include Secrets in exports")
	flags.IntVar(&o.Concurrency, "concurrency", 0, "limit of a call's requests to the API server in progress (default 16, and up to 64 where that is faster)")
	flags.DurationVar(&o.Watch, "watch", 0, "watch what Syncs look at until none has needed it for so long, so that they cost nothing while it is quiet; 0 watches nothing")
	flags.DurationVar(&o.Timeout, "call-timeout", 10*time.Minute, "limit of each call, waiting for rollouts included")
	flags.DurationVar(&o.WaitTimeout, "wait-timeout", 0, "limit of each wait within a call, such as for a rollout (default --call-timeout)")
	flags.DurationVar(&o.RequestTimeout, "request-timeout", time.Minute, "limit of each request to the API server")
	flags.IntVar(&o.MaxObjects, "max-objects", 100_000, "limit of the objects of one Sync")
}

// check returns an error if the settings cannot be right.
func (c *config) check() (flux.InstanceID, error) {
	instance, err := program.InstanceID(c.instance)
	switch {
	case c.nats.URL == "":
		return "", program.Usage("--nats is not set, nor is %s: the URL of the NATS server that services use too", program.EnvName("nats"))
	case err != nil:
		return "", program.Usage("--instance: %w", err)
	case c.drain < 0:
		return "", program.Usage("--drain-timeout is %v; want a time that is not negative", c.drain)
	}
	return instance, nil
}

func (c *config) run(ctx context.Context) error {
	instance, err := c.check()
	if err != nil {
		return err
	}
	log, err := c.log.Logger(os.Stderr)
	if err != nil {
		return err
	}
	registry, metrics := program.NewRegistry()
	measure, err0 := platform.NewMetrics(registry)
	ofCluster, err1 := kubernetes.NewMetrics(registry)
	ofBus, err2 := natsbus.NewMetrics(registry)
	if err := errors.Join(err0, err1, err2); err != nil {
		return err
	}

	provider, endTraces, err := c.trace.Provider(ctx, log, "platform-daemon", attribute.String("platform.instance", c.instance))
	if err != nil {
		return err
	}
	cluster, err := c.cluster(ofCluster, provider, log)
	if err != nil {
		return err
	}
	defer cluster.Close()
	conn, _, err := c.nats.Connect("daemon of "+c.instance, log)
	if err != nil {
		return err
	}
	defer conn.Close()
	bus, err := c.nats.NewBus(conn, ofBus, log)
	if err != nil {
		return err
	}
	d := &daemon{conn: conn, cluster: cluster}
	d.setEnded(errors.New("the instance is not subscribed yet"))
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", metrics)
	mux.Handle("GET /healthz", program.Health(d.check, log))
	mux.HandleFunc("GET /livez", program.Live)
	server, err := program.Serve(c.listen, mux, program.Limits{Call: 10 * time.Second, Body: 10 * time.Second}, log)
	if err != nil {
		return err
	}

	done := make(chan error, 1) // has room for the one cause
	bus.Subscribe(instance, measure.Instrument(platform.Trace(newLogged(cluster, log), provider)), done)
	d.setEnded(nil)
	log.Info("the cluster is offered", "instance", instance, "version", c.options.Version)
	if err := d.check(ctx); err != nil && ctx.Err() == nil {
		log.Warn("services cannot reach the cluster yet", "err", err)
	}
	ended := d.wait(ctx, log, instance, done, server.Failed())

	log.Info("shutting down: waiting for calls in progress", "limit", c.drain)
	d.setEnded(errors.New("the daemon is ending"))
	limit, cancel := context.WithTimeout(context.Background(), c.drain)
	defer cancel()
	return errors.Join(ended, bus.Close(limit), server.Close(limit), endTraces(limit))
}

// access returns the access to the cluster, which it finds as kubectl does.
func (c *config) access() (*rest.Config, error) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = c.kubeconfig
	rules.WarnIfAllMissing = false
	access, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, &clientcmd.ConfigOverrides{CurrentContext: c.context}).ClientConfig()
	switch {
	case clientcmd.IsEmptyConfig(err), errors.Is(err, rest.ErrNotInCluster):
		return nil, program.Usage("there is no cluster: this is not a pod, and neither --kubeconfig nor $KUBECONFIG leads to one")
	case err != nil:
		return nil, fmt.Errorf("find the cluster: %w", err)
	}
	return access, nil
}

// cluster returns the cluster to offer. It makes no requests.
func (c *config) cluster(metrics kubernetes.Metrics, provider trace.TracerProvider, log *slog.Logger) (*kubernetes.Cluster, error) {
	access, err := c.access()
	if err != nil {
		return nil, err
	}
	options := c.options
	options.Metrics, options.TracerProvider, options.Logger = metrics, provider, log
	cluster, err := kubernetes.NewCluster(access, options)
	if err != nil { // it has made no request: an option, or what the kubeconfig says, is wrong
		return nil, program.Usage("%w", err)
	}
	return cluster, nil
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
