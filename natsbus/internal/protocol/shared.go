package protocol

import (
	"time"

	"github.com/platformbus/platform/natsbus/internal/wire"
)

// A Config is what a bus is set up with. All of it is required but Fault.
type Config struct {
	Subjects wire.Subjects
	Service  string // the token in reply subjects that permissions can name
	Bus      string // the bus's own name in them

	Beat    time.Duration // how often each end says that it is there
	Silence time.Duration // without a sign for that long, the peer is lost

	MaxBody             int64 // of one body
	MaxBytes            int64 // of all bodies together
	MaxCalls            int   // reads, and writes, made and served
	MaxCallsPerInstance int   // reads, and writes, served for one instance
	Window              int64 // bytes of large bodies sent and not acknowledged

	NewName   func() string      // of calls
	NewTicket func() wire.Ticket // see wire.Ticket
	Random    func(below time.Duration) time.Duration

	Fault Fault // of a broken variant, in tests
}

func (c *Config) grace() time.Duration { return c.Silence / 2 } // without a subscription of the peer
func (c *Config) stall() time.Duration { return 6 * c.Silence } // without progress, though it beats

// Shared is what all calls of one bus share. It and they must be used by one goroutine at a
// time.
type Shared struct {
	Config
	Chunk  int64         // the largest chunk that the connection takes now
	RTT    time.Duration // of the connection to its server; zero if it is not known
	Resent int64         // how many chunks were sent again
	Memory Pool          // what bodies take
	Made   [2]Pool       // reads and writes made, see Class
	Served [2]Pool       // reads and writes served
	window window
	paths  map[string]*path // by the token of the instance; of large bodies that are being sent
	seen   recent           // instances that have answered
}

// NewShared returns what calls share that nothing uses yet.
func NewShared(c Config) *Shared {
	calls := func() [2]Pool {
		return [2]Pool{NewPool(int64(c.MaxCalls)), NewPool(int64(c.MaxCalls))}
	}
	return &Shared{
		Config: c,
		Chunk:  wire.MaxChunk,
		Memory: NewPool(c.MaxBytes),
		Made:   calls(),
		Served: calls(),
		window: window{Pool: NewPool(c.Window), base: c.Window},
		paths:  map[string]*path{},
	}
}

// Class returns the index of the limits of reads or of writes.
func Class(write bool) int {
	if write {
		return 1
	}
	return 0
}

// Unblocked returns the tags of calls for whose chunks there may be room again, each of
// which had found none. Ask after each step.
func (s *Shared) Unblocked() []any {
	tags := s.window.unblocked
	s.window.unblocked = nil
	return tags
}

// A Message is a frame, and where to send it.
type Message struct {
	To    string
	Back  string // where the server says that nobody is there; none if empty
	Frame wire.Frame
}

// maxSeen is how many instances are known to have answered.
const maxSeen = 4096

// recent is a set of strings, of which it forgets some when it has too many.
type recent map[string]struct{}

func (r *recent) add(s string) {
	if *r == nil {
		*r = recent{}
	}
	if _, there := (*r)[s]; !there && len(*r) >= maxSeen {
		for any := range *r {
			delete(*r, any)
			break
		}
	}
	(*r)[s] = struct{}{}
}

func (r recent) has(s string) bool {
	_, there := r[s]
	return there
}

// InFlight returns how many bytes are sent and not acknowledged.
func (s *Shared) InFlight() int64 { return s.window.used }
