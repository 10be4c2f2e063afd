package apply

import (
	"bytes"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	kjson "k8s.io/apimachinery/pkg/util/json"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
	"sigs.k8s.io/structured-merge-diff/v6/value"

	"github.com/platformbus/platform/kubernetes/internal/kinds"
)

// isNoOp says whether a server-side apply of the definition is certain to change nothing in
// the live object: our manager owns exactly the fields that it sets, at its API version, and
// each has its value. The owned set tells how the server takes lists, and Kubernetes' own types
// what it makes of values; where that leaves a doubt, it is not certain.
func isNoOp(d *Definition, live *unstructured.Unstructured, ours *metav1.ManagedFieldsEntry, hasStatus bool) bool {
	var content map[string]any
	if err := kjson.Unmarshal(d.body, &content); err != nil { // it has no body if it is known from an earlier call
		return false
	}
	// These name the object; the server does not record who owns them.
	delete(content, "apiVersion")
	delete(content, "kind")
	if meta, ok := content["metadata"].(map[string]any); ok {
		delete(meta, "name")
		if len(meta) == 0 {
			delete(content, "metadata")
		}
	}
	if hasStatus { // which is written apart
		delete(content, "status")
	}
	if ours == nil {
		return len(content) == 0 // the server does not record who owns nothing
	}
	var set fieldpath.Set
	if err := set.FromJSON(bytes.NewReader(ours.FieldsV1.GetRawBytes())); err != nil {
		return false
	}
	sameVersion := ours.APIVersion == d.GVK.GroupVersion().String() && ours.APIVersion == live.GetAPIVersion()
	return sameVersion && ownsMap(content, live.Object, &set, kinds.ShapeOf(d.GVK))
}

// owns says whether set has exactly the fields that are in defined, and live their
// values. The set of something that is owned as a whole, be it a scalar or an atomic list
// or map, is nil.
func owns(defined, live any, set *fieldpath.Set, field kinds.Field) bool {
	if set == nil || set.Empty() {
		return sameWhole(defined, live, field.Shape)
	}
	switch d := defined.(type) {
	case map[string]any:
		l, ok := live.(map[string]any)
		return ok && ownsMap(d, l, set, field.Shape)
	case []any:
		l, ok := live.([]any)
		return ok && ownsList(d, l, set, field)
	}
	return false
}

func ownsMap(defined, live map[string]any, set *fieldpath.Set, shape kinds.Shape) bool {
	recorded := len(defined)
	for name, value := range defined {
		if kinds.IsEmptyList(value) && !has(set, fieldpath.FieldNameElement(name)) && (shape.Field(name).MayLack(value) || kinds.IsEmptyList(live[name])) {
			recorded-- // nobody owns a list without elements, if these are what is owned
		}
	}
	owned, onlyDefined := 0, true
	eachElement(set, func(e fieldpath.PathElement) {
		owned++
		if e.FieldName == nil {
			onlyDefined = false
		} else if _, ok := defined[*e.FieldName]; !ok {
			onlyDefined = false
		}
	})
	if owned != recorded || !onlyDefined {
		return false
	}
	for name, value := range defined {
		field := shape.Field(name)
		l, there := live[name]
		switch {
		case !there && field.MayLack(value):
		case there && isEmptyStruct(value, field) && isLeaf(below(set, fieldpath.FieldNameElement(name))): // nothing below it is ours
		case there && field.IsFilledIn(name, value, l): // again
		case !there, !owns(value, l, below(set, fieldpath.FieldNameElement(name)), field):
			return false
		}
	}
	return true
}

// isEmptyStruct says whether a value is a struct without fields, which an apply leaves as it is:
// of those that are owned as a whole, only selectors mean something when they are empty.
func isEmptyStruct(value any, field kinds.Field) bool {
	m, ok := value.(map[string]any)
	return ok && len(m) == 0 && field.IsStruct() && !field.IsSelector()
}

// isLeaf says whether nothing is owned below an element.
func isLeaf(set *fieldpath.Set) bool { return set == nil || set.Empty() }

