package service

import (
	"bytes"
	"encoding/json"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"net/url"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/platformbus/platform"
	"github.com/platformbus/platform/flux"
)

// For every request, the answer is JSON, the status is not 500, the memory is released, and
// the platform receives the content of the request.
func FuzzAPI(f *testing.F) {
	const syncPath, imagesPath, form = "/v1/instances/a/sync", "/v1/instances/a/services/shop/web/images", "multipart/form-data; boundary=b"
	for _, seed := range []struct{ method, target, kind, body string }{
		{"POST", syncPath, "application/json", `{"actions":[{"resourceID":"x","apply":"kind: A"},{"delete":"\ud83d\ude00\u0041"}]}`},
		{"POST", syncPath, "application/json", `{"actions":[{"apply":"a","apply":"b"}]}`},
		{"POST", syncPath, "application/json", `{"Actions":[{"apply":"a"}]}`},
		{"POST", syncPath, "application/json", one + one},
		{"POST", syncPath, "application/json", `{"actions":[{"apply":null,"delete":"\ud83d"}]}`},
		{"POST", syncPath, "application/json", `{"actions":[{},{},[[[`},
		{"POST", syncPath, form, "--b\r\nContent-Disposition: form-data; name=apply; filename=\"x\\\"\n\"\r\n\r\na\r\n--b--\r\n"},
		{"POST", syncPath, form, "--b\r\nContent-Disposition: form-data; name=delete; filename=x\r\n\r\na\r\n--b"},
		{"POST", syncPath, form, "--b\r\nContent-Disposition: form-data; name=apply\r\n\r\n\r\n--b--\r\n"},
		{"POST", syncPath, "application/yaml", "kind: A\n---\n"},
		{"POST", syncPath, "text/", "kind: A"},
		{"POST", syncPath + "?a=%zz", "", "kind: A"},
		{"POST", "/v1/instances/a/apply?service=a/b&async=true", "", "kind: A"},
		{"POST", "/v1/instances/a/apply?service=a%0a&async=maybe", "", strings.Repeat("#", fuzzBody+1)},
		{"GET", "/v1/instances/a/services?id=a/b&id=%E2%80%AE/c", "", "body"},
		{"GET", "/v1/instances/a/services?namespace=%00", "", ""},
		{"GET", "/v1/instances/a/services?status=ready&status=other&image=x&prefix=w&limit=1", "", ""},
		{"GET", "/v1/instances/a/services?continue=c2VydmljZXMgYS9i&limit=-1", "", ""},
		{"GET", "/v1/instances?prefix=a&connected=true&limit=1&continue=aW5zdGFuY2VzIGE", "", ""},
		{"POST", planPath + "?set=demo&definition=true&deleteBudget=1&allowDeletePVCs=true", "", webYAML + "---\n" + keyYAML},
		{"POST", planPath + "?namespace=A", "application/json", `{"actions":[{"resourceID":"x","apply":"{\"apiVersion\":\"v1\",\"kind\":\"List\",\"items\":[]}"}]}`},
		{"POST", planPath, form, "--b\r\nContent-Disposition: form-data; name=delete; filename=x\r\n\r\n" + webYAML + "\r\n--b--\r\n"},
		{"PATCH", imagesPath, "application/json", `{"images":{"web":"w:2","side":"s\u003a2"}}`},
		{"PATCH", imagesPath + "?async=true", "application/json", `{"images":{"web":"w:2","web":"w:3"}}`},
		{"PATCH", imagesPath, "application/json", `{"images":{"web":"\u202e"},"images":{"side":null}}`},
		{"PATCH", "/v1/instances/a/services/shop/a%2Fb/images", "application/json", one},
		{"GET", "/openapi.json", "", ""},
		{"GET", "/v1/instances/a/export", "", ""},
		{"GET", "/v1/instances/a%2f%0a", "", ""},
		{"GET", "/v1/instances", "", ""},
		{"HEAD", "//v1/./instances/../%2e", "", ""},
		{"PUT", "/metrics", "", "x"},
		{"GET", "/metrics", "", ""},
		{"GET", "/healthz", "", ""},
		{"OPTIONS", "/", "", "x"},
		{"A\tB", "/", "", ""},
	} {
		f.Add(seed.method, seed.target, seed.kind, []byte(seed.body))
	}
	seen := new(seen)
	a := newAPI(seen.mock())
	a.maxBody = fuzzBody
	base := start(f, a, "")
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	f.Cleanup(client.CloseIdleConnections)

	f.Fuzz(func(t *testing.T, method, target, kind string, body []byte) {
		if !strings.HasPrefix(target, "/") {
			return // it would become part of the address
		}
		r, err := http.NewRequestWithContext(t.Context(), method, base+target, bytes.NewReader(body))
		if err != nil {
			return // the request is invalid
		}
		r.Header.Set("Content-Type", kind)
		seen.reset()
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		resp, err := client.Do(r)
		if err != nil {
			require.NotContains(t, err.Error(), "EOF", "the server hangs up")
			return
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		runtime.ReadMemStats(&after)

		assertAnswer(t, r, resp, text)
		checkDocumented(t, r, string(body), resp, text)
		most := uint64(4<<20 + 200*len(body))
		if strings.HasSuffix(r.URL.Path, "/plan") {
			most *= 16 // aliases may make a mebibyte of little text, which is read, compared, shown and sent
		}
		assert.Less(t, after.TotalAlloc-before.TotalAlloc, most)
		deadline := time.Now().Add(time.Minute)
		for a.bodies.used() != 0 && time.Now().Before(deadline) {
			runtime.Gosched() // the handler ends after its answer
		}
		assert.Zero(t, a.bodies.used())

		want, isValid := strictSyncDef(strings.TrimSpace(kind), body)
		got, called := seen.synced()
		if called {
			assert.True(t, isValid, "%q is not valid", body)
			assert.Equal(t, want, got)
		}
		if r.Method == http.MethodPost && r.URL.Path == syncPath && r.URL.RawPath == "" {
			_, err := url.ParseQuery(r.URL.RawQuery)
			tooLarge := len(body) > fuzzBody
			assert.Equal(t, isValid && err == nil && !tooLarge, called, "%d %s", resp.StatusCode, text)
		}
		if r.Method == http.MethodPost && r.URL.Path == planPath && resp.StatusCode < 300 {
			assert.True(t, isValid, "%q is not valid", body)
			for _, a := range want {
				assert.Empty(t, a.Delete)
			}
		}
		if images, called := seen.images(); called && r.Method == http.MethodPatch {
			wanted, isValid := strictImages(body)
			assert.True(t, isValid, "%q is not valid", body)
			assert.Equal(t, wanted, images)
		}
		if ids := seen.asked(); ids != nil && r.Method != http.MethodPatch {
			query, err := url.ParseQuery(r.URL.RawQuery)
			require.NoError(t, err)
			assert.Equal(t, query["id"], ids)
		}
	})
}

// fuzzBody is the limit of a body in bytes.
const fuzzBody = 8 << 10

func assertAnswer(t *testing.T, r *http.Request, resp *http.Response, text []byte) {
	t.Helper()
	assert.NotEqual(t, http.StatusInternalServerError, resp.StatusCode)
	if resp.StatusCode == http.StatusOK && strings.Contains(r.URL.Path, "export") || r.Method == http.MethodHead ||
		resp.StatusCode == http.StatusOK && (r.URL.Path == "/metrics" || r.URL.Path == "/healthz") {
		return
	}
	assert.Equal(t, "application/json", resp.Header.Get("Content-Type"))
	var p map[string]any
	require.NoError(t, json.Unmarshal(text, &p), "%s", text)
	if resp.StatusCode >= 300 {
		shown, _ := p["error"].(string)
		assert.NotEmpty(t, shown)
		assertSafe(t, shown)
	}
}

// strictImages is a second implementation of imagesOf, for the containers of newShop.
func strictImages(body []byte) (images map[string]string, ok bool) {
	images = map[string]string{"init": "i:1", "web": "w:1", "side": "s:1"}
	var top map[string]map[string]string
	if !json.Valid(body) || !utf8.Valid(body) || json.Unmarshal(body, &top) != nil || len(top) != 1 || len(top["images"]) == 0 {
		return nil, false
	}
	for container, image := range top["images"] {
		if images[container] == "" || image == "" {
			return nil, false
		}
		images[container] = image
	}
	// A map has no duplicates: the number of tokens must be that of its content.
	tokens := 0
	for d := json.NewDecoder(bytes.NewReader(body)); ; tokens++ {
		if _, err := d.Token(); err != nil {
			return images, tokens == 5+2*len(top["images"])
		}
	}
}

// A seen records the calls to the platform since the last reset.
type seen struct {
	mu   sync.Mutex
	defs []platform.SyncDef // guarded by mu
	ids  []string           // guarded by mu

	definition []byte // guarded by mu; the last that was applied
}

func (s *seen) mock() *platform.MockPlatform {
	return &platform.MockPlatform{
		SyncArgTest: func(def platform.SyncDef) error {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.defs = append(s.defs, def)
			return nil
		},
		SomeServicesArgTest: func(ids []flux.ServiceID) error {
			s.mu.Lock()
			defer s.mu.Unlock()
			for _, id := range ids {
				s.ids = append(s.ids, string(id))
			}
			return nil
		},
		ApplyArgTest: func(defs []platform.ServiceDefinition) error {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.definition = defs[0].NewDefinition
			return nil
		},
		SomeServicesAnswer: servicesOf("shop/web"),
		ExportAnswer:       []byte(newShop().export),
	}
}

func (s *seen) reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.defs, s.ids, s.definition = nil, nil, nil
}

