package manifest

import "strings"

// several is more than one failure, on one line.
type several []error

func (s several) Error() string {
	texts := make([]string, len(s))
	for i, err := range s {
		texts[i] = err.Error()
	}
	return strings.Join(texts, "; ")
}

// Unwrap returns the failures, so that errors.Is and errors.As reach each of them.
func (s several) Unwrap() []error { return s }

// orNil returns one error for all of s, or nil if there is none.
func (s several) orNil() error {
	switch len(s) {
	case 0:
		return nil
	case 1:
		return s[0]
	default:
		return s
	}
}
