package service

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/platformbus/platform"
)

func (b *budget) used() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.taken
}

// sendPart sends part of a body for the instance "a", and waits until the budget counts it.
func sendPart(t *testing.T, a *api, url string, declared, sent int) net.Conn {
	t.Helper()
	before := a.bodies.used()
	conn, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	_, err = fmt.Fprintf(conn, "POST /v1/instances/a/sync HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%s", declared, strings.Repeat("#", sent))
	require.NoError(t, err)
	untilUsed(t, a, before+int64(sent))
	return conn
}

func untilUsed(t *testing.T, a *api, want int64) {
	t.Helper()
	require.Eventually(t, func() bool { return a.bodies.used() == want }, time.Minute, time.Millisecond, "the budget has %d bytes in use", want)
}

// The bodies of all requests share one budget. Each reserves the bytes that have arrived, not
// the length that its header declares.
func TestBodiesBudget(t *testing.T) {
	a := newAPI(&platform.MockPlatform{})
	a.bodies = newBudget(1500)
	url := start(t, a, "")
	first := sendPart(t, a, url, 1000, 10)
	second := sendPart(t, a, url, 1000, 900)

	body := strings.Repeat("#", 600)
	resp, err := http.Post(url+"/v1/instances/a/sync", "text/yaml", strings.NewReader(body))
	require.NoError(t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	assert.Equal(t, http.StatusServiceUnavailable, resp.StatusCode)
	assert.Equal(t, "1", resp.Header.Get("Retry-After"))
	assert.Contains(t, string(text), `"error": "the bodies of all requests in progress take more than 1500 bytes; try again"`)
	untilUsed(t, a, 910)

	// A client that disconnects releases its reservation; so does one that is answered.
	second.Close()
	untilUsed(t, a, 10)
	code, _ := ask(t, "POST", url+"/v1/instances/a/sync", body)
	assert.Equal(t, http.StatusOK, code)
	_, err = io.WriteString(first, strings.Repeat("#", 990))
	require.NoError(t, err)
	answer, err := http.ReadResponse(bufio.NewReader(first), nil)
	require.NoError(t, err)
	defer answer.Body.Close()
	assert.Equal(t, http.StatusOK, answer.StatusCode)
	untilUsed(t, a, 0)
}

// A request acquires its slot when its body has arrived.
func TestSlowBodiesTakeNoSlots(t *testing.T) {
	a := newAPI(&platform.MockPlatform{})
	url := start(t, a, "")
	for range 2 * maxRequests {
		sendPart(t, a, url, 100, 1)
	}
	code, text := ask(t, "POST", url+"/v1/instances/a/sync", "kind: A")
	assert.Equal(t, http.StatusOK, code, text)
}

// A body whose declared length is too large is refused before it arrives.
func TestDeclaredTooLarge(t *testing.T) {
	a := newAPI(&platform.MockPlatform{})
	conn := sendPart(t, a, start(t, a, ""), 1<<40, 0)
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	require.NoError(t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	assert.Equal(t, http.StatusRequestEntityTooLarge, resp.StatusCode)
	assert.Contains(t, string(text), `"error": "read the request's body: http: request body too large"`)
}