func (s *seen) synced() (actions []platform.SyncAction, called bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, def := range s.defs {
		actions = append(actions, def.Actions...)
	}
	return actions, len(s.defs) == 1
}

// images returns the images of the definition that was applied, by the names of the containers.
func (s *seen) images() (images map[string]string, called bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	type containers []struct{ Name, Image string }
	var d struct {
		Spec struct {
			Template struct {
				Spec struct{ InitContainers, Containers containers }
			}
		}
	}
	if json.Unmarshal(s.definition, &d) != nil {
		return nil, false
	}
	images = map[string]string{}
	for _, c := range append(d.Spec.Template.Spec.InitContainers, d.Spec.Template.Spec.Containers...) {
		images[c.Name] = c.Image
	}
	return images, true
}

func (s *seen) asked() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ids
}

// strictSyncDef is a second implementation of syncDef, with the standard library and the whole
// body in memory.
func strictSyncDef(contentType string, body []byte) (actions []platform.SyncAction, ok bool) {
	kind, parameters, err := mime.ParseMediaType(contentType)
	if contentType != "" && err != nil {
		return nil, false
	}
	switch kind {
	case "application/json":
		actions, ok = strictJSON(body)
	case "multipart/form-data":
		actions, ok = strictForm(body, parameters["boundary"])
	default:
		return []platform.SyncAction{{ResourceID: "request", Apply: body}}, len(body) > 0
	}
	for _, a := range actions {
		ok = ok && len(a.Delete)+len(a.Apply) > 0
	}
	return actions, ok && len(actions) > 0
}

