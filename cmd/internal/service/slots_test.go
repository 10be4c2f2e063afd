package service

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

// A stuck is a platform whose Version blocks until it is released.
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

// begin sends n concurrent requests for url, and returns when the calls have begun. The channel
// receives the statuses of the answers, or the errors.
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

// patient is the client for requests that must not wait for a stuck platform.
var patient = &http.Client{Timeout: time.Minute}

// The requests to one instance are limited, so that a daemon that never answers does not block
// the other instances.
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
	assert.Equal(t, `16 requests to instance "a" are in progress, which is its limit; try again`, p.Error)

	code, text := ask(t, "GET", url+"b", "")
	assert.Equal(t, http.StatusOK, code, text)
	bad.release()
	for range maxPerInstance {
		assert.Equal(t, http.StatusOK, <-answers)
	}
	code, _ = ask(t, "GET", url+"a", "")
	assert.Equal(t, http.StatusOK, code)
	assert.Empty(t, a.slots.perInstance)
}

// The requests to all instances together are limited too.
func TestSlotsOfAll(t *testing.T) {
	s := newSlots(maxRequests)
	var releases []func()
	for i := range maxRequests {
		release, err := s.acquire(flux.InstanceID(fmt.Sprint(i % 4)))
		require.NoError(t, err)
		releases = append(releases, release)
	}
	_, err := s.acquire("other")
	require.ErrorContains(t, err, "64 requests are in progress")
	assert.Equal(t, http.StatusServiceUnavailable, statusCode(err))
	assert.Len(t, s.perInstance, 4, "a refused request is not recorded")
	for _, release := range releases {
		release()
	}
	assert.Empty(t, s.perInstance)
	assert.Zero(t, s.taken)
	_, err = s.acquire("other")
	require.NoError(t, err)
}

// Requests to unknown instances leave no entries.
func TestUnknownInstancesTakeNoMemory(t *testing.T) {
	a := newAPI(nil)
	url := start(t, a, "")
	for i := range 100 {
		code, _ := ask(t, "GET", fmt.Sprintf("%s/v1/instances/made-up-%d", url, i), "")
		require.Equal(t, http.StatusServiceUnavailable, code)
	}
	assert.Empty(t, a.slots.perInstance)
}

// The list does not use the slots of other requests. When too many lists wait for an instance,
// further ones do not wait for it.
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
	assert.Contains(t, got.Instances[0].Error, `requests to instance "a" are in progress`)
	assert.Equal(t, "7", got.Instances[1].Version)
	assert.Zero(t, a.slots.taken)

	bad.release()
	for range maxPerInstance {
		assert.Equal(t, http.StatusOK, <-answers)
	}
	assert.Empty(t, a.probes.perInstance)
}
