package main

import (
	"fmt"
	"sync"

	"github.com/platformbus/platform/flux"
)

const (
	// maxRequests is how many requests may be with daemons at once.
	maxRequests = 64
	// maxPerInstance is how many of them may be with one instance: a daemon that accepts
	// calls and never answers must not stop the others.
	maxPerInstance = maxRequests / 4
)

// slots bound the requests that are under way. A request takes its slot after its body has
// come, so that a slow client does not hold one.
type slots struct {
	limit int // of all; no limit if 0

	mu    sync.Mutex
	taken int                     // guarded by mu
	of    map[flux.InstanceID]int // guarded by mu; has only instances with slots, for anyone can make up an ID
}

func newSlots(limit int) *slots { return &slots{limit: limit, of: make(map[flux.InstanceID]int)} }

// take takes a slot for a request to an instance, which the caller gives back by release.
// The error is a tooBusy.
func (s *slots) take(instance flux.InstanceID) (release func(), err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.of[instance] >= maxPerInstance:
		return nil, tooBusy{fmt.Errorf("%d requests to instance %q are under way, which is its share; try again", maxPerInstance, instance)}
	case s.limit > 0 && s.taken >= s.limit:
		return nil, tooBusy{fmt.Errorf("%d requests are under way; try again", s.limit)}
	}
	s.taken++
	s.of[instance]++
	return func() { s.give(instance) }, nil
}

func (s *slots) give(instance flux.InstanceID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.taken--
	if s.of[instance]--; s.of[instance] == 0 {
		delete(s.of, instance)
	}
}
