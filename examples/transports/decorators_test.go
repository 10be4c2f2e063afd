package transports

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/platformbus/platform"
	"github.com/platformbus/platform/flux"
)

// battery runs the battery over a transport whose calls stop with their context.
func battery(t *testing.T, over func(*testing.T, platform.Platform) platform.Platform) {
	platform.PlatformTestBatteryWith(t, func(mock platform.Platform) platform.Platform {
		return over(t, mock)
	}, platform.BatteryOptions{StopsCalls: true})
}

// decorate returns a client that calls p directly, through a function.
func decorate(around func(Request, func(Request) Reply) Reply) func(*testing.T, platform.Platform) platform.Platform {
	return func(_ *testing.T, p platform.Platform) platform.Platform {
		return newClient(func(ctx context.Context, r Request) (Reply, error) {
			view := platform.WithContext(ctx, p)
			reply := around(r, func(r Request) Reply { return serve(view, r) })
			return reply, context.Cause(ctx)
		})
	}
}

// A sorter orders IDs and services, so that logs of requests and replies can be compared.
func TestSorting(t *testing.T) {
	battery(t, decorate(func(r Request, next func(Request) Reply) Reply {
		r.IDs = slices.Sorted(slices.Values(r.IDs))
		reply := next(r)
		slices.SortFunc(reply.Services, func(a, b platform.Service) int { return strings.Compare(string(a.ID), string(b.ID)) })
		return reply
	}))
}

// A merger asks for each ID once.
func TestMerging(t *testing.T) {
	battery(t, decorate(func(r Request, next func(Request) Reply) Reply {
		var set flux.ServiceIDSet
		set.Add(r.IDs)
		r.IDs = set.ToSlice()
		return next(r)
	}))
}

// A handshake asks for the version with the first call.
func TestHandshake(t *testing.T) {
	battery(t, func(t *testing.T, p platform.Platform) platform.Platform {
		shake := sync.OnceFunc(func() { _, _ = p.Version() })
		return decorate(func(r Request, next func(Request) Reply) Reply {
			shake()
			return next(r)
		})(t, p)
	})
}

// Reads are made again if no answer came; writes are not.
func TestRetriesOfReads(t *testing.T) {
	battery(t, decorate(func(r Request, next func(Request) Reply) (reply Reply) {
		for range 3 {
			reply = next(r)
			write := r.Method == "Apply" || r.Method == "Sync"
			if write || !errors.Is(codec.Decode(reply.Error), platform.ErrPlatformNotAvailable) {
				break
			}
		}
		return reply
	}))
}

// A curiousBus asks each daemon for its version when it subscribes and before each Ping, and
// reports the FatalError alone, without what was around it.
type curiousBus struct {
	*platform.StandaloneMessageBus
}

func (b curiousBus) Subscribe(inst flux.InstanceID, p platform.Platform, done chan<- error) {
	if p == nil {
		b.StandaloneMessageBus.Subscribe(inst, nil, done)
		return
	}
	_, _ = p.Version()
	b.StandaloneMessageBus.Subscribe(inst, decorate(func(r Request, next func(Request) Reply) Reply {
		if r.Method == "Ping" {
			next(Request{Method: "Version"})
		}
		reply := next(r)
		if fatal, ok := platform.AsFatal(codec.Decode(reply.Error)); ok {
			reply.Error = codec.Encode(fatal)
		}
		return reply
	})(nil, p), done)
}

func TestBusThatAsksForTheVersionAndSendsTheFatalErrorAlone(t *testing.T) {
	platform.MessageBusTestBatteryWith(t, func(*testing.T) platform.MessageBus {
		return curiousBus{platform.NewStandaloneMessageBus(platform.BusMetrics{})}
	}, platform.BatteryOptions{StopsCalls: true})
}
