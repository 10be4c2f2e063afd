package redact

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// MaxText is how long a text of an error is at most, in bytes.
const MaxText = 4 << 10

// Line returns a text on one line, without what cannot be printed, and cut if it is longer
// than MaxText.
func Line(text string) string {
	cut := ""
	if len(text) > 2*MaxText { // no more than this is looked at
		text, cut = head(text, 2*MaxText), "…"
	}
	if strings.ContainsFunc(text, isUnprintable) {
		text = strings.Join(strings.Fields(text), " ")
		var b strings.Builder
		for i := 0; i < len(text); {
			r, size := utf8.DecodeRuneInString(text[i:])
			switch {
			case r == utf8.RuneError && size == 1:
				b.WriteString(`\x` + strconv.FormatUint(uint64(text[i])|0x100, 16)[1:])
			case isUnprintable(r):
				quoted := strconv.QuoteRuneToASCII(r)
				b.WriteString(quoted[1 : len(quoted)-1])
			default:
				b.WriteRune(r)
			}
			i += size
		}
		text = b.String()
	}
	if len(text) > MaxText-len("…") {
		text, cut = head(text, MaxText-len("…")), "…"
	}
	return text + cut
}

// isUnprintable says whether a character does not show as itself on a line: control
// characters, other line ends, marks that change the direction of writing, bytes that are no
// UTF-8.
func isUnprintable(r rune) bool { return r == utf8.RuneError || r != ' ' && !unicode.IsPrint(r) }

// head returns the first n bytes of a text, without half a character at their end.
func head(text string, n int) string {
	for n > 0 && !utf8.RuneStart(text[n]) {
		n--
	}
	return text[:n]
}

// Name returns a name as it is, or quoted if it would not show as it is.
func Name(name string) string {
	if strings.ContainsFunc(name, isUnprintable) {
		return strconv.Quote(name)
	}
	return name
}

// Error returns err with its text as Line makes it. What errors.Is and errors.As find in err
// they find in the result.
func Error(err error) error {
	if err == nil {
		return nil
	}
	text := err.Error()
	if short := Line(text); short != text {
		return shown{short, err}
	}
	return err
}

// shown is an error with another text.
type shown struct {
	text  string
	cause error
}

func (e shown) Error() string { return e.text }

func (e shown) Unwrap() error { return e.cause }
