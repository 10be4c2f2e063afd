package faultproxy_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/platformbus/platform/internal/faultproxy"
	"github.com/platformbus/platform/internal/natstest"
)

// limit bounds each wait. It is far more than any of them takes.
const limit = 20 * time.Second

// start starts a proxy in front of a server that calls handle for each connection.
func start(t *testing.T, handle func(net.Conn)) *faultproxy.Proxy {
	t.Helper()
	before := goleak.IgnoreCurrent()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	p, err := faultproxy.Start(listener.Addr().String())
	require.NoError(t, err)
	var running sync.WaitGroup
	running.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			running.Go(func() {
				defer conn.Close()
				handle(conn)
			})
		}
	})
	t.Cleanup(func() {
		p.Close()
		p.Close()
		listener.Close()
		running.Wait()
		goleak.VerifyNone(t, before)
	})
	return p
}

func echo(conn net.Conn) { _, _ = io.Copy(conn, conn) }

func dial(t *testing.T, p *faultproxy.Proxy) net.Conn {
	t.Helper()
	conn, err := net.DialTimeout("tcp", p.Addr(), limit)
	require.NoError(t, err)
	require.NoError(t, conn.SetDeadline(time.Now().Add(limit)))
	t.Cleanup(func() { conn.Close() })
	return conn
}

// refused sends a byte on a new connection, and requires that the connection is reset.
func refused(t *testing.T, p *faultproxy.Proxy) {
	t.Helper()
	conn, err := net.DialTimeout("tcp", p.Addr(), limit)
	if err == nil {
		defer conn.Close()
		require.NoError(t, conn.SetDeadline(time.Now().Add(limit)))
		err = asked(conn)
	}
	require.Error(t, err)
	require.NotErrorIs(t, err, os.ErrDeadlineExceeded)
}

func asked(conn net.Conn) error {
	if _, err := conn.Write([]byte("x")); err != nil {
		return err
	}
	_, err := io.ReadFull(conn, make([]byte, 1))
	return err
}

func TestBytesPass(t *testing.T) {
	p := start(t, echo)
	conn := dial(t, p).(*net.TCPConn)
	data := bytes.Repeat([]byte("0123456789"), 100_000)
	go func() {
		_, _ = conn.Write(data)
		_ = conn.CloseWrite()
	}()
	got, err := io.ReadAll(conn)
	require.NoError(t, err, "the end of one direction does not end the other")
	assert.True(t, bytes.Equal(data, got))
}

func TestLimit(t *testing.T) {
	p := start(t, echo)
	p.Limit(1 << 20)
	conn := dial(t, p).(*net.TCPConn)
	data := make([]byte, 200<<10)
	began := time.Now()
	go func() {
		_, _ = conn.Write(data)
		_ = conn.CloseWrite()
	}()
	got, err := io.ReadAll(conn)
	require.NoError(t, err)
	assert.Len(t, got, len(data))
	// A lower bound holds on a busy machine too; the first buffer is not delayed.
	assert.GreaterOrEqual(t, time.Since(began), 170*time.Millisecond)
	p.Limit(0)
	require.NoError(t, asked(dial(t, p)))
}

func TestCut(t *testing.T) {
	p := start(t, echo)
	conns := []net.Conn{dial(t, p), dial(t, p)}
	for _, conn := range conns {
		require.NoError(t, asked(conn))
	}
	assert.Equal(t, 2, p.Cut())
	for _, conn := range conns {
		err := asked(conn)
		require.Error(t, err)
		require.NotErrorIs(t, err, os.ErrDeadlineExceeded)
	}
	require.NoError(t, asked(dial(t, p)))

	stop := p.CutEvery(time.Millisecond)
	for range 3 {
		if conn, err := net.DialTimeout("tcp", p.Addr(), limit); err == nil {
			require.NoError(t, conn.SetDeadline(time.Now().Add(limit)))
			for err == nil {
				err = asked(conn)
			}
			require.NotErrorIs(t, err, os.ErrDeadlineExceeded)
			conn.Close()
		}
	}
	stop()
	stop()
	require.NoError(t, asked(dial(t, p)))
}

func TestRefuse(t *testing.T) {
	p := start(t, echo)
	there := dial(t, p)
	require.NoError(t, asked(there))
	p.Refuse(true)
	refused(t, p)
	require.NoError(t, asked(there))
	p.Refuse(false)
	require.NoError(t, asked(dial(t, p)))
}

func TestStall(t *testing.T) {
	p := start(t, echo)
	conn := dial(t, p)
	require.NoError(t, asked(conn))
	p.Stall()
	p.Stall()
	later := dial(t, p)
	for _, c := range []net.Conn{conn, later} {
		_, err := c.Write([]byte("y"))
		require.NoError(t, err)
		require.NoError(t, c.SetReadDeadline(time.Now().Add(50*time.Millisecond)))
		_, err = c.Read(make([]byte, 1))
		require.ErrorIs(t, err, os.ErrDeadlineExceeded)
		require.NoError(t, c.SetReadDeadline(time.Now().Add(limit)))
	}
	p.Resume()
	p.Resume()
	for _, c := range []net.Conn{conn, later} {
		got := make([]byte, 1)
		_, err := io.ReadFull(c, got)
		require.NoError(t, err)
		assert.Equal(t, "y", string(got), "it was not lost")
	}
}

// Close does not wait for a proxy that is stalled or slow.
func TestCloseDoesNotWaitForBytes(t *testing.T) {
	for _, hold := range []func(*faultproxy.Proxy){(*faultproxy.Proxy).Stall, func(p *faultproxy.Proxy) { p.Limit(1) }} {
		p := start(t, echo)
		conn := dial(t, p)
		hold(p)
		_, err := conn.Write(make([]byte, 100_000))
		require.NoError(t, err)
		p.Close()
		_, err = io.ReadAll(conn)
		require.NotErrorIs(t, err, os.ErrDeadlineExceeded)
		_, err = net.DialTimeout("tcp", p.Addr(), limit)
		require.Error(t, err)
	}
}