func strictJSON(body []byte) (actions []platform.SyncAction, ok bool) {
	if !json.Valid(body) || !utf8.Valid(body) {
		return nil, false
	}
	var top map[string][]map[string]*string
	if json.Unmarshal(body, &top) != nil || len(top) != 1 || top["actions"] == nil {
		return nil, false
	}
	// A map has no duplicates: the number of tokens must be that of its content.
	keys, decoder := 0, json.NewDecoder(bytes.NewReader(body))
	for _, one := range top["actions"] {
		if one == nil {
			return nil, false
		}
		var a platform.SyncAction
		for key, value := range one {
			keys++
			text := ""
			if value != nil {
				text = *value
			}
			switch key {
			case "resourceID":
				a.ResourceID = text
			case "delete":
				a.Delete = bytesOrNil(text)
			case "apply":
				a.Apply = bytesOrNil(text)
			default:
				return nil, false
			}
		}
		actions = append(actions, a)
	}
	want := 5 + 2*len(top["actions"]) + 2*keys // 5 are of {"actions":[]}, and 2 of each action's braces
	for {
		if _, err := decoder.Token(); err != nil {
			return actions, want == 0
		}
		want--
	}
}

func bytesOrNil(text string) []byte {
	if text == "" {
		return nil
	}
	return []byte(text)
}

func strictForm(body []byte, boundary string) (actions []platform.SyncAction, ok bool) {
	if boundary == "" || len(boundary) > 70 {
		return nil, false
	}
	for parts := multipart.NewReader(bytes.NewReader(body), boundary); ; {
		part, err := parts.NextRawPart()
		if err != nil {
			return actions, err == io.EOF //nolint:errorlint // if it is wrapped, the form ends early
		}
		encoding := part.Header.Get("Content-Transfer-Encoding")
		isPlain := encoding == "" || encoding == "binary" || encoding == "8bit" || encoding == "7bit"
		size := 0
		for key, values := range part.Header {
			for _, value := range values {
				size += len(key) + len(value)
			}
		}
		text, err := io.ReadAll(part)
		if err != nil || !isPlain || part.FileName() == "" || size > 8<<10 || len(part.Header["Content-Disposition"]) != 1 {
			return nil, false
		}
		a := platform.SyncAction{ResourceID: part.FileName()}
		switch part.FormName() {
		case "apply":
			a.Apply = bytesOrNil(string(text))
		case "delete":
			a.Delete = bytesOrNil(string(text))
		default:
			return nil, false
		}
		actions = append(actions, a)
	}
}
