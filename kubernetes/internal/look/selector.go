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

// selectorFor returns the narrowest selector that selects all of the objects if each has the
// labels that it is expected to have, or "" if they have none in common.
func (s *search) selectorFor(some []int) string {
	if len(some) == 0 {
		return ""
	}
	common := map[string]map[string]bool{} // the values of the labels that all have
	for label := range s.Objects[some[0]].Labels {
		common[label] = map[string]bool{}
	}
	for _, i := range some {
		for label, values := range common {
			if value, ok := s.Objects[i].Labels[label]; !ok {
				delete(common, label)
			} else if values[value] = true; len(values) > maxValues {
				delete(common, label)
			}
		}
	}
	var requirements labels.Requirements
	size := 0
	// Those with few values are first.
	for _, label := range slices.SortedFunc(maps.Keys(common), func(a, b string) int {
		return cmp.Or(cmp.Compare(len(common[a]), len(common[b])), strings.Compare(a, b))
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
