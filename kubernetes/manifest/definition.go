package manifest

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"strings"
	"unicode/utf8"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	kjson "sigs.k8s.io/json"

	"github.com/platformbus/platform/kubernetes/internal/kinds"
)

// What Plan writes on objects, and reads there.
const (
	// SyncSetLabel names the sync set that an object belongs to.
	SyncSetLabel = "platform/sync-set"
	// DefinitionHashAnnotation has two hashes: of what the object is known by, and of its
	// definition's content, without the values of a Secret.
	DefinitionHashAnnotation = "platform/definition-hash"
	// IgnoreAnnotation lists, separated by commas, what is not to be done to the object in
	// the cluster that carries it: "sync" leaves it alone, "prune" never deletes it.
	IgnoreAnnotation = kinds.IgnoreAnnotation
)

const lastAppliedAnnotation = "kubectl.kubernetes.io/last-applied-configuration"

// A header is what a Plan keeps of an object of the cluster, however large that is.
type header struct {
	key
	apiVersion string
	line       int              // of the Export
	set        string           // the sync set that its label names
	mark       string           // in DefinitionHashAnnotation
	ignored    string           // what IgnoreAnnotation lists
	owned      bool             // another object owns it, and decides when it goes
	defines    schema.GroupKind // if it is a CustomResourceDefinition
}

// A definition is one object, of the cluster or desired, without what only the server
// sets and without the marks of a plan.
type definition struct {
	header
	content map[string]any
	wants   string // what DefinitionHashAnnotation has to be for this content
	source  string // a location, or empty
}

// newDefinition makes a definition of that key of content, which it changes and keeps. The
// content is such as a way over JSON leaves it, see settled and copied.
func newDefinition(content map[string]any, k key, version schema.GroupVersionKind, s scopes) (*definition, error) {
	meta, ok := content["metadata"].(map[string]any)
	if !ok {
		return nil, errors.New("metadata is not an object")
	}
	d := &definition{header: header{key: k}, content: content}
	d.apiVersion, _ = content["apiVersion"].(string)
	if k.GroupKind == kinds.CustomResourceDefinition {
		d.defines, _ = kinds.DefinedKind(content)
	}
	kinds.Normalize(k.GroupKind, content)
	delete(content, "status")
	if kinds.Lookup(k.GroupKind) == nil && kinds.HasNulls(content) {
		kinds.DropNulls(content, kinds.SchemaOf(s.definitions[k.GroupKind], version.Version))
	}
	delete(meta, "namespace")
	if k.namespace != "" {
		meta["namespace"] = k.namespace
	}
	labels, err := take(meta, "labels", SyncSetLabel)
	if err != nil {
		return nil, err
	}
	annotations, err := take(meta, "annotations", DefinitionHashAnnotation, lastAppliedAnnotation)
	if err != nil {
		return nil, err
	}
	d.set, d.mark, d.ignored = labels[0], annotations[0], textOf(meta, "annotations", IgnoreAnnotation)
	owners, _ := meta["ownerReferences"].([]any)
	d.owned = len(owners) > 0
	return d, nil
}

// copied returns a copy of an object, with the values that it has after a way over JSON.
func copied(object map[string]any) (map[string]any, error) {
	if value, ok := copyPlain(object, 0); ok {
		content, _ := value.(map[string]any)
		return content, nil
	}
	text, err := json.Marshal(object)
	if err != nil {
		return nil, err
	}
	content := map[string]any{}
	return content, kjson.UnmarshalCaseSensitivePreserveInts(text, &content)
}

// maxPlain is how deep values nest that copyPlain copies.
const maxPlain = 500

// copyPlain copies values of the types that a parser returns, as JSON would. Of others it
// says that it cannot.
func copyPlain(value any, depth int) (any, bool) {
	switch v := value.(type) {
	case nil, bool, int64:
		return v, true
	case float64:
		return number(v)
	case string:
		return v, utf8.ValidString(v)
	case map[string]any:
		if v == nil || depth == maxPlain {
			return nil, v == nil
		}
		m := make(map[string]any, len(v))
		for name, below := range v {
			below, ok := copyPlain(below, depth+1)
			if !ok || !utf8.ValidString(name) {
				return nil, false
			}
			m[name] = below
		}
		return m, true
	case []any:
		if v == nil || depth == maxPlain {
			return nil, v == nil
		}
		list := make([]any, len(v))
		for i, below := range v {
			below, ok := copyPlain(below, depth+1)
			if !ok {
				return nil, false
			}
			list[i] = below
		}
		return list, true
	}
	return nil, false
}

// number returns what becomes of a number in JSON: one without a fraction is an integer.
func number(v float64) (any, bool) {
	text, err := json.Marshal(v)
	if err != nil {
		return nil, false
	}
	var value any
	err = kjson.UnmarshalCaseSensitivePreserveInts(text, &value)
	return value, err == nil
}

