package apply

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"unicode/utf8"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/platformbus/platform/kubernetes/internal/api"
	"github.com/platformbus/platform/kubernetes/internal/kinds"
	"github.com/platformbus/platform/kubernetes/internal/parse"
)

// A Definition is what a document says of one object, reduced to what is needed to place,
// order and send it, or to see that there is no need to. Calls share Summaries, and change none.
type Definition struct {
	GVK             schema.GroupVersionKind
	Namespace, Name string // as written; Namespace may be empty

	// Defines has the kinds that it makes the API server serve, if it is a
	// CustomResourceDefinition.
	Defines []kinds.Defined

	// digest identifies the content that is sent.
	digest [sha256.Size]byte
	// size is how many bytes are sent.
	size int
	// labels and annotations are those that the definition sets.
	labels, annotations map[string]string
	// simple says that all it defines is in its metadata and its spec, the two of which
	// the API server tells every change.
	simple bool
	// pods says that it is a pod, or makes pods.
	pods bool
	// hostNetwork says that its pods have the network of their host.
	hostNetwork bool
	// keepsSilently says that the API server may keep what it forbids.
	keepsSilently bool
	// choosesAllocated says that it is a Service that wants a certain address or port.
	choosesAllocated bool

	// hasNulls says that it is of a custom resource, and sets fields to null.
	hasNulls bool
	// expires says that it is a Job that goes by itself some time after it has finished.
	expires bool

	// body and refs are not kept between calls; see Summary.
	body []byte            // what is sent: JSON, without namespace and what only the server sets
	refs []kinds.Reference // what must be there before the object can do its work
}

// NewDefinition reduces a parsed object, whose content it changes.
func NewDefinition(object parse.Object) (*Definition, error) {
	content, gvk := object.Object, object.GroupVersionKind()
	kind := gvk.GroupKind()
	kinds.Normalize(kind, content)
	d := &Definition{
		GVK:              gvk,
		Namespace:        object.GetNamespace(),
		Name:             object.GetName(),
		Defines:          kinds.DefinedBy(kind, content),
		labels:           object.GetLabels(),
		annotations:      object.GetAnnotations(),
		pods:             kinds.PodSpec(kind, content) != nil,
		hostNetwork:      kinds.Nested(kinds.PodSpec(kind, content), "hostNetwork") == true,
		keepsSilently:    kinds.KeepsSilently(kind, content),
		choosesAllocated: kinds.ChoosesAllocated(kind, content),
		hasNulls:         kinds.Lookup(kind) == nil && kinds.HasNulls(content),
		expires:          kinds.Expires(kind, content),
		refs:             kinds.References(kind, content),
	}
	meta := content["metadata"].(map[string]any) // package parse saw to it
	delete(meta, "namespace")
	_, spec := content["spec"].(map[string]any)
	d.simple = spec && len(content) == len([]string{"apiVersion", "kind", "metadata", "spec"})
	err := d.setBody(content)
	d.digest = sha256.Sum256(d.body)
	return d, err
}

func (d *Definition) setBody(content map[string]any) error {
	body, err := json.Marshal(content)
	d.body = escapeForYAML(body)
	d.size = len(d.body)
	return err
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

// Summary returns d without what need not be kept between calls: a step of it is complete
// once the full definition is put in its place.
func (d *Definition) Summary() *Definition {
	s := *d
	s.body, s.refs = nil, nil
	return &s
}

// IsSummary says whether d is a Summary.
func (d *Definition) IsSummary() bool { return d.body == nil }

// Size estimates how many bytes d takes.
func (d *Definition) Size() int {
	const each = 400 // without what it points to
	n := each + len(d.body)
	for _, m := range []map[string]string{d.labels, d.annotations} {
		for name, value := range m {
			n += len(name) + len(value)
		}
	}
	return n
}

func (d *Definition) mayRecreate() bool { return d.annotations[kinds.RecreateAnnotation] == "true" }

// A Target is an object that a definition names, as the API server has it.
type Target struct {
	*Definition
	Key         api.Key
	Resource    api.Resource
	EntryID     string // the ResourceID or ServiceID of the entry it comes from
	DefinedHere bool   // its kind is one that the same Sync defines
	Fresh       bool   // and that the API server was not known to have
}

// NewTarget places a definition: it gets the namespace it belongs to. One on a
// cluster-scoped kind counts for nothing, as it does to the API server.
func NewTarget(d *Definition, res api.Resource, defaultNamespace, entryID string) *Target {
	namespace := d.Namespace
	switch {
	case !res.Namespaced:
		namespace = ""
	case namespace == "":
		namespace = defaultNamespace
	}
	return &Target{
		Definition: d,
		Key:        api.Key{GroupKind: res.GVK().GroupKind(), Namespace: namespace, Name: d.Name},
		Resource:   res,
		EntryID:    entryID,
	}
}
