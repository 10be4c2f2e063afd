package kubernetes

import "sync"

// recent remembers values by key, at least the limit most recently used and at most twice
// as many. It may be used by many goroutines at once.
type recent[K comparable, V any] struct {
	limit int

	mu       sync.Mutex
	now, old map[K]V // guarded by mu
}

func newRecent[K comparable, V any](limit int) *recent[K, V] {
	return &recent[K, V]{limit: limit, now: map[K]V{}}
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
	if len(r.now) >= r.limit {
		if _, there := r.now[key]; !there {
			r.old, r.now = r.now, make(map[K]V, r.limit)
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
