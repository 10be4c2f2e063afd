// Package render writes objects as YAML. The text is that of go.yaml.in/yaml/v2, whose encoder
// keeps some 250 bytes of each key and value until it is thrown away: of a large definition of
// a kind, twenty times its text. Here an encoder gets a bounded number of them.
package render

import (
	"bytes"
	"io"
	"maps"
	"regexp"
	"slices"
	"unicode"

	"go.yaml.in/yaml/v2"
)

// maxValues is how many values one encoder gets, unless they cannot be told apart.
const maxValues = 4000

// A Writer writes objects as the documents of a text, each after a separator.
type Writer struct {
	to      io.Writer
	encoder *yaml.Encoder
	values  int // that encoder has got
}

// NewWriter returns a Writer. Several small objects share an encoder, whose buffers are large.
func NewWriter(to io.Writer) *Writer { return &Writer{to: to} }

// Write writes one object.
func (w *Writer) Write(object map[string]any) error {
	n := count(object, maxValues+1)
	if w.encoder != nil && w.values+n <= maxValues {
		w.values += n
		return w.encoder.Encode(object) // which writes a separator
	}
	if _, err := io.WriteString(w.to, "---\n"); err != nil {
		return err
	}
	if n > maxValues {
		w.encoder = nil
		return Object(w.to, object)
	}
	w.encoder, w.values = yaml.NewEncoder(w.to), n
	return w.encoder.Encode(object)
}

// Object writes an object without a separator.
func Object(to io.Writer, object map[string]any) error { return inParts(to, object, maxValues) }

func inParts(to io.Writer, object map[string]any, most int) error {
	if count(object, most+1) <= most {
		return yaml.NewEncoder(to).Encode(object)
	}
	s := splitter{to: to, most: most}
	return s.split(object)
}

// count returns how many values there are, or most if they are more.
func count(value any, most int) int {
	n := 1
	switch v := value.(type) {
	case map[string]any:
		for _, below := range v {
			if n >= most {
				return most
			}
			n += count(below, most-n)
		}
	case []any:
		for _, below := range v {
			if n >= most {
				return most
			}
			n += count(below, most-n)
		}
	}
	return min(n, most)
}

// A splitter writes an object in parts. It encodes each within the maps and lists that lead to
// it, of which it cuts off what is written already.
type splitter struct {
	to     io.Writer
	most   int
	path   []step
	buffer bytes.Buffer
}

// A step leads from a map or a list to a value in it.
type step struct {
	key     string
	isItem  bool // of a list
	written bool
}

// plainKey matches the keys that are written on one line.
var plainKey = regexp.MustCompile(`^[A-Za-z_$][A-Za-z0-9_$./-]{0,99}$`)

// split writes the map or list that the path leads to.
func (s *splitter) split(value any) error {
	switch v := value.(type) {
	case map[string]any:
		part, n := map[string]any{}, 0
		for _, key := range slices.SortedFunc(maps.Keys(v), compareKeys) {
			size := count(v[key], s.most+1)
			isLarge := size > s.most && plainKey.MatchString(key)
			if len(part) > 0 && (isLarge || n+size > s.most) {
				if err := s.write(part); err != nil {
					return err
				}
				part, n = map[string]any{}, 0
			}
			if isLarge {
				if err := s.below(step{key: key}, v[key]); err != nil {
					return err
				}
				continue
			}
			part[key] = v[key]
			n += size
		}
		if len(part) > 0 {
			return s.write(part)
		}
	case []any:
		from, n := 0, 0
		for i, item := range v {
			size := count(item, s.most+1)
			if i > from && n+size > s.most {
				if err := s.write(v[from:i]); err != nil {
					return err
				}
				from, n = i, 0
			}
			if n += size; size > s.most {
				if err := s.below(step{isItem: true}, item); err != nil {
					return err
				}
				from, n = i+1, 0
			}
		}
		if from < len(v) {
			return s.write(v[from:])
		}
	}
	return nil
}

func (s *splitter) below(next step, value any) error {
	s.path = append(s.path, next)
	err := s.split(value)
	s.path = s.path[:len(s.path)-1]
	return err
}

// write writes a part of the map or list that the path leads to, with what of the path is not
// written yet.
func (s *splitter) write(part any) error {
	lines, dashes := 0, 0 // of the path, that are written: a key ends a line, an item does not
	for i := len(s.path) - 1; i >= 0; i-- {
		if s.path[i].isItem {
			part = []any{part}
		} else {
			part = map[string]any{s.path[i].key: part}
		}
	}
	for i := range s.path {
		switch step := &s.path[i]; {
		case step.written && step.isItem:
			dashes++
		case step.written:
			lines, dashes = lines+1, 0
		}
		s.path[i].written = true
	}
	s.buffer.Reset()
	if err := yaml.NewEncoder(&s.buffer).Encode(part); err != nil {
		return err
	}
	text := s.buffer.Bytes()
	for range lines {
		text = text[bytes.IndexByte(text, '\n')+1:]
	}
	for at := 0; dashes > 0; at++ {
		if text[at] == '-' {
			text[at] = ' '
			dashes--
		}
	}
	_, err := s.to.Write(text)
	return err
}

// compareKeys is the order of the encoder: letters after all else, and numbers by their value.
func compareKeys(a, b string) int {
	if a == b {
		return 0
	}
	if isBefore([]rune(a), []rune(b)) {
		return -1
	}
	return 1
}

func isBefore(a, b []rune) bool {
	for i := 0; i < len(a) && i < len(b); i++ {
		if a[i] == b[i] {
			continue
		}
		aIsLetter, bIsLetter := unicode.IsLetter(a[i]), unicode.IsLetter(b[i])
		if aIsLetter && bIsLetter {
			return a[i] < b[i]
		}
		if aIsLetter || bIsLetter {
			return bIsLetter
		}
		var m, n int64 // what the digits from here on stand for
		if a[i] == '0' || b[i] == '0' {
			for j := i - 1; j >= 0 && unicode.IsDigit(a[j]); j-- {
				if a[j] != '0' {
					m, n = 1, 1
					break
				}
			}
		}
		endOfA, endOfB := i, i
		for ; endOfA < len(a) && unicode.IsDigit(a[endOfA]); endOfA++ {
			m = m*10 + int64(a[endOfA]-'0')
		}
		for ; endOfB < len(b) && unicode.IsDigit(b[endOfB]); endOfB++ {
			n = n*10 + int64(b[endOfB]-'0')
		}
		switch {
		case m != n:
			return m < n
		case endOfA != endOfB:
			return endOfA < endOfB
		}
		return a[i] < b[i]
	}
	return len(a) < len(b)
}
