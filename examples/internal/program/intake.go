package program

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"sync"
	"time"
)

var (
	// ErrSlowBody is matched by the error of reading a request's body that did not come
	// within the limit.
	ErrSlowBody = errors.New("the body did not come in time")
	// ErrEnding is matched by the error of reading a request's body that had not come
	// when the program was told to end.
	ErrEnding = errors.New("the program is ending")
)

// Limits bound what one client can hold of a server. A zero means the default.
type Limits struct {
	// Call is how long a request may take once its body has come. By default a minute.
	Call time.Duration
	// Body is how long a request's body may take to come. By default a minute.
	Body time.Duration
	// Rest is how long the server waits, after its answer, for the rest of a body that it
	// did not want. To close the connection at once could destroy the answer on its way
	// to a client that is still sending. By default a second.
	Rest time.Duration
}

func (l Limits) orDefaults() Limits {
	for _, one := range []struct {
		limit    *time.Duration
		fallback time.Duration
	}{{&l.Call, time.Minute}, {&l.Body, time.Minute}, {&l.Rest, time.Second}} {
		if *one.limit == 0 {
			*one.limit = one.fallback
		}
	}
	return l
}

// An intake is the outermost handler of a server. It limits the time that bodies take to
// come, before anything else looks at a request: net/http reads what a handler has left
// of a body, for ever if the client lets it, and Shutdown waits for that.
//
// A limit of the server's, http.Server.ReadTimeout, would not do: a handler that is at work
// when it passes finds its context ended.
type intake struct {
	next   http.Handler
	limits Limits

	mu      sync.Mutex
	ending  bool               // guarded by mu
	pending map[*incoming]bool // guarded by mu: the bodies that have not come
}

func newIntake(next http.Handler, limits Limits) *intake {
	return &intake{next: next, limits: limits.orDefaults(), pending: make(map[*incoming]bool)}
}

func (in *intake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Body == nil || r.Body == http.NoBody {
		// A deadline would end the context of a request that has come completely: the
		// server is reading already, to notice when the client goes away.
		in.next.ServeHTTP(w, r)
		return
	}
	// The connection can be used again only if the body is read to its end, see Read.
	w.Header().Set("Connection", "close")
	inner := *r // not r, whose body net/http looks at after the answer
	if r.Method != http.MethodPost && r.Method != http.MethodPut && r.Method != http.MethodPatch {
		defer func() {
			http.NewResponseController(w).SetReadDeadline(time.Now().Add(in.limits.Rest)) //nolint:errcheck // the connection is gone, then
		}()
		inner.Body, inner.ContentLength, inner.TransferEncoding = http.NoBody, 0, nil
		in.next.ServeHTTP(w, &inner)
		return
	}
	body := &incoming{ReadCloser: r.Body, intake: in, header: w.Header(), connection: http.NewResponseController(w)}
	defer body.end()
	if err := in.begin(body); err != nil {
		panic(http.ErrAbortHandler) // the connection takes no deadline: it is gone
	}
	inner.Body = body
	in.next.ServeHTTP(w, &inner)
}

// begin sets the deadline of a body.
func (in *intake) begin(body *incoming) error {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.pending[body] = true
	if in.ending {
		return body.connection.SetReadDeadline(time.Unix(0, 1))
	}
	return body.connection.SetReadDeadline(time.Now().Add(in.limits.Body))
}

// cutOff ends the wait for all bodies that have not come, and for those of requests that are
// still to come.
func (in *intake) cutOff() {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.ending = true
	for body := range in.pending {
		body.connection.SetReadDeadline(time.Unix(0, 1)) //nolint:errcheck // the connection is gone, then
	}
}

// An incoming is a body that is limited in time until it has come. It is read by the
// goroutine that serves the request, and by no other.
type incoming struct {
	io.ReadCloser
	intake     *intake
	header     http.Header // of the answer
	connection *http.ResponseController
}

// Read lifts the deadline when the body has come completely.
func (b *incoming) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	switch {
	case err == io.EOF:
		if b.forget(time.Time{}) {
			b.header.Del("Connection")
		}
	case errors.Is(err, os.ErrDeadlineExceeded):
		b.intake.mu.Lock()
		defer b.intake.mu.Unlock()
		if b.intake.ending {
			return n, fmt.Errorf("%w: %w", ErrEnding, err)
		}
		return n, fmt.Errorf("%w: %w", ErrSlowBody, err)
	}
	return n, err
}

// end is called when the request has been served.
func (b *incoming) end() { b.forget(time.Now().Add(b.intake.limits.Rest)) }

// forget returns false if the body has come already; otherwise it is not waited for any
// longer than until the deadline.
func (b *incoming) forget(deadline time.Time) bool {
	b.intake.mu.Lock()
	defer b.intake.mu.Unlock()
	if !b.intake.pending[b] {
		return false
	}
	delete(b.intake.pending, b)
	b.connection.SetReadDeadline(deadline) //nolint:errcheck // the connection is gone, then
	return true
}
