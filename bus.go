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
// It may be used by many goroutines at once. MessageBusTestBattery checks that a bus
// keeps to the contract that each method states.
type MessageBus interface {
	Connecter

	// Subscribe registers a platform as the daemon for the instance specified. When it
	// returns, calls for that instance go to p, and a subscription that was there
	// before has been told to end.
	//
	// Each subscription ends at most once, and its cause is then sent to done, which
	// the bus never closes: ErrKicked, or a FatalError, however
	// wrapped, that a call to p returned. A call that is under way at that time still
	// returns its own result. An empty ID or a nil Platform ends the subscription
	// before it begins, with an error that says so; the one that is there stays.
	//
	// A nil done means that the subscriber does not want to know. A done that nobody
	// reads holds up nothing else; give it room for one value, and nothing has to wait.
	Subscribe(inst flux.InstanceID, p Platform, done chan<- error)

	// Ping returns nil if the daemon for the instance given is known to be connected
	// and its platform answers a Ping, an UnavailableError, which matches
	// ErrPlatformNotAvailable, if no daemon is connected, and what the platform
	// answered otherwise. NB this differs from the semantics of Connecter.Connect.
	Ping(inst flux.InstanceID) error
}

// ErrKicked is the cause, or in the chain of the cause, with which a bus ends a
// subscription in favour of a newer one for the same instance. A daemon that gets it must
// not come straight back, or the two would kick each other for ever.
var ErrKicked = errors.New("subscription ended: a newer subscription for the same instance has taken its place")

// These report a mistake of the caller. They are wrapped where they are returned, by
// github.com/pkg/errors, so that %+v prints the stack of the call that made the mistake:
// what Subscribe reports arrives on a channel, far from that call.
var (
	errNilPlatform = errors.New("platform is nil")
	errNoInstance  = errors.New("instance ID is empty")
)

// StandaloneMessageBus is a MessageBus within one process. Make one with
// NewStandaloneMessageBus, or use the zero value, which counts nothing.
//
// It starts no goroutine but to deliver a cause for which a channel has no room, and
// a call takes no lock. Its memory grows with the subscriptions it holds, not with the
// instances that were asked for.
type StandaloneMessageBus struct {
	metrics BusMetrics
	// subscribed has the *subscription in force for each flux.InstanceID. Whoever takes
	// one out of it ends that subscription, so that each ends once.
	subscribed sync.Map
}

var _ MessageBus = (*StandaloneMessageBus)(nil)

// NewStandaloneMessageBus returns an empty bus that counts in metrics, for instance
// BusMetricsImpl.
func NewStandaloneMessageBus(metrics BusMetrics) *StandaloneMessageBus {
	return &StandaloneMessageBus{metrics: metrics}
}

// A subscription is told from all others by its address; its Platform need not even be
// comparable.
type subscription struct {
	platform Platform
	done     chan<- error // made and closed by the subscriber; nil if it does not want to know
	over     atomic.Bool  // set before the cause is sent: no call begins any more
}

// end tells the handles, then the subscriber, that the subscription is over. A
// subscriber that is not ready gets a goroutine, which ends with the delivery, so that
// nobody else waits.
func (s *subscription) end(cause error) {
	s.over.Store(true)
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
// platform, rather than returning an error: a handle, which looks the instance up at
// each call. The error is for an empty ID only.
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
// MessageBus.
func (s *StandaloneMessageBus) Ping(inst flux.InstanceID) error {
	if inst == "" {
		return pkgerrors.Wrap(errNoInstance, "ping")
	}
	return (&handle{bus: s, inst: inst}).Ping()
}

// Version returns the fluxd version for the connected instance if the specified
// instance is connected, and an error if not.
func (s *StandaloneMessageBus) Version(inst flux.InstanceID) (string, error) {
	if inst == "" {
		return "", pkgerrors.Wrap(errNoInstance, "version")
	}
	return (&handle{bus: s, inst: inst}).Version()
}

// A handle is an instance seen through the bus. It does not embed Platform: a method
// added to the interface must fail to compile here rather than go to a stale daemon.
type handle struct {
	bus  *StandaloneMessageBus
	inst flux.InstanceID
	ctxs []context.Context // what calls obey, the innermost view's first

	// last is the subscription that the last call went to. While it is not over it is
	// still the one in force, and looking at that costs a tenth of a lookup.
	last atomic.Pointer[subscription]
}

var _ Platform = (*handle)(nil)

// WithContext returns a handle whose calls obey ctx, and what h's obey, whichever daemon
// they go to.
func (h *handle) WithContext(ctx context.Context) Platform {
	return &handle{bus: h.bus, inst: h.inst, ctxs: append(slices.Clip(h.ctxs), ctx)}
}

// subscription returns the subscription in force and its Platform as this handle is to
// call it, or the cause for which its context has ended, or an UnavailableError.
func (h *handle) subscription() (*subscription, Platform, error) {
	for _, ctx := range h.ctxs {
		if err := context.Cause(ctx); err != nil {
			return nil, nil, err
		}
	}
	s := h.last.Load()
	if s == nil || s.over.Load() {
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

// check ends the subscription s, from which err came, if err is fatal, and returns err.
func (h *handle) check(s *subscription, err error) error {
	fatal, ok := asFatal(err)
	if !ok {
		return err
	}
	if p, ok := err.(*FatalError); ok && p == nil { //nolint:errorlint // what is around a nil pointer can stay
		err = fatal // neither caller nor subscriber could call a method of err
	}
	if h.bus.subscribed.CompareAndDelete(h.inst, s) {
		s.end(err)
	}
	return err
}

func (h *handle) AllServices(namespace string, ignored flux.ServiceIDSet) ([]Service, error) {
	s, p, err := h.subscription()
	if err != nil {
		return nil, err
	}
	services, err := p.AllServices(namespace, ignored)
	return services, h.check(s, err)
}

func (h *handle) SomeServices(ids []flux.ServiceID) ([]Service, error) {
	s, p, err := h.subscription()
	if err != nil {
		return nil, err
	}
	services, err := p.SomeServices(ids)
	return services, h.check(s, err)
}

func (h *handle) Apply(defs []ServiceDefinition) error {
	s, p, err := h.subscription()
	if err != nil {
		return err
	}
	return h.check(s, p.Apply(defs))
}

func (h *handle) Ping() error {
	s, p, err := h.subscription()
	if err != nil {
		return err
	}
	return h.check(s, p.Ping())
}

func (h *handle) Version() (string, error) {
	s, p, err := h.subscription()
	if err != nil {
		return "", err
	}
	version, err := p.Version()
	return version, h.check(s, err)
}

func (h *handle) Export() ([]byte, error) {
	s, p, err := h.subscription()
	if err != nil {
		return nil, err
	}
	exported, err := p.Export()
	return exported, h.check(s, err)
}

func (h *handle) Sync(def SyncDef) error {
	s, p, err := h.subscription()
	if err != nil {
		return err
	}
	return h.check(s, p.Sync(def))
}
