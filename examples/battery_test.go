// Package examples_test runs the examples.
package examples_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/platformbus/platform"
)

func TestMyTransport(t *testing.T) {
	platform.PlatformTestBattery(t, func(mock platform.Platform) platform.Platform {
		return throughMyTransport(t, mock) // passes every call on to mock
	})
}

func TestMyBus(t *testing.T) {
	platform.MessageBusTestBattery(t, newMyBus) // returns an empty bus, and closes it by t.Cleanup
}

// throughMyTransport is a placeholder for a transport. Complete ones are in
// examples/transports.
func throughMyTransport(t *testing.T, p platform.Platform) platform.Platform {
	bus := newMyBus(t)
	bus.Subscribe("somewhere", p, nil)
	handle, err := bus.Connect("somewhere")
	require.NoError(t, err)
	return handle
}

// newMyBus is a placeholder for a bus.
func newMyBus(*testing.T) platform.MessageBus {
	return platform.NewStandaloneMessageBus(platform.BusMetrics{})
}
