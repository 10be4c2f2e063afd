package service

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/platformbus/platform"
	"github.com/platformbus/platform/flux"
)

// A shop is a platform whose services and Export are set, and which notes what is applied.
type shop struct {
	counted
	services []string
	failed   error // of SomeServices
	applied  []platform.ServiceDefinition
	refused  error // of Apply
}

func (s *shop) SomeServices(ids []flux.ServiceID) ([]platform.Service, error) {
	var found []platform.Service
	for _, name := range s.services {
		if len(ids) == 1 && string(ids[0]) == "shop/"+name {
			found = append(found, platform.Service{ID: ids[0]})
		}
	}
	return found, s.failed
}

func (s *shop) Apply(defs []platform.ServiceDefinition) error {
	s.applied = append(s.applied, defs...)
	return s.refused
}

// newShop returns a shop with services that select one controller, none, two, and nothing.
func newShop() *shop {
	const deployment = "---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {name: NAME, namespace: shop, labels: {platform/sync-set: demo}}\n" +
		"spec: {template: {metadata: {labels: {app: NAME, tier: front}}, spec: {initContainers: [{name: init, image: i:1}], containers: [{name: web, image: w:1}, {name: side, image: s:1}]}}}\n"
	const service = "---\napiVersion: v1\nkind: Service\nmetadata: {name: NAME, namespace: shop}\nspec: SPEC\n"
	s := &shop{services: []string{"web", "none", "two", "empty", "away", "hidden"}}
	for name, spec := range map[string]string{
		"web": "{selector: {app: web}}", "none": "{selector: {app: none}}", "two": "{selector: {tier: front}}", "empty": "{}", "away": "{type: ExternalName}",
	} {
		s.export += strings.NewReplacer("NAME", name, "SPEC", spec).Replace(service)
	}
	s.export += strings.ReplaceAll(deployment, "NAME", "web") + strings.ReplaceAll(deployment, "NAME", "other")
	return s
}

func imagesURL(base, service string) string {
	return base + "/v1/instances/a/services/shop/" + service + "/images"
}

func TestSetImages(t *testing.T) {
	s := newShop()
	url := imagesURL(serve(t, s, ""), "web")
	code, text := ask(t, "PATCH", url, `{"images":{"web":"w:2","init":"i:2"}}`, "Content-Type", jsonType)
	require.Equal(t, http.StatusOK, code, text)
	assert.JSONEq(t, `{"applied": "shop/web"}`, text)
	require.Len(t, s.applied, 1)
	assert.Equal(t, flux.ServiceID("shop/web"), s.applied[0].ServiceID)
	assert.False(t, s.applied[0].Async)
	assert.JSONEq(t, `{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"web","namespace":"shop","labels":{"platform/sync-set":"demo"}},
		"spec":{"template":{"metadata":{"labels":{"app":"web","tier":"front"}},"spec":{
		"initContainers":[{"name":"init","image":"i:2"}],"containers":[{"name":"web","image":"w:2"},{"name":"side","image":"s:1"}]}}}}`, string(s.applied[0].NewDefinition))

	code, _ = ask(t, "PATCH", url+"?async=true", `{"images":{"web":"w:1"}}`, "Content-Type", jsonType)
	assert.Equal(t, http.StatusOK, code)
	assert.True(t, s.applied[1].Async)

	s.err = errors.New("secrets: forbidden")
	code, text = ask(t, "PATCH", url, `{"images":{"web":"w:2"}}`, "Content-Type", jsonType)
	assert.Equal(t, http.StatusOK, code, "what the export lacks does not matter: %s", text)

	s.refused = platform.ApplyError{"shop/web": platform.ErrWrongResourceKind}
	code, text = ask(t, "PATCH", url, `{"images":{"web":"w:2"}}`, "Content-Type", jsonType)
	assert.Equal(t, http.StatusBadGateway, code)
	assert.Contains(t, text, `"shop/web": "new definition does not match existing resource"`)
}

