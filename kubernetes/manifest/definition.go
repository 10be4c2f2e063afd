package manifest

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
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

// A definition is one object, of the cluster or desired, without what only the server
// sets and without the marks of a plan.
type definition struct {
	key
	content     map[string]any
	labels      map[string]any // of the metadata, as they were
	annotations map[string]any // likewise
	from        Object
	mark        string // what DefinitionHashAnnotation has to be for this content
}

// newDefinition copies an object into a definition of that key.
func newDefinition(o Object, k key, s scopes) (*definition, error) {
	text, err := json.Marshal(o.Object)
	if err != nil {
		return nil, err
	}
	content := map[string]any{}
	if err := kjson.UnmarshalCaseSensitivePreserveInts(text, &content); err != nil {
		return nil, err
	}
	meta, ok := content["metadata"].(map[string]any)
	if !ok {
		return nil, errors.New("metadata is not an object")
	}
	kinds.Normalize(k.GroupKind, content)
	delete(content, "status")
	if kinds.Lookup(k.GroupKind) == nil && kinds.HasNulls(content) {
		kinds.DropNulls(content, kinds.SchemaOf(s.definitions[k.GroupKind], o.GroupVersionKind().Version))
	}
	delete(meta, "namespace")
	if k.namespace != "" {
		meta["namespace"] = k.namespace
	}
	d := &definition{key: k, content: content, from: o}
	if d.labels, err = take(meta, "labels", SyncSetLabel); err != nil {
		return nil, err
	}
	if d.annotations, err = take(meta, "annotations", DefinitionHashAnnotation, lastAppliedAnnotation); err != nil {
		return nil, err
	}
	return d, nil
}

// take removes names from the map called field in meta, and returns the map as it was.
func take(meta map[string]any, field string, names ...string) (map[string]any, error) {
	values, ok := meta[field].(map[string]any)
	if !ok && meta[field] != nil {
		return nil, fmt.Errorf("metadata.%s is not a map", field)
	}
	before := maps.Clone(values)
	for _, name := range names {
		delete(values, name)
	}
	if len(values) == 0 {
		delete(meta, field)
	}
	return before, nil
}

// comparable returns what of the content an Export would show.
func (d *definition) comparable() map[string]any {
	content := runtime.DeepCopyJSON(d.content)
	kinds.StripDefined(d.GroupKind, content)
	return content
}

// sign sets d.mark.
func (d *definition) sign() error {
	content := d.content
	if kinds.IsSecret(d.Kind) {
		content = withoutValues(content)
	}
	text, err := json.Marshal(content) // in the order of the keys
	if err != nil {
		return err
	}
	sum := sha256.Sum256(text)
	d.mark = d.identity() + hex.EncodeToString(sum[:16])
	return nil
}

// identity is the part of a mark that tells which object it was made for. A label or an
// annotation that was copied to another object does not make it ours.
func (d *definition) identity() string {
	sum := sha256.Sum256([]byte(strings.Join([]string{d.Group, d.Kind, d.namespace, d.name}, "\x00")))
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

// syncSet returns the name of the sync set that the object's label names.
func (d *definition) syncSet() string {
	name, _ := d.labels[SyncSetLabel].(string)
	return name
}

// currentMark returns the mark that the object carries.
func (d *definition) currentMark() string {
	mark, _ := d.annotations[DefinitionHashAnnotation].(string)
	return mark
}

// markedForItself says whether the object carries a mark, and one made for itself.
func (d *definition) markedForItself() bool {
	return strings.HasPrefix(d.currentMark(), d.identity())
}

// ignores says whether the object's annotation lists what.
func (d *definition) ignores(what string) bool {
	list, _ := d.annotations[IgnoreAnnotation].(string)
	return kinds.Ignores(list, what)
}

// isOwned says whether another object owns this one, and decides when it goes.
func (d *definition) isOwned() bool {
	owners, _ := kinds.Nested(d.content, "metadata", "ownerReferences").([]any)
	return len(owners) > 0
}

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
	set("annotations", DefinitionHashAnnotation, d.mark)
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

// location returns where the definition was read.
func (d *definition) location() string { return d.from.location() }

// deletion returns what names the object, and no more.
func (d *definition) deletion() ([]byte, error) {
	u := &unstructured.Unstructured{Object: map[string]any{}}
	u.SetAPIVersion(d.from.GetAPIVersion())
	u.SetKind(d.Kind)
	u.SetNamespace(d.namespace)
	u.SetName(d.name)
	return encode(u.Object)
}
