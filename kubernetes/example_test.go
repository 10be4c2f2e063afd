package kubernetes_test

import (
	"errors"
	"fmt"

	"k8s.io/client-go/rest"

	"github.com/platformbus/platform"
	"github.com/platformbus/platform/flux"
	"github.com/platformbus/platform/kubernetes"
)

// offer subscribes the cluster that config leads to, for instance rest.InClusterConfig's.
// From the channel comes the cause when the subscription has ended: ErrKicked, after which
// a daemon ends and does not come straight back, or a FatalError.
func offer(bus platform.MessageBus, inst flux.InstanceID, config *rest.Config) (<-chan error, error) {
	cluster, err := kubernetes.NewCluster(config, kubernetes.Options{
		Version:   "1.0.0", // the daemon's own
		Namespace: "shop",  // of definitions that name none
	})
	if err != nil {
		return nil, err
	}
	done := make(chan error, 1) // with room for the one cause that comes
	bus.Subscribe(inst, platform.Instrument(cluster), done)
	return done, nil
}

// A daemon offers a cluster to a bus. Nothing is asked of the cluster before a call comes.
func Example_daemon() {
	bus := platform.NewStandaloneMessageBus(platform.BusMetricsImpl)
	config := &rest.Config{Host: "https://127.0.0.1:6443"}
	done, err := offer(bus, "production", config)
	if err != nil {
		panic(err)
	}
	fmt.Println(bus.Version("production"))

	if _, err := offer(bus, "production", config); err != nil { // a second daemon
		panic(err)
	}
	fmt.Println(errors.Is(<-done, platform.ErrKicked))
	// Output:
	// 1.0.0 <nil>
	// true
}
