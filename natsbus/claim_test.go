package natsbus

import (
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

// Whatever somebody claims with, a later claim can be made: no epoch is the last.
func TestNoEpochIsTheLast(t *testing.T) {
	now := epochOf(time.Now())
	for _, held := range []uint64{0, 1, now, now + 1, 1 << 62, 1<<62 + 1, math.MaxInt64, 1 << 63, now + math.MaxInt64, math.MaxUint64} {
		outbid := laterEpoch(now, held+1)
		assert.True(t, isLater(outbid, held), "%d after %d", outbid, held)
		assert.False(t, isLater(held, outbid), "%d after %d", held, outbid)
		f, err := parseFrame((&frame{kind: kindClaim, session: "SESSION", epoch: outbid}).appendTo(nil))
		assert.NoError(t, err)
		assert.Equal(t, outbid, f.epoch)
	}
	assert.Equal(t, now, laterEpoch(now, now-1), "where clocks agree, it is the time")
	assert.False(t, isLater(now, now))
}
