package service

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// A route is a method and a path of the API, as openapi.yaml documents it.
type route struct {
	method, path string
	query        []string // the parameters that it knows; those that may be repeated end in *
	handler      http.Handler
}

// routes returns the API. Answers are JSON, except for an export and the metrics. An answer
// with a status below 300 is complete; any other contains an error and the partial result, if
// there is one, see problem. A request that is cancelled cancels its calls.
func (a *api) routes(metrics http.Handler) []route {
	const instances, instance = "/v1/instances", "/v1/instances/{instance}"
	return []route{
		{"GET", instances, []string{"prefix", "connected", "limit", "continue"}, http.HandlerFunc(a.list)},
		{"GET", instance, nil, a.withPlatform(a.status)},
		{"GET", instance + "/services", []string{"id*", "namespace", "prefix", "status*", "image", "limit", "continue"}, a.withPlatform(a.services)},
		{"PATCH", instance + "/services/{namespace}/{name}/images", []string{"async"}, a.withPlatform(a.setImages)},
		{"GET", instance + "/export", nil, a.withPlatform(a.export)},
		{"POST", instance + "/plan", []string{"set", "namespace", "deleteBudget", "allowDeleteNamespaces", "allowDeleteCRDs", "allowDeletePVCs", "definition"}, a.withPlatform(a.plan)},
		{"POST", instance + "/sync", nil, a.withPlatform(a.sync)},
		{"POST", instance + "/apply", []string{"service", "async"}, a.withPlatform(a.apply)},
		{"GET", "/openapi.json", nil, http.HandlerFunc(serveDocument)},
		{"GET", "/metrics", []string{"name[]*"}, metrics},
	}
}

// healthPath needs no token, and reveals nothing that needs one.
const healthPath = "/healthz"

// handler returns the handler of all paths.
func (a *api) handler(token string, metrics, health http.Handler) http.Handler {
	mux := newMux(a.routes(metrics), func(w http.ResponseWriter, r *http.Request, err error) {
		a.fail(w, r, badRequest{err}, nil)
	})
	openMux := newMux([]route{{"GET", healthPath, nil, health}}, func(w http.ResponseWriter, _ *http.Request, err error) {
		refuse(w, http.StatusBadRequest, err.Error())
	})
	// The spans are made inside of the guard, so that only clients with the token cause any, and decide which are sent.
	guarded, open := guard(token, traced(jsonErrors(mux), a.traces)), jsonErrors(openMux)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == healthPath {
			open.ServeHTTP(w, r)
			return
		}
		guarded.ServeHTTP(w, r)
	})
}

// newMux serves routes. Their handlers get only requests whose query they know; badQuery answers
// the others.
func newMux(routes []route, badQuery func(w http.ResponseWriter, r *http.Request, err error)) *http.ServeMux {
	mux := http.NewServeMux()
	for _, one := range routes {
		mux.HandleFunc(one.method+" "+one.path, func(w http.ResponseWriter, r *http.Request) {
			if err := one.checkQuery(r.URL.RawQuery); err != nil {
				badQuery(w, r, err)
				return
			}
			one.handler.ServeHTTP(w, r)
		})
	}
	return mux
}

// checkQuery returns an error if the query is malformed, or has a parameter that the route does
// not know or that is there twice. A parameter that was ignored would be a filter or a safeguard
// that the client takes to be in force.
func (t route) checkQuery(text string) error {
	query, err := url.ParseQuery(text) // r.URL.Query would ignore malformed parameters
	if err != nil {
		return fmt.Errorf("read the query: %w", err)
	}
	for name, values := range query {
		switch {
		case slices.Contains(t.query, name+"*"):
		case !slices.Contains(t.query, name):
			return fmt.Errorf("unknown parameter %.100q; %s", name, t.wanted())
		case len(values) > 1:
			return fmt.Errorf("the parameter %s is there %d times; want it once", name, len(values))
		}
	}
	return nil
}

// wanted says which parameters the route knows.
func (t route) wanted() string {
	if len(t.query) == 0 {
		return "want none here"
	}
	return "want " + strings.ReplaceAll(strings.Join(t.query, ", "), "*", "")
}
