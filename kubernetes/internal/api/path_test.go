package api

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"
)

// Whoever makes a path in another way, by the clients or around them, sends nothing.
func TestOnlyIntendedPathsAreRequested(t *testing.T) {
	var sent []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		sent = append(sent, r.Method+" "+r.URL.Path)
		w.Header().Set("Content-Type", "application/json")
		w.Write([]byte(`{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1","metadata":{"name":"a"}}`)) //nolint:errcheck // a test
	}))
	defer server.Close()
	for _, prefix := range []string{"", "/k8s/clusters/c-1"} {
		c, err := NewClient(&rest.Config{Host: server.URL + prefix}, time.Minute, nil)
		require.NoError(t, err)
		maps := schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}

		sent = nil
		_, err = c.Metadata(maps, "b").Get(t.Context(), "a")
		require.NoError(t, err)
		assert.Equal(t, []string{"GET " + prefix + "/api/v1/namespaces/b/configmaps/a"}, sent)

		sent = nil
		for _, name := range []string{"", "..", "../secrets/one", "a/b", "%2e%2e"} {
			assert.Error(t, c.Metadata(maps, "b").Delete(t.Context(), name, metav1.DeleteOptions{}), "%q", name)
			_, err := c.Objects(maps, name+"/").List(t.Context(), metav1.ListOptions{})
			assert.Error(t, err, "%q", name)
			_, err = c.Metadata(schema.GroupVersionResource{Version: "v1", Resource: "services/" + name}, "b").Get(t.Context(), "a")
			assert.Error(t, err, "%q", name)
		}
		// The clients of client-go themselves.
		assert.ErrorContains(t, c.metadata.Resource(maps).Namespace("b").Delete(t.Context(), "a", metav1.DeleteOptions{}), "was not sent")
		ctx, err := Target{GroupVersionResource: maps, Namespace: "b"}.withObjectPath(t.Context(), "a")
		require.NoError(t, err)
		assert.ErrorContains(t, c.metadata.Resource(maps).Namespace("b").Delete(ctx, "../secrets/a", metav1.DeleteOptions{}), "was not sent")
		assert.ErrorContains(t, c.metadata.Resource(maps).Namespace("b").Delete(ctx, "c", metav1.DeleteOptions{}), "was not sent")
		assert.Empty(t, sent)
	}
}

func TestDiscoveryIsRead(t *testing.T) {
	for _, path := range []string{"/version", "/api", "/apis", "/api/v1", "/apis/apps", "/apis/apps/v1"} {
		assert.NoError(t, checkPath(&http.Request{Method: "GET", URL: &url.URL{Path: path}}, ""), path)
		assert.Error(t, checkPath(&http.Request{Method: "DELETE", URL: &url.URL{Path: path}}, ""), path)
	}
	for _, path := range []string{"", "/", "/api/v1/secrets", "/apis/apps/v1/deployments", "/api/..", "/apis/../api", "/api/", "/metrics", "/versions"} {
		assert.Error(t, checkPath(&http.Request{Method: "GET", URL: &url.URL{Path: path}}, ""), path)
	}
}
