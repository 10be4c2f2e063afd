package program

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"sync"
	"time"
)

var (
	// ErrSlowBody is matched by the error of reading a request's body that did not arrive
	// within the limit.
	ErrSlowBody = errors.New("the body did not arrive in time")
	// ErrEnding is matched by the error of reading a request's body that had not arrived
	// when the program was asked to end.
	ErrEnding = errors.New("the program is ending")
)

// Limits bound the time that one client can hold a connection. Zero means the default.
type Limits struct {
	// Call bounds a request from the time when its body has arrived. The default is a minute.
	Call time.Duration
	// Body bounds the time until a request's body has arrived. The default is a minute.
	Body time.Duration
	// Rest bounds the time that the server waits, after its answer, for the rest of a body
	// that it does not read. If it closed the connection at once, the answer could be lost
	// on its way to a client that is still sending. The default is a second.
	Rest time.Duration
}

func (l Limits) orDefaults() Limits {
	return Limits{Call: cmp.Or(l.Call, time.Minute), Body: cmp.Or(l.Body, time.Minute), Rest: cmp.Or(l.Rest, time.Second)}
}

// A bodyLimiter is the outermost handler of a server. It limits the time until a request's
// body has arrived. net/http reads the part of a body that a handler has not read, without a
// time limit, and Shutdown waits for that.
//
// http.Server.ReadTimeout is no alternative: it ends the context of a handler that is still
// running when it passes.
type bodyLimiter struct {
	next   http.Handler
	limits Limits

	mu      sync.Mutex
	ending  bool                  // guarded by mu
	pending map[*limitedBody]bool // guarded by mu: the bodies that have not arrived
}

func (in *bodyLimiter) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Body == nil || r.Body == http.NoBody {
		// A deadline would end the context of a request that has arrived completely: the
		// server reads already, to detect when the client disconnects.
		in.next.ServeHTTP(w, r)
		return
	}
	// The connection can be reused only if the body is read to its end, see Read.
	w.Header().Set("Connection", "close")
	inner := *r // a copy, since net/http uses the body of r after the answer
	if r.Method != http.MethodPost && r.Method != http.MethodPut && r.Method != http.MethodPatch {
		defer func() {
			http.NewResponseController(w).SetReadDeadline(time.Now().Add(in.limits.Rest)) //nolint:errcheck // the connection is gone, then
		}()
		inner.Body, inner.ContentLength, inner.TransferEncoding = http.NoBody, 0, nil
		in.next.ServeHTTP(w, &inner)
		return
	}
	body := &limitedBody{ReadCloser: r.Body, limiter: in, header: w.Header(), connection: http.NewResponseController(w)}
	defer body.end()
	if err := in.track(body); err != nil {
		panic(http.ErrAbortHandler) // the connection takes no deadline: it is gone
	}
	inner.Body = body
	in.next.ServeHTTP(w, &inner)
}

// track sets the deadline of a body.
func (in *bodyLimiter) track(body *limitedBody) error {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.pending[body] = true
	if in.ending {
		return body.connection.SetReadDeadline(time.Unix(0, 1))
	}
	return body.connection.SetReadDeadline(time.Now().Add(in.limits.Body))
}

// abortPending ends the wait for all bodies that have not arrived, and for the bodies of
// later requests.
func (in *bodyLimiter) abortPending() {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.ending = true
	for body := range in.pending {
		body.connection.SetReadDeadline(time.Unix(0, 1)) //nolint:errcheck // the connection is gone, then
	}
}

// A limitedBody is a body with a deadline until it has arrived. Only the goroutine that
// serves the request reads it.
type limitedBody struct {
	io.ReadCloser
	limiter    *bodyLimiter
	header     http.Header // of the answer
	connection *http.ResponseController
}

// Read clears the deadline when the body has arrived completely.
func (b *limitedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	switch {
	case err == io.EOF:
		if b.stopWaiting(time.Time{}) {
			b.header.Del("Connection")
		}
	case errors.Is(err, os.ErrDeadlineExceeded):
		b.limiter.mu.Lock()
		defer b.limiter.mu.Unlock()
		if b.limiter.ending {
			return n, fmt.Errorf("%w: %w", ErrEnding, err)
		}
		return n, fmt.Errorf("%w: %w", ErrSlowBody, err)
	}
	return n, err
}

// end is called when the request has been served.
func (b *limitedBody) end() { b.stopWaiting(time.Now().Add(b.limiter.limits.Rest)) }

// stopWaiting returns false if the body has arrived already. Otherwise it sets the deadline
// given for the rest of the body.
func (b *limitedBody) stopWaiting(deadline time.Time) bool {
	b.limiter.mu.Lock()
	defer b.limiter.mu.Unlock()
	if !b.limiter.pending[b] {
		return false
	}
	delete(b.limiter.pending, b)
	b.connection.SetReadDeadline(deadline) //nolint:errcheck // the connection is gone, then
	return true
}
