package manifest

import (
	"maps"
	"reflect"

	"sigs.k8s.io/yaml"
)

// What is shown in place of the values of a Secret.
const (
	masked        = "***"
	maskedChanged = "*** (changed)"
)

// shownInSecrets has the fields of a Secret that may be shown. Any other might be its
// data under a name that was mistyped.
var shownInSecrets = map[string]bool{"apiVersion": true, "kind": true, "metadata": true, "type": true, "immutable": true}

// show returns the difference between two contents of one object, either of which may be
// nil, as a person may see it.
func show(k key, before, after map[string]any, place string) string {
	if k.Kind == secretKind.Kind { // of whatever group
		before, after = mask(before, after)
	}
	if place == "" {
		place = "desired"
	}
	return unified(k.String()+" (cluster)", k.String()+" ("+place+")", asYAML(before), asYAML(after))
}

func asYAML(content map[string]any) string {
	if content == nil {
		return ""
	}
	out, err := yaml.Marshal(content)
	if err != nil {
		return "(it cannot be shown)\n" // the error might hold a value
	}
	return string(out)
}

// mask returns copies of two contents of a Secret that tell which keys there are and
// which of them differ, and nothing else.
func mask(before, after map[string]any) (maskedBefore, maskedAfter map[string]any) {
	maskedBefore, maskedAfter = maps.Clone(before), maps.Clone(after)
	for name, value := range before {
		if !shownInSecrets[name] {
			maskedBefore[name] = maskValue(value, nil, false)
		}
	}
	for name, value := range after {
		if !shownInSecrets[name] {
			old, there := before[name]
			maskedAfter[name] = maskValue(value, old, there)
		}
	}
	return maskedBefore, maskedAfter
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
