package kinds

import (
	"math/rand/v2"
	"reflect"
	"testing"

	"github.com/stretchr/testify/assert"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// What WithNulls keeps of a definition has the same nulls dropped, whatever the schema and the
// object.
func TestWithNullsDropsTheSame(t *testing.T) {
	dropped := 0
	for seed := range uint64(3000) {
		r := rand.New(rand.NewPCG(seed, 0))
		crd := map[string]any{"spec": map[string]any{
			"group": "example.com", "scope": "Cluster", "names": map[string]any{"kind": "A", "plural": "as"},
			"versions": []any{map[string]any{"name": "v1", "schema": map[string]any{"openAPIV3Schema": randomSchema(r, 4)}}, map[string]any{"name": "v2"}},
		}}
		small := WithNulls(crd)
		kind, namespaced := DefinedKind(crd)
		smallKind, smallNamespaced := DefinedKind(small)
		assert.Equal(t, kind, smallKind)
		assert.Equal(t, namespaced, smallNamespaced)
		for _, version := range []string{"v1", "v2", "v3"} {
			object, _ := randomNulls(r, 4).(map[string]any)
			want, got := runtime.DeepCopyJSON(object), runtime.DeepCopyJSON(object)
			DropNulls(want, SchemaOf(crd, version))
			DropNulls(got, SchemaOf(small, version))
			assert.Equal(t, want, got, "seed %d", seed)
			if !reflect.DeepEqual(want, object) {
				dropped++
			}
		}
	}
	assert.Greater(t, dropped, 1000)
}

func randomSchema(r *rand.Rand, depth int) any {
	if depth == 0 || r.IntN(10) == 0 {
		return []any{nil, true, map[string]any{}, map[string]any{"nullable": true}, map[string]any{"type": "string"}, map[string]any{"x-kubernetes-preserve-unknown-fields": true}}[r.IntN(6)]
	}
	s := map[string]any{}
	if r.IntN(4) == 0 {
		s["nullable"] = r.IntN(2) == 0
	}
	if r.IntN(3) > 0 {
		properties := map[string]any{}
		for range r.IntN(4) {
			properties[string(rune('a'+r.IntN(4)))] = randomSchema(r, depth-1)
		}
		s["properties"] = properties
	}
	if r.IntN(4) == 0 {
		s["additionalProperties"] = randomSchema(r, depth-1)
	}
	if r.IntN(4) == 0 {
		s["items"] = randomSchema(r, depth-1)
	}
	return s
}

func randomNulls(r *rand.Rand, depth int) any {
	if depth < 4 && (depth == 0 || r.IntN(3) == 0) {
		return nil
	}
	if depth < 4 && r.IntN(4) == 0 {
		return []any{randomNulls(r, depth-1), randomNulls(r, depth-1)}
	}
	m := map[string]any{}
	for range 1 + r.IntN(4) {
		m[string(rune('a'+r.IntN(5)))] = randomNulls(r, depth-1)
	}
	return m
}

// The kinds of which only the metadata is stripped have nothing else to strip.
func TestStripsMetadataOnly(t *testing.T) {
	nothing := reflect.ValueOf(stripNothing).Pointer()
	n := 0
	for _, kind := range append([]schema.GroupKind{{Group: "example.com", Kind: "A"}}, CustomResourceDefinition, ConfigMap, Secret, Service, Job) {
		if StripsMetadataOnly(kind) {
			n++
			assert.Equal(t, nothing, reflect.ValueOf(Of(kind).Strip).Pointer(), "%v", kind)
		}
	}
	assert.Equal(t, 3, n)
}
