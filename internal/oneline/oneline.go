// Package oneline makes texts that quote others fit to be shown: in an error, a log, a terminal.
package oneline

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Max is how long a text is at most, in bytes.
const Max = 4 << 10

// Line returns what may be shown or logged of a text that quotes others: an error may hold
// the name of a file, a resource ID, or a manifest that a stranger sent. It is one line of at
// most 4 KiB. What would break the line, or change the order in which it is displayed, is
// written as Go writes it in a string; of a text that is too long the end is missing, and
// the line says how much.
func Line(text string) string { return printable(text, false) }

// Lines is Line for a text that has several lines on purpose, such as a help text.
func Lines(text string) string { return printable(text, true) }

func printable(text string, keepNewlines bool) string {
	if len(text) <= Max && strings.IndexFunc(text, func(r rune) bool { return !isPlain(r, keepNewlines) }) < 0 {
		return text
	}
	var b strings.Builder
	room := Max - len("… (18446744073709551615 more bytes)")
	end := 0 // of b, where the mark of a text that is too long would begin
	cut := 0 // of text, likewise
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

// IsPlain says whether a text is displayed as it is, on one line, whatever its length.
func IsPlain(text string) bool {
	return strings.IndexFunc(text, func(r rune) bool { return !isPlain(r, false) }) < 0
}

// isPlain says whether a character is displayed as itself. U+FFFD is not: it is also what
// bytes are decoded as that are no UTF-8. Characters of unicode.IsPrint exclude controls, the
// separators of lines and paragraphs, and those that set the direction of writing.
func isPlain(r rune, keepNewlines bool) bool {
	return r != utf8.RuneError && unicode.IsPrint(r) || keepNewlines && r == '\n'
}
