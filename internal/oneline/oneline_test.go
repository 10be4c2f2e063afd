package oneline_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/platformbus/platform/internal/oneline"
)

// The result is one line without terminal escapes or characters that reorder text.
func TestLine(t *testing.T) {
	for _, tt := range []struct{ text, want string }{
		{"", ""},
		{`namespace "shop": größer`, `namespace "shop": größer`},
		{"a\nb\r\tc", `a\nb\r\tc`},
		{"\x1b[31mred\x7f\x00", `\x1b[31mred\x7f\x00`},
		{"a\u2028b\u2029c\u0085d", `a\u2028b\u2029c\u0085d`},
		{"a\u202eb\u2066c\u200fd\u061ce\ufeff", `a\u202eb\u2066c\u200fd\u061ce\ufeff`},
		{"a\xffb\ufffd", `a\xffb\ufffd`},
	} {
		assert.Equal(t, tt.want, oneline.Line(tt.text), "Line(%q)", tt.text)
		assert.Equal(t, tt.text == tt.want, oneline.IsPlain(tt.text), "IsPlain(%q)", tt.text)
	}
	assert.Equal(t, "a\nb\\x1b", oneline.Lines("a\nb\x1b"))
}

func TestLineIsBounded(t *testing.T) {
	const most = 4 << 10
	for _, text := range []string{
		strings.Repeat("x", most), strings.Repeat("x", most+1), strings.Repeat("x", 1<<20),
		strings.Repeat("ö", most), strings.Repeat("\n", most), strings.Repeat("\xff", most), strings.Repeat("\u2028", most),
	} {
		got := oneline.Line(text)
		assert.LessOrEqual(t, len(got), most, "%.10q", text)
		if got != text {
			assert.Regexp(t, `… \([1-9][0-9]* more bytes\)$`, got, "%.10q", text)
		}
	}
	assert.Equal(t, strings.Repeat("x", most), oneline.Line(strings.Repeat("x", most)))
	assert.Contains(t, oneline.Line(strings.Repeat("x", 5000)), strings.Repeat("x", 4000))
}
