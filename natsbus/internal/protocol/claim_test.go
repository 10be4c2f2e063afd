package protocol

import (
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/platformbus/platform/natsbus/internal/wire"
)

var claimant = Claimant{Token: "a", Session: "M"}

func TestClaim(t *testing.T) {
	const mine, age = 1000, 2 * time.Second
	for name, tt := range map[string]struct {
		state   ClaimState
		frame   wire.Frame
		want    ClaimState
		answer  wire.Kind // nothing if empty
		outbids bool
		settled bool
	}{
		"asking, nothing there":              {ClaimAsking, wire.Frame{Kind: wire.Ended}, ClaimFresh, "", false, true},
		"asking, an earlier claim":           {ClaimAsking, wire.Frame{Kind: wire.Claim, Epoch: mine - 1}, ClaimAsking, wire.Held, false, false},
		"asking, an earlier holder":          {ClaimAsking, wire.Frame{Kind: wire.Held, Epoch: mine - 1}, ClaimAsking, "", false, false},
		"asking, a later holder":             {ClaimAsking, wire.Frame{Kind: wire.Held, Epoch: mine + 5, Age: settledAge}, ClaimAsking, wire.Claim, true, false},
		"asking, a later one, just come":     {ClaimAsking, wire.Frame{Kind: wire.Held, Epoch: mine + 5, Age: 1}, ClaimAsking, wire.Claim, true, false},
		"asking, a later claim, asking too":  {ClaimAsking, wire.Frame{Kind: wire.Claim, Epoch: mine + 5, Asking: true}, ClaimAsking, wire.Claim, false, false},
		"asking, a later one, asking too":    {ClaimAsking, wire.Frame{Kind: wire.Held, Epoch: mine + 5, Asking: true}, ClaimLost, wire.Ended, false, true},
		"asking, a later one, asking longer": {ClaimAsking, wire.Frame{Kind: wire.Held, Epoch: mine + 5, Age: 3_000_000, Asking: true}, ClaimAsking, wire.Claim, true, false},
		"fresh, a later one, asking":         {ClaimFresh, wire.Frame{Kind: wire.Claim, Epoch: mine + 5, Age: 3_000_000, Asking: true}, ClaimLost, wire.Ended, false, true},
		"fresh, a later holder":              {ClaimFresh, wire.Frame{Kind: wire.Claim, Epoch: mine + 5, Age: settledAge}, ClaimFresh, wire.Claim, true, false},
		"fresh, a later one, about as old":   {ClaimFresh, wire.Frame{Kind: wire.Claim, Epoch: mine + 5, Age: 2_100_000}, ClaimLost, wire.Ended, false, true},
		"settled, an earlier claim":          {ClaimSettled, wire.Frame{Kind: wire.Claim, Epoch: mine - 1, Asking: true}, ClaimSettled, wire.Held, false, false},
		"settled, a later claim":             {ClaimSettled, wire.Frame{Kind: wire.Claim, Epoch: mine + 5, Age: settledAge}, ClaimLost, wire.Ended, false, true},
		"settled, a later holder":            {ClaimSettled, wire.Frame{Kind: wire.Held, Epoch: mine + 5}, ClaimLost, wire.Ended, false, true},
		"settled, as late, by name":          {ClaimSettled, wire.Frame{Kind: wire.Claim, Epoch: mine, Session: "Z"}, ClaimLost, wire.Ended, false, true},
		"settled, as early, by name":         {ClaimSettled, wire.Frame{Kind: wire.Claim, Epoch: mine, Session: "A"}, ClaimSettled, wire.Held, false, false},
		"its own":                            {ClaimSettled, wire.Frame{Kind: wire.Claim, Epoch: mine + 5, Session: "M"}, ClaimSettled, "", false, false},
		"lost":                               {ClaimLost, wire.Frame{Kind: wire.Claim, Epoch: mine - 1}, ClaimLost, "", false, false},
	} {
		t.Run(name, func(t *testing.T) {
			c := Claim{epoch: mine, state: tt.state}
			if tt.frame.Session == "" {
				tt.frame.Session = "O"
			}
			out := c.Step(newShared(), claimant, Event{Kind: Received, Frame: &tt.frame}, age)
			assert.Equal(t, tt.want, c.State(), "%v", c.State())
			assert.Equal(t, tt.settled, out.Settled)
			assert.Equal(t, tt.want == ClaimLost && tt.state != ClaimLost, out.Lost)
			if tt.answer == "" {
				assert.Empty(t, out.Send)
			} else {
				require.Equal(t, []wire.Kind{tt.answer}, frames(out.Send))
			}
			assert.Equal(t, tt.outbids, isLater(c.epoch, mine))
		})
	}
}

