package api

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
)

// work sends n requests that take as long as took says, given how many are under way, and
// returns how many were under way at most.
func work(ctx context.Context, n int, took func(under int) time.Duration) int {
	var (
		under, most atomic.Int64
		begun       atomic.Int64
		workers     sync.WaitGroup
	)
	for range 64 {
		workers.Go(func() {
			for request := begun.Add(1); request <= int64(n); request = begun.Add(1) {
				inner, release := withSlot(ctx)
				now := under.Add(1)
				for was := most.Load(); now > was && !most.CompareAndSwap(was, now); was = most.Load() {
				}
				time.Sleep(took(int(now)))
				if ctx.Value(refusedAt{}) == request {
					refuse(inner)
				}
				under.Add(-1)
				release()
			}
		})
	}
	workers.Wait()
	return int(most.Load())
}

// refusedAt is where a context has the number of the request that is refused.
type refusedAt struct{}

func TestSlots(t *testing.T) {
	far := func(int) time.Duration { return 50 * time.Millisecond }
	// Two processors work on the requests.
	near := func(under int) time.Duration { return time.Duration(max(1, under/2)) * time.Millisecond }
	for name, c := range map[string]struct {
		low, high int
		took      func(int) time.Duration
		want      int
	}{
		"an idle server far away":         {16, 64, far, 64},
		"a server whose processors work":  {16, 64, near, 16},
		"a number that is given is fixed": {4, 4, far, 4},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				slots := NewSlots(c.low, c.high)
				assert.Equal(t, c.want, work(WithSlots(t.Context(), slots), 1000, c.took))
				assert.Len(t, slots.free, slots.now-slots.debt, "none is lost")
			})
		})
	}
}

// A server that refuses a request because it is busy is asked no more than at first, for the
// rest of the call.
func TestSlotsAfterARefusal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slots := NewSlots(16, 64)
		ctx := WithSlots(t.Context(), slots)
		far := func(int) time.Duration { return 50 * time.Millisecond }
		work(context.WithValue(ctx, refusedAt{}, int64(300)), 500, far)
		assert.Equal(t, 16, work(ctx, 500, far))
		assert.Len(t, slots.free, 16)
	})
}

// A request within another takes no slot of its own.
func TestSlotWithinAnother(t *testing.T) {
	ctx, release := withSlot(WithSlots(t.Context(), NewSlots(1, 1)))
	_, inner := withSlot(ctx)
	inner()
	release()
}

// While the server has much to do that the call waits for, there are half as many requests.
func TestBurden(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		same := func(int) time.Duration { return time.Millisecond }
		slots := NewSlots(16, 16)
		ctx := WithSlots(t.Context(), slots)
		Burden(t.Context(), heavy) // no call
		Burden(ctx, heavy-1)
		assert.Equal(t, 16, work(ctx, 200, same), "less than is heavy")
		Burden(ctx, heavy)
		assert.Equal(t, 8, work(ctx, 200, same))
		Burden(ctx, -heavy)
		assert.Equal(t, 16, work(ctx, 200, same), "it is done")

		ctx = WithSlots(t.Context(), NewSlots(1, 1))
		Burden(ctx, heavy)
		assert.Equal(t, 1, work(ctx, 10, same), "one remains")

		ctx = WithSlots(t.Context(), NewSlots(16, 64))
		Burden(ctx, heavy)
		assert.Equal(t, 8, work(ctx, 500, same), "there come to be no more")
		Burden(ctx, -heavy)
		assert.Greater(t, work(ctx, 500, same), 16)
	})
}
