package service

import (
	"fmt"
	"net/http"
	"net/textproto"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/platformbus/platform"
)

func chunksOf(text string) *chunks {
	c := new(chunks)
	c.Write([]byte(text)) //nolint:errcheck // it returns no error
	return c
}

func syncDefOf(kind, body string) (platform.SyncDef, error) {
	return syncDef(http.Header{"Content-Type": {kind}}, chunksOf(body))
}

const one = `{"actions":[{"apply":"a"}]}`

// A request that is ambiguous is refused.
func TestStrictJSON(t *testing.T) {
	for _, tt := range []struct{ body, want string }{
		{one + "x", `unexpected data after the JSON object`},
		{one + one, `unexpected data after the JSON object`},
		{`{"actions":[],"actions":[{"apply":"a"}]}`, `duplicate field "actions"`},
		{`{"actions":[{"apply":"a","apply":"b"}]}`, `duplicate field "apply"`},
		{`{"actions":[{"apply":"a","\u0061pply":"b"}]}`, `duplicate field "apply"`},
		{`{"actions":[{"apply":"a","delete":null,"delete":"b"}]}`, `duplicate field "delete"`},
		{`{"Actions":[{"apply":"a"}]}`, `unknown field "Actions"; want actions`},
		{`{"actions":[{"Apply":"a"}]}`, `unknown field "Apply"`},
		{`{"actions":[{"resourceId":"x","apply":"a"}]}`, `unknown field "resourceId"`},
		{`{"actions":[{"apply":"a","a\nb":"a"}]}`, "unknown field"},
		{`{"actions":[{"apply":"a","a\u2028b":"a"}]}`, `unknown field`},
		{`{"` + strings.Repeat("x", 65) + `":1}`, "unknown field"},
		{`{"actions":[{}]}`, "action 1: it is empty"},
		{`{"actions":[{"apply":"a"},{"resourceID":"x","delete":"","apply":null}]}`, "action 2: it is empty"},
		{`{"actions":[null]}`, "action 1: it is empty"},
		{`{"actions":null}`, "want ["},
		{`{"actions":[]}`, "nothing to sync"},
		{`{}`, "nothing to sync"},
		{`null`, "want {"},
		{``, "unexpected EOF"},
		{one[:len(one)-1], "unexpected EOF"},
		{`{"actions":[{"apply":"a"},]}`, "invalid character"},
		{`{"actions":[{"apply":"a",}]}`, "invalid character"},
		{`{"actions":[{"apply":1}]}`, "cannot unmarshal number"},
		{`{"actions":[{"apply":nil}]}`, "invalid character"},
		{`{"actions":[{"apply":"a` + "\n" + `"}]}`, "in string literal"},
		{`{"actions":[{"apply":"a\x"}]}`, "in string escape code"},
		{`{"actions":[{"apply":"\u00g0"}]}`, "hexadecimal character escape"},
		{`{"actions":[{"apply":"\u+123"}]}`, "hexadecimal character escape"},
		{`{"actions":[{"apply":"` + "\xff" + `"}]}`, "not UTF-8"},
	} {
		_, err := syncDefOf("application/json", tt.body)
		require.ErrorContains(t, err, tt.want, "%s", tt.body)
		assert.Equal(t, http.StatusBadRequest, statusCode(err))
	}
}

func TestJSONStrings(t *testing.T) {
	for text, want := range map[string]string{
		`a\"\\\/\b\f\n\r\t`:  "a\"\\/\b\f\n\r\t",
		`\u0041\u00e4\u20AC`: "Aä€",
		`\ud83d\ude00 ö😀`:    "😀 ö😀",
		`\ufffd`:             "\ufffd",
	} {
		def, err := syncDefOf("APPLICATION/JSON; charset=utf-8", ` { "actions" : [ { "resourceID" : null , "apply" : "`+text+"\" } ]\r\n}\t")
		require.NoError(t, err, text)
		assert.Equal(t, []platform.SyncAction{{Apply: []byte(want)}}, def.Actions, text)
	}
}

// The limit of actions is the same for all forms, and the error names it.
func TestTooManyActions(t *testing.T) {
	const form = "--b\r\nContent-Disposition: form-data; name=apply; filename=x\r\n\r\na\r\n"
	for _, tt := range []struct{ kind, start, each, end string }{
		{"application/json", `{"actions":[{"apply":"a"}`, `,{"apply":"a"}`, "]}"},
		{"multipart/form-data; boundary=b", form, form, "--b--\r\n"},
	} {
		def, err := syncDefOf(tt.kind, tt.start+strings.Repeat(tt.each, maxActions-1)+tt.end)
		require.NoError(t, err)
		assert.Len(t, def.Actions, maxActions)
		// The error is returned at once: the rest of the body is not read.
		_, err = syncDefOf(tt.kind, tt.start+strings.Repeat(tt.each, maxActions)+"nonsense")
		require.ErrorContains(t, err, "more than 100000 actions")
	}
}

func TestStrictForm(t *testing.T) {
	part := func(header, text string) string { return "--b\r\n" + header + "\r\n\r\n" + text + "\r\n" }
	const disposition = "Content-Disposition: form-data; name=apply; filename=x"
	const end = "--b--\r\n"
	for _, tt := range []struct{ body, want string }{
		{part("Content-Disposition: form-data; name=apply", "a") + end, `a part of the field "apply" has no file name`},
		{part("Content-Disposition: form-data; name=apply; filename=\"\"", "a") + end, "no file name"},
		{part("Content-Disposition: form-data; name=other; filename=x", "a") + end, `there is a field "other"`},
		{part("X: y", "a") + end, `there is a field ""`},
		{part(disposition, "") + end, "part 1: it is empty"},
		{part(disposition, "a") + part(disposition, "") + end, "part 2: it is empty"},
		{part(disposition+"\r\n"+disposition, "a") + end, "several Content-Disposition"},
		{part(disposition+"\r\nContent-Transfer-Encoding: quoted-printable", "=41") + end, `Content-Transfer-Encoding "quoted-printable"`},
		{part(disposition+"\r\nX: "+strings.Repeat("y", maxPartHeader), "a") + end, "want at most 8192"},
		{part(disposition+strings.Repeat("\r\nX: y", 20_000), "a") + end, "message too large"},
		{part(disposition, "a"), "EOF"}, // it ends early
		{part(disposition, "a") + "--b", "EOF"},
		{end, "nothing to sync"},
	} {
		_, err := syncDefOf("multipart/form-data; boundary=b", tt.body)
		require.ErrorContains(t, err, tt.want, "%.100q", tt.body)
		assert.Equal(t, http.StatusBadRequest, statusCode(err))
	}
	for _, kind := range []string{"multipart/form-data", "multipart/form-data; boundary=" + strings.Repeat("b", 71)} {
		_, err := syncDefOf(kind, end)
		require.ErrorContains(t, err, "want 1 to 70", kind)
	}
	_, err := syncDef(http.Header{textproto.CanonicalMIMEHeaderKey("content-type"): {"text/plain", "application/json"}}, chunksOf(one))
	require.ErrorContains(t, err, "several Content-Type")
}

func TestChunks(t *testing.T) {
	for _, size := range []int{0, 1, minChunk - 1, minChunk, minChunk + 1, 3 * maxChunk} {
		text := strings.Repeat("0123456789", size/10+1)[:size]
		c := chunksOf(text)
		assert.Equal(t, size, c.size)
		got := c.drain()
		assert.Equal(t, text, string(got), fmt.Sprint(size))
		assert.Zero(t, c.size)
	}
}
