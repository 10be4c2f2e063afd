package recent_test

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/platformbus/platform/kubernetes/internal/recent"
)

// held uses keys, and returns those that are remembered.
func held(c *recent.Cache[int, int], keys ...int) []int {
	var there []int
	for _, key := range keys {
		if _, ok := c.Get(key); ok {
			there = append(there, key)
		}
	}
	return there
}

// What was used last is remembered as long as it weighs no more than the limit.
func TestCacheRemembersWhatWasUsedLast(t *testing.T) {
	c := recent.New[int](10, func(value int) int { return value })
	for key := range 5 {
		c.Put(key, 2)
	}
	assert.Equal(t, []int{0, 1, 2, 3, 4}, held(c, 0, 1, 2, 3, 4))
	c.Put(5, 10)
	assert.Equal(t, []int{1, 5}, held(c, 1, 5), "both were used")
	for key := 6; key < 16; key++ {
		c.Put(key, 2)
	}
	assert.Empty(t, held(c, 0, 1, 2, 3, 4, 5))
	assert.Equal(t, []int{11, 12, 13, 14, 15}, held(c, 11, 12, 13, 14, 15))
}

// A value that is replaced or forgotten weighs nothing: it takes no room from others.
func TestCacheCountsWhatIsThere(t *testing.T) {
	c := recent.New[int](10, func(value int) int { return value })
	c.Put(0, 1)
	for range 100 {
		c.Put(1, 5)
		c.Forget(1)
	}
	assert.Equal(t, []int{0}, held(c, 0, 1))
	for range 100 {
		c.Put(2, 5)
	}
	assert.Equal(t, []int{0, 2}, held(c, 0, 2))

	c.Put(2, 10) // heavier than before
	c.Put(3, 10)
	c.Put(4, 10)
	assert.Equal(t, []int{3, 4}, held(c, 0, 2, 3, 4), "no more than twice the limit")
}
