// Package examples_test holds what the README shows to what the code says.
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
	platform.MessageBusTestBattery(t, newMyBus) // makes an empty one, which t.Cleanup closes
}

// throughMyTransport stands for somebody's transport. A whole one, JSON over net/rpc, is in
// platformtest_rpc_test.go.
func throughMyTransport(t *testing.T, p platform.Platform) platform.Platform {
	bus := newMyBus(t)
	bus.Subscribe("somewhere", p, nil)
	handle, err := bus.Connect("somewhere")
	require.NoError(t, err)
	return handle
}

// newMyBus stands for somebody's bus.
func newMyBus(*testing.T) platform.MessageBus {
	return platform.NewStandaloneMessageBus(platform.BusMetrics{})
}
