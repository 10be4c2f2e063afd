package program_test

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/platformbus/platform/examples/internal/program"
)

// What is shown is one line, and has nothing in it that a terminal or a page would obey.
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
		assert.Equal(t, tt.want, program.Line(tt.text), "Line(%q)", tt.text)
	}
	assert.Equal(t, "a\nb\\x1b", program.Lines("a\nb\x1b"))
}

func TestLineIsBounded(t *testing.T) {
	const most = 4 << 10
	for _, text := range []string{
		strings.Repeat("x", most), strings.Repeat("x", most+1), strings.Repeat("x", 1<<20),
		strings.Repeat("ö", most), strings.Repeat("\n", most), strings.Repeat("\xff", most), strings.Repeat("\u2028", most),
	} {
		got := program.Line(text)
		assert.LessOrEqual(t, len(got), most, "%.10q", text)
		if got != text {
			assert.Regexp(t, `… \([1-9][0-9]* more bytes\)$`, got, "%.10q", text)
		}
	}
	assert.Equal(t, strings.Repeat("x", most), program.Line(strings.Repeat("x", most)))
	assert.Contains(t, program.Line(strings.Repeat("x", 5000)), strings.Repeat("x", 4000))
}

type label string

// Whatever is logged, a record is a line, and its values are bounded.
func TestLoggerWritesLines(t *testing.T) {
	for _, value := range []any{
		strings.Repeat("x", 1<<20) + "\n", errors.New(strings.Repeat("x", 1<<20) + "\n"), label("a\n" + strings.Repeat("x", 1<<20)),
	} {
		var b bytes.Buffer
		program.NewLogger(&b).Warn("one\ntwo", "value", value, slog.Group("of", "value", value))
		assert.Equal(t, 1, strings.Count(b.String(), "\n"))
		assert.Less(t, b.Len(), 9<<10)
		assert.Contains(t, b.String(), "level=WARN")
	}
}
