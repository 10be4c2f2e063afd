package look

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"
)

const (
	// maxValues is how many values of one label a selector names.
	maxValues = 32
	// maxSelector is how long a selector is at most, in bytes. It is part of a URL.
	maxSelector = 1500
)

// selectorFor returns the selector for those of the objects.
func (s *search) selectorFor(some []int) string {
	sets := make([]map[string]string, len(some))
	for i, wanted := range some {
		sets[i] = s.Objects[wanted].Labels
	}
	return Selector(sets)
}

// Selector returns the narrowest selector that selects whatever has all labels of one of the
// sets, or "" if these have none in common.
func Selector(sets []map[string]string) string { return selectorBy("", sets) }

// selectorBy is Selector, which names the label first even if its values are many.
func selectorBy(first string, sets []map[string]string) string {
	if len(sets) == 0 {
		return ""
	}
	common := map[string]map[string]bool{} // the values of the labels that all have
	for label := range sets[0] {
		if values := valuesOf(label, sets); values != nil {
			common[label] = values
		}
	}
	var requirements labels.Requirements
	size := 0
	count := func(label string) int { // those with few values go first
		if label == first {
			return 0
		}
		return len(common[label])
	}
	for _, label := range slices.SortedFunc(maps.Keys(common), func(a, b string) int {
		return cmp.Or(cmp.Compare(count(a), count(b)), strings.Compare(a, b))
	}) {
		one, err := labels.NewRequirement(label, selection.In, slices.Sorted(maps.Keys(common[label])))
		if err != nil { // the API server will refuse the definition
			continue
		}
		if n := len(one.String()); size+n <= maxSelector {
			size += n
			requirements = append(requirements, *one)
		}
	}
	if len(requirements) == 0 {
		return ""
	}
	return labels.NewSelector().Add(requirements...).String()
}

// valuesOf returns the values that a label has in the sets, or nil if one lacks it or they are
// many.
func valuesOf(label string, sets []map[string]string) map[string]bool {
	values, last := map[string]bool{}, ""
	for i, set := range sets {
		value, ok := set[label]
		if !ok {
			return nil
		}
		if i > 0 && value == last {
			continue
		}
		if values[value] = true; len(values) > maxValues {
			return nil
		}
		last = value
	}
	return values
}

// Selectors returns a few selectors that together select whatever has all labels of one of the
// sets, none of which may be empty.
func Selectors(sets []map[string]string) []string {
	values := map[string]map[string]bool{} // of each label
	for _, set := range sets {
		for label, value := range set {
			if values[label] == nil {
				values[label] = map[string]bool{}
			}
			values[label][value] = true
		}
	}
	byLabel := map[string]map[string][]map[string]string{} // by the label that tells a set best from others, and its value
	for _, set := range sets {
		best := slices.MinFunc(slices.Sorted(maps.Keys(set)), func(a, b string) int { return cmp.Compare(len(values[b]), len(values[a])) })
		if byLabel[best] == nil {
			byLabel[best] = map[string][]map[string]string{}
		}
		byLabel[best][set[best]] = append(byLabel[best][set[best]], set)
	}
	var all []string
	for _, label := range slices.Sorted(maps.Keys(byLabel)) {
		for _, values := range chunks(label, slices.Sorted(maps.Keys(byLabel[label]))) {
			var some []map[string]string
			for _, value := range values {
				some = append(some, byLabel[label][value]...)
			}
			all = append(all, selectorBy(label, some))
		}
	}
	return all
}

// chunks cuts the values of a label into as many as a selector may name.
func chunks(label string, values []string) [][]string {
	var (
		all  [][]string
		room = 0
	)
	for _, value := range values {
		if room -= len(value) + 1; room < 0 || len(all[len(all)-1]) == maxValues {
			all = append(all, nil)
			room = maxSelector - len(label) - len(" in ()") - len(value) - 1
		}
		last := &all[len(all)-1]
		*last = append(*last, value)
	}
	return all
}
