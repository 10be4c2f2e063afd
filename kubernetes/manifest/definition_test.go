package manifest

import (
	"encoding/json"
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	kjson "sigs.k8s.io/json"
)

// A copy of an object, and what a parser has returned of it once it is settled, are what JSON
// makes of it.
func TestCopiesAreAsByJSON(t *testing.T) {
	deep := map[string]any{}
	for range 600 {
		deep = map[string]any{"a": deep}
	}
	parsed := map[string]any{
		"texts": []any{"", "a\u2028<b>", "世"}, "none": nil, "yes": true, "empty": map[string]any{}, "list": []any{},
		"numbers": []any{int64(math.MaxInt64), 1.0, 0.5, 1e18, 1e20, -1e18, 123456789012345678.0, math.Copysign(0, -1), 1e-7, []any{2.0}, map[string]any{"a": 3.0}},
	}
	others := map[string]any{
		"int": 1, "small": int32(2), "float": float32(0.1), "strings": []string{"a"}, "map": map[string]string{"a": "b"}, "number": json.Number("1.50"),
		"invalid": "a\xffb", "key\xff": 1, "deep": deep, "nil map": map[string]any(nil), "nil list": []any(nil), "bytes": []byte("abc"),
	}
	byJSON := func(value any) any {
		text, err := json.Marshal(value)
		require.NoError(t, err)
		var result any
		require.NoError(t, kjson.UnmarshalCaseSensitivePreserveInts(text, &result))
		return result
	}
	for _, object := range []map[string]any{parsed, others} {
		for name, value := range object {
			one := map[string]any{"x": value}
			got, err := copied(one)
			require.NoError(t, err, name)
			assert.Equal(t, byJSON(one), any(got), name)
		}
	}
	want := byJSON(parsed)
	assert.Equal(t, want, settled(parsed))

	_, err := copied(map[string]any{"x": math.NaN()})
	require.ErrorContains(t, err, "unsupported value")
}

// A copy shares nothing that can be changed.
func TestCopiesShareNothing(t *testing.T) {
	object := map[string]any{"a": map[string]any{"b": []any{map[string]any{"c": "d"}}}}
	got, err := copied(object)
	require.NoError(t, err)
	got["a"].(map[string]any)["b"].([]any)[0].(map[string]any)["c"] = "e"
	assert.Equal(t, map[string]any{"a": map[string]any{"b": []any{map[string]any{"c": "d"}}}}, object)
}
