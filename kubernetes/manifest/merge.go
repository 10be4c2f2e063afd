package manifest

import (
	"encoding/base64"
	"fmt"
	"maps"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/resource"
)

// A merge works out what an object becomes if a definition is applied to it, as far as
// that can be told without the API server.
type merge struct {
	key
	// addEmpty says that fields which the definition sets to something empty, and which the
	// object lacks, count. They do where the definition has changed.
	addEmpty bool
}

// A trail is the names of the fields that lead to a value, without the places in lists.
type trail []string

func (t trail) to(name string) trail { return append(slices.Clip(t), name) }

// last returns the name n steps from the end, or "" if there are not as many.
func (t trail) last(n int) string {
	if n >= len(t) {
		return ""
	}
	return t[len(t)-1-n]
}

func (t trail) is(names ...string) bool { return slices.Equal(t, names) }

// apply returns what have becomes if want is applied to it, and whether that differs. The
// result shares what is unchanged.
func (m merge) apply(want, have any, at trail) (result any, changed bool) {
	switch w := want.(type) {
	case nil:
		return have, false
	case map[string]any:
		if h, ok := have.(map[string]any); ok {
			return m.applyMap(w, h, at)
		}
	case []any:
		if h, ok := have.([]any); ok {
			return m.applyList(w, h, at)
		}
	default:
		if m.same(want, have, at) {
			return have, false
		}
	}
	return want, true
}

func (m merge) applyMap(want, have map[string]any, at trail) (any, bool) {
	result, changed := have, false
	set := func(name string, value any) {
		if !changed {
			result, changed = maps.Clone(have), true
		}
		result[name] = value
	}
	for name, w := range want {
		h, there := have[name]
		if !there && at.is("metadata") && (name == "labels" || name == "annotations") {
			h, there = map[string]any{}, true // which is left out if it is empty
		}
		switch {
		case there:
			if value, differs := m.apply(w, h, at.to(name)); differs {
				set(name, value)
			}
		case w == nil, m.mayLack(at, w), !m.addEmpty && m.isStripped(at.to(name)):
		default:
			set(name, w)
		}
	}
	return result, changed
}

// mayLack says whether an object may lack a field, below at, which a definition sets to
// want: the API server leaves out many that are empty. It does not of custom resources,
// nor where users choose the names.
func (m merge) mayLack(at trail, want any) bool {
	if _, own := ownKinds[m.GroupKind]; !own && (len(at) == 0 || at[0] != "metadata") {
		return false
	}
	switch at.last(0) {
	case "data", "binaryData", "labels", "annotations", "matchLabels", "nodeSelector", "selector":
		return false
	}
	return isNothing(want) || !m.addEmpty && isEmpty(want)
}

func (m merge) applyList(want, have []any, at trail) (any, bool) {
	if at.is("metadata", "finalizers") {
		return union(want, have)
	}
	if names := m.mergeKeys(at); names != nil {
		if keyed, ok := index(have, names); ok {
			if _, ok := index(want, names); ok {
				return m.applyKeyed(want, have, keyed, names, at)
			}
		}
	}
	if len(want) == len(have) {
		result, changed := slices.Clone(have), false
		for i := range want {
			value, differs := m.apply(want[i], have[i], at)
			if want[i] == nil && have[i] != nil {
				value, differs = nil, true
			}
			result[i], changed = value, changed || differs
		}
		if !changed {
			return have, false
		}
		return result, true
	}
	return m.align(want, have, at), true
}

// applyKeyed merges lists whose elements the names given tell apart.
func (m merge) applyKeyed(want, have []any, places map[string]int, names []string, at trail) (any, bool) {
	result, changed := slices.Clone(have), false
	for _, w := range want {
		id, _ := identify(w, names)
		i, there := places[id]
		if !there {
			result, changed = append(result, w), true
			continue
		}
		value, differs := m.apply(w, have[i], at)
		result[i], changed = value, changed || differs
	}
	if !changed {
		return have, false
	}
	return result, true
}

// maxAlign bounds the work of align.
const maxAlign = 100

