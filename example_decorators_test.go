package platform_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/platformbus/platform"
)

// The error of a call matches the cause for which its context has ended, which need not be
// context.Canceled.
func ExampleWithContext() {
	cluster := &platform.MockPlatform{VersionAnswer: "1.0.0"}
	errShutdown := errors.New("the service is shutting down")

	ctx, cancel := context.WithCancelCause(context.Background())
	view := platform.WithContext(ctx, cluster)
	fmt.Println(view.Version())
	cancel(errShutdown)
	_, err := view.Version()
	fmt.Println(err)
	fmt.Println(errors.Is(err, errShutdown), errors.Is(err, context.Canceled))
	fmt.Println(cluster.Version()) // only the view ends
	// Output:
	// 1.0.0 <nil>
	// the service is shutting down
	// true false
	// 1.0.0 <nil>
}

// The metrics of a registry of one's own.
func ExampleNewMetrics() {
	registry := prometheus.NewRegistry()
	metrics, err := platform.NewMetrics(registry)
	if err != nil {
		panic(err) // the registry has another metric of this name
	}
	cluster := metrics.Instrument(&platform.MockPlatform{})
	fmt.Println(cluster.Ping())
	fmt.Println(cluster.Sync(platform.SyncDef{}))

	families, err := registry.Gather()
	if err != nil {
		panic(err)
	}
	for _, family := range families {
		for _, series := range family.GetMetric() {
			fmt.Println(family.GetName(), series.GetLabel()[0].GetValue(), series.GetHistogram().GetSampleCount())
		}
	}
	// Output:
	// <nil>
	// <nil>
	// flux_platform_request_duration_seconds Ping 1
	// flux_platform_request_duration_seconds Sync 1
}
