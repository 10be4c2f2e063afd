package transports

import (
	"context"
	"encoding/json"
	"net"
	"testing"

	"github.com/stretchr/testify/assert"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"

	"github.com/platformbus/platform"
)

// A jsonCodec has gRPC carry JSON, so that no code need be generated.
type jsonCodec struct{}

func (jsonCodec) Name() string                       { return "json" }
func (jsonCodec) Marshal(v any) ([]byte, error)      { return json.Marshal(v) }
func (jsonCodec) Unmarshal(data []byte, v any) error { return json.Unmarshal(data, v) }

var daemonDesc = grpc.ServiceDesc{
	ServiceName: "platform.Daemon",
	HandlerType: (*any)(nil),
	Methods: []grpc.MethodDesc{{MethodName: "Call", Handler: func(p any, _ context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
		var r Request
		if err := decode(&r); err != nil {
			return nil, err
		}
		return serve(p.(platform.Platform), r), nil
	}}},
}

func TestGRPC(t *testing.T) {
	battery(t, func(t *testing.T, p platform.Platform) platform.Platform {
		listener := bufconn.Listen(1 << 20)
		// gRPC's default is 4 MiB, less than a body of 4 MiB with what is around it.
		server := grpc.NewServer(grpc.ForceServerCodec(jsonCodec{}), grpc.MaxRecvMsgSize(maxBody))
		server.RegisterService(&daemonDesc, p)
		served := make(chan struct{})
		go func() {
			defer close(served)
			assert.NoError(t, server.Serve(listener))
		}()
		conn, err := grpc.NewClient("passthrough:///bufconn",
			grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }),
			grpc.WithTransportCredentials(insecure.NewCredentials()),
			grpc.WithDisableRetry(), // a write is made at most once
			grpc.WithDefaultCallOptions(grpc.ForceCodec(jsonCodec{}), grpc.MaxCallRecvMsgSize(maxBody)))
		assert.NoError(t, err)
		t.Cleanup(func() {
			conn.Close()
			server.Stop()
			<-served
		})
		return newClient(func(ctx context.Context, r Request) (reply Reply, err error) {
			err = conn.Invoke(ctx, "/platform.Daemon/Call", &r, &reply)
			return reply, err
		})
	})
}
