package main

import (
	"fmt"
	"net/http"
	"path"
	"strings"
)

// inJSON serves what mux has. It answers in JSON also where mux has nothing, and does not
// redirect to the path that mux thinks was meant.
func inJSON(mux *http.ServeMux) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		said := refused{header: http.Header{}}
		unclean := path.Clean(r.URL.EscapedPath()) != r.URL.EscapedPath()
		if handler, pattern := mux.Handler(r); pattern != "" && !unclean {
			mux.ServeHTTP(w, r) // which sets the path's values, too
			return
		} else if !unclean {
			handler.ServeHTTP(&said, r)
		}
		if said.code != http.StatusMethodNotAllowed {
			refuse(w, http.StatusNotFound, fmt.Sprintf("there is nothing at the path %q", r.URL.Path))
			return
		}
		allowed := said.header.Get("Allow")
		w.Header().Set("Allow", allowed)
		refuse(w, said.code, fmt.Sprintf("the method %q is not for this path; want %s", r.Method, strings.ReplaceAll(allowed, ", ", " or ")))
	})
}

// refused keeps of an answer that says no what is not its text.
type refused struct {
	header http.Header
	code   int
}

func (r *refused) Header() http.Header         { return r.header }
func (r *refused) WriteHeader(code int)        { r.code = code }
func (r *refused) Write(p []byte) (int, error) { return len(p), nil }
