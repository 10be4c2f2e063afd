package program

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/platformbus/platform/internal/oneline"
)

// A Server serves HTTP. Serve starts its goroutine; Close ends it.
type Server struct {
	server *http.Server
	bodies *bodyLimiter
	addr   net.Addr
	failed chan error // receives one error if the server stops before Close
}

// Serve serves HTTP. It limits the size of a request's header to 16 KiB, and the time until
// its body has arrived to limits.Body. The handler gets no body for methods other than POST,
// PUT and PATCH.
func Serve(addr string, handler http.Handler, limits Limits, log *slog.Logger) (*Server, error) {
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("serve HTTP: %w", err)
	}
	return serve(listener, handler, limits, log), nil
}

func serve(listener net.Listener, handler http.Handler, limits Limits, log *slog.Logger) *Server {
	limits = limits.orDefaults()
	bodies := &bodyLimiter{next: handler, limits: limits, pending: make(map[*limitedBody]bool)}
	s := &Server{
		server: &http.Server{
			Handler:           bodies,
			ReadHeaderTimeout: 10 * time.Second,
			WriteTimeout:      limits.Body + limits.Call,
			IdleTimeout:       2 * time.Minute,
			MaxHeaderBytes:    16 << 10,
			ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelWarn),
			// The general handler would read the body of OPTIONS * without a time limit.
			DisableGeneralOptionsHandler: true,
		},
		bodies: bodies,
		addr:   listener.Addr(),
		failed: make(chan error, 1),
	}
	log.Info("serving HTTP", "addr", s.addr.String())
	go func() {
		if err := s.server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			s.failed <- fmt.Errorf("serve HTTP: %w", err)
		}
	}()
	return s
}

// Addr returns the address that is served.
func (s *Server) Addr() net.Addr { return s.addr }

// Failed returns a channel that receives an error if the server stops by itself.
func (s *Server) Failed() <-chan error { return s.failed }

// Close stops accepting requests. It aborts requests whose body has not arrived, since their
// handling has not begun, and waits for the others. When ctx ends it aborts these too, which
// ends their contexts, and returns an error.
func (s *Server) Close(ctx context.Context) error {
	s.bodies.abortPending()
	if err := s.server.Shutdown(ctx); err != nil {
		s.server.Close()
		return fmt.Errorf("HTTP requests in progress were aborted: %w", err)
	}
	return nil
}

// NewRegistry returns a new registry with the collectors of the Go runtime and of the process,
// and a handler that serves it.
func NewRegistry() (*prometheus.Registry, http.Handler) {
	r := prometheus.NewRegistry()
	r.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return r, promhttp.HandlerFor(r, promhttp.HandlerOpts{MaxRequestsInFlight: 4, Timeout: 10 * time.Second})
}

// Health returns a handler that answers 200 if check returns nil, and otherwise 503 with the
// error. It runs one check at a time and caches the result for a second, so that requests for
// health cannot load the systems that are checked. It logs when what was healthy no longer is,
// and when it is again.
func Health(check func(context.Context) error, log *slog.Logger) http.Handler {
	const fresh, patience = time.Second, 5 * time.Second
	turn := make(chan struct{}, 1) // full while last and wasHealthy are in use
	var last struct {
		at  time.Time
		err error
	}
	wasHealthy := false // at least once
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), patience)
		defer cancel()
		select {
		case turn <- struct{}{}:
		case <-ctx.Done():
			http.Error(w, "other checks take too long", http.StatusServiceUnavailable)
			return
		}
		if time.Since(last.at) > fresh {
			err := check(ctx)
			if r.Context().Err() == nil { // otherwise the client has disconnected, and the result is not valid
				switch {
				case wasHealthy && last.err == nil && err != nil:
					log.Warn("not healthy", "err", err)
				case wasHealthy && last.err != nil && err == nil:
					log.Info("healthy again")
				}
				last.at, last.err = time.Now(), err
				wasHealthy = wasHealthy || err == nil
			}
		}
		err := last.err
		<-turn
		if err != nil {
			http.Error(w, oneline.Line(err.Error()), http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ok")
	})
}

// Live answers 200 as long as the server works.
func Live(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") }