// align returns want with elements of have in place of those that they fulfil, so that
// the defaults in them are not shown as lost.
func (m merge) align(want, have []any, at trail) []any {
	if len(want) > maxAlign || len(have) > maxAlign {
		return want
	}
	result, next := slices.Clone(want), 0
	for i, w := range want {
		for j := next; j < len(have); j++ {
			if value, differs := m.apply(w, have[j], at); !differs && w != nil {
				result[i], next = value, j+1
				break
			}
		}
	}
	return result
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

// index returns the place of each element by what the fields named say, unless one lacks
// them or two have them alike.
func index(list []any, names []string) (map[string]int, bool) {
	places := make(map[string]int, len(list))
	for i, item := range list {
		id, ok := identify(item, names)
		if _, twice := places[id]; twice || !ok {
			return nil, false
		}
		places[id] = i
	}
	return places, true
}

func identify(item any, names []string) (string, bool) {
	m, ok := item.(map[string]any)
	if !ok {
		return "", false
	}
	parts := make([]string, len(names))
	for i, name := range names {
		value, there := m[name]
		switch {
		case there:
			parts[i] = scalar(value)
		case name == "protocol":
			parts[i] = "TCP"
		default:
			return "", false
		}
	}
	return strings.Join(parts, "/"), true
}

func scalar(value any) string { return fmt.Sprint(value) }

// podLists and containerLists have the merge keys of lists in pod specifications and in
// containers.
var (
	podLists = map[string][]string{
		"containers":                {"name"},
		"initContainers":            {"name"},
		"ephemeralContainers":       {"name"},
		"volumes":                   {"name"},
		"imagePullSecrets":          {"name"},
		"hostAliases":               {"ip"},
		"resourceClaims":            {"name"},
		"schedulingGates":           {"name"},
		"topologySpreadConstraints": {"topologyKey", "whenUnsatisfiable"},
	}
	containerLists = map[string][]string{
		"ports":         {"containerPort", "protocol"},
		"env":           {"name"},
		"volumeMounts":  {"mountPath"},
		"volumeDevices": {"devicePath"},
	}
)

// mergeKeys returns the fields that tell apart the elements of a list that Kubernetes
// merges, or nil. The lists of custom resources are taken as a whole, as the API server
// takes them unless their definition says otherwise.
func (m merge) mergeKeys(at trail) []string {
	if _, own := ownKinds[m.GroupKind]; !own {
		return nil
	}
	name, parent := at.last(0), at.last(1)
	switch {
	case strings.HasSuffix(strings.ToLower(parent), "containers"):
		return containerLists[name]
	case parent == "spec" && podLists[name] != nil:
		return podLists[name]
	case m.GroupKind == serviceKind && at.is("spec", "ports"):
		return []string{"port", "protocol"}
	case m.GroupKind == serviceAccountKind && (at.is("secrets") || at.is("imagePullSecrets")):
		return []string{"name"}
	case at.is("webhooks"):
		return []string{"name"}
	case at.is("metadata", "ownerReferences"):
		return []string{"uid"}
	}
	return nil
}

// isStripped says whether an Export leaves the field out even where a user set it.
func (m merge) isStripped(at trail) bool {
	if at.last(1) == "annotations" && isServersAnnotation(at.last(0)) {
		return true
	}
	switch m.GroupKind {
	case namespaceKind:
		return at.is("spec") || at.is("metadata", "labels", "kubernetes.io/metadata.name")
	case serviceKind:
		return at.is("spec", "clusterIP") || at.is("spec", "clusterIPs") || at.is("spec", "healthCheckNodePort") ||
			at.is("spec", "ports", "nodePort")
	case pvcKind:
		return at.is("spec", "volumeName")
	case serviceAccountKind:
		return at.is("secrets")
	case jobKind:
		return at.is("spec", "selector") || at.last(1) == "labels" || at.last(0) == "labels"
	}
	return false
}

func isServersAnnotation(name string) bool {
	switch name {
	case "deployment.kubernetes.io/revision", "deprecated.daemonset.template.generation",
		"volume.kubernetes.io/storage-provisioner", "volume.beta.kubernetes.io/storage-provisioner":
		return true
	}
	return strings.HasPrefix(name, "pv.kubernetes.io/")
}

// same compares two values that are neither maps nor lists by what they mean.
func (m merge) same(a, b any, at trail) bool {
	if a == b {
		return true
	}
	if x, ok := number(a); ok {
		if y, ok := number(b); ok {
			return x == y
		}
	}
	switch {
	case m.isQuantity(at):
		return sameQuantity(a, b)
	case m.GroupKind == secretKind && at.last(1) == "data", m.GroupKind == configMapKind && at.last(1) == "binaryData":
		return sameBytes(a, b)
	}
	return false
}

func number(value any) (float64, bool) {
	switch v := value.(type) {
	case int64:
		return float64(v), true
	case float64:
		return v, true
	}
	return 0, false
}

// isQuantity says whether the API server reads the value as a quantity, and writes it in
// a form of its own.
func (m merge) isQuantity(at trail) bool {
	if _, own := ownKinds[m.GroupKind]; !own || len(at) < 2 || at[0] == "metadata" || at[0] == "data" {
		return false
	}
	switch at.last(1) {
	case "requests", "limits", "hard", "capacity", "podFixed", "min", "max", "default", "defaultRequest", "maxLimitRequestRatio":
		return true
	}
	switch at.last(0) {
	case "sizeLimit", "divisor", "averageValue":
		return true
	case "value":
		return at.last(1) == "target"
	}
	return false
}

func sameQuantity(a, b any) bool {
	x, err1 := resource.ParseQuantity(scalar(a))
	y, err2 := resource.ParseQuantity(scalar(b))
	return err1 == nil && err2 == nil && x.Cmp(y) == 0
}

func sameBytes(a, b any) bool {
	x, ok1 := a.(string)
	y, ok2 := b.(string)
	if !ok1 || !ok2 {
		return false
	}
	p, err1 := base64.StdEncoding.DecodeString(x) // line ends count for nothing
	q, err2 := base64.StdEncoding.DecodeString(y)
	return err1 == nil && err2 == nil && string(p) == string(q)
}

// isNothing says whether a field of that value is as good as none, in whatever type.
func isNothing(value any) bool {
	switch v := value.(type) {
	case nil:
		return true
	case []any:
		return len(v) == 0
	case string:
		return v == ""
	}
	return false
}

// isEmpty says whether the API server may leave out a field of that value.
func isEmpty(value any) bool {
	switch v := value.(type) {
	case map[string]any:
		return len(v) == 0
	case bool:
		return !v
	case int64:
		return v == 0
	case float64:
		return v == 0
	}
	return isNothing(value)
}
