package platform_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"testing"
	"time"

	"github.com/platformbus/platform"
	"github.com/platformbus/platform/examples/toy"
	"github.com/platformbus/platform/flux"
)

// A transport is anything that passes calls on to another Platform. Here it is a bus within
// the process.
func ExamplePlatformTestBattery() {
	TestMyTransport := func(t *testing.T) {
		platform.PlatformTestBattery(t, func(mock platform.Platform) platform.Platform {
			bus := platform.NewStandaloneMessageBus(platform.BusMetrics{})
			bus.Subscribe("there", mock, nil)
			handle, err := bus.Connect("there")
			if err != nil {
				t.Fatal(err)
			}
			return handle
		})
	}
	fmt.Println(passes(TestMyTransport))
	// Output: true
}

// The function that makes a bus closes it by t.Cleanup, where it needs closing.
func ExampleMessageBusTestBattery() {
	TestMyBus := func(t *testing.T) {
		platform.MessageBusTestBattery(t, func(*testing.T) platform.MessageBus {
			return platform.NewStandaloneMessageBus(platform.BusMetrics{})
		})
	}
	fmt.Println(passes(TestMyBus))
	// Output: true
}

// An implementation of Platform comes with definitions in its own language.
func ExamplePlatformContractBattery() {
	TestMyPlatform := func(t *testing.T) {
		platform.PlatformContractBattery(t, func(*testing.T) platform.Fixture {
			return platform.Fixture{
				Platform:  toy.New("shop"),
				Namespace: "shop",
				Object: func(name, value string) platform.ResourceDef {
					return fmt.Appendf(nil, `{"kind":"thing","namespace":"shop","name":%q,"value":%q}`, name, value)
				},
				Service: func(name, image string) (service, controller platform.ResourceDef) {
					return fmt.Appendf(nil, `{"kind":"service","namespace":"shop","name":%q}`, name),
						fmt.Appendf(nil, `{"kind":"controller","namespace":"shop","name":%q,"image":%q}`, name, image)
				},
				Invalid: platform.ResourceDef("not JSON"),
			}
		})
	}
	fmt.Println(passes(TestMyPlatform))
	// Output: true
}

// MockPlatform stands for a cluster in a test: it returns its fields, and shows what it was asked.
func ExampleMockPlatform() {
	cluster := &platform.MockPlatform{
		SomeServicesArgTest: func(ids []flux.ServiceID) error {
			fmt.Println("asked for", ids)
			return nil
		},
		SomeServicesAnswer: []platform.Service{{ID: "shop/web", Status: "ready"}},
	}
	services, err := cluster.SomeServices([]flux.ServiceID{"shop/web", "shop/gone"})
	fmt.Println(services[0].ID, services[0].Status, err)
	// Output:
	// asked for [shop/web shop/gone]
	// shop/web ready <nil>
}

// With Observe a call of a mock waits until its context ends, as one of a slow cluster does.
func ExampleObserve() {
	cluster := platform.Observe(&platform.MockPlatform{}, func(ctx context.Context, method string) error {
		<-ctx.Done()
		return fmt.Errorf("%s: %w", method, context.Cause(ctx))
	})
	ctx, cancel := context.WithTimeoutCause(context.Background(), time.Millisecond, errors.New("it takes too long"))
	defer cancel()
	fmt.Println(platform.WithContext(ctx, cluster).Ping())
	// Output: Ping: it takes too long
}

// passes runs a test within an example. It writes nothing, also with -v.
func passes(test func(*testing.T)) bool {
	verbose := flag.Lookup("test.v").Value
	was := verbose.String()
	defer verbose.Set(was) //nolint:errcheck // the value was valid before
	if err := verbose.Set("false"); err != nil {
		panic(err)
	}
	all := func(string, string) (bool, error) { return true, nil }
	return testing.RunTests(all, []testing.InternalTest{{Name: "Test", F: test}})
}
