package api

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/scheme"

	"github.com/platformbus/platform/kubernetes/internal/kinds"
	"github.com/platformbus/platform/kubernetes/internal/redact"
)

// A transport sends no request but those that are aimed, and lets no answer pass that quotes
// what is secret.
type transport struct {
	prefix string // of all paths; empty unless the API server is behind one
	next   http.RoundTripper
}

func (t transport) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := checkPath(r, t.prefix); err != nil {
		if r.Body != nil {
			r.Body.Close()
		}
		return nil, err
	}
	response, err := t.next.RoundTrip(r)
	if err != nil || response.StatusCode < http.StatusBadRequest {
		return response, err
	}
	return redacted(response, objectOf(r))
}

// objectOf returns what a request is about, for its answer to be redacted: the definition
// that it sends, if it sends one.
func objectOf(r *http.Request) redact.Object {
	var body []byte
	if r.GetBody != nil {
		if reader, err := r.GetBody(); err == nil {
			body, _ = io.ReadAll(reader) // what was sent has been read before
			reader.Close()
		}
	}
	return redact.Of(isAboutSecrets(r.URL.Path), body)
}

func isAboutSecrets(path string) bool {
	for segment := range strings.SplitSeq(path, "/") {
		if kinds.IsSecretResource(segment) {
			return true
		}
	}
	return false
}

// maxRefusal is how much is read of an answer that says no.
const maxRefusal = 8 << 20

// redacted returns a response that says no, without what its text quotes of o. A body that
// is no Status, such as a proxy's page, becomes plain text.
func redacted(response *http.Response, o redact.Object) (*http.Response, error) {
	body, err := io.ReadAll(io.LimitReader(response.Body, maxRefusal))
	response.Body.Close()
	if err != nil {
		return nil, err
	}
	if status := readStatus(body); status != nil {
		redactStatus(status, o)
		if body, err = json.Marshal(status); err != nil {
			return nil, err
		}
		response.Header.Set("Content-Type", runtime.ContentTypeJSON)
	} else {
		body = []byte(redact.Line(o.Text(string(body))))
		response.Header.Set("Content-Type", "text/plain; charset=utf-8")
	}
	response.Header.Del("Content-Encoding")
	response.Header.Del("Content-Length")
	response.ContentLength = int64(len(body))
	response.Body = io.NopCloser(bytes.NewReader(body))
	return response, nil
}

// readStatus returns the Status that a body holds, in JSON or protobuf, or nil.
func readStatus(body []byte) *metav1.Status {
	object, _, err := scheme.Codecs.UniversalDeserializer().Decode(body, nil, nil)
	status, ok := object.(*metav1.Status)
	if err != nil || !ok {
		return nil
	}
	status.SetGroupVersionKind(metav1.SchemeGroupVersion.WithKind("Status"))
	status.APIVersion = "v1"
	return status
}

// redactStatus takes off the texts of a status what they quote of o.
func redactStatus(status *metav1.Status, o redact.Object) {
	status.Message = redact.Line(o.Text(status.Message))
	if status.Details == nil {
		return
	}
	for i := range status.Details.Causes {
		cause := &status.Details.Causes[i]
		// A cause has the path apart from what is wrong there.
		text := o.Text(cause.Field + ": " + cause.Message)
		cause.Message = redact.Line(strings.TrimPrefix(text, cause.Field+": "))
	}
}

// FromObject returns the error that an event of a watch holds.
func FromObject(object runtime.Object, resource string) error {
	if status, ok := object.(*metav1.Status); ok {
		status = status.DeepCopy()
		redactStatus(status, redact.Of(kinds.IsSecretResource(resource), nil))
		object = status
	}
	return apierrors.FromObject(object)
}
