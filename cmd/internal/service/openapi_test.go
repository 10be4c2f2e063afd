package service

import (
	"bytes"
	"encoding/json"
	"io"
	"mime"
	"net/http"
	"path"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/gorillamux"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/platformbus/platform"
)

// A documented is the OpenAPI document with a router of its paths.
type documented struct {
	*openapi3.T
	routers.Router
}

// readDocument reads the document that is served. It fails if the document, or an example in it,
// is not valid.
var readDocument = sync.OnceValues(func() (d documented, err error) {
	text, err := document()
	if err != nil {
		return d, err
	}
	if d.T, err = openapi3.NewLoader().LoadFromData(text); err != nil {
		return d, err
	}
	if err := d.Validate(openapi3.NewLoader().Context); err != nil {
		return d, err
	}
	// The document calls YAML a text, and does not say what is in it.
	openapi3filter.RegisterBodyDecoder("application/yaml", openapi3filter.FileBodyDecoder)
	d.Router, err = gorillamux.NewRouter(d.T)
	return d, err
})

// parameters returns the query parameters of an operation, as a route has them.
func parameters(o *openapi3.Operation) []string {
	var names []string
	for _, one := range o.Parameters {
		switch p := one.Value; {
		case p.In != openapi3.ParameterInQuery:
		case p.Schema.Value.Type.Is("array"):
			names = append(names, p.Name+"*")
		default:
			names = append(names, p.Name)
		}
	}
	return names
}

// The document has exactly the operations that are served, each with the parameters that it
// knows.
func TestDocumentIsComplete(t *testing.T) {
	d, err := readDocument()
	require.NoError(t, err)
	got, want := map[string][]string{}, map[string][]string{"GET " + healthPath: nil}
	for path, item := range d.Paths.Map() {
		for method, operation := range item.Operations() {
			got[method+" "+path] = parameters(operation)
		}
	}
	for _, r := range newAPI(nil).routes(nil) {
		want[r.method+" "+r.path] = r.query
	}
	require.Len(t, got, len(want))
	for name, query := range want {
		require.Contains(t, got, name)
		assert.ElementsMatch(t, query, got[name], name)
	}
	status := d.Paths.Find("/v1/instances/{instance}/services").Get.Parameters.GetByInAndName("query", "status")
	for _, phase := range status.Schema.Value.Items.Value.Enum {
		assert.Contains(t, phases, phase)
	}
}

func TestDocumentIsServed(t *testing.T) {
	url := serve(t, nil, "")
	code, text := ask(t, "GET", url+"/openapi.json", "")
	assert.Equal(t, http.StatusOK, code)
	text0, err := document()
	require.NoError(t, err)
	assert.JSONEq(t, string(text0), text)
	code, _ = ask(t, "GET", serve(t, nil, "0123456789abcdef")+"/openapi.json", "")
	assert.Equal(t, http.StatusUnauthorized, code)
}

// No route ignores a parameter that it does not know, or one that is there twice.
func TestUnknownParameters(t *testing.T) {
	called := false
	mock := &platform.MockPlatform{
		SyncArgTest:  func(platform.SyncDef) error { called = true; return nil },
		ApplyArgTest: func([]platform.ServiceDefinition) error { called = true; return nil },
	}
	a := newAPI(mock)
	url := start(t, a, "")
	known := append(a.routes(nil), route{"GET", healthPath, nil, nil})
	for _, r := range known {
		at := url + strings.NewReplacer("{instance}", "a", "{namespace}", "shop", "{name}", "web").Replace(r.path)
		code, text := ask(t, r.method, at+"?nmaespace=a", "kind: A")
		assert.Equal(t, http.StatusBadRequest, code, r.path)
		assert.Contains(t, text, `unknown parameter \"nmaespace\"; want`, r.path)
		for _, name := range r.query {
			if bare, many := strings.CutSuffix(name, "*"); !many {
				code, text := ask(t, r.method, at+"?"+bare+"=1&"+bare+"=2", "kind: A")
				assert.Equal(t, http.StatusBadRequest, code, r.path)
				assert.Contains(t, text, "the parameter "+bare+" is there 2 times", r.path)
			}
		}
	}
	assert.False(t, called)
}

// checkDocumented fails the test if a request that succeeded, or the answer to any, is not as the
// document says.
func checkDocumented(t testing.TB, r *http.Request, sent string, resp *http.Response, body []byte) {
	t.Helper()
	d, err := readDocument()
	require.NoError(t, err)
	asked := r.Clone(t.Context())
	if asked.Method == http.MethodHead {
		asked.Method = http.MethodGet
	}
	asked.Body, asked.ContentLength = io.NopCloser(strings.NewReader(sent)), int64(len(sent))
	found, values, err := d.FindRoute(asked)
	if err != nil || path.Clean(r.URL.EscapedPath()) != r.URL.EscapedPath() {
		// What is not documented is not there.
		assert.Contains(t, []int{http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusUnauthorized, http.StatusForbidden}, resp.StatusCode, "%s %s", r.Method, r.URL)
		if r.Method != http.MethodHead {
			var problem any
			require.NoError(t, json.Unmarshal(body, &problem), "%s", body)
			assert.NoError(t, d.Components.Schemas["Problem"].Value.VisitJSON(problem), "%s", body)
		}
		return
	}
	kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	options := &openapi3filter.Options{
		AuthenticationFunc:    openapi3filter.NoopAuthenticationFunc,
		IncludeResponseStatus: true,
		SkipSettingDefaults:   true,
		// Of other forms of a body the document says no more than that they are texts.
		ExcludeRequestBody: kind != "application/json",
	}
	request := &openapi3filter.RequestValidationInput{Request: asked, PathParams: values, Route: found, Options: options}
	if resp.StatusCode < 300 {
		assert.NoError(t, openapi3filter.ValidateRequest(t.Context(), request), "%s %s succeeds: %s", r.Method, r.URL, sent)
		for name := range r.URL.Query() {
			known := parameters(found.Operation)
			assert.True(t, slices.Contains(known, name) || slices.Contains(known, name+"*"), "%s %s succeeds", r.Method, r.URL)
		}
	}
	request.Request = r // of which the method may be HEAD
	response := &openapi3filter.ResponseValidationInput{RequestValidationInput: request, Status: resp.StatusCode, Header: resp.Header, Options: options}
	response.SetBodyBytes(bytes.Clone(body))
	assert.NoError(t, openapi3filter.ValidateResponse(t.Context(), response), "%s %s: %d %s", r.Method, r.URL, resp.StatusCode, body)
}
