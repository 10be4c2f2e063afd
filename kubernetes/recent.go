package kubernetes

import "sync"

// recent remembers values by key: the most recently used that together weigh as much as
// limit, and at most twice that. It may be used by many goroutines at once.
type recent[K comparable, V any] struct {
	limit int
	weigh func(V) int

	mu       sync.Mutex
	now, old map[K]V // guarded by mu
	weight   int     // of what has been put into now; guarded by mu
}

func newRecent[K comparable, V any](limit int, weigh func(V) int) *recent[K, V] {
	return &recent[K, V]{limit: limit, weigh: weigh, now: map[K]V{}}
}

func (r *recent[K, V]) get(key K) (V, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	value, ok := r.now[key]
	if !ok {
		if value, ok = r.old[key]; ok {
			r.putLocked(key, value)
		}
	}
	return value, ok
}

func (r *recent[K, V]) put(key K, value V) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.putLocked(key, value)
}

func (r *recent[K, V]) putLocked(key K, value V) {
	delete(r.old, key)
	if _, there := r.now[key]; !there {
		if r.weight += r.weigh(value); r.weight > r.limit {
			r.old, r.now, r.weight = r.now, map[K]V{}, r.weigh(value)
		}
	}
	r.now[key] = value
}

func (r *recent[K, V]) forget(key K) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.now, key)
	delete(r.old, key)
}
