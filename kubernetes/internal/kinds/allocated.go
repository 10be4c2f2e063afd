package kinds

import (
	"fmt"
	"iter"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
)

// An allocation is a field of a Service that the cluster fills in unless somebody chooses a value.
type allocation struct {
	in   map[string]any
	name string
	path []any // of the field that tells whether somebody chose it, as managed fields have it
}

// values returns the field's values, without those that mean that there is none.
func (a allocation) values() []string {
	values, ok := a.in[a.name].([]any)
	if !ok {
		values = []any{a.in[a.name]}
	}
	var texts []string
	for _, value := range values {
		if text := fmt.Sprint(value); value != nil && text != "" && text != "0" {
			texts = append(texts, text)
		}
	}
	return texts
}

// allocations yields the fields of a Service that the cluster allocates.
func allocations(service map[string]any) iter.Seq[allocation] {
	return func(yield func(allocation) bool) {
		spec, ok := service["spec"].(map[string]any)
		if !ok {
			return
		}
		for _, a := range []allocation{
			{spec, "clusterIP", []any{"spec", "clusterIP"}}, {spec, "clusterIPs", []any{"spec", "clusterIP"}},
			{spec, "healthCheckNodePort", []any{"spec", "healthCheckNodePort"}},
		} {
			if !yield(a) {
				return
			}
		}
		for port := range Items(spec, "ports") {
			p, ok := port.(map[string]any)
			if ok && !yield(allocation{p, "nodePort", []any{"spec", "ports", fieldpath.KeyByFields("port", p["port"], "protocol", p["protocol"]), "nodePort"}}) {
				return
			}
		}
	}
}

// ChoosesAllocated says whether an object is a Service that says which address or port it
// wants of those that the cluster allocates.
func ChoosesAllocated(kind schema.GroupKind, object map[string]any) bool {
	return kind == Service && slices.ContainsFunc(AllocatedValues(object), func(value string) bool { return value != "None" })
}

// AllocatedValues returns the addresses and ports that a Service has, or is to have, to itself.
func AllocatedValues(service map[string]any) []string {
	var all []string
	for a := range allocations(service) {
		all = append(all, a.values()...)
	}
	return all
}

// DropAllocatedPorts takes off a Service those of its ports of nodes that drop accepts.
func DropAllocatedPorts(service map[string]any, drop func(value string) bool) {
	for a := range allocations(service) {
		if values := a.values(); strings.HasSuffix(a.name, "Port") && len(values) == 1 && drop(values[0]) {
			delete(a.in, a.name)
		}
	}
}

// dropUnchosen takes off a Service addresses and ports that are said to be none: the cluster
// allocates them then, as if nothing was said, and the record would tell that somebody chose them.
func dropUnchosen(service map[string]any) {
	for a := range allocations(service) {
		if len(a.values()) == 0 {
			delete(a.in, a.name)
		}
	}
}

// stripService takes off the addresses and ports that were allocated. A Service without
// an address ("None") was defined so.
func stripService(service map[string]any, chosen Fields) {
	headless := text(service, "spec", "clusterIP") == "None"
	for a := range allocations(service) {
		if headless && strings.HasPrefix(a.name, "clusterIP") {
			continue
		}
		if !chosen.has(a.path...) {
			delete(a.in, a.name)
		}
	}
}
