package natsbus

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/platformbus/platform"
	"github.com/platformbus/platform/flux"
	"github.com/platformbus/platform/natsbus/internal/protocol"
	"github.com/platformbus/platform/natsbus/internal/wire"
)

// ErrClosed is in the chain of the errors that calls return, and with which subscriptions end,
// after Close was called.
var ErrClosed = wire.ErrClosed

var (
	errNoInstance  = errors.New("instance ID is empty")
	errNilPlatform = errors.New("subscribe: platform is nil")
)

// A core is what the two sides of a bus share: the connection, and the state of the
// protocol. It knows neither side.
type core struct {
	conn     *nats.Conn
	options  Options
	subjects wire.Subjects
	counters counters
	born     time.Time
	frames   chan *nats.Msg // what comes on every subscription; never closed

	base  context.Context // of calls; ended if Close runs out of time
	abort context.CancelCauseFunc

	stop    chan struct{}  // closed by Close, when no call is under way
	workers sync.WaitGroup // the bus's goroutines, without those that serve calls
	running sync.WaitGroup // calls, made and served; one is added only while not closing

	mu      sync.Mutex
	shared  *protocol.Shared // guarded by mu, and so are all machines that it is shared by
	closing bool             // guarded by mu
	stopped bool             // guarded by mu; nothing is subscribed any more, and no error reported
	trouble trouble          // guarded by mu
	back    back             // guarded by mu
	resent  int64            // guarded by mu; of shared.Resent, how much was counted
}

// trouble is what the connection reported last.
type trouble struct {
	err error
	at  time.Time
}

// back is when the connection came back last, and how often it had until then.
type back struct {
	at    time.Time
	times uint64
}

// queued is how many frames may wait for the dispatcher. Beyond it the connection
// reports a slow consumer, and what is lost is sent again.
const queued = 16 << 10

// overloaded says whether frames come faster than they are dispatched. Callers that ask again are
// then not told that they are refused, so that the frames of others behind theirs are not dropped.
func (c *core) overloaded() bool { return len(c.frames) > queued/8 }

// now is the time that machines are given.
func (c *core) now() time.Duration { return time.Since(c.born) }

// A waker waits for something to do.
type waker interface{ wakeUp() }

// A signal wakes one goroutine. It has room for one value.
type signal chan struct{}

func (s signal) wakeUp() {
	select {
	case s <- struct{}{}:
	default:
	}
}

// steppedLocked is called after each step, still with the lock. It wakes calls for whose chunks there
// is room again.
func (c *core) steppedLocked() {
	for _, tag := range c.shared.Unblocked() {
		if w, ok := tag.(waker); ok {
			w.wakeUp()
		}
	}
	if n := c.shared.Resent - c.resent; n > 0 {
		c.resent += n
		c.options.Metrics.Resent.Add(float64(n))
	}
}

// buffers are for frames on their way to the connection; none is larger than a chunk and
// its head.
var buffers = sync.Pool{New: func() any { return new([]byte) }}

// send publishes messages, and returns the first error. What is lost is sent again by
// those who wait for an answer.
func (c *core) send(messages ...protocol.Message) (first error) {
	for i := range messages {
		m := &messages[i]
		if n := len(m.Frame.Body); n > 0 {
			c.countBytes(sent, n)
		}
		buf := buffers.Get().(*[]byte)
		*buf = m.Frame.AppendTo((*buf)[:0])
		var err error
		if m.Back == "" {
			err = c.conn.Publish(m.To, *buf) // which copies it, as the other does
		} else {
			err = c.conn.PublishRequest(m.To, m.Back, *buf)
		}
		buffers.Put(buf)
		if err != nil && first == nil {
			first = err
		}
	}
	return first
}

// permanent says whether an error of send is not just that of a connection that breaks. If
// the connection takes smaller messages now than the machines know, it is not either.
func (c *core) permanent(err error) bool {
	switch {
	case errors.Is(err, nats.ErrMaxPayload):
		return !c.learnChunk()
	case errors.Is(err, nats.ErrConnectionClosed), errors.Is(err, nats.ErrConnectionDraining), errors.Is(err, nats.ErrBadSubject):
		return true
	}
	return false
}

// learnChunk notes how large a chunk the connection takes now, and says whether that is less
// than before.
func (c *core) learnChunk() (smaller bool) {
	size := c.conn.MaxPayload()
	if size <= 0 { // it was never connected
		return false
	}
	chunk := wire.ChunkFor(size)
	c.mu.Lock()
	defer c.mu.Unlock()
	smaller = chunk < c.shared.Chunk
	c.shared.Chunk = chunk
	return smaller
}

