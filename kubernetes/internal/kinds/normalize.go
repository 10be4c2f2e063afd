package kinds

import (
	"encoding/base64"
	"maps"

	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Normalize takes off a definition what says nothing, and writes the rest as the server keeps
// it, so that what is sent is what is recorded: the metadata that only the server sets, the
// status, nulls, and what a Secret has in stringData. Of a custom resource it leaves the
// status, which may be a field as any other, and nulls, which the definition of the kind may
// allow: see DropNulls.
func Normalize(kind schema.GroupKind, object map[string]any) {
	if meta, ok := object["metadata"].(map[string]any); ok {
		StripMetadata(meta)
		dropNulls(meta, nil, nil)
		for _, name := range []string{"labels", "annotations", "finalizers", "ownerReferences"} {
			if isEmptyMap(meta[name]) || IsEmptyList(meta[name]) { // which says nothing, and is another's once it has an entry
				delete(meta, name)
			}
		}
	}
	if Lookup(kind) == nil {
		if m, isMap := object["status"].(map[string]any); isMap && len(m) == 0 || object["status"] == nil {
			delete(object, "status")
		}
		return
	}
	delete(object, "status")
	dropNulls(object, nil, nil)
	switch kind {
	case Secret:
		mergeStringData(object)
	case clusterRole:
		if _, aggregated := object["aggregationRule"].(map[string]any); aggregated {
			delete(object, "rules") // a controller gathers them
		}
	case Service:
		dropUnchosen(object)
		for port := range Items(object["spec"], "ports") {
			if p, ok := port.(map[string]any); ok && p["protocol"] == "" { // which would be another port than the one with the default
				delete(p, "protocol")
			}
		}
	case statefulSetKind:
		for template := range Items(object["spec"], "volumeClaimTemplates") {
			if t, ok := template.(map[string]any); ok && isEmptyMap(t["status"]) {
				delete(t, "status")
			}
		}
	case limitRangeKind:
		for item := range Items(object["spec"], "limits") {
			fillLimits(item)
		}
	}
}

// fillLimits fills in the defaults of containers' limits as the server does.
func fillLimits(item any) {
	m, ok := item.(map[string]any)
	if !ok || m["type"] != "Container" {
		return
	}
	fill := func(name, from string) {
		values, isMap := m[from].(map[string]any)
		into, there := m[name].(map[string]any)
		if !isMap || !there && m[name] != nil {
			return
		}
		for resource, value := range values {
			if into == nil {
				into = map[string]any{}
			}
			if _, there := into[resource]; !there {
				into[resource] = value
			}
		}
		if into != nil {
			m[name] = into
		}
	}
	fill("default", "max")
	fill("defaultRequest", "default")
	fill("defaultRequest", "min")
}

func isEmptyMap(value any) bool {
	m, ok := value.(map[string]any)
	return ok && len(m) == 0
}

// IsEmptyList says whether a value is a list without elements.
func IsEmptyList(value any) bool {
	list, ok := value.([]any)
	return ok && len(list) == 0
}

// mergeStringData moves what a Secret has in stringData to where the server puts it. One that
// is malformed stays as it is: the server says what is wrong.
func mergeStringData(secret map[string]any) {
	plain, ok := secret["stringData"].(map[string]any)
	data, isMap := secret["data"].(map[string]any)
	if !ok || !isMap && secret["data"] != nil {
		return
	}
	for _, value := range plain {
		if _, ok := value.(string); !ok {
			return
		}
	}
	merged := maps.Clone(data)
	if merged == nil {
		merged = map[string]any{}
	}
	for name, value := range plain {
		merged[name] = base64.StdEncoding.EncodeToString([]byte(value.(string)))
	}
	if len(merged) > 0 || isMap {
		secret["data"] = merged
	}
	delete(secret, "stringData")
}

// HasNulls says whether a field of a value, at any depth, is null.
func HasNulls(value any) bool {
	switch v := value.(type) {
	case map[string]any:
		for _, below := range v {
			if below == nil || HasNulls(below) {
				return true
			}
		}
	case []any:
		for _, below := range v {
			if HasNulls(below) {
				return true
			}
		}
	}
	return false
}

// DropNulls takes off a custom resource the fields that are null, which means that they are
// not set, unless the schema of its kind says that null is a value of theirs. The schema is
// that of a version in a CustomResourceDefinition; nil allows no null.
func DropNulls(object, schema map[string]any) {
	for name, value := range object {
		switch name {
		case "apiVersion", "kind", "metadata":
		default:
			if value == nil && !isNullable(property(schema, name)) {
				delete(object, name)
			} else {
				dropNulls(value, property(schema, name), isNullable)
			}
		}
	}
}

func dropNulls(value any, schema any, nullable func(schema any) bool) {
	switch v := value.(type) {
	case map[string]any:
		for name, below := range v {
			at := property(schema, name)
			if below == nil && (nullable == nil || !nullable(at)) {
				delete(v, name)
				continue
			}
			dropNulls(below, at, nullable)
		}
	case []any:
		for _, below := range v {
			dropNulls(below, Nested(schema, "items"), nullable)
		}
	}
}

func isNullable(schema any) bool {
	m, known := schema.(map[string]any)
	return known && m["nullable"] == true || known && m["x-kubernetes-preserve-unknown-fields"] == true && m["type"] == nil
}

// property returns the schema of a field.
func property(schema any, name string) any {
	if p := Nested(schema, "properties", name); p != nil {
		return p
	}
	return Nested(schema, "additionalProperties")
}

// SchemaOf returns the schema of a version that a CustomResourceDefinition serves, or nil.
func SchemaOf(crd map[string]any, version string) map[string]any {
	for v := range Items(crd["spec"], "versions") {
		if text(v, "name") == version {
			schema, _ := Nested(v, "schema", "openAPIV3Schema").(map[string]any)
			return schema
		}
	}
	return nil
}

// WithNulls returns a CustomResourceDefinition that says the same as crd about which kind it
// defines, in which scope, and where nulls are values, and nothing else. It is far smaller.
func WithNulls(crd map[string]any) map[string]any {
	versions := []any{}
	for v := range Items(crd["spec"], "versions") {
		version := map[string]any{"name": text(v, "name")}
		if schema := withNulls(Nested(v, "schema", "openAPIV3Schema")); len(schema) > 0 {
			version["schema"] = map[string]any{"openAPIV3Schema": schema}
		}
		versions = append(versions, version)
	}
	return map[string]any{"spec": map[string]any{
		"group": text(crd, "spec", "group"), "names": map[string]any{"kind": text(crd, "spec", "names", "kind")},
		"scope": text(crd, "spec", "scope"), "versions": versions,
	}}
}

// withNulls returns what of a schema leads to where nulls are values.
func withNulls(schema any) map[string]any {
	m, ok := schema.(map[string]any)
	if !ok {
		return nil
	}
	kept := map[string]any{}
	if isNullable(schema) {
		kept["nullable"] = true
	}
	for _, name := range []string{"additionalProperties", "items"} {
		if below := withNulls(m[name]); len(below) > 0 {
			kept[name] = below
		}
	}
	properties := map[string]any{}
	all, _ := m["properties"].(map[string]any)
	for name, value := range all {
		below := withNulls(value)
		if len(below) > 0 || value != nil && kept["additionalProperties"] != nil { // which is not for fields that are named
			if below == nil {
				below = map[string]any{}
			}
			properties[name] = below
		}
	}
	if len(properties) > 0 {
		kept["properties"] = properties
	}
	return kept
}
