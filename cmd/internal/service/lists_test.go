package service

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/platformbus/platform"
	"github.com/platformbus/platform/flux"
)

// A listAnswer is the answer to a request for a list.
type listAnswer struct {
	Instances []struct{ Instance string }
	Services  []struct{ ID string }
	Remaining *int
	Continue  string
	Error     string
}

// ids returns the IDs in the answer.
func (l listAnswer) ids() string {
	var ids []string
	for _, one := range l.Instances {
		ids = append(ids, one.Instance)
	}
	for _, one := range l.Services {
		ids = append(ids, one.ID)
	}
	return strings.Join(ids, " ")
}

func askList(t *testing.T, url string) (code int, l listAnswer) {
	t.Helper()
	code, text := ask(t, "GET", url, "")
	require.NoError(t, json.Unmarshal([]byte(text), &l))
	return code, l
}

func servicesOf(ids ...flux.ServiceID) []platform.Service {
	var list []platform.Service
	for _, id := range ids {
		list = append(list, platform.Service{ID: id, Status: "ready"})
	}
	return list
}

// Pages follow each other in the order of the IDs, whatever order the cluster answers in, and
// what comes and goes meanwhile changes nothing for the rest.
func TestPages(t *testing.T) {
	mock := &platform.MockPlatform{AllServicesAnswer: servicesOf("b/1", "a/2", "c/1", "a/1", "d/1")}
	url := serve(t, mock, "") + "/v1/instances/a/services?limit=2"
	code, first := askList(t, url)
	assert.Equal(t, http.StatusOK, code)
	assert.Equal(t, "a/1 a/2", first.ids())
	assert.Equal(t, 3, *first.Remaining)

	mock.AllServicesAnswer = servicesOf("d/1", "c/1", "b/1", "a/1", "a/1x", "e/1") // a/2 is gone
	_, second := askList(t, url+"&continue="+first.Continue)
	assert.Equal(t, "b/1 c/1", second.ids())
	assert.Equal(t, 2, *second.Remaining)
	_, again := askList(t, url+"&continue="+first.Continue)
	assert.Equal(t, second, again)
	_, third := askList(t, url+"&continue="+second.Continue)
	assert.Equal(t, "d/1 e/1", third.ids())
	assert.Zero(t, *third.Remaining)
	assert.Empty(t, third.Continue)

	_, all := askList(t, strings.TrimSuffix(url, "?limit=2"))
	assert.Equal(t, "a/1 a/1x b/1 c/1 d/1 e/1", all.ids())
	assert.Zero(t, *all.Remaining)

	mock.AllServicesError = errors.New("namespace bank: forbidden")
	code, partial := askList(t, url)
	assert.Equal(t, http.StatusBadGateway, code)
	assert.Equal(t, "a/1 a/1x", partial.ids())
	assert.Equal(t, 4, *partial.Remaining)
	assert.NotEmpty(t, partial.Continue)
}

func TestServiceFilters(t *testing.T) {
	found := []platform.Service{
		{ID: "shop/web", Status: "ready", Containers: platform.ContainersOrExcuse{Containers: []platform.Container{{Name: "c", Image: "x/web:1"}, {Name: "d", Image: "envoy@sha256:1"}}}},
		{ID: "shop/web-2", Status: "updating: 1 of 2 updated", Containers: platform.ContainersOrExcuse{Containers: []platform.Container{{Name: "c", Image: "x/web-2:1"}}}},
		{ID: "shop/zero", Status: "scaled to zero"},
		{ID: "bank/web", Status: "stalled: ReplicaSet has timed out (web-1: ImagePullBackOff)"},
		{ID: "bank/new", Status: "updating (new-1: ImagePullBackOff)"},
		{ID: "bank/odd", Status: "sunny"},
	}
	var asked string
	mock := &platform.MockPlatform{
		AllServicesAnswer: found, SomeServicesAnswer: found,
		AllServicesArgTest:  func(namespace string, _ flux.ServiceIDSet) error { asked = "all " + namespace; return nil },
		SomeServicesArgTest: func(ids []flux.ServiceID) error { asked = fmt.Sprint(ids); return nil },
	}
	url := serve(t, mock, "") + "/v1/instances/a/services?"
	for query, want := range map[string]string{
		"prefix=web":                       "bank/web shop/web shop/web-2",
		"namespace=shop&prefix=web":        "shop/web shop/web-2",
		"status=ready":                     "shop/web shop/zero",
		"status=updating&status=stalled":   "bank/new bank/web shop/web-2",
		"status=other":                     "bank/odd",
		"status=paused":                    "",
		"image=x/web":                      "shop/web",
		"image=x/web:1":                    "shop/web",
		"image=envoy":                      "shop/web",
		"image=x":                          "",
		"image=&prefix=&namespace=":        "bank/new bank/odd bank/web shop/web shop/web-2 shop/zero",
		"status=updating&namespace=bank":   "bank/new",
		"id=bank/web&id=shop/web&limit=1":  "bank/new", // the mock answers with all
		"id=shop/web&namespace=shop":       "shop/web shop/web-2 shop/zero",
		"prefix=web&limit=2&status=ready":  "shop/web",
		"prefix=web&limit=2&image=x/web-2": "shop/web-2",
	} {
		code, got := askList(t, url+query)
		assert.Equal(t, http.StatusOK, code, query)
		assert.Equal(t, want, got.ids(), query)
		switch {
		case strings.Contains(query, "id="):
			assert.Contains(t, asked, "shop/web]", query)
		case strings.Contains(query, "namespace=shop"):
			assert.Equal(t, "all shop", asked, query)
		}
	}
	assert.Equal(t, flux.ServiceID("shop/web"), found[0].ID, "the result is the platform's")
}

