package api

import (
	"context"
	"fmt"
	"net/http"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/platformbus/platform/kubernetes/internal/kinds"
)

// A Target is what a request is about: the object of that name, or all of a resource in a
// namespace if Name is empty, or in all namespaces if Namespace is empty too.
type Target struct {
	schema.GroupVersionResource
	Namespace, Name string
}

// path returns the path of requests about t, or an error that names what cannot be in one.
func (t Target) path() (string, error) {
	if err := kinds.CheckResource(t.GroupVersionResource); err != nil {
		return "", err
	}
	if err := kinds.CheckNamespace(t.Namespace); err != nil {
		return "", err
	}
	segments := []string{"", "apis", t.Group, t.Version}
	if t.Group == "" {
		segments = []string{"", "api", t.Version}
	}
	if t.Namespace != "" {
		segments = append(segments, "namespaces", t.Namespace)
	}
	segments = append(segments, t.Resource)
	if t.Name != "" {
		if err := kinds.CheckName(t.Name); err != nil {
			return "", err
		}
		segments = append(segments, t.Name)
	}
	return strings.Join(segments, "/"), nil
}

// pathKey is where the context of a request has the path it may have.
type pathKey struct{}

// withPath returns a context for requests about t, and the path that they have. No request is
// sent whose path is another.
func withPath(ctx context.Context, t Target) (context.Context, string, error) {
	path, err := t.path()
	if err != nil {
		return nil, "", err
	}
	return context.WithValue(ctx, pathKey{}, path), path, nil
}

// checkPath returns an error if a request has another path than its context holds. Names come
// from strangers, and clients that are not ours make paths of them. Only discovery, which
// reads, has no path in its context.
func checkPath(r *http.Request, prefix string) error {
	path, ok := strings.CutPrefix(r.URL.Path, prefix)
	if wanted, known := r.Context().Value(pathKey{}).(string); known {
		if ok && path == wanted {
			return nil
		}
	} else if ok && r.Method == http.MethodGet && isDiscovery(path) {
		return nil
	}
	return fmt.Errorf("the request %s %.200q was not sent: nothing was to be asked of that path", r.Method, r.URL.Path)
}

// isDiscovery says whether a path tells of the server, its groups or their versions.
func isDiscovery(path string) bool {
	if path == "/version" {
		return true
	}
	segments := strings.Split(strings.TrimPrefix(path, "/"), "/")
	switch {
	case segments[0] == "api" && len(segments) <= 2, segments[0] == "apis" && len(segments) <= 3:
		for _, segment := range segments[1:] {
			if kinds.CheckName(segment) != nil {
				return false
			}
		}
		return true
	}
	return false
}