// settled changes what a parser has returned, in place but for numbers, to what it is after a way
// over JSON.
func settled(value any) any {
	switch v := value.(type) {
	case float64:
		if n, ok := number(v); ok {
			return n
		}
	case map[string]any:
		for name, below := range v {
			switch below.(type) {
			case float64:
				v[name] = settled(below)
			case map[string]any, []any:
				settled(below)
			}
		}
	case []any:
		for i, below := range v {
			v[i] = settled(below)
		}
	}
	return value
}

// take removes names from the map called field in meta, and returns the texts that they had.
func take(meta map[string]any, field string, names ...string) ([]string, error) {
	values, ok := meta[field].(map[string]any)
	if !ok && meta[field] != nil {
		return nil, fmt.Errorf("metadata.%s is not a map", field)
	}
	texts := make([]string, len(names))
	for i, name := range names {
		texts[i] = textOf(meta, field, name)
		delete(values, name)
	}
	if len(values) == 0 {
		delete(meta, field)
	}
	return texts, nil
}

func textOf(meta map[string]any, field, name string) string {
	text, _ := kinds.Nested(meta, field, name).(string)
	return text
}

// comparable returns what of the content an Export would show. It shares what is unchanged.
func (d *definition) comparable() map[string]any {
	content := maps.Clone(d.content)
	for name, value := range content {
		if name == "metadata" || !kinds.StripsMetadataOnly(d.GroupKind) {
			content[name] = runtime.DeepCopyJSONValue(value)
		}
	}
	kinds.StripDefined(d.GroupKind, content)
	return content
}

// sign sets d.wants.
func (d *definition) sign() error {
	content := d.content
	if kinds.IsSecret(d.Kind) {
		content = withoutValues(content)
	}
	sum := sha256.New()
	if err := json.NewEncoder(withoutNewline{sum}).Encode(content); err != nil { // in the order of the keys
		return err
	}
	d.wants = d.identity() + hex.EncodeToString(sum.Sum(nil)[:16])
	return nil
}

// withoutNewline passes on what a json.Encoder writes, without the newline at its end. The
// encoder writes a value as a whole.
type withoutNewline struct{ io.Writer }

func (w withoutNewline) Write(p []byte) (int, error) {
	if _, err := w.Writer.Write(bytes.TrimSuffix(p, []byte("\n"))); err != nil {
		return 0, err
	}
	return len(p), nil
}

// identity is the part of a mark that tells which object it was made for. A label or an
// annotation that was copied to another object does not make it ours.
func (k key) identity() string {
	sum := sha256.Sum256([]byte(strings.Join([]string{k.Group, k.Kind, k.namespace, k.name}, "\x00")))
	return hex.EncodeToString(sum[:8]) + "-"
}

// withoutValues returns a Secret with its keys and none of its values: a hash of a short
// value would give the value away to anyone who may see annotations.
func withoutValues(content map[string]any) map[string]any {
	copied := maps.Clone(content)
	for name, value := range content {
		if kinds.IsShownInSecrets(name) {
			continue
		}
		keys, _ := value.(map[string]any)
		masked := make(map[string]any, len(keys))
		for name := range keys {
			masked[name] = nil
		}
		copied[name] = masked
	}
	maskAnnotations(copied, nil, kinds.AnnotationsWithData(content, kinds.SecretValues(content)))
	return copied
}

// markedForItself says whether the object carries a mark, and one made for itself.
func (h *header) markedForItself() bool { return strings.HasPrefix(h.mark, h.identity()) }

// ignores says whether the object's annotation lists what.
func (h *header) ignores(what string) bool { return kinds.Ignores(h.ignored, what) }

// marked returns the definition's content with the marks of a plan for a sync set. The
// content is shared, the metadata is not.
func (d *definition) marked(syncSet string) map[string]any {
	content := maps.Clone(d.content)
	meta := maps.Clone(d.content["metadata"].(map[string]any))
	content["metadata"] = meta
	set := func(field, name, value string) {
		values, _ := meta[field].(map[string]any)
		if values = maps.Clone(values); values == nil {
			values = map[string]any{}
		}
		values[name] = value
		meta[field] = values
	}
	if syncSet != "" {
		set("labels", SyncSetLabel, syncSet)
	}
	set("annotations", DefinitionHashAnnotation, d.wants)
	return content
}

// encode returns content as the definition of a resource: JSON, which is YAML too.
func encode(content map[string]any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(content)
	return b.Bytes(), err
}

// deletion returns what names the object, and no more.
func (h *header) deletion() ([]byte, error) {
	u := &unstructured.Unstructured{Object: map[string]any{}}
	u.SetAPIVersion(h.apiVersion)
	u.SetKind(h.Kind)
	u.SetNamespace(h.namespace)
	u.SetName(h.name)
	return encode(u.Object)
}
