package transports

import (
	"context"
	"errors"

	"github.com/platformbus/platform"
	"github.com/platformbus/platform/flux"
)

// A Request is a call as a value, and what its method needs of the arguments.
type Request struct {
	Method    string
	Namespace string
	IDs       []flux.ServiceID // to ignore, for AllServices
	Defs      []platform.ServiceDefinition
	Actions   []platform.SyncAction
}

// A Reply has the result of a call, and its error beside it.
type Reply struct {
	Services []platform.Service
	Version  string
	Export   []byte
	Error    *platform.WireError
}

var codec platform.ErrorCodec

// serve makes the call.
func serve(p platform.Platform, r Request) (reply Reply) {
	var err error
	switch r.Method {
	case "AllServices":
		var ignored flux.ServiceIDSet
		ignored.Add(r.IDs)
		reply.Services, err = p.AllServices(r.Namespace, ignored)
	case "SomeServices":
		reply.Services, err = p.SomeServices(r.IDs)
	case "Apply":
		err = p.Apply(r.Defs)
	case "Ping":
		err = p.Ping()
	case "Version":
		reply.Version, err = p.Version()
	case "Export":
		reply.Export, err = p.Export()
	case "Sync":
		err = p.Sync(platform.SyncDef{Actions: r.Actions})
	default:
		err = platform.UpgradeNeededError(errors.New("the daemon does not know the method " + r.Method))
	}
	reply.Error = codec.Encode(err)
	return reply
}

// A roundTrip sends a request and waits for the reply, or for the end of the context.
type roundTrip func(context.Context, Request) (Reply, error)

// A client is the Platform at the near end of a transport.
type client struct {
	send roundTrip
	ctx  context.Context
}

var _ platform.Platform = (*client)(nil)

func newClient(send roundTrip) *client { return &client{send, context.Background()} }

// WithContext returns a view that obeys ctx and the context of c.
func (c *client) WithContext(ctx context.Context) platform.Platform {
	both, cancel := context.WithCancelCause(ctx)
	if err := context.Cause(c.ctx); err != nil {
		cancel(err) // at once, while AfterFunc starts a goroutine
	}
	stop := context.AfterFunc(c.ctx, func() { cancel(context.Cause(c.ctx)) })
	context.AfterFunc(both, func() { stop() }) // c.ctx, which may live on, forgets both
	return &client{c.send, both}
}

func (c *client) call(r Request) (Reply, error) {
	if err := context.Cause(c.ctx); err != nil {
		return Reply{}, err
	}
	reply, err := c.send(c.ctx, r)
	switch {
	case err != nil && c.ctx.Err() != nil:
		return Reply{}, context.Cause(c.ctx)
	case err != nil:
		return Reply{}, platform.UnavailableError(err)
	}
	return reply, codec.Decode(reply.Error)
}

func (c *client) AllServices(namespace string, ignored flux.ServiceIDSet) ([]platform.Service, error) {
	reply, err := c.call(Request{Method: "AllServices", Namespace: namespace, IDs: ignored.ToSlice()})
	return reply.Services, err
}

func (c *client) SomeServices(ids []flux.ServiceID) ([]platform.Service, error) {
	reply, err := c.call(Request{Method: "SomeServices", IDs: ids})
	return reply.Services, err
}

func (c *client) Apply(defs []platform.ServiceDefinition) error {
	_, err := c.call(Request{Method: "Apply", Defs: defs})
	return err
}

func (c *client) Ping() error {
	_, err := c.call(Request{Method: "Ping"})
	return err
}

func (c *client) Version() (string, error) {
	reply, err := c.call(Request{Method: "Version"})
	return reply.Version, err
}

func (c *client) Export() ([]byte, error) {
	reply, err := c.call(Request{Method: "Export"})
	return reply.Export, err
}

func (c *client) Sync(def platform.SyncDef) error {
	_, err := c.call(Request{Method: "Sync", Actions: def.Actions})
	return err
}
