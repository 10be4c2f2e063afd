package service

import (
	"fmt"
	"net/http"
	"net/url"

	"github.com/platformbus/platform"
	"github.com/platformbus/platform/flux"
)

func (a *api) export(w http.ResponseWriter, r *http.Request, p platform.Platform, _ *chunks) {
	manifests, release, err := a.exported(p)
	defer release()
	if err != nil {
		var result map[string]any
		if len(manifests) > 0 {
			result = map[string]any{"manifests": string(manifests)}
		}
		a.fail(w, r, err, result)
		return
	}
	w.Header().Set("Content-Type", "application/yaml")
	w.Write(manifests) //nolint:errcheck // it fails if the client has disconnected
}

// exported returns the Export of a platform, also beside an error, and holds its bytes in the
// budget of the bodies: it is in memory like a body, and as large as its cluster makes it. While
// it arrives, the bus bounds it. The caller must call release, also after an error. One that
// exceeds the budget, together with the bodies in progress or alone, is dropped.
func (a *api) exported(p platform.Platform) (manifests []byte, release func(), err error) {
	manifests, err = p.Export()
	n := int64(len(manifests))
	if !a.bodies.reserve(n) {
		if n > a.bodies.size {
			return nil, func() {}, refusal{http.StatusInsufficientStorage, fmt.Errorf("the export has %d bytes, and the limit of all bodies together is %d", n, a.bodies.size)}
		}
		return nil, func() {}, tooBusy{fmt.Errorf("the export and the bodies of all requests in progress take more than %d bytes; try again", a.bodies.size)}
	}
	return manifests, func() { a.bodies.release(n) }, err
}

func (a *api) sync(w http.ResponseWriter, r *http.Request, p platform.Platform, body *chunks) {
	def, err := syncDef(r.Header, body)
	if err == nil {
		err = p.Sync(def)
	}
	if err != nil {
		a.fail(w, r, err, nil)
		return
	}
	answer(w, http.StatusOK, map[string]any{"actions": len(def.Actions)})
}

func (a *api) apply(w http.ResponseWriter, r *http.Request, p platform.Platform, body *chunks) {
	if err := applyDefinition(r.URL.Query(), p, body.drain()); err != nil {
		a.fail(w, r, err, nil)
		return
	}
	answer(w, http.StatusOK, map[string]any{"applied": r.URL.Query().Get("service")})
}

func applyDefinition(query url.Values, p platform.Platform, definition []byte) error {
	text := query.Get("service")
	id, err := flux.ParseServiceID(text)
	if err != nil {
		return parameterError("service", text, "namespace/name")
	}
	async, err := boolean(query, "async")
	if err != nil {
		return err
	}
	return p.Apply([]platform.ServiceDefinition{{ServiceID: id, NewDefinition: definition, Async: async}})
}
