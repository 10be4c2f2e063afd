package natsbus

import (
	"testing"
	"time"

	"go.uber.org/goleak"
)

// What follows is for the tests of package natsbus_test too.

// Limit is for what is waited for; far more than any of it takes.
const Limit = 20 * time.Second

// NoLeaks fails the test if goroutines are left behind when all that the test opens is
// closed again. It comes first in a test.
func NoLeaks(t *testing.T) {
	before := goleak.IgnoreCurrent()
	t.Cleanup(func() {
		if !t.Failed() {
			goleak.VerifyNone(t, before)
		}
	})
}

// SettleTime returns for how long a bus asks a server again that knows of no daemon.
func SettleTime(b *Bus) time.Duration { return b.outbound.settle() }

// SetSettleTime changes that, before the first call.
func SetSettleTime(b *Bus, d time.Duration) {
	b.outbound.settle = func() time.Duration { return d }
}

// OriginOf and ContextOf are originOf and contextOf.
var (
	OriginOf  = originOf
	ContextOf = contextOf
)
