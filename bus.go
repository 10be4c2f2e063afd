package platform

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	pkgerrors "github.com/pkg/errors"

	"github.com/platformbus/platform/flux"
)

// MessageBus handles routing messages to/from the matching platform.
//
// It may be used by many goroutines at once. A call, a Ping, a Subscribe and a Connect hold
// up no other, however long they take. MessageBusTestBattery checks that a bus keeps the
// contract of each method.
//
// An instance ID is any string but the empty one, and has no structure: instances do not
// affect each other.
//
// One rule holds for the errors of all buses, within one process and between processes:
// what the daemon's Platform returned arrives as the comment of Platform says. An ApplyError
// or SyncError is not wrapped; a service wraps it in a ClusterError where it shows it to a
// person. Only a plain error may come in a ClusterError, which a bus between processes uses
// to tell the cluster's errors from its own. Its own are an UnavailableError, if no answer
// came, and an UpgradeNeededError.
type MessageBus interface {
	Connecter

	// Subscribe registers a platform as the daemon for the instance specified. When it
	// returns, calls for that instance go to p, and an earlier subscription of the
	// instance has been ended, though its calls may still be in progress.
	//
	// Each subscription ends at most once, and the bus then sends the cause to done: an
	// error that matches ErrKicked if a newer one took its place, or what a call to p
	// returned if it contains a FatalError, see AsFatal: the whole error, or the FatalError
	// alone. No other error of a call ends a subscription, no other cause matches ErrKicked,
	// and no other contains a FatalError. The bus never closes done. A call in progress at
	// that time still returns its own result, and its FatalError, if it is one, ends no later
	// subscription.
	//
	// A subscription has an identity of its own: subscriptions of one instance or several
	// may have the same p, which need not be comparable, and the same done.
	//
	// An empty ID or a nil Platform is refused: the error is sent to done, and says which
	// it is; the current subscription of the instance is not affected.
	//
	// If done is nil the cause is discarded. A done that nobody reads blocks nothing else,
	// and delays no cause of another subscription; the cause is there when it is read. With
	// a buffer of one value, nothing has to wait for the subscriber.
	Subscribe(inst flux.InstanceID, p Platform, done chan<- error)

	// Ping returns nil if the daemon for the instance given is known to be connected
	// and its platform answers a Ping, an UnavailableError, which matches
	// ErrPlatformNotAvailable, if no daemon is connected, and the error that the
	// platform returned otherwise. An empty ID is an error. NB this differs from the
	// semantics of Connecter.Connect.
	Ping(inst flux.InstanceID) error
}

// ErrKicked is matched by the cause of a subscription that a newer subscription for the
// same instance has ended. A daemon that receives it must not subscribe again at once, or
// the two daemons would kick each other for ever.
var ErrKicked = errors.New("subscription ended: a newer subscription for the same instance has taken its place")

// These report a mistake of the caller. They are wrapped where they are returned, by
// github.com/pkg/errors, so that %+v prints the stack of the call that made the mistake:
// what Subscribe reports arrives on a channel, far from that call.
var (
	errNilPlatform = errors.New("platform is nil")
	errNoInstance  = errors.New("instance ID is empty")
)

// StandaloneMessageBus is a MessageBus within one process. NewStandaloneMessageBus
// returns one; the zero value is ready to use and counts nothing.
//
// It starts a goroutine only to deliver a cause to a channel that is full, and a call
// takes no lock. Its memory grows with the number of subscriptions, not with the number
// of instances that were connected to.
type StandaloneMessageBus struct {
	metrics BusMetrics
	// subscribed maps each flux.InstanceID to its current *subscription. The goroutine
	// that removes a subscription ends it, so that each ends once.
	subscribed sync.Map
}

var _ MessageBus = (*StandaloneMessageBus)(nil)

// NewStandaloneMessageBus returns an empty bus that counts kicks in metrics, for instance
// BusMetricsImpl.
func NewStandaloneMessageBus(metrics BusMetrics) *StandaloneMessageBus {
	return &StandaloneMessageBus{metrics: metrics}
}

// A subscription is identified by its address; its Platform need not be comparable.
type subscription struct {
	platform Platform
	done     chan<- error // made and closed by the subscriber; nil discards the cause
	ended    atomic.Bool  // set before the cause is sent: no new call uses the subscription
}

// end marks the subscription as ended, which the handles see, then sends the cause to the
// subscriber. If the channel is full a goroutine delivers the cause and ends with the
// delivery, so that nothing else waits.
func (s *subscription) end(cause error) {
	s.ended.Store(true)
	if s.done == nil {
		return
	}
	select {
	case s.done <- cause:
	default:
		go func() { s.done <- cause }()
	}
}

// Connect hands back a platform, given an instance ID. Since the platform will not
// always be connected, and we want to be able to process operations that don't involve
// a platform (like setting config), we have a special value for a disconnected
// platform, rather than returning an error: a handle, which looks up the instance at
// each call. Connect returns an error only for an empty ID.
func (s *StandaloneMessageBus) Connect(inst flux.InstanceID) (Platform, error) {
	if inst == "" {
		return nil, pkgerrors.Wrap(errNoInstance, "connect")
	}
	return &handle{bus: s, inst: inst}, nil
}

