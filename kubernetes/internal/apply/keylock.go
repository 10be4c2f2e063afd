package apply

import (
	"context"
	"sync"

	"github.com/platformbus/platform/kubernetes/internal/api"
)

// keyLock lets one caller at a time write each object. The zero value is ready.
type keyLock struct {
	mu   sync.Mutex
	held map[api.Key]*turn // guarded by mu
}

// A turn is an object that somebody writes or waits to write.
type turn struct {
	token chan struct{} // holds the token of whoever writes
	users int           // guarded by keyLock.mu: how many write or wait
}

// lock waits until nobody else writes the object. The function that it returns lets the
// next one go on. It fails with ctx's cause.
func (l *keyLock) lock(ctx context.Context, key api.Key) (unlock func(), err error) {
	l.mu.Lock()
	if l.held == nil {
		l.held = map[api.Key]*turn{}
	}
	t := l.held[key]
	if t == nil {
		t = &turn{token: make(chan struct{}, 1)}
		l.held[key] = t
	}
	t.users++
	l.mu.Unlock()

	select {
	case t.token <- struct{}{}:
		return func() { <-t.token; l.leave(key, t) }, nil
	case <-ctx.Done():
		l.leave(key, t)
		return nil, context.Cause(ctx)
	}
}

func (l *keyLock) leave(key api.Key, t *turn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if t.users--; t.users == 0 {
		delete(l.held, key)
	}
}
