package natsbus

import (
	"fmt"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go"
)

// Options tunes a Bus. The zero value is good for most.
type Options struct {
	// Prefix is the first token of every subject; "flux" if empty. Services and daemons
	// must agree on it.
	Prefix string
	// Beat is how often each side of a call says that it is there; a second if zero, and
	// otherwise at least a millisecond. A peer that is silent for 5 beats is taken for lost,
	// and one whose subscription is gone for 2.5. Services and daemons need not agree on it.
	Beat time.Duration
	// MaxBody is the limit of a request's or a result's size, encoded; 256 MiB if zero.
	MaxBody int64
	// MaxBytes is the limit of what all bodies that are being sent or received take
	// together; 1 GiB if zero.
	MaxBytes int64
	// MaxCalls is the limit of calls made, and of calls served, at one time; 8192 if zero.
	MaxCalls int
	// MaxCallsPerInstance is the limit of reads, and of calls of Apply and Sync, that are
	// served for one instance at one time; 256 if zero. They are counted apart, so
	// that reads are served however many Applies are under way.
	MaxCallsPerInstance int
	// Window is the limit of bytes of large bodies that were sent and not yet
	// acknowledged, by all calls together; 1 MiB if zero. Small bodies do not wait for it.
	Window int64
	// Metrics counts; the zero value counts nothing.
	Metrics Metrics
	// Logger gets what an operator must know, and never a payload; none if nil.
	Logger *slog.Logger
}

func (o Options) withDefaults() (Options, error) {
	if o.Prefix == "" {
		o.Prefix = "flux"
	}
	if !isName(o.Prefix) {
		return o, fmt.Errorf("natsbus: prefix %q: want letters, digits, _ and -, at most %d", o.Prefix, maxName)
	}
	if o.Beat < 0 || o.MaxBody < 0 || o.MaxBytes < 0 || o.MaxCalls < 0 || o.MaxCallsPerInstance < 0 || o.Window < 0 {
		return o, fmt.Errorf("natsbus: options: a limit is negative")
	}
	if o.Beat > 0 && o.Beat < time.Millisecond {
		return o, fmt.Errorf("natsbus: options: a beat of %v is less than a millisecond", o.Beat)
	}
	orDefault(&o.Beat, time.Second)
	orDefault(&o.MaxBody, 256<<20)
	orDefault(&o.MaxBytes, 1<<30)
	orDefault(&o.MaxCalls, 8192)
	orDefault(&o.MaxCallsPerInstance, 256)
	orDefault(&o.Window, 1<<20)
	o.Window = max(o.Window, 2*chunkSize)
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	o.Metrics = o.Metrics.orNone()
	return o, nil
}

func orDefault[N ~int | ~int64](n *N, value N) {
	if *n == 0 {
		*n = value
	}
}

// Both sides of a call go by these.
func (o *Options) silence() time.Duration { return 5 * o.Beat }     // without a sign, the peer is lost
func (o *Options) grace() time.Duration   { return 5 * o.Beat / 2 } // without a subscription of the peer
func (o *Options) stall() time.Duration   { return 30 * o.Beat }    // without progress, though it beats

// ConnectOptions returns the settings of a connection that a Bus works best with, for
// users to start from. A connection without them works too; it takes longer to come
// back, and, since requests are then kept while it is down, a read may be carried out
// after its caller has given up.
func ConnectOptions() []nats.Option {
	return []nats.Option{
		nats.MaxReconnects(-1),
		nats.RetryOnFailedConnect(true),
		nats.ReconnectWait(250 * time.Millisecond),
		nats.ReconnectJitter(250*time.Millisecond, 250*time.Millisecond),
		nats.ReconnectBufSize(-1),
		nats.PingInterval(5 * time.Second),
		nats.MaxPingsOutstanding(2),
		nats.FlusherTimeout(10 * time.Second),
	}
}
