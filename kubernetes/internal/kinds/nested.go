package kinds

import (
	"iter"
	"slices"
)

// Nested returns the value at path below value, or nil if there is none. Unlike the
// functions of package unstructured it has no opinion about what it passes on the way:
// definitions come from strangers.
func Nested(value any, path ...string) any {
	for _, name := range path {
		m, _ := value.(map[string]any)
		value = m[name]
	}
	return value
}

// Items yields the elements of the list called name in value.
func Items(value any, name string) iter.Seq[any] {
	list, _ := Nested(value, name).([]any)
	return slices.Values(list)
}

func text(value any, path ...string) string {
	s, _ := Nested(value, path...).(string)
	return s
}

// IsSubset says whether large has all entries of small.
func IsSubset(small, large map[string]string) bool {
	for name, value := range small {
		if got, ok := large[name]; !ok || got != value {
			return false
		}
	}
	return true
}
