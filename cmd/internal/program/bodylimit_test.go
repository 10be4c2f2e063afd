package program

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A pipes is an in-memory listener, so that time in a synctest bubble advances by itself.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{} // closed by Close
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case conn := <-p.conns:
		return conn, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { close(p.closed); return nil }
func (p *pipes) Addr() net.Addr { return pipeAddr{} }

type pipeAddr struct{}

func (pipeAddr) Network() string { return "pipe" }
func (pipeAddr) String() string  { return "pipe" }

// A testServer runs in a synctest bubble, with the default limits.
type testServer struct {
	*Server
	listener *pipes
	release  chan struct{} // closed to let the requests for /wait be answered
}

func startServer() *testServer {
	s := &testServer{listener: &pipes{make(chan net.Conn), make(chan struct{})}, release: make(chan struct{})}
	s.Server = serve(s.listener, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/read", "/wait":
			if _, err := io.Copy(io.Discard, r.Body); err != nil {
				http.Error(w, err.Error(), http.StatusRequestTimeout)
				return
			}
		case "/large": // more than net/http buffers until the handler returns
			fmt.Fprint(w, strings.Repeat("x", 64<<10))
			return
		}
		if r.URL.Path == "/wait" {
			select {
			case <-s.release:
			case <-r.Context().Done():
				http.Error(w, "the context has ended", http.StatusInternalServerError)
				return
			}
		}
		fmt.Fprint(w, "answered")
	}), Limits{Call: time.Hour}, slog.New(slog.DiscardHandler))
	return s
}

// send opens a connection and sends a text on it.
func (s *testServer) send(t *testing.T, text string) net.Conn {
	client, server := net.Pipe()
	t.Cleanup(func() { client.Close() })
	s.listener.conns <- server
	_, err := io.WriteString(client, text)
	require.NoError(t, err)
	return client
}

const noBody = " HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n"

// A client that does not send the body it declares is disconnected, whatever it requests.
func TestMissingBody(t *testing.T) {
	defaults := Limits{}.orDefaults()
	soon := 2 * defaults.Rest // net/http may add half a second of its own
	for _, tt := range []struct {
		request, want string
		limit         time.Duration
	}{
		{"GET /healthz" + noBody, "200 OK", soon},
		{"GET /read" + noBody, "200 OK", soon}, // it gets no body
		{"HEAD /read" + noBody, "200 OK", soon},
		{"GET /large" + noBody, "200 OK", soon},
		{"OPTIONS *" + noBody, "200 OK", soon},
		{"DELETE /" + noBody, "200 OK", soon},
		{"POST /" + noBody, "200 OK", soon},
		{"POST /large" + noBody, "200 OK", soon},
		{"POST /read" + noBody, "408 Request Timeout", defaults.Body + soon},
		{"POST /read" + noBody + "some", "408 Request Timeout", defaults.Body + soon},
		{"POST /" + strings.Replace(noBody, "Content-Length: 1000", "Transfer-Encoding: chunked", 1), "200 OK", soon},
		{"POST /read HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 9\r\n\r\n", "408 Request Timeout", defaults.Body + soon},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := startServer()
			start := time.Now()
			all, err := io.ReadAll(s.send(t, tt.request)) // until we are disconnected
			require.NoError(t, err)
			assert.LessOrEqual(t, time.Since(start), tt.limit, tt.request)
			assert.Contains(t, string(all), tt.want, tt.request)
			assert.Contains(t, string(all), "Connection: close", tt.request)
			require.NoError(t, s.Close(t.Context()))
		})
	}
}

// A slow trickle of bytes does not extend the limit.
func TestTricklingBody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := startServer()
		start := time.Now()
		client := s.send(t, "POST /read HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n")
		var writer sync.WaitGroup
		writer.Go(func() { // ends when the server closes the connection
			for tick := time.NewTicker(time.Second); ; <-tick.C {
				if _, err := client.Write([]byte("x")); err != nil {
					tick.Stop()
					return
				}
			}
		})
		all, err := io.ReadAll(client)
		require.NoError(t, err)
		assert.Contains(t, string(all), ErrSlowBody.Error())
		assert.Less(t, time.Since(start), 2*time.Minute)
		require.NoError(t, s.Close(t.Context()))
		writer.Wait()
	})
}

// The limit applies to the body alone: a call may take longer, and the connection is reused.
func TestBodyThatHasArrived(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := startServer()
		client := s.send(t, "POST /wait HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nsome")
		time.AfterFunc(10*time.Minute, func() { close(s.release) })
		answers := bufio.NewReader(client)
		for range 2 {
			resp, err := http.ReadResponse(answers, nil)
			require.NoError(t, err)
			text, err := io.ReadAll(resp.Body)
			require.NoError(t, err)
			resp.Body.Close()
			assert.Equal(t, "answered", string(text))
			assert.False(t, resp.Close)
			_, err = io.WriteString(client, "POST /wait HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nsome")
			require.NoError(t, err)
		}
		resp, err := http.ReadResponse(answers, nil)
		require.NoError(t, err)
		resp.Body.Close()
		require.NoError(t, s.Close(t.Context()))
	})
}

// Close does not wait for clients that have not sent a body or a header, but for calls.
func TestCloseCutsOffMissingBodies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := startServer()
		mute := s.send(t, "")
		slow := s.send(t, "POST /read"+noBody)
		call := s.send(t, "POST /wait HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nsome")
		synctest.Wait()
		closed := make(chan error, 1)
		go func() { closed <- s.Close(context.Background()) }()

		start := time.Now()
		all, err := io.ReadAll(slow)
		require.NoError(t, err)
		assert.Contains(t, string(all), ErrEnding.Error())
		_, err = io.ReadAll(mute)
		require.NoError(t, err)
		assert.Less(t, time.Since(start), 10*time.Second)

		<-time.After(5 * time.Minute) // in the bubble
		assert.Empty(t, closed, "the call goes on")
		close(s.release)
		all, err = io.ReadAll(call)
		require.NoError(t, err)
		assert.Contains(t, string(all), "answered")
		require.NoError(t, <-closed)
	})
}

// If only bodies that do not arrive are pending, Close takes seconds.
func TestCloseIsNotDelayed(t *testing.T) {
	for _, request := range []string{"POST /read" + noBody, "POST /" + noBody, "GET /" + noBody, "OPTIONS *" + noBody, "GET / HTTP/1.1\r\n"} {
		synctest.Test(t, func(t *testing.T) {
			s := startServer()
			client := s.send(t, request)
			read := make(chan struct{})
			go func() { io.Copy(io.Discard, client); close(read) }() //nolint:errcheck // until it is closed
			synctest.Wait()
			start := time.Now()
			require.NoError(t, s.Close(t.Context()))
			assert.Less(t, time.Since(start), 10*time.Second, request)
			<-read
		})
	}
}
