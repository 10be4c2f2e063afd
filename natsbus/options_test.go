package natsbus

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

// The clients of a server that is away ask ever less often, and not at the same time.
func TestReconnectDelay(t *testing.T) {
	for attempts, want := range []struct{ least, most time.Duration }{
		{125 * time.Millisecond, 250 * time.Millisecond}, {125 * time.Millisecond, 250 * time.Millisecond},
		{250 * time.Millisecond, 500 * time.Millisecond}, {500 * time.Millisecond, time.Second}, {time.Second, 2 * time.Second},
		{2 * time.Second, 4 * time.Second}, {4 * time.Second, 8 * time.Second},
		{0, lastReconnect}, {14 * time.Second, lastReconnect}, {14 * time.Second, lastReconnect},
	} {
		different := map[time.Duration]bool{}
		for range 100 {
			d := reconnectDelay(attempts)
			assert.GreaterOrEqual(t, d, want.least, "after %d attempts", attempts)
			assert.LessOrEqual(t, d, want.most, "after %d attempts", attempts)
			different[d] = true
		}
		assert.Greater(t, len(different), 50)
	}
	assert.GreaterOrEqual(t, reconnectDelay(1_000_000), 14*time.Second)
}

// Of 1,000 clients that lose their server at the same time, at most 100 ask for it in any
// second after a minute, and all have it back within 15 seconds of its return.
func TestReconnects(t *testing.T) {
	const clients, end = 1000, 300
	for seed := range uint64(10) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			chance := rand.New(rand.NewPCG(seed, 14))
			random := func(below time.Duration) time.Duration { return time.Duration(chance.Int64N(int64(below))) }
			var inSecond [end]int
			var away [end]time.Duration // of a server that returns in a second, at its beginning: until the last client is back
			for range clients {
				at, returns := time.Duration(0), 0
				for attempts := 1; returns < end; attempts++ {
					at += reconnectWait(attempts, random)
					for ; returns < end && time.Duration(returns)*time.Second <= at; returns++ {
						away[returns] = max(away[returns], at-time.Duration(returns)*time.Second)
					}
					if second := int(at / time.Second); second < end {
						inSecond[second]++
					}
				}
			}
			most, all, longest := 0, 0, time.Duration(0)
			for second := range end {
				if second >= 60 {
					most, all = max(most, inSecond[second]), all+inSecond[second]
				}
				longest = max(longest, away[second])
			}
			t.Logf("after a minute: %d attempts a second, and %d at most; all back after %v", all/(end-60), most, longest)
			assert.LessOrEqual(t, most, 100)
			assert.Less(t, longest, 15*time.Second)
		})
	}
}
