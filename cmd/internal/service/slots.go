package service

import (
	"fmt"
	"sync"

	"github.com/platformbus/platform/flux"
)

const (
	// maxRequests bounds the requests that wait for daemons.
	maxRequests = 64
	// maxPerInstance bounds those that wait for one instance: a daemon that accepts calls
	// and never answers must not block the others.
	maxPerInstance = maxRequests / 4
)

// slots bounds the number of requests in progress. A request acquires its slot after its body
// has arrived, so that a slow client does not hold one.
type slots struct {
	limit int // of all instances together; no limit if 0

	mu          sync.Mutex
	taken       int                     // guarded by mu
	perInstance map[flux.InstanceID]int // guarded by mu; holds only instances with requests, since clients can invent IDs
}

func newSlots(limit int) *slots {
	return &slots{limit: limit, perInstance: make(map[flux.InstanceID]int)}
}

// acquire acquires a slot for a request to an instance. The caller must call release. The
// error is a tooBusy.
func (s *slots) acquire(instance flux.InstanceID) (release func(), err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.perInstance[instance] >= maxPerInstance:
		return nil, tooBusy{fmt.Errorf("%d requests to instance %q are in progress, which is its limit; try again", maxPerInstance, instance)}
	case s.limit > 0 && s.taken >= s.limit:
		return nil, tooBusy{fmt.Errorf("%d requests are in progress; try again", s.limit)}
	}
	s.taken++
	s.perInstance[instance]++
	return func() { s.release(instance) }, nil
}

func (s *slots) release(instance flux.InstanceID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.taken--
	if s.perInstance[instance]--; s.perInstance[instance] == 0 {
		delete(s.perInstance, instance)
	}
}
