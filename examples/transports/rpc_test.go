package transports

import (
	"context"
	"io"
	"net"
	"net/rpc"
	"net/rpc/jsonrpc"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/platformbus/platform"
)

func TestGobOverNetRPC(t *testing.T) {
	battery(t, func(t *testing.T, p platform.Platform) platform.Platform {
		return overRPC(t, p, (*rpc.Server).ServeConn, rpc.NewClient)
	})
}

func TestJSONOverNetRPC(t *testing.T) {
	battery(t, func(t *testing.T, p platform.Platform) platform.Platform {
		return overRPC(t, p, func(s *rpc.Server, conn io.ReadWriteCloser) { s.ServeCodec(jsonrpc.NewServerCodec(conn)) }, jsonrpc.NewClient)
	})
}

// Daemon is what net/rpc serves. Its own error would drop the result, and take an error
// without a text for success: the Reply has both.
type Daemon struct{ p platform.Platform }

// Call makes the call.
func (d *Daemon) Call(r Request, reply *Reply) error {
	*reply = serve(d.p, r)
	return nil
}

// overRPC returns a client at the other end of a pipe at which p is served.
func overRPC(t *testing.T, p platform.Platform, serveConn func(*rpc.Server, io.ReadWriteCloser), connect func(io.ReadWriteCloser) *rpc.Client) platform.Platform {
	server := rpc.NewServer()
	assert.NoError(t, server.Register(&Daemon{p}))
	near, far := net.Pipe()
	served := make(chan struct{})
	go func() {
		defer close(served)
		serveConn(server, far)
	}()
	conn := connect(near)
	t.Cleanup(func() {
		conn.Close()
		<-served
	})
	return newClient(func(ctx context.Context, r Request) (Reply, error) {
		reply := new(Reply) // net/rpc may write to it after the context has ended
		call := conn.Go("Daemon.Call", r, reply, make(chan *rpc.Call, 1))
		select {
		case <-call.Done:
			return *reply, call.Error
		case <-ctx.Done():
			return Reply{}, ctx.Err()
		}
	})
}
