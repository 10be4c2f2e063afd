package natsbus_test

import (
	"testing"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/platformbus/platform"
	"github.com/platformbus/platform/internal/natstest"
	"github.com/platformbus/platform/natsbus"
)

func TestBatteryOnOneBus(t *testing.T) {
	noLeaks(t)
	s := natstest.Start(t, nil)
	platform.MessageBusTestBattery(t, func(t *testing.T) platform.MessageBus {
		noLeaks(t)
		return newBus(t, dial(t, s.ClientURL()), natsbus.Options{})
	})
}

func TestBatteryBetweenTwoBuses(t *testing.T) {
	noLeaks(t)
	t.Run("at once", func(t *testing.T) {
		for name, servers := range map[string]func(*testing.T) []*server.Server{
			"at a server":  func(t *testing.T) []*server.Server { return []*server.Server{natstest.Start(t, nil)} },
			"in a cluster": startCluster,
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				at := servers(t)
				platform.MessageBusTestBattery(t, func(t *testing.T) platform.MessageBus {
					return ends(t, at[0].ClientURL(), at[len(at)-1].ClientURL(), natsbus.Options{})
				})
			})
		}
	})
}
