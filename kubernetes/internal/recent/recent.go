// Package recent remembers what was used most recently.
package recent

import "sync"

// A Cache remembers values by key: the most recently used that together weigh as much as
// limit, and, unless one alone weighs more, at most twice that. It may be used by many goroutines
// at once.
type Cache[K comparable, V any] struct {
	limit int
	weigh func(V) int

	mu       sync.Mutex
	now, old map[K]V // guarded by mu
	weight   int     // of what is in now; guarded by mu
}

// New returns an empty cache; weigh returns how much a value weighs, which must not change.
func New[K comparable, V any](limit int, weigh func(V) int) *Cache[K, V] {
	return &Cache[K, V]{limit: limit, weigh: weigh, now: map[K]V{}}
}

// Get returns the value of a key, if it is remembered.
func (c *Cache[K, V]) Get(key K) (V, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	value, ok := c.now[key]
	if !ok {
		if value, ok = c.old[key]; ok {
			c.putLocked(key, value)
		}
	}
	return value, ok
}

// Put remembers a value, in place of an earlier one of its key.
func (c *Cache[K, V]) Put(key K, value V) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.putLocked(key, value)
}

func (c *Cache[K, V]) putLocked(key K, value V) {
	c.forgetLocked(key)
	if c.weight += c.weigh(value); c.weight > c.limit {
		c.old, c.now, c.weight = c.now, map[K]V{}, c.weigh(value)
	}
	c.now[key] = value
}

// Forget drops the value of a key.
func (c *Cache[K, V]) Forget(key K) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.forgetLocked(key)
}

func (c *Cache[K, V]) forgetLocked(key K) {
	if value, ok := c.now[key]; ok {
		c.weight -= c.weigh(value)
		delete(c.now, key)
	}
	delete(c.old, key)
}
