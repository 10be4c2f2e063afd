package api

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"regexp"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/scheme"

	"github.com/platformbus/platform/kubernetes/internal/kinds"
	"github.com/platformbus/platform/kubernetes/internal/redact"
)

// A transport sends only requests whose path their context holds, and lets no answer pass
// that quotes what is secret.
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
	if err != nil {
		return response, err
	}
	if warnings := response.Header["Warning"]; len(warnings) > 0 {
		o := t.objectOf(r)
		for i, warning := range warnings {
			warnings[i] = o.Text(warning)
		}
	}
	if response.StatusCode == http.StatusTooManyRequests {
		refuse(r.Context())
	}
	if response.StatusCode < http.StatusBadRequest {
		return response, nil
	}
	return redacted(response, t.objectOf(r))
}

// objectOf returns what a request is about, for its answer to be redacted: the definition
// that it sends, if it sends one.
func (t transport) objectOf(r *http.Request) redact.Object {
	var body []byte
	if r.GetBody != nil {
		if reader, err := r.GetBody(); err == nil {
			body, _ = io.ReadAll(reader) // what was sent has been read before
			reader.Close()
		}
	}
	return redact.Of(kinds.IsSecretResource(resourceOf(strings.TrimPrefix(r.URL.Path, t.prefix))), body)
}

// resourceOf returns the plural of the resource that a path is about, or "".
func resourceOf(path string) string {
	segments := strings.Split(strings.TrimPrefix(path, "/"), "/")
	skip := len([]string{"apis", "group", "version"})
	if segments[0] == "api" {
		skip--
	}
	if len(segments) <= skip {
		return ""
	}
	segments = segments[skip:]
	if segments[0] == "namespaces" && len(segments) > 2 {
		segments = segments[2:]
	}
	return segments[0]
}

const (
	// maxRefusal is how much is read of an answer that says no, in bytes.
	maxRefusal = 4 << 20
	// maxCauses is how many causes of a refusal are kept.
	maxCauses = 100
)

// redacted returns a response that says no, without what its text quotes of o. A body that
// is no Status, such as a proxy's page, becomes plain text.
func redacted(response *http.Response, o redact.Object) (*http.Response, error) {
	body, err := io.ReadAll(io.LimitReader(response.Body, maxRefusal+1))
	response.Body.Close()
	if err != nil {
		return nil, err
	}
	if status := readStatus(body); len(body) > maxRefusal {
		body = []byte("the API server says no, in a text that is too long to be shown")
		response.Header.Set("Content-Type", "text/plain; charset=utf-8")
	} else if status != nil {
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

// causeImmutable is the type of a cause that a refusal gets here if its text, of which parts
// may be hidden or cut afterwards, says that a field cannot be changed.
const causeImmutable metav1.CauseType = "PlatformFieldImmutable"

// immutable matches the wordings of validation, of CEL rules and of webhooks. There is no code
// for it.
var immutable = regexp.MustCompile(`(?i)immutable|may not (be )?(change|update|modif)|can ?not be (change|update|modif)|updates to .* are forbidden|can(not|'t) change|failed rule: .*\boldSelf\b`)

// IsImmutable says whether the server refused a change because a field cannot be changed.
func IsImmutable(err error) bool { return apierrors.HasStatusCause(err, causeImmutable) }

// redactStatus takes off the texts of a status what they quote of o.
func redactStatus(status *metav1.Status, o redact.Object) {
	isImmutable := false
	switch status.Reason {
	case metav1.StatusReasonInvalid, metav1.StatusReasonForbidden, metav1.StatusReasonBadRequest:
		isImmutable = immutable.MatchString(status.Message)
	}
	status.Message = redact.Line(o.Text(status.Message))
	if details := status.Details; details != nil {
		details.Causes = details.Causes[:min(len(details.Causes), maxCauses)]
		for i := range details.Causes {
			cause := &details.Causes[i]
			// A cause has the path apart from what is wrong there.
			text, ok := strings.CutPrefix(o.Text(cause.Field+": "+cause.Message), cause.Field+": ")
			if !ok { // the path itself holds a value
				text = redact.Hidden
				cause.Field = ""
			}
			cause.Message = redact.Line(text)
		}
	}
	if isImmutable {
		if status.Details == nil {
			status.Details = &metav1.StatusDetails{}
		}
		status.Details.Causes = append(status.Details.Causes, metav1.StatusCause{Type: causeImmutable})
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
