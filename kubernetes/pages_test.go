package kubernetes_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/platformbus/platform/kubernetes"
	"github.com/platformbus/platform/kubernetes/manifest"
)

// A pageServer answers for a list of made-up objects, page by page, as the API server does.
type pageServer struct {
	t       *testing.T
	objects []string

	mu      sync.Mutex
	sizes   []int // of the pages; guarded by mu
	longest int   // the most objects on one; guarded by mu
}

func (s *pageServer) answer(r *http.Request) *http.Response {
	s.mu.Lock()
	defer s.mu.Unlock()
	from, _ := strconv.Atoi(r.URL.Query().Get("continue"))
	limit, err := strconv.Atoi(r.URL.Query().Get("limit"))
	assert.NoError(s.t, err, "each page has a limit")
	to, next := from+limit, ""
	if to >= len(s.objects) {
		to = len(s.objects)
	} else {
		next = strconv.Itoa(to)
	}
	body := fmt.Sprintf(`{"metadata":{"continue":%q},"items":[%s]}`, next, strings.Join(s.objects[from:to], ","))
	s.sizes, s.longest = append(s.sizes, len(body)), max(s.longest, to-from)
	return &http.Response{
		StatusCode: http.StatusOK, Status: "200 OK", Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(bytes.NewReader([]byte(body))), ContentLength: int64(len(body)), Request: r,
	}
}

// exportedFrom returns the names of the objects of a kind in the Export of a cluster that has
// the objects of the server under that path.
func exportedFrom(t *testing.T, s *pageServer, path, kind string) []string {
	t.Helper()
	w := newEnv(t, kubernetes.Options{})
	cluster, _ := w.recorded(t, kubernetes.Options{}, func(r *http.Request, next http.RoundTripper) (*http.Response, error) {
		if r.Method == http.MethodGet && r.URL.Path == path && r.URL.Query().Has("limit") {
			return s.answer(r), nil
		}
		return next.RoundTrip(r)
	})
	data, err := cluster.Export()
	require.NoError(t, err)
	objects, err := manifest.Parse(data)
	require.NoError(t, err)
	var names []string
	for _, o := range objects {
		if o.GetKind() == kind {
			names = append(names, o.GetName())
		}
	}
	return names
}

// No page of definitions of kinds is large, whatever the number of those; nor is any object
// lost between the pages.
func TestExportAsksForPagesByTheirSize(t *testing.T) {
	s := &pageServer{t: t}
	var want []string
	for i := range 60 {
		size := 2_000 // and after small ones come large ones
		if i >= 20 {
			size = 300_000
		}
		name := fmt.Sprintf("things%02d.example.com", i)
		text, err := json.Marshal(strings.Repeat(`"some words " `, size/14))
		require.NoError(t, err)
		s.objects = append(s.objects, fmt.Sprintf(`{"metadata":{"name":%q},"spec":{"versions":[{"name":"v1","schema":{"openAPIV3Schema":{"description":%s}}}]}}`, name, text))
		want = append(want, name)
	}
	assert.Equal(t, want, exportedFrom(t, s, "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", "CustomResourceDefinition"))
	for i, size := range s.sizes {
		assert.Less(t, size, 6<<20, "page %d of %v", i, s.sizes)
	}
	assert.Less(t, len(s.sizes), 20, "%v", s.sizes)
}

// Ordinary objects come 500 at a time after the first page.
func TestExportOfOrdinaryObjectsTakesFewPages(t *testing.T) {
	s := &pageServer{t: t}
	for i := range 1600 {
		s.objects = append(s.objects, fmt.Sprintf(`{"metadata":{"name":"a%04d","namespace":"default"},"spec":{"a":%q}}`, i, strings.Repeat("x", 3500)))
	}
	names := exportedFrom(t, s, "/apis/apps/v1/deployments", "Deployment")
	assert.Len(t, names, 1600)
	assert.IsIncreasing(t, names)
	assert.Len(t, s.sizes, 5, "50, 500, 500, 500 and the rest")
	assert.Equal(t, 500, s.longest)
}
