package natsbus

import (
	"sync"

	"github.com/nats-io/nats.go"
)

// A listener is a subscription that is made when it is needed first.
type listener struct {
	subject string
	mu      sync.Mutex         // held while the subscription is made or taken down
	sub     *nats.Subscription // guarded by mu
}

// open makes sure that there is a subscription, which subscribe makes.
func (l *listener) open(subscribe func() (*nats.Subscription, error)) (err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.sub == nil {
		l.sub, err = subscribe()
	}
	return err
}

// close takes the subscription down.
func (l *listener) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.sub != nil {
		_ = l.sub.Unsubscribe() // it fails if the connection is closed
		l.sub = nil
	}
}
