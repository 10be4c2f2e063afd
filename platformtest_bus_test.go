package platform

import (
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestStandaloneMessageBusBattery(t *testing.T) {
	MessageBusTestBatteryWith(t, func(*testing.T) MessageBus { return NewStandaloneMessageBus(BusMetrics{}) }, BatteryOptions{StopsCalls: true})
}

func TestZeroStandaloneMessageBusBattery(t *testing.T) {
	MessageBusTestBattery(t, func(*testing.T) MessageBus { return &StandaloneMessageBus{} })
}

func TestBusBatteryFailsBrokenBuses(t *testing.T) {
	byName := map[string]busCase{}
	for _, c := range busCases() {
		require.NotContains(t, byName, c.name, "names tell cases apart")
		byName[c.name] = c
	}
	named, failed := map[string]bool{}, map[string]bool{}
	for _, bus := range brokenBuses() {
		require.False(t, named[bus.name], "two buses are called %q", bus.name)
		named[bus.name], failed[bus.in] = true, true
		t.Run(bus.name, func(t *testing.T) {
			t.Parallel() // many wait until a limit passes
			c, ok := byName[bus.in]
			require.True(t, ok, "there is no case %q", bus.in)
			err := c.run(newFaultyBus(t, bus.faults), BatteryOptions{Wait: bus.wait})
			require.Error(t, err, "%s did not notice", bus.in)
			for _, text := range append(bus.says, "rule: "+bus.breaks.says, "hint: "+bus.breaks.hint) {
				assert.ErrorContains(t, err, text)
			}
		})
	}
	assert.GreaterOrEqual(t, len(named), 75)
	for name := range byName {
		assert.True(t, failed[name], "no broken bus fails %q", name)
	}
}

// Without a handle, the cases of a Platform say why there is none.
func TestBusBatteryNamesAFailureToConnect(t *testing.T) {
	bus := newFaultyBus(t, faults{connectFails: true})
	err := caseNamed("Ping/reaches the platform").run(through(bus), BatteryOptions{})
	assert.ErrorContains(t, err, "the call returned the error: Connect: not connected")
}

// Without faults the bus passes: the battery finds the faults, not the bus.
func TestFaultyBusWithoutFaultsBattery(t *testing.T) {
	MessageBusTestBattery(t, func(t *testing.T) MessageBus { return newFaultyBus(t, faults{}) })
}

// A bus may send a cause some time after the subscription has ended.
func TestBusBatteryWaitsForCauses(t *testing.T) {
	for _, c := range busCases() {
		synctest.Test(t, func(t *testing.T) {
			assert.NoError(t, c.run(newFaultyBus(t, faults{slow: true}), BatteryOptions{}), c.name)
		})
	}
}
