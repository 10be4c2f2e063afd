package faultproxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

const (
	bufferSize     = 16 << 10
	maxConnections = 1024
	dialTimeout    = 10 * time.Second
	acceptAgain    = 10 * time.Millisecond
)

// The directions in which bytes pass.
const (
	toTarget = iota
	toClient
	directions
)

// A Proxy forwards connections to its target. Start returns one.
type Proxy struct {
	target   string
	listener net.Listener
	limits   [directions]*rate.Limiter
	ctx      context.Context // ended by Close
	cancel   context.CancelFunc
	running  sync.WaitGroup // the goroutines

	mu       sync.Mutex
	pairs    map[*pair]struct{} // guarded by mu
	accepted uint64             // guarded by mu; connections so far
	refusing bool               // guarded by mu
	open     chan struct{}      // guarded by mu; closed while bytes may pass, see Stall
	loss     *loss              // guarded by mu; nil until Drop
	delay    time.Duration      // guarded by mu
}

// A pair is the two connections of one client.
type pair struct {
	client *net.TCPConn
	ctx    context.Context // ended when the pair is to be closed
	cancel context.CancelFunc
	number uint64
	loss   *loss // nil if the protocol is not parsed
	delay  time.Duration

	mu     sync.Mutex
	target *net.TCPConn // guarded by mu; nil until it is connected
	cut    bool         // guarded by mu
}

// Start returns a proxy that listens on a free port of 127.0.0.1 and forwards connections
// to target, a host and a port. The methods of Proxy inject faults. The caller closes it.
func Start(target string) (*Proxy, error) {
	if _, _, err := net.SplitHostPort(target); err != nil {
		return nil, fmt.Errorf("faultproxy: target: %w", err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("faultproxy: %w", err)
	}
	p := &Proxy{target: target, listener: listener, pairs: map[*pair]struct{}{}, open: make(chan struct{})}
	close(p.open)
	for d := range p.limits {
		p.limits[d] = rate.NewLimiter(rate.Inf, bufferSize)
	}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	p.running.Go(p.accept)
	return p, nil
}

// Addr returns the host and port that the proxy listens on.
func (p *Proxy) Addr() string { return p.listener.Addr().String() }

// Close cuts all connections, and returns when every goroutine of the proxy has ended.
// It may be called twice.
func (p *Proxy) Close() {
	p.mu.Lock()
	p.cancel() // holds mu, so that no goroutine starts during the wait below
	p.mu.Unlock()
	_ = p.listener.Close() // it may be closed already
	p.Cut()
	p.running.Wait()
}

// Limit limits the bandwidth of each direction to bytesPerSecond, for all connections
// together. If it is not positive there is no limit.
func (p *Proxy) Limit(bytesPerSecond int) {
	limit := rate.Inf
	if bytesPerSecond > 0 {
		limit = rate.Limit(bytesPerSecond)
	}
	for _, l := range p.limits {
		l.SetLimit(limit)
	}
}

// Cut resets all connections, so that bytes in transit are lost, and returns their number.
// New connections are accepted.
func (p *Proxy) Cut() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	for pair := range p.pairs {
		pair.reset()
	}
	return len(p.pairs)
}

// CutEvery calls Cut at intervals of d, which must be positive, until stop or Close is
// called.
func (p *Proxy) CutEvery(d time.Duration) (stop func()) {
	ctx, cancel := context.WithCancel(p.ctx)
	ended := make(chan struct{})
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ctx.Err() != nil {
		return cancel
	}
	p.running.Go(func() {
		defer close(ended)
		tick := time.NewTicker(d)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				p.Cut()
			case <-ctx.Done():
				return
			}
		}
	})
	return func() {
		cancel()
		<-ended
	}
}

// Refuse sets whether new connections are reset at once. Existing connections stay.
func (p *Proxy) Refuse(refuse bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refusing = refuse
}

// Stall stops all bytes, in existing and new connections, until Resume. The connections
// stay open, and no bytes are lost.
func (p *Proxy) Stall() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if isClosed(p.open) {
		p.open = make(chan struct{})
	}
}