// ownsList compares a list whose elements the server tells apart, by a key or by their
// value. They must be in the same order too.
func ownsList(defined, live []any, set *fieldpath.Set, field kinds.Field) bool {
	var elements []fieldpath.PathElement
	eachElement(set, func(e fieldpath.PathElement) { elements = append(elements, e) })
	if len(elements) != len(defined) {
		return false
	}
	from := 0 // those before it are taken
	for _, item := range defined {
		element, ok := exactElementOf(item, elements[0])
		if !ok || !has(set, element) { // it leaves out a key
			element, ok = elementOf(item, elements)
		}
		if !ok {
			return false
		}
		for ; from < len(live) && !identifies(element, live[from]); from++ {
		}
		if from == len(live) || !owns(item, live[from], below(set, element), kinds.Field{Shape: field.Element()}) {
			return false
		}
		from++
	}
	return true
}

// exactElementOf returns the element that item is, if it has all keys that the elements of its list
// have, which like is one of.
func exactElementOf(item any, like fieldpath.PathElement) (fieldpath.PathElement, bool) {
	if like.Key == nil {
		v := value.NewValueInterface(item)
		return fieldpath.PathElement{Value: &v}, true
	}
	var keys []string
	for _, key := range *like.Key {
		keys = append(keys, key.Name)
	}
	return kinds.KeyOf(item, keys)
}

// elementOf returns the one element that item can be. A key that item leaves out has a
// default; if that is not known, it is no obstacle as long as there is only one.
func elementOf(item any, elements []fieldpath.PathElement) (found fieldpath.PathElement, ok bool) {
	for _, e := range elements {
		fits := false
		switch {
		case e.Value != nil:
			fits = kinds.Equal(item, (*e.Value).Unstructured())
		case e.Key != nil:
			m, isMap := item.(map[string]any)
			fits = isMap
			for _, key := range *e.Key {
				value, there := m[key.Name]
				if !there {
					value, there = kinds.MissingKey(key.Name)
				}
				if there && !kinds.Equal(value, key.Value.Unstructured()) {
					fits = false
				}
			}
		}
		if fits && ok {
			return found, false
		}
		if fits {
			found, ok = e, true
		}
	}
	return found, ok
}

// identifies says whether the element is that of a live item, which has all its keys.
func identifies(e fieldpath.PathElement, item any) bool {
	if e.Value != nil {
		return kinds.Equal(item, (*e.Value).Unstructured())
	}
	m, ok := item.(map[string]any)
	if !ok || e.Key == nil {
		return false
	}
	for _, key := range *e.Key {
		if value, there := m[key.Name]; !there || !kinds.Equal(value, key.Value.Unstructured()) {
			return false
		}
	}
	return true
}

// below returns the set of what is owned below an element, or nil if it is owned as a
// whole.
func below(set *fieldpath.Set, e fieldpath.PathElement) *fieldpath.Set {
	child, _ := set.Children.Get(e)
	return child
}

// has says whether an element, or something below it, is owned.
func has(set *fieldpath.Set, e fieldpath.PathElement) bool {
	return set.Members.Has(e) || below(set, e) != nil
}

// eachElement calls do with each element at the top of set.
func eachElement(set *fieldpath.Set, do func(fieldpath.PathElement)) {
	set.Members.Iterate(do)
	set.Children.Iterate(func(e fieldpath.PathElement) {
		if !set.Members.Has(e) {
			do(e)
		}
	})
}

// sameWhole says whether a live value that is owned as a whole is the defined one. What
// the server adds to it by default would be added again.
func sameWhole(defined, live any, shape kinds.Shape) bool {
	switch d := defined.(type) {
	case map[string]any:
		l, ok := live.(map[string]any)
		if !ok {
			return false
		}
		for name, value := range d {
			field := shape.Field(name)
			other, there := l[name]
			if !there && !field.MayLack(value) || there && !sameWhole(value, other, field.Shape) {
				return false
			}
		}
		for name, value := range l {
			_, there := d[name]
			isServers := shape.IsKnown() && (shape.Field(name).MayLack(value) || kinds.IsDefaultWithin(d, name, value))
			if !there && !isServers {
				return false
			}
		}
		return true
	case []any:
		l, ok := live.([]any)
		if live == nil && shape.IsKnown() { // as the server writes an empty list that it has to write
			return len(d) == 0
		}
		return ok && slices.EqualFunc(d, l, func(a, b any) bool { return sameWhole(a, b, shape.Element()) })
	case nil: // a definition that sets it wants to say something
		return live == nil
	default:
		return shape.Equal(defined, live)
	}
}
