package platform_test

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/platformbus/platform"
)

// A SyncError has an entry for each action that failed; the other actions are done. Test for
// it with errors.As: it is a map, and == panics.
func ExampleSyncError() {
	var cluster platform.Platform = &platform.MockPlatform{SyncError: platform.SyncError{
		"web.yaml":    errors.New(`unknown field "spec.replica"`),
		"worker.yaml": platform.ErrWrongResourceKind,
	}}
	err := cluster.Sync(platform.SyncDef{})

	var failed platform.SyncError
	if errors.As(err, &failed) {
		for _, id := range slices.Sorted(maps.Keys(failed)) {
			fmt.Printf("%s: %v\n", id, failed[id])
		}
	}
	fmt.Println(errors.Is(err, platform.ErrWrongResourceKind)) // of any entry
	// Output:
	// web.yaml: unknown field "spec.replica"
	// worker.yaml: new definition does not match existing resource
	// true
}

// A Platform that can never answer again returns a FatalError: the bus ends its subscription.
func ExampleAsFatal() {
	bus := platform.NewStandaloneMessageBus(platform.BusMetrics{})
	done := make(chan error, 1)
	bus.Subscribe("production", &platform.MockPlatform{
		PingError: fmt.Errorf("ping: %w", platform.FatalError{Err: errors.New("the cluster is deleted")}),
	}, done)

	fmt.Println(bus.Ping("production"))
	fatal, ok := platform.AsFatal(<-done) // what the daemon is told
	fmt.Println(ok, fatal)
	fmt.Println(bus.Ping("production"))
	// Output:
	// ping: the cluster is deleted
	// true the cluster is deleted
	// instance "production": no daemon is connected
}

// A daemon of version 4 serves what it knows. Its callers learn that the rest needs an upgrade.
func ExamplePlatformFromV4() {
	type daemonOfVersion4 struct{ platform.PlatformV4 } // has neither Sync nor Export
	old := platform.PlatformFromV4(daemonOfVersion4{&platform.MockPlatform{VersionAnswer: "0.9"}})

	fmt.Println(old.Version())
	err := old.Sync(platform.SyncDef{})
	fmt.Println(errors.Is(err, platform.ErrUpgradeNeeded), err)
	// Output:
	// 0.9 <nil>
	// true the daemon has version 4 of the platform interface, which lacks Sync
}
