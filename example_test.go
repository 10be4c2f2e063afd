package platform_test

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/platformbus/platform"
	"github.com/platformbus/platform/flux"
)

// deploy applies the files to a cluster, and prints the services in it.
func deploy(bus platform.Connecter, inst flux.InstanceID, files map[string][]byte) error {
	cluster, err := bus.Connect(inst) // may be kept: it follows the instance
	if err != nil {
		return err
	}
	var def platform.SyncDef
	for _, name := range slices.Sorted(maps.Keys(files)) {
		def.Actions = append(def.Actions, platform.SyncAction{ResourceID: name, Apply: files[name]})
	}
	var failed platform.SyncError
	switch err := cluster.Sync(def); {
	case errors.As(err, &failed): // the other files are applied
		for _, name := range slices.Sorted(maps.Keys(failed)) {
			fmt.Printf("%s: %v\n", name, failed[name])
		}
	case errors.Is(err, platform.ErrPlatformNotAvailable):
		return fmt.Errorf("no daemon is connected; try again later: %w", err)
	case err != nil:
		return err
	}
	services, err := cluster.AllServices("", nil)
	for _, s := range services { // also with an error, which reports what is missing
		fmt.Println(s.ID, s.Status)
	}
	return err
}

// A service uses a cluster that a daemon offers. Here the cluster is a mock.
func Example_service() {
	bus := platform.NewStandaloneMessageBus(platform.BusMetrics{})
	files := map[string][]byte{"web.yaml": nil, "worker.yaml": nil}
	fmt.Println(deploy(bus, "production", files))

	bus.Subscribe("production", &platform.MockPlatform{
		SyncError:         platform.SyncError{"worker.yaml": errors.New("line 7: key \"image\" already set in map")},
		AllServicesAnswer: []platform.Service{{ID: "shop/web", Status: "ready"}},
	}, nil)
	fmt.Println(deploy(bus, "production", files))
	// Output:
	// no daemon is connected; try again later: instance "production": no daemon is connected
	// worker.yaml: line 7: key "image" already set in map
	// shop/web ready
	// <nil>
}

// A daemon that a newer one kicks receives ErrKicked; handles follow the newer one.
func ExampleStandaloneMessageBus_Subscribe() {
	bus := platform.NewStandaloneMessageBus(platform.BusMetrics{})
	handle, err := bus.Connect("production")
	if err != nil {
		panic(err) // only an empty ID is refused
	}
	done := make(chan error, 1)
	bus.Subscribe("production", &platform.MockPlatform{VersionAnswer: "1.0.0"}, done)
	fmt.Println(handle.Version())

	bus.Subscribe("production", &platform.MockPlatform{VersionAnswer: "1.1.0"}, nil)
	fmt.Println(handle.Version())
	fmt.Println(errors.Is(<-done, platform.ErrKicked))
	// Output:
	// 1.0.0 <nil>
	// 1.1.0 <nil>
	// true
}

// A helpful error has a help text for the end user.
func ExampleClusterError() {
	err := platform.ClusterError(errors.New(`deployments.apps is forbidden`))
	fmt.Println(err)
	var helpful flux.HelpfulError
	if errors.As(err, &helpful) {
		fmt.Println(helpful.Base().Help[:len("Error from the cluster")])
	}
	// Output:
	// deployments.apps is forbidden
	// Error from the cluster
}
