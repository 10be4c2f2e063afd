package kubernetes

import (
	"context"
	"sync"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/platformbus/platform/kubernetes/internal/redact"
)

// An objectKey identifies an object in the cluster, at whatever version.
type objectKey struct {
	schema.GroupKind
	namespace, name string
}

// String names the object for an error, as in "Deployment default/web".
func (k objectKey) String() string {
	name := redact.Name(k.name)
	if most := 300; len(name) > most { // no API server has it
		name = name[:most] + "…"
	}
	if k.namespace == "" {
		return k.Kind + " " + name
	}
	return k.Kind + " " + k.namespace + "/" + name
}

// keyLock lets one caller at a time write each object. The zero value is ready.
type keyLock struct {
	mu   sync.Mutex
	held map[objectKey]*turn // guarded by mu
}

// A turn is an object that somebody writes or waits to write.
type turn struct {
	token chan struct{} // holds the token of whoever writes
	users int           // guarded by keyLock.mu: how many write or wait
}

// lock waits until nobody else writes the object. The function that it returns lets the
// next one go on. It fails with ctx's cause.
func (l *keyLock) lock(ctx context.Context, key objectKey) (unlock func(), err error) {
	l.mu.Lock()
	if l.held == nil {
		l.held = map[objectKey]*turn{}
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

func (l *keyLock) leave(key objectKey, t *turn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if t.users--; t.users == 0 {
		delete(l.held, key)
	}
}