// Resume ends a Stall.
func (p *Proxy) Resume() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !isClosed(p.open) {
		close(p.open)
	}
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// accept accepts connections until the listener is closed.
func (p *Proxy) accept() {
	for {
		conn, err := p.listener.Accept()
		if err != nil {
			if p.ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				return
			}
			select { // the client has disconnected before, or there are too many open files
			case <-time.After(acceptAgain):
			case <-p.ctx.Done():
				return
			}
			continue
		}
		client := conn.(*net.TCPConn)
		p.mu.Lock()
		if p.refusing || len(p.pairs) >= maxConnections || p.ctx.Err() != nil {
			p.mu.Unlock()
			reset(client)
			continue
		}
		p.accepted++
		pair := &pair{client: client, number: p.accepted, loss: p.loss, delay: p.delay}
		pair.ctx, pair.cancel = context.WithCancel(p.ctx)
		p.pairs[pair] = struct{}{}
		p.mu.Unlock()
		p.running.Go(func() {
			p.serve(pair)
			p.mu.Lock()
			delete(p.pairs, pair)
			p.mu.Unlock()
		})
	}
}

// reset closes a connection so that its peer is notified at once, and discards bytes that
// were not yet sent.
func reset(conn *net.TCPConn) {
	_ = conn.SetLinger(0) // it may be closed already, and so below
	_ = conn.Close()
}

// reset closes both connections.
func (p *pair) reset() {
	p.cancel()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cut = true
	reset(p.client)
	if p.target != nil {
		reset(p.target)
	}
}

// serve connects a client, and returns when both directions have ended.
func (p *Proxy) serve(pair *pair) {
	defer pair.reset()
	dialer := net.Dialer{Timeout: dialTimeout}
	conn, err := dialer.DialContext(pair.ctx, "tcp", p.target)
	if err != nil {
		return // the client sees a reset
	}
	target := conn.(*net.TCPConn)
	pair.mu.Lock()
	pair.target = target
	if pair.cut {
		reset(target)
	}
	pair.mu.Unlock()
	// Large buffers in the kernel would make a slow link look like one with a long queue.
	for _, c := range []*net.TCPConn{pair.client, target} {
		_ = c.SetReadBuffer(4 * bufferSize)
		_ = c.SetWriteBuffer(4 * bufferSize)
	}
	var both sync.WaitGroup
	both.Go(func() { p.forward(pair, toTarget, target, pair.client) })
	both.Go(func() { p.forward(pair, toClient, pair.client, target) })
	both.Wait()
}

// forward copies one direction to its end.
func (p *Proxy) forward(pair *pair, direction int, to, from *net.TCPConn) {
	var through io.Writer = &valve{proxy: p, pair: pair, direction: direction, to: to}
	finish := func() error { return nil }
	if pair.delay > 0 {
		q := newQueue(pair, through)
		through, finish = q, q.close
	}
	var err error
	if pair.loss != nil {
		err = pair.loss.copy(through, from, pair.number*directions+uint64(direction))
	} else {
		// Without the wrapper, io.CopyBuffer would let the kernel copy and bypass the valve.
		_, err = io.CopyBuffer(through, struct{ io.Reader }{from}, make([]byte, bufferSize))
	}
	if err = errors.Join(err, finish()); err != nil {
		pair.reset()
		return
	}
	_ = to.CloseWrite() // the other direction goes on
}

// A valve is a writer that enforces Limit and Stall.
type valve struct {
	proxy     *Proxy
	pair      *pair
	direction int
	to        io.Writer
}

// Write writes p in buffers of at most bufferSize.
func (v *valve) Write(p []byte) (n int, err error) {
	for n < len(p) {
		buffer := p[n:min(len(p), n+bufferSize)]
		if err := v.proxy.limits[v.direction].WaitN(v.pair.ctx, len(buffer)); err != nil {
			return n, err
		}
		v.proxy.mu.Lock()
		open := v.proxy.open
		v.proxy.mu.Unlock()
		select {
		case <-open:
		case <-v.pair.ctx.Done():
			return n, v.pair.ctx.Err()
		}
		m, err := v.to.Write(buffer)
		n += m
		if err != nil {
			return n, err
		}
	}
	return n, nil
}
