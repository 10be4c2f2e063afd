package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/platformbus/platform"
	"github.com/platformbus/platform/flux"
)

// A stuck is a platform that accepts calls, and answers none before it is released.
type stuck struct {
	platform.MockPlatform
	begun   chan struct{} // has room for all calls of a test
	release func()
	end     <-chan struct{} // closed by release
}

func newStuck() *stuck {
	end := make(chan struct{})
	return &stuck{begun: make(chan struct{}, 10*maxRequests), release: sync.OnceFunc(func() { close(end) }), end: end}
}

func (s *stuck) Ping() error { return nil }

func (s *stuck) Version() (string, error) {
	s.begun <- struct{}{}
	<-s.end
	return "stuck", nil
}

// begin asks n times at once for the state of something, and returns when the calls have begun.
// The statuses of the answers come on the channel, or what went wrong.
func begin(n int, url string, begun <-chan struct{}) <-chan any {
	answers := make(chan any, n)
	for range n {
		go func() { // ends when the platform is released
			resp, err := http.Get(url)
			if err != nil {
				answers <- err
				return
			}
			resp.Body.Close()
			answers <- resp.StatusCode
		}()
		<-begun
	}
	return answers
}

// patient asks for what must not wait for a platform that is stuck.
var patient = &http.Client{Timeout: time.Minute}

// What is with one instance is at most its share, so that a daemon that never answers does
// not stop the others.
func TestInstancesShare(t *testing.T) {
	bad := newStuck()
	a := newAPI(bad)
	bus := a.bus.(*platform.StandaloneMessageBus)
	bus.Subscribe("b", &platform.MockPlatform{VersionAnswer: "7"}, nil)
	url := start(t, a, "") + "/v1/instances/"
	t.Cleanup(bad.release) // before the server is closed, which waits
	answers := begin(maxPerInstance, url+"a", bad.begun)

	resp, err := patient.Get(url + "a")
	require.NoError(t, err)
	defer resp.Body.Close()
	assert.Equal(t, http.StatusServiceUnavailable, resp.StatusCode)
	assert.Equal(t, "1", resp.Header.Get("Retry-After"))
	var p struct{ Error string }
	require.NoError(t, json.NewDecoder(resp.Body).Decode(&p))
	assert.Equal(t, `16 requests to instance "a" are under way, which is its share; try again`, p.Error)

	code, text := ask(t, "GET", url+"b", "")
	assert.Equal(t, http.StatusOK, code, text)
	bad.release()
	for range maxPerInstance {
		assert.Equal(t, http.StatusOK, <-answers)
	}
	code, _ = ask(t, "GET", url+"a", "")
	assert.Equal(t, http.StatusOK, code)
	assert.Empty(t, a.slots.of)
}

// All instances together have a limit too.
func TestSlotsOfAll(t *testing.T) {
	s := newSlots(maxRequests)
	var releases []func()
	for i := range maxRequests {
		release, err := s.take(flux.InstanceID(fmt.Sprint(i % 4)))
		require.NoError(t, err)
		releases = append(releases, release)
	}
	_, err := s.take("other")
	require.ErrorContains(t, err, "64 requests are under way")
	assert.Equal(t, http.StatusServiceUnavailable, statusCode(err))
	assert.Len(t, s.of, 4, "what is refused leaves nothing behind")
	for _, release := range releases {
		release()
	}
	assert.Empty(t, s.of)
	assert.Zero(t, s.taken)
	_, err = s.take("other")
	require.NoError(t, err)
}

// An ID that somebody made up leaves nothing behind.
func TestMadeUpInstances(t *testing.T) {
	a := newAPI(nil)
	url := start(t, a, "")
	for i := range 100 {
		code, _ := ask(t, "GET", fmt.Sprintf("%s/v1/instances/made-up-%d", url, i), "")
		require.Equal(t, http.StatusServiceUnavailable, code)
	}
	assert.Empty(t, a.slots.of)
}

// The list takes none of the slots of others, and when too many lists wait for an instance the
// next ones do not wait for it.
func TestListWithStuckInstance(t *testing.T) {
	bad := newStuck()
	a := newAPI(bad)
	a.bus.(*platform.StandaloneMessageBus).Subscribe("b", &platform.MockPlatform{VersionAnswer: "7"}, nil)
	url := start(t, a, "") + "/v1/instances"
	t.Cleanup(bad.release) // before the server is closed, which waits
	answers := begin(maxPerInstance, url, bad.begun)

	resp, err := patient.Get(url)
	require.NoError(t, err)
	defer resp.Body.Close()
	assert.Equal(t, http.StatusOK, resp.StatusCode)
	var got struct {
		Instances []struct{ Version, Error string }
	}
	require.NoError(t, json.NewDecoder(resp.Body).Decode(&got))
	require.Len(t, got.Instances, 2)
	assert.Contains(t, got.Instances[0].Error, `requests to instance "a" are under way`)
	assert.Equal(t, "7", got.Instances[1].Version)
	assert.Zero(t, a.slots.taken)

	bad.release()
	for range maxPerInstance {
		assert.Equal(t, http.StatusOK, <-answers)
	}
	assert.Empty(t, a.probes.of)
}
