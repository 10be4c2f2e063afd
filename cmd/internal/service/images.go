package service

import (
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"unicode/utf8"

	kjson "sigs.k8s.io/json"

	"github.com/platformbus/platform"
	"github.com/platformbus/platform/flux"
	"github.com/platformbus/platform/internal/oneline"
	"github.com/platformbus/platform/kubernetes/manifest"
)

// setImages applies the definition that an Export has of a service's pod controller, with other
// images. All of the definition is applied: it takes back what others have changed in it since
// the Export.
func (a *api) setImages(w http.ResponseWriter, r *http.Request, p platform.Platform, body *chunks) {
	id, err := a.applyImages(r, p, body)
	if err != nil {
		a.fail(w, r, err, nil)
		return
	}
	answer(w, http.StatusOK, map[string]any{"applied": id})
}

func (a *api) applyImages(r *http.Request, p platform.Platform, body *chunks) (flux.ServiceID, error) {
	text := r.PathValue("namespace") + "/" + r.PathValue("name")
	id, err := flux.ParseServiceID(text)
	if err != nil {
		return "", badRequest{err}
	}
	async, err := boolean(r.URL.Query(), "async")
	if err != nil {
		return "", err
	}
	images, err := imagesOf(r.Header, body.drain())
	if err != nil {
		return "", err
	}
	// A misspelt name is not to cost an Export.
	switch found, err := p.SomeServices([]flux.ServiceID{id}); {
	case err != nil:
		return "", err
	case len(found) == 0:
		return "", refusal{http.StatusNotFound, fmt.Errorf("%w: %s", platform.ErrNoMatchingService, id)}
	}
	definition, err := a.controllerOf(r, p, id)
	if err != nil {
		return "", err
	}
	changed, err := manifest.SetImages(definition, images)
	if err != nil {
		return "", refusal{http.StatusUnprocessableEntity, err}
	}
	return id, p.Apply([]platform.ServiceDefinition{{ServiceID: id, NewDefinition: changed, Async: async}})
}

// controllerOf returns the definition of the pod controller of a service that is there.
func (a *api) controllerOf(r *http.Request, p platform.Platform, id flux.ServiceID) (definition []byte, err error) {
	current, release, partial := a.exported(p)
	defer release()
	if partial != nil && len(current) == 0 {
		return nil, partial
	}
	err = a.inTurn(r.Context(), func() (err error) {
		definition, err = manifest.ControllerOf(current, id)
		return err
	})
	switch {
	case err == nil:
		return definition, nil
	case partial != nil: // what is missing may be why
		return nil, fmt.Errorf("%w; the export is not complete: %w", err, partial)
	case errors.Is(err, platform.ErrNoMatchingService):
		return nil, refusal{http.StatusConflict, fmt.Errorf("%w in the export, which leaves out what the system makes and what other objects own", err)}
	case errors.Is(err, platform.ErrNoMatching), errors.Is(err, platform.ErrMultipleMatching),
		errors.Is(err, platform.ErrEmptySelector), errors.Is(err, platform.ErrServiceHasNoSelector):
		return nil, refusal{http.StatusConflict, err}
	}
	return nil, err
}

// imagesOf reads the images to set, by the names of containers, from {"images": {"web": "x:2"}}.
func imagesOf(h http.Header, body []byte) (map[string]string, error) {
	kind, _, err := mime.ParseMediaType(h.Get("Content-Type"))
	if err != nil || kind != "application/json" || len(h.Values("Content-Type")) > 1 {
		return nil, refusal{http.StatusUnsupportedMediaType, errors.New("want one Content-Type, application/json")}
	}
	var request struct {
		Images map[string]*string `json:"images"`
	}
	if err := unmarshalStrict(body, &request); err != nil {
		return nil, badRequest{fmt.Errorf("read the request: %w", err)}
	}
	if len(request.Images) == 0 {
		return nil, badRequest{errors.New(`the request has no images to set; want {"images": {"container": "image"}}`)}
	}
	images := make(map[string]string, len(request.Images))
	for container, image := range request.Images {
		if container == "" || image == nil || *image == "" {
			return nil, badRequest{fmt.Errorf("container %.100q: the name or the image is empty", container)}
		}
		images[container] = *image
	}
	return images, nil
}

// unmarshalStrict decodes JSON. Unknown and duplicate keys are errors, also those that differ
// only in case.
func unmarshalStrict(text []byte, into any) error {
	if !utf8.Valid(text) {
		return errors.New("it is not UTF-8")
	}
	if len(text) == 0 {
		return io.ErrUnexpectedEOF
	}
	strict, err := kjson.UnmarshalStrict(text, into)
	if err == nil && len(strict) > 0 {
		err = strict[0]
	}
	if err != nil {
		return errors.New(oneline.Line(err.Error())) // it may quote a key that is as large as the text
	}
	return nil
}
