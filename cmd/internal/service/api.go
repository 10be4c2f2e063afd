package service

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/platformbus/platform"
	"github.com/platformbus/platform/cmd/internal/program"
	"github.com/platformbus/platform/flux"
)

// An api offers the instances of a bus over HTTP.
type api struct {
	bus       platform.Connecter
	instances []flux.InstanceID // the instances in the list
	measure   platform.Metrics
	traces    trace.TracerProvider
	name      string // of this service, for the logs of daemons
	maxBody   int64
	bodies    *budget
	slots     *slots
	probes    *slots        // for the list, which includes instances that have no free slot
	limit     time.Duration // of each request
	reading   chan struct{} // has one element for each request whose manifests are being read, see maxPlans
	log       *slog.Logger
}

// A platformHandler handles a request on a platform, whose calls obey the request's context. The
// body is in memory, and the handler may consume it.
type platformHandler func(w http.ResponseWriter, r *http.Request, p platform.Platform, body *chunks)

// withPlatform calls a handler with the platform that the path names.
func (a *api) withPlatform(handle platformHandler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		instance, err := program.InstanceID(r.PathValue("instance"))
		if err != nil {
			a.fail(w, r, badRequest{err}, nil)
			return
		}
		body, releaseBody, err := a.readBody(w, r)
		defer releaseBody()
		if err != nil {
			a.fail(w, r, err, nil)
			return
		}
		releaseSlot, err := a.slots.acquire(instance)
		if err != nil {
			a.fail(w, r, err, nil)
			return
		}
		defer releaseSlot()
		ctx, cancel := context.WithTimeout(r.Context(), a.limit)
		defer cancel()
		p, err := a.connect(platform.ContextWithCaller(ctx, a.callerOf(r)), instance)
		if err != nil {
			a.fail(w, r, err, nil)
			return
		}
		handle(w, r.WithContext(ctx), p, body)
	})
}

// callerOf returns who asks, as far as this service knows: clients share the token.
func (a *api) callerOf(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		host = r.RemoteAddr
	}
	return a.name + " for " + host
}

// connect returns the platform of an instance. Its calls are measured, traced, and obey ctx. The first
// call fails if no daemon is connected.
func (a *api) connect(ctx context.Context, instance flux.InstanceID) (platform.Platform, error) {
	p, err := a.bus.Connect(instance)
	if err != nil {
		return nil, err
	}
	return platform.WithContext(ctx, a.measure.Instrument(platform.Trace(p, a.traces))), nil
}
