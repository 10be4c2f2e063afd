package redact

import (
	"fmt"
	"slices"
	"strings"

	"github.com/platformbus/platform/internal/oneline"
)

// maxJoined is how many failures of one thing a text names.
const maxJoined = 100

// Join returns one error for those of errs that are not nil, or nil if none is. Its text is
// on one line, and names no more of them than anybody would read.
func Join(errs ...error) error {
	failed := slices.DeleteFunc(slices.Clone(errs), func(err error) bool { return err == nil })
	switch len(failed) {
	case 0:
		return nil
	case 1:
		return failed[0]
	default:
		return multiError(failed)
	}
}

// multiError is more than one failure of one thing.
type multiError []error

func (m multiError) Error() string {
	var b strings.Builder
	for i, err := range m {
		text := err.Error()
		if i == maxJoined || i > 0 && b.Len()+len(text) > oneline.Max-100 {
			fmt.Fprintf(&b, "; and %d more", len(m)-i)
			break
		}
		if i > 0 {
			b.WriteString("; ")
		}
		b.WriteString(text)
	}
	return b.String()
}

// Unwrap returns the failures, so that errors.Is and errors.As reach each of them.
func (m multiError) Unwrap() []error { return m }

// Sort puts errors that came in no order into one.
func Sort(errs []error) {
	slices.SortFunc(errs, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
}
