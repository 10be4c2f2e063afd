package kubernetes

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf8"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/platformbus/platform/kubernetes/internal/parse"
)

// What users write on objects to say how they want them dealt with.
const (
	// recreateAnnotation, "true" in a definition, lets Sync delete the object and make it
	// again where a change is to a field that cannot be changed.
	recreateAnnotation = "platform/recreate"
	// ignoreAnnotation, with "sync" in its list on a live object, makes Sync leave it
	// alone.
	ignoreAnnotation = "platform/ignore"
)

// A definition is what a document says of one object, reduced to what is needed to place,
// order and send it, or to see that there is no need to.
type definition struct {
	gvk             schema.GroupVersionKind
	namespace, name string // as written; namespace may be empty

	// digest identifies the content that is sent.
	digest [sha256.Size]byte
	// labels and annotations are those that the definition sets.
	labels, annotations map[string]string
	// simple says that all it defines is in its metadata and its spec, the two of which
	// the API server tells every change.
	simple bool
	// pods says that it is a pod, or makes pods.
	pods bool
	// chooses says that it is a Service that wants a certain address or port.
	chooses bool
	// defines has the resources that it makes the API server serve, if it is a
	// CustomResourceDefinition.
	defines []resource

	// body and refs are not kept between calls; see clients.load.
	body []byte      // what is sent: JSON, without namespace and what only the server sets
	refs []reference // what must be there before the object can do its work
}

// newDefinition reduces a parsed object, whose content it changes.
func newDefinition(object parse.Object) (*definition, error) {
	content := object.Object
	d := &definition{
		gvk:         object.GroupVersionKind(),
		namespace:   object.GetNamespace(),
		name:        object.GetName(),
		labels:      object.GetLabels(),
		annotations: object.GetAnnotations(),
		pods:        podSpec(object.Unstructured) != nil,
		chooses:     chooses(object.Unstructured),
		refs:        references(object.Unstructured),
	}
	meta := content["metadata"].(map[string]any) // package parse saw to it
	for _, field := range []string{"creationTimestamp", "generation", "managedFields", "namespace", "resourceVersion", "selfLink", "uid"} {
		delete(meta, field)
	}
	if status, ok := content["status"]; ok {
		if m, isMap := status.(map[string]any); status == nil || isMap && len(m) == 0 {
			delete(content, "status")
		}
	}
	_, spec := content["spec"].(map[string]any)
	d.simple = spec && len(content) == len([]string{"apiVersion", "kind", "metadata", "spec"})
	if d.gvk.GroupKind() == crdKind {
		d.defines = definedBy(object.Unstructured)
	}
	body, err := json.Marshal(content)
	d.body = escapeForYAML(body)
	d.digest = sha256.Sum256(d.body)
	return d, err
}

// escapeForYAML makes JSON text mean the same as YAML, which is how the API server reads
// the body of a server-side apply: YAML folds some characters in strings as line ends, and
// refuses others, unless they are escaped.
func escapeForYAML(text []byte) []byte {
	isPlain := func(r rune) bool {
		return r < 0x7f || r > 0x9f && r != 0x2028 && r != 0x2029 && r != 0xfeff && r < 0xfffe || r > 0xffff
	}
	if !bytes.ContainsFunc(text, func(r rune) bool { return !isPlain(r) }) {
		return text
	}
	escaped := make([]byte, 0, len(text)+16)
	for _, r := range string(text) {
		if isPlain(r) {
			escaped = utf8.AppendRune(escaped, r)
		} else {
			escaped = fmt.Appendf(escaped, "\\u%04x", r)
		}
	}
	return escaped
}

// summary returns d without what is not kept.
func (d *definition) summary() *definition {
	s := *d
	s.body, s.refs = nil, nil
	return &s
}

func (d *definition) recreate() bool { return d.annotations[recreateAnnotation] == "true" }

// ignoresSync says whether the annotations of a live object tell Sync to leave it alone.
func ignoresSync(annotations map[string]string) bool {
	for what := range strings.SplitSeq(annotations[ignoreAnnotation], ",") {
		if strings.TrimSpace(what) == "sync" {
			return true
		}
	}
	return false
}

// A target is an object that a definition names, as the API server has it.
type target struct {
	*definition
	key      objectKey
	resource resource
	label    string // the ResourceID or ServiceID of the entry it comes from
	defined  bool   // its kind is one that the same Sync defines
	fresh    bool   // and that the API server was not known to have
}

// newTarget places a definition: it gets the namespace it belongs to. One on a
// cluster-scoped kind counts for nothing, as it does to the API server.
func newTarget(d *definition, res resource, defaultNamespace, label string) *target {
	namespace := d.namespace
	switch {
	case !res.namespaced:
		namespace = ""
	case namespace == "":
		namespace = defaultNamespace
	}
	return &target{
		definition: d,
		key:        objectKey{GroupKind: res.gvk().GroupKind(), namespace: namespace, name: d.name},
		resource:   res,
		label:      label,
	}
}