func TestWrongListParameters(t *testing.T) {
	url := serve(t, &platform.MockPlatform{}, "") + "/v1/instances"
	token := page{list: "instances"}.token("a")
	for _, tt := range []struct{ path, want string }{
		{"?limit=0", `parameter limit=\"0\": want a number from 1 to 1000`},
		{"?limit=1001", "parameter limit"},
		{"?limit=", "parameter limit"},
		{"?limit=x", "parameter limit"},
		{"?connected=maybe", `parameter connected=\"maybe\": want true or false`},
		{"?connected=", "parameter connected"},
		{"?continue=x", "parameter continue"},
		{"?continue=" + page{list: "instances"}.token(""), "parameter continue"},
		{"/a/services?continue=" + token, "parameter continue"},
		{"/a/services?status=unwell", `parameter status=\"unwell\": want one of ready, updating, paused, stalled, unknown, other`},
		{"/a/services?status=ready&status=", "parameter status"},
		{"/a/services?id=a", "parameter id"},
	} {
		code, text := ask(t, "GET", url+tt.path, "")
		assert.Equal(t, http.StatusBadRequest, code, tt.path)
		assert.Contains(t, text, tt.want, tt.path)
	}
}

// asking returns an API with instances of which some are connected, and a function that returns
// which were asked since it was called last.
func asking(connected ...flux.InstanceID) (a *api, asked func() string) {
	a = newAPI(nil)
	calls := make(chan string, 100)
	bus := platform.NewStandaloneMessageBus(platform.BusMetrics{})
	for _, id := range connected {
		bus.Subscribe(id, &versioned{id: string(id), calls: calls}, nil)
	}
	a.bus = bus
	return a, func() string {
		var ids []string
		for range len(calls) {
			ids = append(ids, <-calls)
		}
		slices.Sort(ids)
		return strings.Join(ids, " ")
	}
}

// A versioned is a platform that notes calls of Version.
type versioned struct {
	platform.MockPlatform
	id    string
	calls chan<- string
}

func (v *versioned) Version() (string, error) {
	v.calls <- v.id
	return "7", nil
}

func (v *versioned) Ping() error { return nil }

// Only the instances of a page are asked for their state, unless the state decides.
func TestInstancePages(t *testing.T) {
	a, asked := asking("de-1", "de-3", "fr-1")
	a.instances = []flux.InstanceID{"fr-1", "de-3", "de-1", "de-2"}
	base := start(t, a, "") + "/v1/instances?"
	for _, tt := range []struct{ query, want, asked string }{
		{"", "de-1 de-2 de-3 fr-1", "de-1 de-3 fr-1"},
		{"limit=2", "de-1 de-2", "de-1"},
		{"prefix=de-&limit=2&continue=" + url.QueryEscape(page{list: "instances"}.token("de-1")), "de-2 de-3", "de-3"},
		{"prefix=fr", "fr-1", "fr-1"},
		{"prefix=x", "", ""},
		{"connected=true&prefix=de-", "de-1 de-3", "de-1 de-3"},
		{"connected=true&limit=1", "de-1", "de-1 de-3 fr-1"},
		{"connected=false", "de-2", "de-1 de-3 fr-1"},
	} {
		code, got := askList(t, base+tt.query)
		assert.Equal(t, http.StatusOK, code)
		assert.Equal(t, tt.want, got.ids(), tt.query)
		assert.Equal(t, tt.asked, asked(), tt.query)
	}
	_, got := askList(t, base+"connected=true&limit=1")
	assert.Equal(t, 2, *got.Remaining)
	assert.Equal(t, []flux.InstanceID{"fr-1", "de-3", "de-1", "de-2"}, a.instances)
}
