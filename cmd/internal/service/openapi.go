package service

import (
	_ "embed"
	"encoding/json"
	"net/http"
	"sync"

	"sigs.k8s.io/yaml"
)

//go:embed openapi.yaml
var openapiYAML []byte

// document returns the OpenAPI document in JSON. A test reads it, so that it is well-formed.
var document = sync.OnceValues(func() (json.RawMessage, error) { return yaml.YAMLToJSON(openapiYAML) })

func serveDocument(w http.ResponseWriter, _ *http.Request) {
	text, err := document()
	if err != nil {
		refuse(w, http.StatusInternalServerError, err.Error())
		return
	}
	answer(w, http.StatusOK, text)
}
