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

// OriginOf and ContextOf are originOf and contextOf.
var (
	OriginOf  = originOf
	ContextOf = contextOf
)
