package manifest

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/platformbus/platform/kubernetes/internal/kinds"
	"github.com/platformbus/platform/kubernetes/internal/render"
)

// What is shown in place of the values of a Secret.
const (
	masked        = "***"
	maskedChanged = "*** (changed)"
)

// show returns the difference between two contents of one object, either of which may be
// nil, as a person may see it, and not more of it than anybody reads.
func show(k key, before, after map[string]any, location string) string {
	if kinds.IsSecret(k.Kind) {
		before, after = mask(before, after)
	}
	if location == "" {
		location = "desired"
	}
	return bounded(unified(k.String()+" (cluster)", k.String()+" ("+location+")", asYAML(before), asYAML(after)))
}

// maxShown is how many values an object may have to be shown: to write many takes far more
// memory than to read them, and nobody reads that much. The largest definitions of kinds have
// some 30,000.
const maxShown = 100_000

func countValues(value any) int {
	n := 1
	switch v := value.(type) {
	case map[string]any:
		for _, below := range v {
			n += countValues(below)
		}
	case []any:
		for _, below := range v {
			n += countValues(below)
		}
	}
	return n
}

func asYAML(content map[string]any) string {
	if content == nil {
		return ""
	}
	if n := countValues(content); n > maxShown {
		return fmt.Sprintf("(%d values, too many to be shown)\n", n)
	}
	var text strings.Builder
	if err := render.Object(&text, content); err != nil {
		return "(it cannot be shown)\n" // the error might hold a value
	}
	return text.String()
}

// mask returns copies of two contents of a Secret that tell which keys there are and
// which of them differ, and nothing else. An annotation that may hold a copy of a value is
// masked too.
func mask(before, after map[string]any) (maskedBefore, maskedAfter map[string]any) {
	values := slices.Concat(kinds.SecretValues(before), kinds.SecretValues(after))
	copies := slices.Concat(kinds.AnnotationsWithData(before, values), kinds.AnnotationsWithData(after, values))
	maskedBefore, maskedAfter = maps.Clone(before), maps.Clone(after)
	for name, value := range before {
		if !kinds.IsShownInSecrets(name) {
			maskedBefore[name] = maskValue(value, nil, false)
		}
	}
	for name, value := range after {
		if !kinds.IsShownInSecrets(name) {
			old, there := before[name]
			maskedAfter[name] = maskValue(value, old, there)
		}
	}
	if len(copies) > 0 {
		old, _ := kinds.Nested(before, "metadata", "annotations").(map[string]any)
		maskAnnotations(maskedBefore, nil, copies)
		maskAnnotations(maskedAfter, old, copies)
	}
	return maskedBefore, maskedAfter
}

// maskAnnotations masks the annotations named, in metadata that it copies. It compares with
// old.
func maskAnnotations(content, old map[string]any, names []string) {
	meta, _ := content["metadata"].(map[string]any)
	annotations, ok := meta["annotations"].(map[string]any)
	if !ok {
		return
	}
	meta, annotations = maps.Clone(meta), maps.Clone(annotations)
	for _, name := range names {
		if value, ok := annotations[name]; ok {
			before, there := old[name]
			annotations[name] = masked
			if there && !reflect.DeepEqual(value, before) {
				annotations[name] = maskedChanged
			}
		}
	}
	meta["annotations"] = annotations
	content["metadata"] = meta
}

// maskValue masks a value, or each value in a map. It compares with old if that is there.
func maskValue(value, old any, there bool) any {
	values, ok := value.(map[string]any)
	if !ok {
		if there && !reflect.DeepEqual(value, old) {
			return maskedChanged
		}
		return masked
	}
	olds, _ := old.(map[string]any)
	result := make(map[string]any, len(values))
	for name, value := range values {
		result[name] = masked
		if old, there := olds[name]; there && !reflect.DeepEqual(value, old) {
			result[name] = maskedChanged
		}
	}
	return result
}
