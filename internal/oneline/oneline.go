// Package oneline makes untrusted texts safe to display in an error, a log or a terminal.
package oneline

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Max is the maximum length of a text, in bytes.
const Max = 4 << 10

// Line returns a text that may contain untrusted input, such as an error that quotes a file
// name, a resource ID or a manifest, as one line of at most 4 KiB that is safe to display.
// Characters that would break the line, or change the order in which it is displayed, are
// escaped as in a Go string. A text that is too long is truncated, and the line ends with
// the number of bytes that are missing.
func Line(text string) string { return printable(text, false) }

// Lines is like Line, for a text that has several lines by design, such as a help text.
func Lines(text string) string { return printable(text, true) }

func printable(text string, keepNewlines bool) string {
	if len(text) <= Max && allPlain(text, keepNewlines) {
		return text
	}
	var b strings.Builder
	room := Max - len("… (18446744073709551615 more bytes)")
	end := 0 // offset in b at which the mark of a truncated text would begin
	cut := 0 // the corresponding offset in text
	for i := 0; i < len(text); {
		r, size := utf8.DecodeRuneInString(text[i:])
		switch {
		case r == utf8.RuneError && size == 1:
			fmt.Fprintf(&b, `\x%02x`, text[i])
		case isPlain(r, keepNewlines):
			b.WriteString(text[i : i+size])
		default:
			quoted := strconv.QuoteRuneToASCII(r)
			b.WriteString(quoted[1 : len(quoted)-1])
		}
		i += size
		if b.Len() <= room {
			end, cut = b.Len(), i
		}
		if b.Len() > Max {
			return fmt.Sprintf("%s… (%d more bytes)", b.String()[:end], len(text)-cut)
		}
	}
	return b.String()
}

// IsPlain reports whether a text is displayed unescaped, on one line. The length does not
// matter.
func IsPlain(text string) bool { return allPlain(text, false) }

func allPlain(text string, keepNewlines bool) bool {
	return !strings.ContainsFunc(text, func(r rune) bool { return !isPlain(r, keepNewlines) })
}

// isPlain reports whether a character is displayed unescaped. U+FFFD is not: bytes that are
// not UTF-8 are decoded as U+FFFD too. unicode.IsPrint excludes control characters, line and
// paragraph separators, and characters that set the direction of writing.
func isPlain(r rune, keepNewlines bool) bool {
	return r != utf8.RuneError && unicode.IsPrint(r) || keepNewlines && r == '\n'
}
