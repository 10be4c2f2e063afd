package natsbus

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

// The clients of a server that is away ask ever less often, and not at the same time; none
// is away for much longer than the server.
func TestReconnectDelay(t *testing.T) {
	for attempts, most := range []time.Duration{
		250 * time.Millisecond, 250 * time.Millisecond, 500 * time.Millisecond, time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second, 14 * time.Second, 14 * time.Second,
	} {
		different := map[time.Duration]bool{}
		for range 100 {
			d := reconnectDelay(attempts)
			assert.GreaterOrEqual(t, d, most/2, "after %d attempts", attempts)
			assert.Less(t, d, most, "after %d attempts", attempts)
			different[d] = true
		}
		assert.Greater(t, len(different), 50)
	}
	assert.Less(t, reconnectDelay(1_000_000), 15*time.Second)
	var waits time.Duration
	for range 1000 {
		waits += reconnectDelay(100)
	}
	assert.Less(t, 1000*1000/waits.Seconds(), 100.0, "attempts a second of 1,000 clients")
}
