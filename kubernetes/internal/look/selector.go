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
func Selector(sets []map[string]string) string {
	if len(sets) == 0 {
		return ""
	}
	common := map[string]map[string]bool{} // the values of the labels that all have
	for label := range sets[0] {
		common[label] = map[string]bool{}
	}
	for _, set := range sets {
		for label, values := range common {
			if value, ok := set[label]; !ok {
				delete(common, label)
			} else if values[value] = true; len(values) > maxValues {
				delete(common, label)
			}
		}
	}
	var requirements labels.Requirements
	size := 0
	for _, label := range slices.SortedFunc(maps.Keys(common), func(a, b string) int {
		return cmp.Or(cmp.Compare(len(common[a]), len(common[b])), strings.Compare(a, b)) // those with few values first
	}) {
		one, err := labels.NewRequirement(label, selection.In, slices.Sorted(maps.Keys(common[label])))
		if err != nil { // the API server will refuse the definition
			continue
		}
		if size += len(one.String()); size > maxSelector {
			break
		}
		requirements = append(requirements, *one)
	}
	if len(requirements) == 0 {
		return ""
	}
	return labels.NewSelector().Add(requirements...).String()
}

// Selectors returns a few selectors that together select whatever has all labels of one of the
// sets, none of which may be empty.
func Selectors(sets []map[string]string) []string {
	values := map[string]map[string]bool{}
	for _, set := range sets {
		for label, value := range set {
			if values[label] == nil {
				values[label] = map[string]bool{}
			}
			values[label][value] = true
		}
	}
	byLabel := map[string][]map[string]string{} // by the label that tells a set best from others
	for _, set := range sets {
		best := slices.MinFunc(slices.Sorted(maps.Keys(set)), func(a, b string) int { return cmp.Compare(len(values[b]), len(values[a])) })
		byLabel[best] = append(byLabel[best], set)
	}
	var all []string
	for _, label := range slices.Sorted(maps.Keys(byLabel)) {
		for some := range slices.Chunk(byLabel[label], maxValues) {
			all = append(all, Selector(some))
		}
	}
	return all
}
