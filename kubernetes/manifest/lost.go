package manifest

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/platformbus/platform/kubernetes/internal/kinds"
	"github.com/platformbus/platform/kubernetes/internal/redact"
)

// lost returns the paths of what the object has and the definition does not set, without
// what looks like a default: candidates for what a changed definition used to set. Which
// of them it did only the cluster knows.
func (m merge) lost(want, have any, field kinds.Field, at fieldPath, path string) []string {
	switch h := have.(type) {
	case map[string]any:
		w, ok := want.(map[string]any)
		if !ok {
			return nil
		}
		var paths []string
		for _, name := range slices.Sorted(maps.Keys(h)) {
			below := path + "." + name
			if strings.ContainsAny(name, "./ ") || name == "" {
				below = fmt.Sprintf("%s[%q]", path, name)
			}
			if _, ok := w[name]; ok {
				paths = append(paths, m.lost(w[name], h[name], field.Field(name), at.to(name), below)...)
			} else if !looksDefault(at.to(name), h[name]) {
				paths = append(paths, strings.TrimPrefix(below, "."))
			}
		}
		return paths
	case []any:
		w, ok := want.([]any)
		if !ok || len(field.MergeKeys) == 0 {
			return nil
		}
		indexes, ok := index(w, field.MergeKeys)
		if !ok {
			return nil
		}
		var paths []string
		for _, item := range h {
			key, ok := kinds.KeyOf(item, field.MergeKeys)
			if !ok {
				continue
			}
			below := path + redact.Name(key.String())
			if i, ok := indexes[key.String()]; ok {
				paths = append(paths, m.lost(w[i], item, kinds.Field{Shape: field.Element()}, at, below)...)
			} else {
				paths = append(paths, strings.TrimPrefix(below, "."))
			}
		}
		return paths
	}
	return nil
}

// looksDefault says whether the value of a field of that name looks like one that the API
// server gave it.
func looksDefault(at fieldPath, value any) bool {
	if at[0] == "metadata" {
		return len(at) > 1 && at[1] != "labels" && at[1] != "annotations"
	}
	switch at.last(1) {
	case "data", "binaryData", "labels", "annotations":
		return false
	}
	if m, ok := value.(map[string]any); ok && len(m) == 0 && len(at) == 1 {
		return true
	}
	return kinds.LooksDefault(at.last(0), value)
}
