package platform_test

import (
	"errors"
	"io"
	"net"
	"net/rpc"
	"net/rpc/jsonrpc"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/platformbus/platform"
	"github.com/platformbus/platform/flux"
)

// The transport is JSON over net/rpc. It is an example of a transport that passes the
// battery, and of how little code one needs.
func TestJSONRPCBattery(t *testing.T) {
	platform.PlatformTestBattery(t, func(mock platform.Platform) platform.Platform {
		return overJSONRPC(t, mock)
	})
}

func TestTwoHopsBattery(t *testing.T) {
	platform.PlatformTestBattery(t, func(mock platform.Platform) platform.Platform {
		bus := platform.NewStandaloneMessageBus(platform.BusMetrics{})
		bus.Subscribe("there", overJSONRPC(t, mock), nil)
		handle, err := bus.Connect("there")
		assert.NoError(t, err)
		return handle
	})
}

// overJSONRPC returns a client at the other end of a pipe at which p is served.
func overJSONRPC(t *testing.T, p platform.Platform) platform.Platform {
	server := rpc.NewServer()
	assert.NoError(t, server.Register(&Daemon{p}))
	near, far := net.Pipe()
	served := make(chan struct{})
	go func() {
		defer close(served)
		server.ServeCodec(jsonrpc.NewServerCodec(far))
	}()
	client := jsonrpc.NewClient(near)
	t.Cleanup(func() {
		client.Close()
		<-served
	})
	return &rpcClient{client}
}

// Reply holds the result and the error of a call. net/rpc's own error would drop the
// result, and treat an error with an empty text as success.
type Reply[T any] struct {
	Result T
	Error  *WireError
}

// A WireError is an error on the wire: its kind, its text and its entries.
type WireError struct {
	Kind    string
	Text    string
	Entries map[string]string
}

func encode(err error) *WireError {
	if err == nil {
		return nil
	}
	wire := &WireError{Text: err.Error()}
	if apply, ok := errors.AsType[platform.ApplyError](err); ok {
		wire.Kind, wire.Entries = "apply", texts(apply)
	} else if sync, ok := errors.AsType[platform.SyncError](err); ok {
		wire.Kind, wire.Entries = "sync", texts(sync)
	} else if errors.Is(err, platform.ErrPlatformNotAvailable) {
		wire.Kind = "unavailable"
	} else if errors.Is(err, platform.ErrUpgradeNeeded) {
		wire.Kind = "upgrade"
	}
	return wire
}

func texts[ID ~string](failures map[ID]error) map[string]string {
	entries := map[string]string{}
	for id, err := range failures {
		entries[string(id)] = err.Error()
	}
	return entries
}

// decode returns the error of a call: the one that the other side sent, or failed, that of
// the connection.
func decode(wire *WireError, failed error) error {
	switch {
	case errors.Is(failed, rpc.ErrShutdown), errors.Is(failed, io.ErrUnexpectedEOF):
		return platform.FatalError{Err: failed}
	case failed != nil:
		return platform.UnavailableError(failed)
	case wire == nil:
		return nil
	}
	switch wire.Kind {
	case "apply":
		return platform.ClusterError(platform.ApplyError(causes[flux.ServiceID](wire.Entries)))
	case "sync":
		return platform.ClusterError(platform.SyncError(causes[string](wire.Entries)))
	case "unavailable":
		return platform.UnavailableError(errors.New(wire.Text))
	case "upgrade":
		return platform.UpgradeNeededError(errors.New(wire.Text))
	}
	return platform.ClusterError(errors.New(wire.Text))
}

func causes[ID ~string](entries map[string]string) map[ID]error {
	failures := map[ID]error{}
	for id, text := range entries {
		failures[ID(id)] = errors.New(text)
	}
	return failures
}

// Daemon serves a Platform.
type Daemon struct{ p platform.Platform }

// AllServicesArgs are the arguments of AllServices.
type AllServicesArgs struct {
	Namespace string
	Ignored   flux.ServiceIDSet
}

// None is for methods without an argument or without a result.
type None struct{}

func (d *Daemon) AllServices(args AllServicesArgs, reply *Reply[[]platform.Service]) error {
	services, err := d.p.AllServices(args.Namespace, args.Ignored)
	reply.Result, reply.Error = services, encode(err)
	return nil
}

func (d *Daemon) SomeServices(ids []flux.ServiceID, reply *Reply[[]platform.Service]) error {
	services, err := d.p.SomeServices(ids)
	reply.Result, reply.Error = services, encode(err)
	return nil
}

func (d *Daemon) Apply(defs []platform.ServiceDefinition, reply *Reply[None]) error {
	reply.Error = encode(d.p.Apply(defs))
	return nil
}

func (d *Daemon) Ping(_ None, reply *Reply[None]) error {
	reply.Error = encode(d.p.Ping())
	return nil
}

func (d *Daemon) Version(_ None, reply *Reply[string]) error {
	version, err := d.p.Version()
	reply.Result, reply.Error = version, encode(err)
	return nil
}

func (d *Daemon) Export(_ None, reply *Reply[[]byte]) error {
	exported, err := d.p.Export()
	reply.Result, reply.Error = exported, encode(err)
	return nil
}

func (d *Daemon) Sync(def platform.SyncDef, reply *Reply[None]) error {
	reply.Error = encode(d.p.Sync(def))
	return nil
}

// rpcClient is the Platform at the near end.
type rpcClient struct{ client *rpc.Client }

var _ platform.Platform = (*rpcClient)(nil)

func call[T any](c *rpcClient, method string, args any) (T, error) {
	var reply Reply[T]
	err := c.client.Call("Daemon."+method, args, &reply)
	return reply.Result, decode(reply.Error, err)
}

func (c *rpcClient) AllServices(namespace string, ignored flux.ServiceIDSet) ([]platform.Service, error) {
	return call[[]platform.Service](c, "AllServices", AllServicesArgs{namespace, ignored})
}

func (c *rpcClient) SomeServices(ids []flux.ServiceID) ([]platform.Service, error) {
	return call[[]platform.Service](c, "SomeServices", ids)
}

func (c *rpcClient) Apply(defs []platform.ServiceDefinition) error {
	_, err := call[None](c, "Apply", defs)
	return err
}

func (c *rpcClient) Ping() error {
	_, err := call[None](c, "Ping", None{})
	return err
}

func (c *rpcClient) Version() (string, error) { return call[string](c, "Version", None{}) }

func (c *rpcClient) Export() ([]byte, error) { return call[[]byte](c, "Export", None{}) }

func (c *rpcClient) Sync(def platform.SyncDef) error {
	_, err := call[None](c, "Sync", def)
	return err
}