func TestImagesThatCannotBeSet(t *testing.T) {
	s := newShop()
	base := serve(t, s, "")
	for _, tt := range []struct {
		service, images string
		code, exports   int
		want            string
	}{
		{"missing", `{"web":"w:2"}`, 404, 0, "no matching service: shop/missing"},
		{"none", `{"web":"w:2"}`, 409, 1, "the service shop/none: no matching replication controllers or deployments"},
		{"two", `{"web":"w:2"}`, 409, 1, "multiple matching replication controllers or deployments: shop:deployment/other, shop:deployment/web"},
		{"empty", `{"web":"w:2"}`, 409, 1, "empty selector"},
		{"away", `{"web":"w:2"}`, 409, 1, "service has no selector"},
		{"hidden", `{"web":"w:2"}`, 409, 1, "no matching service in the export, which leaves out"},
		{"web", `{"wbe":"w:2","web":"w:2","b":"c"}`, 422, 1, `no matching images: no container is named \"b\" or \"wbe\"`},
		{"web", `{"web":"w 2"}`, 422, 1, `container \"web\": the image to set, \"w 2\", has spaces`},
	} {
		s.exports = 0
		code, text := ask(t, "PATCH", imagesURL(base, tt.service), `{"images":`+tt.images+`}`, "Content-Type", jsonType)
		assert.Equal(t, tt.code, code, "%s: %s", tt.service, text)
		assert.Contains(t, text, tt.want)
		assert.Equal(t, tt.exports, s.exports, tt.service)
	}
	const body = `{"images":{"web":"w:2"}}`
	s.err = errors.New("deployments: forbidden")
	code, text := ask(t, "PATCH", imagesURL(base, "none"), body, "Content-Type", jsonType)
	assert.Equal(t, http.StatusBadGateway, code, "what is missing may be why")
	assert.Contains(t, text, "the export is not complete: deployments: forbidden")
	s.export, s.err = "", platform.UnavailableError(errors.New("lost"))
	code, _ = ask(t, "PATCH", imagesURL(base, "web"), body, "Content-Type", jsonType)
	assert.Equal(t, http.StatusServiceUnavailable, code)
	s.export, s.err = "a: [", nil
	code, text = ask(t, "PATCH", imagesURL(base, "web"), body, "Content-Type", jsonType)
	assert.Equal(t, http.StatusBadGateway, code, text)
	s.failed = errors.New("services: forbidden")
	code, _ = ask(t, "PATCH", imagesURL(base, "web"), body, "Content-Type", jsonType)
	assert.Equal(t, http.StatusBadGateway, code)
	assert.Empty(t, s.applied)
}

func TestStrictImages(t *testing.T) {
	s := newShop()
	url := imagesURL(serve(t, s, ""), "web")
	for body, want := range map[string]string{
		"":                                     "unexpected EOF",
		"null":                                 "no images to set",
		"{}":                                   "no images to set",
		`{"images":{}}`:                        "no images to set",
		`{"images":null}`:                      "no images to set",
		`{"images":{"web":""}}`:                `container \"web\"`,
		`{"images":{"web":null}}`:              `container \"web\"`,
		`{"images":{"":"w:2"}}`:                `container \"\"`,
		`{"images":{"web":2}}`:                 "cannot unmarshal number",
		`{"images":["web"]}`:                   "cannot unmarshal array",
		`{"Images":{"web":"w:2"}}`:             `unknown field \"Images\"`,
		`{"images":{"web":"w:2"},"x":1}`:       `unknown field \"x\"`,
		`{"images":{"web":"w:2","web":"w:3"}}`: "duplicate field",
		`{"images":{"web":"w:2"},"images":{"web":"w:3"}}`: "duplicate field",
		`{"images":{"web":"w:2"}} {}`:                     "after top-level value",
		`{"images":{"web":"w:2"}`:                         "unexpected end of JSON input",
		"{\"images\":{\"web\":\"\xff\"}}":                 "not UTF-8",
	} {
		code, text := ask(t, "PATCH", url, body, "Content-Type", jsonType)
		assert.Equal(t, http.StatusBadRequest, code, body)
		assert.Contains(t, text, want, body)
	}
	const good = `{"images":{"web":"w:2"}}`
	for _, header := range [][]string{nil, {"Content-Type", "text/plain"}, {"Content-Type", jsonType, "Content-Type", "text/plain"}, {"Content-Type", "application/"}} {
		code, text := ask(t, "PATCH", url, good, header...)
		assert.Equal(t, http.StatusUnsupportedMediaType, code, text)
	}
	for _, path := range []string{"shop/a%2Fb/images", "a%2Fb/web/images"} {
		code, text := ask(t, "PATCH", strings.Replace(url, "shop/web/images", path, 1), good, "Content-Type", jsonType)
		assert.Equal(t, http.StatusBadRequest, code, text)
		assert.Contains(t, text, "want namespace/name")
	}
	code, _ := ask(t, "PATCH", url+"?async=1", good, "Content-Type", jsonType)
	assert.Equal(t, http.StatusBadRequest, code)
	assert.Zero(t, s.exports)
	assert.Empty(t, s.applied)
}
