// Package parse reads manifests: multi-document YAML, JSON and Lists. Whoever wrote a
// manifest may be hostile: what it takes to read one is bounded by its size, and no error
// holds a value of it.
package parse

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/platformbus/platform/kubernetes/internal/kinds"
)

// An Object is one object of a manifest. Its apiVersion, kind, name and namespace are such
// that requests can be made of them, and the values of its annotations and labels are
// strings. None of these is null.
type Object struct {
	*unstructured.Unstructured
	Line int // where its document begins, from 1
}

// ErrUTF16 is the error about a text in UTF-16.
var ErrUTF16 = errors.New("line 1: the text is UTF-16; only UTF-8 is read")

// IsUTF16 says whether a text begins as UTF-16 does.
func IsUTF16(data []byte) bool {
	return bytes.HasPrefix(data, []byte("\xff\xfe")) || bytes.HasPrefix(data, []byte("\xfe\xff"))
}

// Each calls found with each object in data, in their order, until it returns an error. It
// fails with that, with an error about the first document that is wrong, or, if ctx ends,
// with ctx's cause.
func Each(ctx context.Context, data []byte, limits *Limits, found func(Object) error) error {
	if IsUTF16(data) {
		return ErrUTF16
	}
	for _, doc := range Split(data) {
		value, err := doc.Value(ctx, limits)
		if err != nil {
			return err
		}
		if err := doc.Objects(value, limits, found); err != nil {
			return err
		}
	}
	return nil
}

// Objects calls found with each object in value, which is what Value has returned, until it
// returns an error. It fails as Each does.
func (d Document) Objects(value any, limits *Limits, found func(Object) error) error {
	f := flattening{found: found, line: d.Line, limits: limits}
	return d.at(f.add(value, 0))
}

// A flattening finds the objects of a document.
type flattening struct {
	found  func(Object) error
	line   int
	limits *Limits
}

// add passes on the object that value is, or those of the List that it is.
func (f *flattening) add(value any, depth int) error {
	content, ok := value.(map[string]any)
	if !ok {
		return fmt.Errorf("want an object with apiVersion and kind, got %s", kindOf(value))
	}
	if isEncrypted(content) {
		return encryptedError(content)
	}
	u := &unstructured.Unstructured{Object: content}
	apiVersion, _ := content["apiVersion"].(string)
	kind, _ := content["kind"].(string)
	if apiVersion == "" || kind == "" {
		missing := "apiVersion"
		if apiVersion != "" {
			missing = "kind"
		}
		return fmt.Errorf("%s is missing, or not a string", missing)
	}
	if err := checkType(apiVersion, kind); err != nil {
		return err
	}
	items, isList := content["items"].([]any)
	if isList && strings.HasSuffix(kind, "List") {
		if depth == maxDepth {
			return fmt.Errorf("lists are nested more than %d deep", maxDepth)
		}
		for i, item := range items {
			inherit(item, apiVersion, strings.TrimSuffix(kind, "List"))
			if err := f.add(item, depth+1); err != nil {
				return fmt.Errorf("item %d of the %s: %w", i+1, kind, err)
			}
		}
		return nil
	}
	if kind == "List" {
		return fmt.Errorf("the List has no items")
	}
	if err := checkMetadata(content, kind); err != nil {
		return err
	}
	if err := f.limits.addObject(); err != nil {
		return err
	}
	return f.found(Object{u, f.line})
}

func checkType(apiVersion, kind string) error {
	gv, err := schema.ParseGroupVersion(apiVersion)
	if err != nil {
		return fmt.Errorf("the apiVersion %.100q is none: want a version, or a group and a version", apiVersion)
	}
	if err := kinds.CheckGroupVersion(gv); err != nil {
		return fmt.Errorf("apiVersion: %w", err)
	}
	return kinds.CheckKind(kind)
}

// checkMetadata checks what tells an object from others of its kind.
func checkMetadata(content map[string]any, kind string) error {
	metadata, ok := content["metadata"].(map[string]any)
	if !ok {
		return fmt.Errorf("%s: metadata is missing, or not an object", kind)
	}
	name, _ := metadata["name"].(string)
	if name == "" {
		if _, ok := metadata["generateName"]; ok {
			return fmt.Errorf("%s: it has a generateName and no name: each apply would make another", kind)
		}
		return fmt.Errorf("%s: metadata.name is missing, or not a string", kind)
	}
	if err := kinds.CheckName(name); err != nil {
		return fmt.Errorf("%s: %w", kind, err)
	}
	if value, ok := metadata["namespace"]; ok && value == nil {
		delete(metadata, "namespace") // a null is not set
	} else if ok {
		namespace, ok := value.(string)
		if !ok {
			return fmt.Errorf("%s %.100q: metadata.namespace is not a string", kind, name)
		}
		if err := kinds.CheckNamespace(namespace); err != nil {
			return fmt.Errorf("%s %.100q: %w", kind, name, err)
		}
	}
	for _, field := range []string{"annotations", "labels"} {
		if err := checkStrings(metadata, field); err != nil {
			return fmt.Errorf("%s %.100q: %w", kind, name, err)
		}
	}
	return nil
}

// maxNamed is how many keys with a wrong value an error names.
const maxNamed = 10

// checkStrings checks that the values in a map of the metadata are strings. It takes out what
// is null, which counts as not set.
func checkStrings(metadata map[string]any, field string) error {
	value, ok := metadata[field]
	if !ok {
		return nil
	}
	if value == nil {
		delete(metadata, field)
		return nil
	}
	content, _ := value.(map[string]any) // what is none is the API server's to refuse
	var wrong []string
	for key, value := range content {
		if _, ok := value.(string); value == nil {
			delete(content, key)
		} else if !ok {
			wrong = append(wrong, key)
		}
	}
	if len(wrong) == 0 {
		return nil
	}
	slices.Sort(wrong)
	if len(wrong) == 1 {
		return fmt.Errorf(".metadata.%s: the value of %.100q is %s, and has to be a string: write it in quotes", field, wrong[0], kindOf(content[wrong[0]]))
	}
	more := ""
	if len(wrong) > maxNamed {
		wrong, more = wrong[:maxNamed], fmt.Sprintf(" and %d more", len(wrong)-maxNamed)
	}
	for i, key := range wrong {
		wrong[i] = fmt.Sprintf("%.100q", key)
	}
	return fmt.Errorf(".metadata.%s: the values of %s%s have to be strings: write them in quotes", field, strings.Join(wrong, ", "), more)
}

// inherit gives an item of a typed list, such as a ConfigMapList, the type that its
// items may leave out.
func inherit(item any, apiVersion, kind string) {
	content, ok := item.(map[string]any)
	if !ok || kind == "" {
		return
	}
	if _, ok := content["kind"]; ok {
		return
	}
	if _, ok := content["apiVersion"]; ok {
		return
	}
	content["apiVersion"], content["kind"] = apiVersion, kind
}
