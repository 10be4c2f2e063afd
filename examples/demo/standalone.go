package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/platformbus/platform"
	"github.com/platformbus/platform/flux"
	"github.com/platformbus/platform/kubernetes"
)

// callLimit bounds each call to the cluster: a rollout that takes longer has failed.
const callLimit = 3 * time.Minute

// standalone is a setup that runs daemon, service and bus in this process.
type standalone struct {
	*platform.StandaloneMessageBus
	cluster  *cluster
	registry *prometheus.Registry
	platform platform.Metrics
	objects  kubernetes.Metrics
	events   eventLog
}

func newStandalone(c *cluster) (*standalone, error) {
	s := &standalone{cluster: c, registry: prometheus.NewRegistry()}
	kicks, err0 := platform.NewBusMetrics(s.registry)
	var err1, err2 error
	s.platform, err1 = platform.NewMetrics(s.registry)
	s.objects, err2 = kubernetes.NewMetrics(s.registry)
	s.StandaloneMessageBus = platform.NewStandaloneMessageBus(kicks)
	return s, errors.Join(err0, err1, err2)
}

func (s *standalone) showUnavailable() error { return nil }

// offer does what a daemon does: it makes an instrumented Platform for the cluster, and
// subscribes it. It records the events of the cluster.
func (s *standalone) offer(_ context.Context, inst flux.InstanceID, version string) (daemon, error) {
	config, _ := s.cluster.access(inst)
	cluster, err := kubernetes.NewCluster(config, kubernetes.Options{
		Version:   version,
		Namespace: namespace,
		Timeout:   callLimit,
		Metrics:   s.objects,
		Events:    s.events.add,
	})
	if err != nil {
		return nil, err
	}
	done := make(chan error, 1) // has room for the one cause, so that the bus does not wait
	s.Subscribe(inst, s.platform.Instrument(cluster), done)
	return subscription(done), nil
}

func (s *standalone) sync(ctx context.Context, inst flux.InstanceID, def platform.SyncDef) error {
	service, err := s.Connect(inst)
	if err != nil {
		return err
	}
	return platform.WithContext(ctx, service).Sync(def)
}

func (s *standalone) takeReport() (string, error) { return s.events.takeSummary(), nil }

func (s *standalone) metrics() (samples, error) {
	families, err := s.registry.Gather()
	return samplesOf(families), err
}

func (s *standalone) close() error { return nil }

// A subscription is a daemon in this process, represented by the channel of its cause.
type subscription <-chan error

func (done subscription) kicked(ctx context.Context) (string, error) {
	select {
	case cause := <-done:
		if !errors.Is(cause, platform.ErrKicked) {
			return "", fmt.Errorf("the first daemon's subscription ended, but was not kicked: %w", cause)
		}
		return cause.Error(), nil
	case <-ctx.Done():
		return "", context.Cause(ctx)
	}
}

func (done subscription) checkOffered() error {
	select {
	case cause := <-done:
		return fmt.Errorf("the daemon's subscription has ended: %w", cause)
	default:
		return nil
	}
}

func (done subscription) kill() error { return errors.ErrUnsupported }
