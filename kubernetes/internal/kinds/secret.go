package kinds

import (
	"encoding/base64"
	"regexp"
	"slices"
	"strings"
)

// IsSecret says whether objects of a kind are secret as a whole. The group does not matter:
// many groups have a Secret of their own, and none shows it.
func IsSecret(kind string) bool { return secretKinds[kind] }

// IsSecretResource says the same of a resource, by its plural.
func IsSecretResource(plural string) bool { return secretPlurals[plural] }

// secretKinds and secretPlurals have the names of the kinds that the table says are secret.
var secretKinds, secretPlurals = map[string]bool{}, map[string]bool{}

// shownInSecrets has the fields of a Secret that may be shown. Any other might be its data
// under a name that was mistyped.
var shownInSecrets = map[string]bool{"apiVersion": true, "kind": true, "metadata": true, "type": true, "immutable": true}

// IsShownInSecrets says whether a field at the top of a Secret may be shown.
func IsShownInSecrets(field string) bool { return shownInSecrets[field] }

// secretFields matches the path of a field that may hold a secret in an object of any kind:
// data, and what containers are started with. Lists may be indexed by place or by key.
var secretFields = regexp.MustCompile(`(^|\.)(data|stringData|binaryData)([.\[]|$)|(^|\.)env\[.*\]\.value$|(^|\.)(args|command)(\[|$)`)

// IsSecretField says whether the value at a path, such as "spec.containers[0].args[1]" or
// ".data.pin", is not to be shown, whatever the kind of the object.
func IsSecretField(path string) bool { return secretFields.MatchString(path) }

// IsShownInSecret says whether the value at a path of a Secret may be shown.
func IsShownInSecret(path string) bool {
	top := strings.TrimPrefix(path, ".")
	if end := strings.IndexAny(top, ".["); end >= 0 {
		top = top[:end]
	}
	// An annotation may hold a copy of the data.
	return shownInSecrets[top] && !strings.Contains(path, "annotations")
}

// maxAnnotation is how long an annotation of a Secret may be, in bytes, and be no copy of
// data that it was derived from: compressed, say.
const maxAnnotation = 256

// maxCompared is how many pairs of an annotation and a value are compared. Beyond, any
// annotation may hold any value.
const maxCompared = 100_000

// AnnotationsWithData returns the names of those annotations of a Secret that may hold a copy
// of its data, as tools leave there to compare with: what has one of the values in it, what
// is an object or a list itself, and what is long.
func AnnotationsWithData(secret map[string]any, values []string) []string {
	metadata, _ := secret["metadata"].(map[string]any)
	annotations, _ := metadata["annotations"].(map[string]any)
	var names []string
	all := len(annotations)*len(values) > maxCompared
	for name, value := range annotations {
		text, ok := value.(string)
		trimmed := strings.TrimSpace(text)
		if !ok || all || len(text) > maxAnnotation || strings.HasPrefix(trimmed, "{") || strings.HasPrefix(trimmed, "[") ||
			slices.ContainsFunc(values, func(v string) bool { return strings.Contains(text, v) }) {
			names = append(names, name)
		}
	}
	return names
}

// SecretValues returns the texts in the data of a Secret, as they stand there and decoded.
func SecretValues(secret map[string]any) []string {
	var values []string
	var collect func(value any)
	collect = func(value any) {
		switch v := value.(type) {
		case map[string]any:
			for _, below := range v {
				collect(below)
			}
		case []any:
			for _, below := range v {
				collect(below)
			}
		case string:
			if v == "" {
				return
			}
			values = append(values, v)
			if plain, err := base64.StdEncoding.DecodeString(v); err == nil && len(plain) > 0 {
				values = append(values, string(plain))
			}
			values = append(values, base64.StdEncoding.EncodeToString([]byte(v)))
		}
	}
	for field, value := range secret {
		if !shownInSecrets[field] {
			collect(value)
		}
	}
	return values
}