func TestTargetIsGone(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, listener.Close())
	p, err := faultproxy.Start(listener.Addr().String())
	require.NoError(t, err)
	t.Cleanup(p.Close)
	refused(t, p)
	_, err = faultproxy.Start("nowhere")
	require.ErrorContains(t, err, "target: address nowhere")
}

// lossy returns the part of a stream of messages that passes.
func lossy(t *testing.T, stream string, fraction float64, seed uint64) (left string, passed, dropped int) {
	got := make(chan string, 1)
	p := start(t, func(conn net.Conn) {
		data, _ := io.ReadAll(conn)
		got <- string(data)
	})
	p.Drop(fraction, seed)
	conn := dial(t, p).(*net.TCPConn)
	_, err := io.WriteString(conn, stream)
	require.NoError(t, err)
	_ = conn.CloseWrite() // the proxy may have cut it already
	select {
	case left = <-got:
	case <-time.After(limit):
		require.FailNow(t, "not in time")
	}
	passed, dropped = p.Dropped()
	return left, passed, dropped
}

func TestDrop(t *testing.T) {
	var stream, others strings.Builder
	for i := range 500 {
		body := strings.Repeat("\r\nPUB a 5", i%7*(i%3)*100)
		for _, line := range []string{"PUB a.b ", "hpub a reply 3 ", "MSG a 9 ", "HMSG a 9 reply 3 "} {
			fmt.Fprintf(&stream, "%s%d\r\n%s\r\n", line, len(body), body)
		}
		fmt.Fprintf(&stream, "PING\r\n")
		fmt.Fprintf(&others, "PING\r\n")
	}
	left, passed, dropped := lossy(t, stream.String(), 0, 1)
	assert.Equal(t, stream.String(), left)
	assert.Equal(t, []int{2000, 0}, []int{passed, dropped})

	left, passed, dropped = lossy(t, stream.String(), 1, 1)
	assert.Equal(t, others.String(), left, "only messages are dropped")
	assert.Equal(t, []int{0, 2000}, []int{passed, dropped})

	left, passed, dropped = lossy(t, stream.String(), 0.1, 1)
	assert.InDelta(t, 200, dropped, 60)
	assert.Equal(t, 2000, passed+dropped)
	again, _, _ := lossy(t, stream.String(), 0.1, 1)
	assert.Equal(t, left, again, "the same seed loses the same")
	other, _, _ := lossy(t, stream.String(), 0.1, 2)
	assert.NotEqual(t, left, other)

	left, _, _ = lossy(t, "PUB a many\r\nPING\r\n", 0.1, 1)
	assert.Empty(t, left, "a stream that is not the protocol is cut")
	left, _, _ = lossy(t, strings.Repeat("x", 100_000), 0.1, 1)
	assert.Empty(t, left)
}

// Clients and servers keep working, whichever messages are dropped between them.
func TestDropBetweenClientAndServer(t *testing.T) {
	s := natstest.Start(t, nil)
	p, err := faultproxy.Start(s.Addr().String())
	require.NoError(t, err)
	t.Cleanup(p.Close)
	p.Drop(0.2, 1)
	conn, err := nats.Connect("nats://"+p.Addr(), nats.NoReconnect())
	require.NoError(t, err)
	t.Cleanup(conn.Close)
	sub, err := conn.SubscribeSync("a")
	require.NoError(t, err)
	for i := range 1000 {
		m := nats.NewMsg("a")
		m.Data = make([]byte, i*37%5000)
		if i%2 == 0 {
			m.Header.Set("k", "v")
		}
		require.NoError(t, conn.PublishMsg(m))
	}
	require.NoError(t, conn.Flush())
	got := 0
	for ; ; got++ {
		if _, err := sub.NextMsg(50 * time.Millisecond); errors.Is(err, nats.ErrTimeout) {
			break
		}
	}
	assert.InDelta(t, 640, got, 100, "each message passes the proxy twice")
	assert.True(t, conn.IsConnected())
	p.Drop(0, 1)
	require.NoError(t, conn.Publish("a", nil))
	_, err = sub.NextMsg(limit)
	require.NoError(t, err)
}

func TestDelay(t *testing.T) {
	p := start(t, echo)
	before := dial(t, p)
	require.NoError(t, asked(before))
	const delay = 50 * time.Millisecond
	p.Delay(delay)
	require.NoError(t, asked(before), "existing connections keep passing")
	conn := dial(t, p).(*net.TCPConn)
	began := time.Now()
	require.NoError(t, asked(conn))
	assert.GreaterOrEqual(t, time.Since(began), 2*delay)

	// If each of its 1,024 buffers waited for the one before, this would take longer than
	// the connection's deadline.
	data := bytes.Repeat([]byte("0123456789abcdef"), 1<<20)
	go func() {
		_, _ = conn.Write(data)
		_ = conn.CloseWrite()
	}()
	got, err := io.ReadAll(conn)
	require.NoError(t, err)
	assert.True(t, bytes.Equal(data, got))
}

// Close does not wait until what is delayed is due.
func TestCloseDoesNotWaitForTheDelay(t *testing.T) {
	p := start(t, echo)
	p.Delay(time.Hour)
	conn := dial(t, p)
	_, err := conn.Write(make([]byte, 100_000))
	require.NoError(t, err)
	p.Close()
	_, err = io.ReadAll(conn)
	require.NotErrorIs(t, err, os.ErrDeadlineExceeded)
}