// Subscribe introduces a Platform to the message bus, so that requests can be routed
// to it. Once the connection is closed -- trying to use it is the only way to tell if
// it's closed -- the error representing the cause will be sent to the channel
// supplied, see MessageBus.
func (s *StandaloneMessageBus) Subscribe(inst flux.InstanceID, p Platform, complete chan<- error) {
	next := &subscription{platform: p, done: complete}
	switch {
	case inst == "":
		next.end(pkgerrors.Wrap(errNoInstance, "subscribe"))
		return
	case p == nil:
		next.end(pkgerrors.Wrap(errNilPlatform, "subscribe"))
		return
	}
	if last, kicked := s.subscribed.Swap(inst, next); kicked {
		s.metrics.IncrKicks(inst)
		last.(*subscription).end(ErrKicked)
	}
}

// Ping returns nil if the specified instance is connected, and an error if not, see
// MessageBus. No daemon can be connected under an empty ID: that is an UnavailableError too.
func (s *StandaloneMessageBus) Ping(inst flux.InstanceID) error {
	if inst == "" {
		return UnavailableError(pkgerrors.Wrap(errNoInstance, "ping"))
	}
	return (&handle{bus: s, inst: inst}).Ping()
}

// Version returns the fluxd version for the connected instance if the specified
// instance is connected, and an error if not, like that of Ping.
func (s *StandaloneMessageBus) Version(inst flux.InstanceID) (string, error) {
	if inst == "" {
		return "", UnavailableError(pkgerrors.Wrap(errNoInstance, "version"))
	}
	return (&handle{bus: s, inst: inst}).Version()
}

// A handle is the Platform of an instance on the bus. It does not embed Platform: a method
// added to the interface must fail to compile here rather than go to a stale daemon.
type handle struct {
	bus  *StandaloneMessageBus
	inst flux.InstanceID
	ctxs []context.Context // contexts that end calls, the innermost view's first

	// last is the subscription that the last call used. While it has not ended it is the
	// current one, and to check that costs a tenth of a lookup.
	last atomic.Pointer[subscription]
}

var _ Platform = (*handle)(nil)

// WithContext returns a handle whose calls obey ctx and the contexts of h, whichever
// daemon they go to.
func (h *handle) WithContext(ctx context.Context) Platform {
	return &handle{bus: h.bus, inst: h.inst, ctxs: append(slices.Clip(h.ctxs), ctx)}
}

// lookup returns the current subscription of the instance, and its Platform with the
// handle's contexts. It fails with the cause of a context that has ended, or with an
// UnavailableError. It stores the subscription in last.
func (h *handle) lookup() (*subscription, Platform, error) {
	for _, ctx := range h.ctxs {
		if err := context.Cause(ctx); err != nil {
			return nil, nil, err
		}
	}
	s := h.last.Load()
	if s == nil || s.ended.Load() {
		v, ok := h.bus.subscribed.Load(h.inst)
		if !ok {
			h.last.Store(nil)
			return nil, nil, UnavailableError(fmt.Errorf("instance %q: no daemon is connected", h.inst))
		}
		s = v.(*subscription)
		h.last.Store(s)
	}
	p := s.platform
	for _, ctx := range h.ctxs {
		p = WithContext(ctx, p)
	}
	return s, p, nil
}

// endIfFatal ends the subscription s, whose Platform returned err, if err is fatal. It
// returns err.
func (h *handle) endIfFatal(s *subscription, err error) error {
	fatal, ok := AsFatal(err)
	if !ok {
		return err
	}
	if p, ok := err.(*FatalError); ok && p == nil { //nolint:errorlint // an error that wraps a nil pointer can stay
		err = fatal // a method call on the nil pointer would panic in the caller and the subscriber
	}
	if h.bus.subscribed.CompareAndDelete(h.inst, s) {
		s.end(err)
	}
	return err
}

func (h *handle) AllServices(namespace string, ignored flux.ServiceIDSet) ([]Service, error) {
	s, p, err := h.lookup()
	if err != nil {
		return nil, err
	}
	services, err := p.AllServices(namespace, ignored)
	return services, h.endIfFatal(s, err)
}

func (h *handle) SomeServices(ids []flux.ServiceID) ([]Service, error) {
	s, p, err := h.lookup()
	if err != nil {
		return nil, err
	}
	services, err := p.SomeServices(ids)
	return services, h.endIfFatal(s, err)
}

func (h *handle) Apply(defs []ServiceDefinition) error {
	s, p, err := h.lookup()
	if err != nil {
		return err
	}
	return h.endIfFatal(s, p.Apply(defs))
}

func (h *handle) Ping() error {
	s, p, err := h.lookup()
	if err != nil {
		return err
	}
	return h.endIfFatal(s, p.Ping())
}

func (h *handle) Version() (string, error) {
	s, p, err := h.lookup()
	if err != nil {
		return "", err
	}
	version, err := p.Version()
	return version, h.endIfFatal(s, err)
}

func (h *handle) Export() ([]byte, error) {
	s, p, err := h.lookup()
	if err != nil {
		return nil, err
	}
	exported, err := p.Export()
	return exported, h.endIfFatal(s, err)
}

func (h *handle) Sync(def SyncDef) error {
	s, p, err := h.lookup()
	if err != nil {
		return err
	}
	return h.endIfFatal(s, p.Sync(def))
}
