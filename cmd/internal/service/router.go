package service

import (
	"fmt"
	"net/http"
	"path"
	"strings"
)

// jsonErrors serves mux. It answers 404 and 405 in JSON, and does not redirect to the cleaned
// path as mux would.
func jsonErrors(mux *http.ServeMux) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		response := statusRecorder{header: http.Header{}}
		unclean := path.Clean(r.URL.EscapedPath()) != r.URL.EscapedPath()
		if handler, pattern := mux.Handler(r); pattern != "" && !unclean {
			mux.ServeHTTP(w, r) // it also sets the path values
			return
		} else if !unclean {
			handler.ServeHTTP(&response, r)
		}
		if response.code != http.StatusMethodNotAllowed {
			refuse(w, http.StatusNotFound, fmt.Sprintf("no resource at the path %q", r.URL.Path))
			return
		}
		allowed := response.header.Get("Allow")
		w.Header().Set("Allow", allowed)
		refuse(w, response.code, fmt.Sprintf("the method %q is not allowed here; want %s", r.Method, strings.ReplaceAll(allowed, ", ", " or ")))
	})
}

// statusRecorder records the status and the header of an answer, and discards its body.
type statusRecorder struct {
	header http.Header
	code   int
}

func (r *statusRecorder) Header() http.Header         { return r.header }
func (r *statusRecorder) WriteHeader(code int)        { r.code = code }
func (r *statusRecorder) Write(p []byte) (int, error) { return len(p), nil }