// Whatever somebody claims with, a later claim can be made: no epoch is the last.
func TestNoEpochIsTheLast(t *testing.T) {
	now := uint64(time.Now().UnixMilli())
	for _, held := range []uint64{0, 1, now, now + 1, 1 << 62, 1<<62 + 1, math.MaxInt64, 1 << 63, now + math.MaxInt64, math.MaxUint64} {
		c := NewClaim(time.UnixMilli(int64(now)), 0)
		f := wire.Frame{Kind: wire.Held, Session: "O", Epoch: held, Age: settledAge}
		c.Step(newShared(), claimant, Event{Kind: Received, Frame: &f}, 0)
		assert.Equal(t, ClaimAsking, c.State())
		assert.False(t, isLater(held, c.epoch), "%d after %d", held, c.epoch)
	}
	assert.False(t, isLater(now, now))
}

// Of two whose claims are half a circle apart, neither is later; the session decides.
func TestOpposedEpochs(t *testing.T) {
	ended := 0
	for _, session := range []string{"A", "Z"} {
		c := Claim{epoch: 1000, state: ClaimSettled}
		f := wire.Frame{Kind: wire.Claim, Session: session, Epoch: 1000 + 1<<63}
		if c.Step(newShared(), claimant, Event{Kind: Received, Frame: &f}, 0).Lost {
			ended++
		}
	}
	assert.Equal(t, 1, ended)
}

// Somebody who outbids again and again has the instance at last.
func TestOutbidsAreBounded(t *testing.T) {
	c := NewClaim(time.UnixMilli(1000), 0)
	said := 0
	for i := uint64(0); c.State() != ClaimLost; i++ {
		require.Less(t, i, uint64(100))
		f := wire.Frame{Kind: wire.Held, Session: "O", Epoch: c.epoch + 1, Age: settledAge}
		said += len(c.Step(newShared(), claimant, Event{Kind: Received, Frame: &f}, 0).Send)
	}
	assert.Equal(t, maxOutbids+1, said)
}

// A claim is repeated soon at first, and seldom when it has settled.
func TestClaimIsRepeated(t *testing.T) {
	s := newShared()
	c := NewClaim(time.UnixMilli(1000), 0)
	out := c.Step(s, claimant, Event{Kind: Nobody}, 0)
	var due []time.Duration
	for range 5 {
		now := out.Due
		due = append(due, now)
		out = c.Step(s, claimant, Event{Kind: Tick}, now)
		require.Equal(t, []wire.Kind{wire.Claim}, frames(out.Send))
	}
	assert.Equal(t, []time.Duration{250 * time.Millisecond, 750 * time.Millisecond, 1750 * time.Millisecond, 6750 * time.Millisecond, 11750 * time.Millisecond}, due)
	assert.Equal(t, ClaimSettled, c.State())
}

// Who takes the place of another on the same bus has a later claim, though the clock went back.
func TestSucceed(t *testing.T) {
	c := Claim{epoch: 5000, state: ClaimSettled}
	next := c.Succeed(time.UnixMilli(1000), 0)
	assert.EqualValues(t, 5001, next.epoch)
	assert.Equal(t, ClaimFresh, next.State())
	assert.EqualValues(t, 9000, func() uint64 { n := c.Succeed(time.UnixMilli(9000), 0); return n.epoch }())
}
