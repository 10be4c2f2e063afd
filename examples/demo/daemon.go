package main

import (
	"fmt"
	"time"

	"k8s.io/client-go/rest"

	"github.com/platformbus/platform"
	"github.com/platformbus/platform/kubernetes"
)

// callLimit bounds each call to the cluster: a rollout that takes longer has failed.
const callLimit = 3 * time.Minute

// offer does what a daemon does: it makes the cluster a Platform, measured, and subscribes
// it. What the cluster does to each object it tells. On the channel that it returns comes
// the cause when the subscription ends.
func offer(bus platform.MessageBus, config *rest.Config, m metrics, tell func(kubernetes.Event), version string) (<-chan error, error) {
	cluster, err := kubernetes.NewCluster(config, kubernetes.Options{
		Version:   version,
		Namespace: namespace,
		Timeout:   callLimit,
		Metrics:   m.cluster,
		Events:    tell,
	})
	if err != nil {
		return nil, err
	}
	done := make(chan error, 1) // with room for the one cause, so that nobody waits for us
	bus.Subscribe(instance, m.platform.Instrument(cluster), done)
	return done, stillThere(done)
}

// stillThere returns an error if the subscription has ended.
func stillThere(done <-chan error) error {
	select {
	case cause := <-done:
		return fmt.Errorf("the daemon's subscription has ended: %w", cause)
	default:
		return nil
	}
}
