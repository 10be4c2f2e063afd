package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/platformbus/platform"
	"github.com/platformbus/platform/flux"
)

// A stuck is a platform that accepts calls, and answers none before it is released.
type stuck struct {
	platform.MockPlatform
	begun   chan struct{} // has room for all calls of a test
	release chan struct{} // closed by the test
}

func newStuck() *stuck {
	return &stuck{begun: make(chan struct{}, 10*maxRequests), release: make(chan struct{})}
}

func (s *stuck) Ping() error { return nil }

func (s *stuck) Version() (string, error) {
	s.begun <- struct{}{}
	<-s.release
	return "stuck", nil
}

// An answered is what came back, for goroutines that may not fail a test.
type answered struct {
	code int
	text string
}

// begin asks n times at once for the state of something, and returns when the calls have begun.
func begin(t *testing.T, n int, url string, begun <-chan struct{}) <-chan answered {
	t.Helper()
	answers := make(chan answered, n)
	for range n {
		go func() {
			code, text := ask(t, "GET", url, "")
			answers <- answered{code, text}
		}()
		<-begun
	}
	return answers
}

// What is with one instance is at most its share, so that a daemon that never answers does
// not stop the others.
func TestInstancesShare(t *testing.T) {
	bad := newStuck()
	a := newAPI(bad)
	bus := a.bus.(*platform.StandaloneMessageBus)
	bus.Subscribe("b", &platform.MockPlatform{VersionAnswer: "7"}, nil)
	url := start(t, a, "") + "/v1/instances/"
	answers := begin(t, maxPerInstance, url+"a", bad.begun)

	resp, err := http.Get(url + "a")
	require.NoError(t, err)
	defer resp.Body.Close()
	assert.Equal(t, http.StatusServiceUnavailable, resp.StatusCode)
	assert.Equal(t, "1", resp.Header.Get("Retry-After"))
	var p struct{ Error string }
	require.NoError(t, json.NewDecoder(resp.Body).Decode(&p))
	assert.Equal(t, `16 requests to instance "a" are under way, which is its share; try again`, p.Error)

	code, text := ask(t, "GET", url+"b", "")
	assert.Equal(t, http.StatusOK, code, text)
	close(bad.release)
	for range maxPerInstance {
		assert.Equal(t, http.StatusOK, (<-answers).code)
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
	answers := begin(t, maxPerInstance, url, bad.begun)

	code, text := ask(t, "GET", url, "")
	assert.Equal(t, http.StatusOK, code)
	var got struct {
		Instances []struct{ Version, Error string }
	}
	require.NoError(t, json.Unmarshal([]byte(text), &got))
	require.Len(t, got.Instances, 2)
	assert.Contains(t, got.Instances[0].Error, `requests to instance "a" are under way`)
	assert.Equal(t, "7", got.Instances[1].Version)
	assert.Zero(t, a.slots.taken)

	close(bad.release)
	for range maxPerInstance {
		assert.Equal(t, http.StatusOK, (<-answers).code)
	}
	assert.Empty(t, a.probes.of)
}
