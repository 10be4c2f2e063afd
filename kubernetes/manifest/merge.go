package manifest

import (
	"fmt"
	"maps"
	"slices"

	"github.com/platformbus/platform/kubernetes/internal/kinds"
)

// A merge works out what an object becomes if a definition is applied to it, as far as
// that can be told without the API server.
type merge struct {
	key
	// another says that the definition has another version than the object, of which all
	// fields are known. What that one does not have is called otherwise there, and cannot be
	// compared.
	another bool
	// left is how many pairs of elements align may still compare. Lists within lists would take
	// a time that grows with their depth as an exponent.
	left *int
}

// A fieldPath is the names of the fields that lead to a value, without the indexes in lists.
type fieldPath []string

func (p fieldPath) to(name string) fieldPath { return append(slices.Clip(p), name) }

// within is to, for who compares with the paths of metadata alone: deep within an object it is
// some other path, which costs nothing to make.
func (p fieldPath) within(name string) fieldPath {
	if len(p) > 2 {
		return p
	}
	return p.to(name)
}

// last returns the name n steps from the end, or "" if there are not as many.
func (p fieldPath) last(n int) string {
	if n >= len(p) {
		return ""
	}
	return p[len(p)-1-n]
}

func (p fieldPath) is(names ...string) bool { return slices.Equal(p, names) }

// apply returns what have becomes if want is applied to it, and whether that differs. The
// result shares what is unchanged.
func (m merge) apply(want, have any, field kinds.Field, at fieldPath) (result any, changed bool) {
	switch w := want.(type) {
	case nil: // a value like any other, where a definition may have it
		return nil, have != nil
	case map[string]any:
		if h, ok := have.(map[string]any); ok {
			return m.applyMap(w, h, field.Shape, at)
		}
	case []any:
		if h, ok := have.([]any); ok {
			return m.applyList(w, h, field, at)
		}
		if have == nil && len(w) == 0 && field.IsKnown() { // as the API server writes an empty list that it has to write
			return have, false
		}
	default:
		if field.Equal(want, have) {
			return have, false
		}
	}
	return want, true
}

func (m merge) applyMap(want, have map[string]any, shape kinds.Shape, at fieldPath) (any, bool) {
	result, changed := have, false
	set := func(name string, value any) {
		if !changed {
			result, changed = maps.Clone(have), true
		}
		result[name] = value
	}
	for _, name := range slices.Sorted(maps.Keys(want)) { // in an order, since align's work is bounded
		w, field := want[name], shape.Field(name)
		if m.another && shape.IsStruct() && !field.IsKnown() {
			continue
		}
		h, there := have[name]
		if !there && at.is("metadata") && (name == "labels" || name == "annotations") {
			h, there = map[string]any{}, true // which is left out if it is empty
		}
		switch {
		case there && field.IsFilledIn(name, w, h):
		case there:
			if value, differs := m.apply(w, h, field, at.within(name)); differs {
				set(name, value)
			}
		case field.MayLack(w):
		default:
			set(name, w)
		}
	}
	return result, changed
}

func (m merge) applyList(want, have []any, field kinds.Field, at fieldPath) (any, bool) {
	if at.is("metadata", "finalizers") {
		return union(want, have)
	}
	if len(field.MergeKeys) > 0 {
		if keyed, ok := index(have, field.MergeKeys); ok {
			if _, ok := index(want, field.MergeKeys); ok {
				return m.applyKeyed(want, have, keyed, field, at)
			}
		}
	}
	element := kinds.Field{Shape: field.Element()}
	if len(want) == len(have) {
		result, changed := slices.Clone(have), false
		for i := range want {
			value, differs := m.apply(want[i], have[i], element, at)
			result[i], changed = value, changed || differs
		}
		if !changed {
			return have, false
		}
		if len(want) > maxAlign {
			return result, true
		}
	}
	return m.align(want, have, element, at), true
}

// applyKeyed merges lists whose elements their merge keys tell apart.
func (m merge) applyKeyed(want, have []any, indexes map[string]int, field kinds.Field, at fieldPath) (any, bool) {
	result, changed := slices.Clone(have), false
	for _, w := range want {
		key, _ := kinds.KeyOf(w, field.MergeKeys)
		i, there := indexes[key.String()]
		if !there {
			result, changed = append(result, w), true
			continue
		}
		value, differs := m.apply(w, have[i], kinds.Field{Shape: field.Element()}, at)
		result[i], changed = value, changed || differs
	}
	if !changed {
		return have, false
	}
	return result, true
}

// maxAlign bounds the lists that align takes, and maxPairs its work for one object.
const (
	maxAlign = 100
	maxPairs = 20_000
)

// align returns want with each element applied to the one of have that it is most like, so
// that the defaults in that are not shown as lost. Those that it fulfils are chosen first, in
// order.
func (m merge) align(want, have []any, element kinds.Field, at fieldPath) []any {
	pairs := len(want) * len(have)
	if len(want) > maxAlign || len(have) > maxAlign || pairs > *m.left {
		return want
	}
	*m.left -= pairs
	result, next := slices.Clone(want), 0
	taken, done := make([]bool, len(have)), make([]bool, len(want))
	for i, w := range want {
		for j := next; j < len(have); j++ {
			if value, differs := m.apply(w, have[j], element, at); !differs && w != nil {
				result[i], next = value, j+1
				taken[j], done[i] = true, true
				break
			}
		}
	}
	for i, w := range want {
		best, most := -1, 0
		for j, h := range have {
			if n := alike(w, h); !done[i] && !taken[j] && n > most {
				best, most = j, n
			}
		}
		if best >= 0 {
			result[i], _ = m.apply(w, have[best], element, at)
			taken[best] = true
		}
	}
	return result
}

// alike counts the values that two elements of lists have in common, by their fields and indexes.
func alike(want, have any) int {
	n := 0
	switch w := want.(type) {
	case map[string]any:
		h, _ := have.(map[string]any)
		for name, value := range w {
			n += alike(value, h[name])
		}
	case []any:
		h, _ := have.([]any)
		for i := range min(len(w), len(h)) {
			n += alike(w[i], h[i])
		}
	default:
		if want != nil && want == have {
			n = 1
		}
	}
	return n
}

func union(want, have []any) ([]any, bool) {
	result := slices.Clip(have)
	for _, w := range want {
		if !slices.ContainsFunc(have, func(h any) bool { return scalar(h) == scalar(w) }) {
			result = append(result, w)
		}
	}
	return result, len(result) > len(have)
}

// index returns the place of each element by its merge keys, unless one lacks them or two have
// them alike.
func index(list []any, mergeKeys []string) (map[string]int, bool) {
	indexes := make(map[string]int, len(list))
	for i, item := range list {
		key, ok := kinds.KeyOf(item, mergeKeys)
		if !ok {
			return nil, false
		}
		if _, twice := indexes[key.String()]; twice {
			return nil, false
		}
		indexes[key.String()] = i
	}
	return indexes, true
}

func scalar(value any) string { return fmt.Sprint(value) }
