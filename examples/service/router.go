package main

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// A router finds the handler of a path and a method. It is no http.ServeMux because it
// answers in JSON also where there is no handler, and does not redirect to a path that it
// thinks was meant.
type router []route

type route struct {
	method string
	path   []string // its segments; one in braces stands for any text, and is a PathValue
	handle http.Handler
}

// add adds a handler by a pattern like http.ServeMux': "GET /v1/instances/{instance}".
func (rt *router) add(pattern string, handle http.Handler) {
	method, path, _ := strings.Cut(pattern, " ")
	*rt = append(*rt, route{method, strings.Split(path, "/"), handle})
}

func (rt router) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	segments := strings.Split(r.URL.EscapedPath(), "/")
	var allowed []string
	for _, one := range rt {
		values, ok := one.match(segments)
		if !ok {
			continue
		}
		if r.Method != one.method && (r.Method != http.MethodHead || one.method != http.MethodGet) {
			allowed = append(allowed, one.method)
			if one.method == http.MethodGet {
				allowed = append(allowed, http.MethodHead)
			}
			continue
		}
		for name, value := range values {
			r.SetPathValue(name, value)
		}
		one.handle.ServeHTTP(w, r)
		return
	}
	if len(allowed) > 0 {
		slices.Sort(allowed)
		w.Header().Set("Allow", strings.Join(allowed, ", "))
		refuse(w, http.StatusMethodNotAllowed, fmt.Sprintf("the method %q is not for this path; want %s", r.Method, strings.Join(allowed, " or ")))
		return
	}
	refuse(w, http.StatusNotFound, fmt.Sprintf("there is nothing at the path %q", r.URL.Path))
}

// match returns the values of the segments in braces. An escaped slash is part of a segment.
func (r *route) match(segments []string) (values map[string]string, ok bool) {
	if len(segments) != len(r.path) {
		return nil, false
	}
	for i, wanted := range r.path {
		text, err := url.PathUnescape(segments[i])
		if err != nil {
			return nil, false
		}
		if name, isValue := strings.CutPrefix(wanted, "{"); isValue {
			if values == nil {
				values = make(map[string]string)
			}
			values[strings.TrimSuffix(name, "}")] = text
		} else if text != wanted {
			return nil, false
		}
	}
	return values, true
}