// learnRTT notes how far away the server is, if that answers within a beat.
func (c *core) learnRTT() {
	begin := time.Now()
	if err := c.conn.FlushTimeout(c.options.Beat); err != nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.shared.RTT = time.Since(begin)
}

// A memory is what an instance takes of the memory for bodies.
type memory struct {
	*core
	token string
}

var _ wire.Memory = memory{}

func (m memory) Take(n int64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.shared.Memory.Take(m.token, n) {
		return protocol.MemoryError(n, m.options.MaxBytes)
	}
	return nil
}

func (m memory) Give(n int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.shared.Memory.Give(m.token, n)
}

// recentTrouble returns what the connection has reported in the time that a call may
// have waited for its answer.
func (c *core) recentTrouble() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.trouble.err == nil || time.Since(c.trouble.at) > 2*c.options.Silence {
		return nil
	}
	return c.trouble.err
}

// connectionError returns err, which is what came of using the connection, with the
// reason if it is closed: credentials that are refused, for instance.
func (c *core) connectionError(err error) error { return connectionProblem{c.connectionReason(err)} }

// A connectionProblem is what came of using this end's own connection.
type connectionProblem struct{ error }

func (p connectionProblem) Unwrap() error { return p.error }

func (c *core) connectionReason(err error) error {
	if !c.conn.IsClosed() {
		return fmt.Errorf("NATS connection: %w", err)
	}
	closed := fmt.Errorf("the NATS connection is closed: %w", nats.ErrConnectionClosed)
	reason := c.conn.LastError()
	if reason == nil || errors.Is(reason, nats.ErrConnectionClosed) {
		reason = c.recentTrouble()
	}
	if reason == nil || errors.Is(reason, nats.ErrConnectionClosed) {
		return closed
	}
	return fmt.Errorf("%w: %w", closed, reason)
}

// connectionDown returns an error if nothing can be sent now.
func (c *core) connectionDown() error {
	if status := c.conn.Status(); status != nats.CONNECTED && status != nats.DRAINING_SUBS {
		return c.connectionError(c.downError(status))
	}
	return nil
}

// downError says which servers the connection is to, without the credentials in their URLs, and
// what came of the last attempt.
func (c *core) downError(status nats.Status) error {
	var servers []string
	for _, server := range c.conn.Servers() {
		if u, err := url.Parse(server); err == nil && len(servers) < maxServers {
			servers = append(servers, u.Scheme+"://"+u.Host)
		}
	}
	err := fmt.Errorf("the NATS connection is down: %v, to %s", status, strings.Join(servers, ", "))
	if reason := c.conn.LastError(); reason != nil {
		err = fmt.Errorf("%w: %w", err, reason)
	}
	return err
}

// maxServers is how many servers an error names.
const maxServers = 3

func (c *core) countBytes(direction string, n int) {
	c.counters.bytes[direction].Add(float64(n))
}

// countCall counts a call that has ended.
func (c *core) countCall(s side, method string, err error) {
	outcome := outcomeOK
	switch {
	case s == made && errors.Is(err, platform.ErrPlatformNotAvailable):
		outcome = outcomeUnavailable
	case err != nil:
		outcome = outcomeError
	}
	c.counters.calls[callLabels{s, method, outcome}].Add(1)
}

const connectionHelp = `Cannot reach the NATS server

This service has no connection to the NATS server over which it reaches all
clusters, so this says nothing of the cluster or its daemon.

Check that the server named in the message is running and can be reached from
this service, and that it accepts the service's credentials and certificate.
The service connects again by itself.
`

// unavailable returns an UnavailableError for the instance. If this end's own connection is the
// reason, its help does not send people to the daemon.
func unavailable(inst flux.InstanceID, format string, args ...any) error {
	err := fmt.Errorf("instance %q: %w", string(inst), fmt.Errorf(format, args...))
	if _, own := errors.AsType[connectionProblem](err); own {
		return flux.UserConfigProblem{BaseError: flux.BaseError{Help: connectionHelp, Err: err}.Matching(platform.ErrPlatformNotAvailable)}
	}
	return platform.UnavailableError(err)
}

// noResponders says whether m is what the server sends in place of an answer when
// nobody has subscribed to the subject of a message.
func noResponders(m *nats.Msg) bool {
	if len(m.Data) != 0 || len(m.Header) == 0 {
		return false
	}
	status := m.Header["Status"]
	return len(status) == 1 && status[0] == "503"
}
