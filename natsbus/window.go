package natsbus

import (
	"fmt"
	"sync"
)

// A window bounds what is sent and not yet acknowledged, by all calls of a bus.
type window struct {
	size int64

	mu      sync.Mutex
	used    int64              // guarded by mu
	waiting map[*link]struct{} // guarded by mu; woken when there is room
}

// take takes n bytes, or has l woken when it is worth trying again.
func (w *window) take(n int64, l *link) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.used+n > w.size {
		if w.waiting == nil {
			w.waiting = map[*link]struct{}{}
		}
		w.waiting[l] = struct{}{}
		return false
	}
	w.used += n
	return true
}

func (w *window) give(n int64) {
	if n == 0 {
		return
	}
	w.mu.Lock()
	w.used -= n
	woken := w.waiting
	w.waiting = nil
	w.mu.Unlock()
	for l := range woken {
		l.wakeUp()
	}
}

// A quota bounds what bodies take, in bytes.
type quota struct {
	limit int64

	mu   sync.Mutex
	used int64 // guarded by mu
}

func (q *quota) take(n int64) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.used+n > q.limit {
		return fmt.Errorf("body of %d bytes is over what is left of the limit of %d for all calls together", n, q.limit)
	}
	q.used += n
	return nil
}

func (q *quota) give(n int64) {
	q.mu.Lock()
	q.used -= n
	q.mu.Unlock()
}
