package render

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v2"
)

// Whatever the size of the parts, the text is that of the encoder.
func TestPartsAreTheWhole(t *testing.T) {
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 1))
		object := map[string]any{"a": randomValue(r, 6), "b": randomValue(r, 6), "spec": []any{randomValue(r, 5), randomValue(r, 5)}}
		want, err := yaml.Marshal(object)
		require.NoError(t, err)
		for _, most := range []int{1, 2, 3, 7, 20, maxValues} {
			var got bytes.Buffer
			require.NoError(t, inParts(&got, object, most))
			require.Equal(t, string(want), got.String(), "seed %d, parts of %d", seed, most)
		}
	}
}

func TestWriter(t *testing.T) {
	large := map[string]any{}
	for i := range 3 * maxValues {
		large[fmt.Sprint("k", i)] = i
	}
	small := map[string]any{"a": "x\n\n", "b": []any{}, "c": "- \n"}
	var got, want bytes.Buffer
	w, e := NewWriter(&got), yaml.NewEncoder(&want)
	want.WriteString("---\n")
	for _, object := range []map[string]any{small, small, large, small, {}, large, large, small} {
		require.NoError(t, w.Write(object))
		require.NoError(t, e.Encode(object))
	}
	require.NoError(t, e.Close())
	assert.Equal(t, want.String(), got.String())
}

// An object of many values takes little memory to write, which the encoder's queue would not.
func TestObjectIsWrittenInBoundedMemory(t *testing.T) {
	properties := map[string]any{}
	for i := range 200 {
		below := map[string]any{}
		for j := range 100 {
			below[fmt.Sprint("field", j)] = map[string]any{"description": strings.Repeat("what it is ", 8), "type": "string"}
		}
		properties[fmt.Sprint("group", i)] = map[string]any{"type": "object", "properties": below}
	}
	object := map[string]any{"spec": map[string]any{"versions": []any{map[string]any{"name": "v1", "schema": properties}}}}
	whole := &most{}
	require.NoError(t, yaml.NewEncoder(whole).Encode(object))
	parts := &most{}
	require.NoError(t, Object(parts, object))
	assert.Less(t, parts.heap, parts.first+8<<20, "with all in one encoder it is %d MB more", (whole.heap-whole.first)>>20)
}

// most notes how large the live heap was at most when something was written.
type most struct{ first, heap, written uint64 }

func (m *most) Write(p []byte) (int, error) {
	if m.written += uint64(len(p)); m.first == 0 || m.written > 500<<10 {
		m.written = 0
		runtime.GC()
		var stats runtime.MemStats
		runtime.ReadMemStats(&stats)
		if m.first == 0 {
			m.first = stats.HeapAlloc
		}
		m.heap = max(m.heap, stats.HeapAlloc)
	}
	return len(p), nil
}

func randomText(r *rand.Rand) string {
	pieces := []string{"yes", "no", "010", "1e3", "null", "~", "- ", ": ", " #", "\n", "\n\n", "  ", "\t", "'", `"`, "\\", "|", "{", "[", "&a", "*a", "!!str", "%", "---", "...", "2001-01-01", "é", "世", "\u2028", "\ufeff", "a", "b", "=", "<<", "on", strings.Repeat("word ", 30), strings.Repeat("x", 140)}
	text := ""
	for range r.IntN(6) {
		text += pieces[r.IntN(len(pieces))]
	}
	return text
}

func randomKey(r *rand.Rand) string {
	if r.IntN(8) == 0 {
		return randomText(r)
	}
	return []string{"a", "a1", "a10", "a01", "a2", "B", "type", "on", "x-k", "$ref", "f:a", "_b", ".c", "0", "12", "y"}[r.IntN(16)]
}

func randomValue(r *rand.Rand, depth int) any {
	if depth == 0 {
		return randomText(r)
	}
	switch r.IntN(9) {
	case 0, 1, 2:
		m := map[string]any{}
		for range r.IntN(6) {
			m[randomKey(r)] = randomValue(r, depth-1)
		}
		return m
	case 3, 4:
		list := []any{}
		for range r.IntN(5) {
			list = append(list, randomValue(r, depth-1))
		}
		return list
	case 5:
		return r.Int64() - r.Int64()
	case 6:
		return []any{nil, true, r.NormFloat64() * 1e10, float64(1 << 60), "1"}[r.IntN(5)]
	default:
		return randomText(r)
	}
}
