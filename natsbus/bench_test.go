package natsbus_test

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/platformbus/platform"
	"github.com/platformbus/platform/flux"
	"github.com/platformbus/platform/natsbus"
)

func benchServer(b *testing.B) (url string) {
	b.Helper()
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: -1, NoLog: true, NoSigs: true})
	if err != nil {
		b.Fatal(err)
	}
	s.Start()
	if !s.ReadyForConnections(limit) {
		b.Fatal("server is not ready")
	}
	b.Cleanup(s.Shutdown)
	return s.ClientURL()
}

func benchConn(b *testing.B, url string) *nats.Conn {
	b.Helper()
	conn, err := nats.Connect(url, natsbus.ConnectOptions()...)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(conn.Close)
	return conn
}

func benchBus(b *testing.B, conn *nats.Conn) *natsbus.Bus {
	b.Helper()
	bus, err := natsbus.New(conn, natsbus.Options{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), limit)
		defer cancel()
		_ = bus.Close(ctx)
	})
	return bus
}

// BenchmarkPing compares a Ping through the bus with a bare request, by how many call at
// once.
func BenchmarkPing(b *testing.B) {
	url := benchServer(b)
	daemons, callers := benchBus(b, benchConn(b, url)), benchBus(b, benchConn(b, url))
	daemons.Subscribe("a", &platform.MockPlatform{}, nil)
	responder, requester := benchConn(b, url), benchConn(b, url)
	if _, err := responder.Subscribe("bare", func(m *nats.Msg) { _ = m.Respond([]byte("answer")) }); err != nil {
		b.Fatal(err)
	}
	if err := responder.Flush(); err != nil {
		b.Fatal(err)
	}
	h, _ := callers.Connect("a")
	for _, n := range []int{1, 64} {
		for name, call := range map[string]func() error{
			"bus":  h.Ping,
			"bare": func() error { _, err := requester.Request("bare", []byte("question"), time.Second); return err },
		} {
			b.Run(fmt.Sprintf("%s/%d", name, n), func(b *testing.B) {
				b.ReportAllocs()
				b.SetParallelism(max(1, n/runtime.GOMAXPROCS(0)))
				if n == 1 {
					for b.Loop() {
						if err := call(); err != nil {
							b.Fatal(err)
						}
					}
					return
				}
				b.RunParallel(func(pb *testing.PB) {
					for pb.Next() {
						if err := call(); err != nil {
							b.Error(err)
							return
						}
					}
				})
			})
		}
	}
}

// BenchmarkExport50MiB compares an Export that cannot be compressed with a bare copy of
// its bytes in messages of 128 KiB.
func BenchmarkExport50MiB(b *testing.B) {
	const size = 50 << 20
	url := benchServer(b)
	data := make([]byte, size)
	state := uint64(1)
	for i := range data {
		state = state*6364136223846793005 + 1442695040888963407
		data[i] = byte(state >> 56)
	}
	daemons, callers := benchBus(b, benchConn(b, url)), benchBus(b, benchConn(b, url))
	daemons.Subscribe("a", &platform.MockPlatform{ExportAnswer: data}, nil)
	h, _ := callers.Connect("a")
	b.Run("bus", func(b *testing.B) {
		b.SetBytes(size)
		for b.Loop() {
			if got, err := h.Export(); err != nil || len(got) != size {
				b.Fatal(len(got), err)
			}
		}
	})
	b.Run("bare", func(b *testing.B) {
		from, to := benchConn(b, url), benchConn(b, url)
		copied := make(chan struct{})
		got := make([]byte, 0, size)
		if _, err := to.Subscribe("copy", func(m *nats.Msg) {
			if got = append(got, m.Data...); len(got) == size {
				got = got[:0]
				copied <- struct{}{}
			}
		}); err != nil {
			b.Fatal(err)
		}
		_ = to.Flush()
		b.SetBytes(size)
		for b.Loop() {
			for i := 0; i < size; i += 128 << 10 {
				_ = from.Publish("copy", data[i:i+128<<10])
			}
			<-copied
		}
	})
}

// BenchmarkSubscribe100k has 100,000 instances on one connection, subscribed by 256
// goroutines, since each Subscribe waits for the server; "bare" does the same with
// subscriptions to one channel. The heap is that of client and server together.
func BenchmarkSubscribe100k(b *testing.B) {
	const n = 100_000
	heap := func() uint64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	spread := func(f func(i int)) {
		var all sync.WaitGroup
		for w := range 256 {
			all.Go(func() {
				for i := w; i < n; i += 256 {
					f(i)
				}
			})
		}
		all.Wait()
	}
	var mock platform.MockPlatform
	b.Run("bus", func(b *testing.B) {
		for range b.N {
			b.StopTimer()
			before := heap()
			bus := benchBus(b, benchConn(b, benchServer(b)))
			b.StartTimer()
			spread(func(i int) { bus.Subscribe(flux.InstanceID(fmt.Sprint("instance-", i)), &mock, nil) })
			b.StopTimer()
			b.ReportMetric(float64(heap()-before)/(1<<20), "MiB-heap")
			runtime.KeepAlive(bus)
			b.StartTimer()
		}
	})
	b.Run("bare", func(b *testing.B) {
		for range b.N {
			b.StopTimer()
			before := heap()
			conn, c := benchConn(b, benchServer(b)), make(chan *nats.Msg, 1024)
			b.StartTimer()
			spread(func(i int) {
				_, _ = conn.ChanSubscribe(fmt.Sprintf("flux.v1.instance-%d.rpc.*", i), c)
				_ = conn.Flush()
			})
			b.StopTimer()
			b.ReportMetric(float64(heap()-before)/(1<<20), "MiB-heap")
			runtime.KeepAlive(conn)
			b.StartTimer()
		}
	})
}
