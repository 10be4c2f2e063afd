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

// A Server serves HTTP. Serve starts its goroutine, Close ends it.
type Server struct {
	server *http.Server
	intake *intake
	addr   net.Addr
	log    *slog.Logger
	failed chan error // one error, should it stop serving before Close
}

// Serve serves HTTP. A request's header is small, and its body comes within limits.Body; the
// handler gets no body with methods that have no use for one, such as GET.
func Serve(addr string, handler http.Handler, limits Limits, log *slog.Logger) (*Server, error) {
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("serve HTTP: %w", err)
	}
	return serve(listener, handler, limits, log), nil
}

func serve(listener net.Listener, handler http.Handler, limits Limits, log *slog.Logger) *Server {
	limits = limits.orDefaults()
	in := newIntake(handler, limits)
	s := &Server{
		server: &http.Server{
			Handler:           in,
			ReadHeaderTimeout: 10 * time.Second,
			WriteTimeout:      limits.Body + limits.Call,
			IdleTimeout:       2 * time.Minute,
			MaxHeaderBytes:    16 << 10,
			ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelWarn),
			// It would read the body of OPTIONS * with no limit of time.
			DisableGeneralOptionsHandler: true,
		},
		intake: in,
		addr:   listener.Addr(),
		log:    log,
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

// Failed returns a channel on which comes why the server has stopped by itself.
func (s *Server) Failed() <-chan error { return s.failed }

// Close takes no more requests. It cuts off those whose body has not come, for nothing has
// begun because of them, and waits for the others. When ctx ends it cuts these off too, which
// ends their contexts, and is an error.
func (s *Server) Close(ctx context.Context) error {
	s.intake.cutOff()
	err := s.server.Shutdown(ctx)
	if err != nil {
		s.server.Close()
		return fmt.Errorf("HTTP requests under way were cut off: %w", err)
	}
	return nil
}

// NewRegistry returns a registry of our own, with what Go and the system tell of the
// process, and the handler that shows it.
func NewRegistry() (*prometheus.Registry, http.Handler) {
	r := prometheus.NewRegistry()
	r.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return r, promhttp.HandlerFor(r, promhttp.HandlerOpts{MaxRequestsInFlight: 4, Timeout: 10 * time.Second})
}

// Health returns a handler that answers 200 if check returns nil, and otherwise 503 and why.
// One check is made at a time, and its outcome is good for a second, so that nobody can
// have us ask others in quick succession.
func Health(check func(context.Context) error) http.Handler {
	const fresh, patience = time.Second, 5 * time.Second
	turn := make(chan struct{}, 1) // held while last is used
	var last struct {
		at  time.Time
		err error
	}
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
			last.err = check(ctx)
			last.at = time.Now()
			if r.Context().Err() != nil {
				last.at = time.Time{} // the asker has gone, which says nothing
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

// Live answers 200 for as long as anything is answered at all.
func Live(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") }
