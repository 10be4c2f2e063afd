package natsbus_test

import (
	"testing"

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
	s := natstest.Start(t, nil)
	platform.MessageBusTestBattery(t, func(t *testing.T) platform.MessageBus {
		return ends(t, s.ClientURL(), s.ClientURL(), natsbus.Options{})
	})
}

func TestBatteryInCluster(t *testing.T) {
	noLeaks(t)
	servers := startCluster(t)
	platform.MessageBusTestBattery(t, func(t *testing.T) platform.MessageBus {
		return ends(t, servers[1].ClientURL(), servers[2].ClientURL(), natsbus.Options{})
	})
}
