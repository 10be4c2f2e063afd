package redact

import (
	"strconv"
	"strings"

	"github.com/platformbus/platform/internal/oneline"
)

// Line returns a text as oneline.Line does; what is written over several lines, as the API
// server and YAML parsers do, is put on one.
func Line(text string) string {
	if strings.ContainsAny(text, "\r\n\t") {
		text = strings.Join(strings.Fields(text), " ")
	}
	return oneline.Line(text)
}

// Name returns a name as it is, or quoted if it would not show as it is.
func Name(name string) string {
	if !oneline.IsPlain(name) {
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
