package jsonlist_test

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/platformbus/platform/kubernetes/internal/jsonlist"
)

func TestSplit(t *testing.T) {
	for _, c := range []struct {
		list, rest string
		items      []string
	}{
		{`{"kind":"A","metadata":{"continue":"x"},"items":[{"a":"\"]"},{"b":[1,{}]}]}`, `{"kind":"A","metadata":{"continue":"x"},"items":[]}`, []string{`{"a":"\"]"}`, `{"b":[1,{}]}`}},
		{` { "items" : [ 1 , "a\\" , null , [ ] ] , "b" : 2 } `, ` { "items" : [] , "b" : 2 } `, []string{`1`, `"a\\"`, `null`, `[ ]`}},
		{`{"items":[]}`, `{"items":[]}`, nil},
		{`{"items":null,"a":{"items":[1]}}`, `{"items":null,"a":{"items":[1]}}`, nil},
		{`{}`, `{}`, nil},
	} {
		items, rest, err := jsonlist.Split([]byte(c.list))
		require.NoError(t, err, c.list)
		assert.Equal(t, c.rest, string(rest))
		var got []string
		for _, item := range items {
			got = append(got, string(item))
		}
		assert.Equal(t, c.items, got, c.list)
	}
	for _, list := range []string{"", "[]", `{"items":[`, `{"items":[{]`, `{"items":[1 2]}`, `{"items":[,]}`, `{"items":[1,]}`, `{"items":["a]}`, `{"it\u0065ms":[1]}`, `{"items":[1],"items":[2]}`, `{items:[1]}`, `{"items"[1]}`, `{"a":"`, `{"a":`, `{"a"`} {
		_, _, err := jsonlist.Split([]byte(list))
		assert.EqualError(t, err, "it is no list in JSON", list)
	}
}

// What a decoder makes of the parts is what it makes of the whole; where it fails, so do they.
func FuzzSplit(f *testing.F) {
	for _, seed := range []string{`{"items":[{"a":"\"]"},1],"b":2}`, ` {"a":{"items":[1]},"items":[ ]}`, `{"items":[1,2]} x`, `{"items":[}]}`, `{"items":[{"a":1]]}`} {
		f.Add([]byte(seed))
	}
	type list struct {
		Metadata any               `json:"metadata"`
		Items    []json.RawMessage `json:"items"`
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		items, rest, err := jsonlist.Split(data)
		if err != nil {
			return
		}
		var whole, part list
		if json.Unmarshal(rest, &part) != nil {
			return
		}
		for _, item := range items {
			if !json.Valid(item) {
				return
			}
		}
		require.NoError(t, json.Unmarshal(data, &whole))
		if len(items) == 0 {
			return // or it has them by a name in other letters
		}
		require.Len(t, whole.Items, len(items))
		for i, item := range items {
			assert.Equal(t, string(item), string(whole.Items[i]))
		}
	})
}
