package natsbus

import (
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/platformbus/platform/natsbus/internal/wire"
)

// Options configure a Bus. The zero value is useful.
type Options struct {
	// Prefix is the first token of every subject; "flux" if empty. Services and daemons
	// must agree on it.
	Prefix string
	// Service is a name for the buses of one service, which is in the subjects of what
	// daemons send it; "service" if empty. With it permissions can keep two services from
	// hearing each other's answers, see "Permissions" in the package comment. It is escaped like
	// an instance ID.
	Service string
	// Beat is the interval in which each end of a call shows that it is alive; a second if
	// zero, and otherwise at least a millisecond. Services and daemons need not agree on it.
	Beat time.Duration
	// Silence is how long a peer may send nothing until it counts as lost; 5 beats if zero, and
	// otherwise at least 2. A peer whose subscription is gone is lost after half of that time,
	// and one that sends beats but no data, although it should, after six times. Beats wait behind
	// data: on a slow link it must be longer than the data in flight takes, which is Window, and
	// 256 KiB for each instance beyond four.
	Silence time.Duration
	// MaxBody is the limit of a request's or a result's size, encoded; 256 MiB if zero.
	MaxBody int64
	// MaxBytes is the limit of all bodies together that are being sent or received; 1 GiB if
	// zero. It counts bytes that have arrived, not those that were announced. One instance
	// leaves a ninth of it to others.
	MaxBytes int64
	// MaxCalls is the limit of calls in progress; 8192 if zero. Reads and writes are counted
	// apart, and so are calls made and calls served. One instance leaves a ninth of it to
	// others.
	MaxCalls int
	// MaxCallsPerInstance is the limit of calls in progress that are served for one instance;
	// 256 if zero. Reads and writes are counted apart, so that reads are served however many
	// Applies are in progress.
	MaxCallsPerInstance int
	// Window is the limit of bytes of large bodies that were sent and not yet
	// acknowledged, by all calls together; 1 MiB if zero. Small bodies do not wait for it. It
	// grows with the path, up to 16 times where a chunk takes 160 ms to be acknowledged. An
	// instance always has 256 KiB, whatever the others wait for.
	Window int64
	// Metrics counts; the zero value counts nothing.
	Metrics Metrics
	// Logger receives what an operator should know, and never a payload; none if nil.
	Logger *slog.Logger
}

func (o Options) withDefaults() (Options, error) {
	if o.Prefix == "" {
		o.Prefix = "flux"
	}
	if o.Service == "" {
		o.Service = "service"
	}
	if !wire.IsName(o.Prefix) {
		return o, fmt.Errorf("natsbus: prefix %q: want letters, digits, _ and -, at most %d", o.Prefix, wire.MaxName)
	}
	if o.Beat < 0 || o.Silence < 0 || o.MaxBody < 0 || o.MaxBytes < 0 || o.MaxCalls < 0 || o.MaxCallsPerInstance < 0 || o.Window < 0 {
		return o, fmt.Errorf("natsbus: options: a limit is negative")
	}
	if o.Beat > 0 && o.Beat < time.Millisecond {
		return o, fmt.Errorf("natsbus: options: a beat of %v is less than a millisecond", o.Beat)
	}
	orDefault(&o.Beat, time.Second)
	orDefault(&o.Silence, 5*o.Beat)
	if o.Silence < 2*o.Beat {
		return o, fmt.Errorf("natsbus: options: a silence of %v is less than two beats of %v", o.Silence, o.Beat)
	}
	orDefault(&o.MaxBody, 256<<20)
	orDefault(&o.MaxBytes, 1<<30)
	orDefault(&o.MaxCalls, 8192)
	orDefault(&o.MaxCallsPerInstance, 256)
	orDefault(&o.Window, 1<<20)
	o.Window = max(o.Window, 2*wire.MaxChunk)
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	o.Metrics = o.Metrics.orNone()
	return o, nil
}

// unlimited is what a larger limit is reduced to, so that the multiples of it that are calculated
// fit into 64 bits.
const unlimited = 1 << 55

// orDefault sets a limit to value if it is zero.
func orDefault[N ~int | ~int64](limit *N, value N) {
	if *limit == 0 {
		*limit = value
	}
	*limit = N(min(int64(*limit), unlimited))
}

// ConnectOptions returns the options of a connection with which a Bus works best; options of
// yours may follow them. A connection without them works too, but takes longer to reconnect, and
// keeps requests while it is down, so that a read may be executed after its caller has given up.
// Credentials that are refused are tried again, since a server may know them later; until then
// each call fails with the server's error. A server that cannot be reached at first is no error of
// nats.Connect either: nats.ReconnectErrHandler sets what is told of each attempt that fails. The
// name of the connection is ConnectionName(""); nats.Name sets another.
func ConnectOptions() []nats.Option {
	return []nats.Option{
		nats.Name(ConnectionName("")),
		nats.MaxReconnects(-1),
		nats.RetryOnFailedConnect(true),
		nats.IgnoreAuthErrorAbort(),
		nats.CustomReconnectDelay(reconnectDelay),
		nats.ReconnectBufSize(-1),
		nats.PingInterval(5 * time.Second),
		nats.MaxPingsOutstanding(2),
		nats.FlusherTimeout(10 * time.Second),
	}
}

const (
	firstReconnect = 250 * time.Millisecond
	backoffs       = 6 // how many waits grow, up to 8 s
	// lastReconnect is what all later waits are close to: a server that returns is back for everybody
	// within 15 s.
	lastReconnect = 14500 * time.Millisecond
)

// reconnectDelay returns how long to wait after a number of attempts: twice as long each time, and
// at random, so that not all clients of a server come at once.
func reconnectDelay(attempts int) time.Duration {
	return reconnectWait(attempts, rand.N[time.Duration])
}

// reconnectWait is reconnectDelay with a source of random times. The first wait that no longer
// grows spreads clients evenly over lastReconnect. Those after it hardly differ, so that clients
// stay spread, and of 1,000 some 70 come in a second: were they any shorter, more would.
func reconnectWait(attempts int, random func(below time.Duration) time.Duration) time.Duration {
	switch attempts = max(attempts, 1); {
	case attempts <= backoffs:
		wait := firstReconnect << (attempts - 1)
		return wait/2 + random(wait/2)
	case attempts == backoffs+1:
		return random(lastReconnect)
	default:
		return lastReconnect - random(lastReconnect/50)
	}
}

// ConnectionName returns the name of a connection that the server's operator sees: the program,
// its role if that is not empty, as in "daemon of my-cluster", and the host.
func ConnectionName(role string) string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown host"
	}
	name := filepath.Base(os.Args[0])
	if role != "" {
		name += ", " + role + ","
	}
	return name + " on " + host
}
