package apply

import (
	"bytes"
	"encoding/json"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	kjson "k8s.io/apimachinery/pkg/util/json"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"github.com/platformbus/platform/kubernetes/internal/kinds"
)

// isNoOp says whether a server-side apply of the definition is certain to change
// nothing in the live object: our manager owns exactly the fields that it sets, at its
// API version, and each has its value. It needs no schema, since the owned set tells how
// the server takes lists; where that leaves a doubt, it is not certain.
func isNoOp(d *Definition, live *unstructured.Unstructured, ours *metav1.ManagedFieldsEntry) bool {
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
	if ours == nil {
		return len(content) == 0 // the server does not record who owns nothing
	}
	var set fieldpath.Set
	if err := set.FromJSON(bytes.NewReader(ours.FieldsV1.GetRawBytes())); err != nil {
		return false
	}
	sameVersion := ours.APIVersion == d.GVK.GroupVersion().String() && ours.APIVersion == live.GetAPIVersion()
	return sameVersion && comparison{kinds.IsBuiltIn(d.GVK.Group)}.ownsMap(content, live.Object, &set)
}

// A comparison is of what is defined with what is live and owned.
type comparison struct {
	builtIn bool // the kind is one whose defaults are known
}

// owns says whether set has exactly the fields that are in defined, and live their
// values. The set of something that is owned as a whole, be it a scalar or an atomic list
// or map, is nil.
func (c comparison) owns(defined, live any, set *fieldpath.Set) bool {
	if set == nil || set.Empty() {
		return c.sameWhole(defined, live)
	}
	switch d := defined.(type) {
	case map[string]any:
		l, ok := live.(map[string]any)
		return ok && c.ownsMap(d, l, set)
	case []any:
		l, ok := live.([]any)
		return ok && c.ownsList(d, l, set)
	}
	return false
}

func (c comparison) ownsMap(defined, live map[string]any, set *fieldpath.Set) bool {
	if !onlyHas(set, len(defined), func(e fieldpath.PathElement) bool {
		if e.FieldName == nil {
			return false
		}
		_, ok := defined[*e.FieldName]
		return ok
	}) {
		return false
	}
	for name, value := range defined {
		l, ok := live[name]
		if !ok || !c.owns(value, l, below(set, fieldpath.FieldNameElement(name))) {
			return false
		}
	}
	return true
}

// ownsList compares a list whose elements the server tells apart, by a key or by their
// value. They must be in the same order too.
func (c comparison) ownsList(defined, live []any, set *fieldpath.Set) bool {
	var elements []fieldpath.PathElement
	onlyHas(set, 0, func(e fieldpath.PathElement) bool { elements = append(elements, e); return true })
	if len(elements) != len(defined) {
		return false
	}
	from := 0 // those before it are taken
	for _, item := range defined {
		element, ok := elementOf(item, elements)
		if !ok {
			return false
		}
		for ; from < len(live) && !identifies(element, live[from]); from++ {
		}
		if from == len(live) || !c.owns(item, live[from], below(set, element)) {
			return false
		}
		from++
	}
	return true
}

// elementOf returns the one element that item can be. A key that item leaves out has a
// default, and is no obstacle as long as there is only one.
func elementOf(item any, elements []fieldpath.PathElement) (found fieldpath.PathElement, ok bool) {
	for _, e := range elements {
		fits := false
		switch {
		case e.Value != nil:
			fits = same(item, (*e.Value).Unstructured())
		case e.Key != nil:
			m, isMap := item.(map[string]any)
			fits = isMap
			for _, key := range *e.Key {
				if value, there := m[key.Name]; there && !same(value, key.Value.Unstructured()) {
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
		return same(item, (*e.Value).Unstructured())
	}
	m, ok := item.(map[string]any)
	if !ok || e.Key == nil {
		return false
	}
	for _, key := range *e.Key {
		if value, there := m[key.Name]; !there || !same(value, key.Value.Unstructured()) {
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

// onlyHas says whether all elements at the top of set are wanted, and there are n.
func onlyHas(set *fieldpath.Set, n int, wanted func(fieldpath.PathElement) bool) bool {
	count, all := 0, true
	see := func(e fieldpath.PathElement) {
		count++
		all = all && wanted(e)
	}
	set.Members.Iterate(see)
	set.Children.Iterate(func(e fieldpath.PathElement) {
		if !set.Members.Has(e) {
			see(e)
		}
	})
	return all && count == n
}

// sameWhole says whether a live value that is owned as a whole is the defined one. What
// the server adds to it by default would be added again.
func (c comparison) sameWhole(defined, live any) bool {
	switch d := defined.(type) {
	case map[string]any:
		l, ok := live.(map[string]any)
		if !ok {
			return false
		}
		for name, value := range d {
			other, there := l[name]
			if !there || !c.sameWhole(value, other) {
				return false
			}
		}
		for name, value := range l {
			if _, there := d[name]; !there && !c.isDefault(d, name, value) {
				return false
			}
		}
		return true
	case []any:
		l, ok := live.([]any)
		return ok && slices.EqualFunc(d, l, c.sameWhole)
	default:
		return same(defined, live)
	}
}

// isDefault says whether the value is the one that the server gives to a field that is
// left out of what is defined, for those that are common within what is owned as a whole.
func (c comparison) isDefault(defined map[string]any, name string, value any) bool {
	if !c.builtIn {
		return false
	}
	for _, d := range defaultsWithin {
		if _, ok := defined[d.beside]; ok && d.name == name && same(d.value, value) {
			return true
		}
	}
	return false
}

var defaultsWithin = []struct {
	beside, name string
	value        any
}{
	{"fieldPath", "apiVersion", "v1"},          // a reference to a field of the pod
	{"resource", "divisor", "0"},               // a reference to a resource of the pod
	{"port", "protocol", "TCP"},                // a port in a NetworkPolicy
	{"operations", "scope", "*"},               // a rule of a webhook
	{"path", "expirationSeconds", int64(3600)}, // a token in a projected volume

	// A claim in a StatefulSet's templates.
	{"spec", "apiVersion", "v1"},
	{"spec", "kind", "PersistentVolumeClaim"},
	{"spec", "status", map[string]any{"phase": "Pending"}},
	{"accessModes", "volumeMode", "Filesystem"},

	// The role of a binding, and those who have it.
	{"kind", "apiGroup", "rbac.authorization.k8s.io"},
}

// same says whether two decoded values are equal. Numbers are by value, whatever decoded
// them.
func same(a, b any) bool {
	switch x := a.(type) {
	case map[string]any:
		y, ok := b.(map[string]any)
		if !ok || len(x) != len(y) {
			return false
		}
		for name, value := range x {
			other, there := y[name]
			if !there || !same(value, other) {
				return false
			}
		}
		return true
	case []any:
		y, ok := b.([]any)
		if !ok || len(x) != len(y) {
			return false
		}
		for i := range x {
			if !same(x[i], y[i]) {
				return false
			}
		}
		return true
	case int64, float64, int, json.Number:
		n, ok1 := number(a)
		m, ok2 := number(b)
		return ok1 && ok2 && n == m
	case string, bool:
		return a == b
	default: // nil: a definition that sets it wants to say something
		return false
	}
}

func number(value any) (float64, bool) {
	switch n := value.(type) {
	case int64:
		return float64(n), int64(float64(n)) == n
	case int:
		return float64(n), true
	case float64:
		return n, true
	}
	return 0, false
}
