package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// maxKey is how long a key may be, in bytes; none that is known is as long.
const maxKey = 64

// A jsonReader reads objects, arrays and strings from a stream, and holds no more of it than
// the string that it is reading.
//
// It is stricter than encoding/json, which takes the last of two duplicate keys, a key in
// another case, and U+FFFD for what is no Unicode: a program that checks a request before
// it comes here must not read another request than we do.
type jsonReader struct {
	source *bufio.Reader
	offset int64
	text   chunks // of the string that is being read
}

func newJSONReader(source io.Reader) *jsonReader {
	return &jsonReader{source: bufio.NewReader(source)}
}

func (j *jsonReader) errorf(format string, args ...any) error {
	return fmt.Errorf("at byte %d: %w", j.offset, fmt.Errorf(format, args...))
}

func (j *jsonReader) unknown(key, want string) error {
	return j.errorf("there is an unknown key %q; want %s", key, want)
}

// readByte returns the next byte, of which there is one unless the text is incomplete.
func (j *jsonReader) readByte() (byte, error) {
	c, err := j.source.ReadByte()
	if errors.Is(err, io.EOF) {
		return 0, j.errorf("the text ends early")
	}
	j.offset++
	return c, err
}

func isSpace(c byte) bool { return c == ' ' || c == '\t' || c == '\n' || c == '\r' }

// token returns the next byte that is no space.
func (j *jsonReader) token() (byte, error) {
	for {
		if c, err := j.readByte(); err != nil || !isSpace(c) {
			return c, err
		}
	}
}

// unread takes back the byte that token has just returned.
func (j *jsonReader) unread() {
	j.source.UnreadByte() //nolint:errcheck // one has just been read
	j.offset--
}

func (j *jsonReader) expect(wanted byte, what string) error {
	c, err := j.token()
	if err == nil && c != wanted {
		err = j.errorf("there is %q; want %q, of %s", c, wanted, what)
	}
	return err
}

// end returns an error if anything but space follows.
func (j *jsonReader) end() error {
	for {
		c, err := j.source.ReadByte()
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
		if j.offset++; !isSpace(c) {
			return j.errorf("there is %q after the end of the request", c)
		}
	}
}

// object reads an object, and has member read the value of each key.
func (j *jsonReader) object(what string, member func(key string) error) error {
	if err := j.expect('{', what); err != nil {
		return err
	}
	c, err := j.token()
	if err != nil || c == '}' {
		return err
	}
	j.unread()
	var seen []string // a few: there is an error at the first unknown one
	for {
		if err := j.expect('"', "a key"); err != nil {
			return err
		}
		text, err := j.string(maxKey)
		if err != nil {
			return err
		}
		key := string(text)
		if slices.Contains(seen, key) {
			return j.errorf("there is a duplicate key %q", key)
		}
		seen = append(seen, key)
		if err := j.expect(':', "a value"); err != nil {
			return err
		}
		if err := member(key); err != nil {
			return err
		}
		switch c, err := j.token(); {
		case err != nil:
			return err
		case c == '}':
			return nil
		case c != ',':
			return j.errorf("there is %q; want a comma or the end of %s", c, what)
		}
	}
}

// array reads an array, and has element read each of its elements.
func (j *jsonReader) array(what string, element func() error) error {
	if err := j.expect('[', what); err != nil {
		return err
	}
	c, err := j.token()
	if err != nil || c == ']' {
		return err
	}
	j.unread()
	for {
		if err := element(); err != nil {
			return err
		}
		switch c, err := j.token(); {
		case err != nil:
			return err
		case c == ']':
			return nil
		case c != ',':
			return j.errorf("there is %q; want a comma or the end of %s", c, what)
		}
	}
}

// stringOrNull reads a string; null gives what a missing one gives.
func (j *jsonReader) stringOrNull(what string) ([]byte, error) {
	c, err := j.token()
	switch {
	case err != nil:
		return nil, err
	case c == '"':
		return j.string(0)
	case c != 'n':
		return nil, j.errorf("there is %q; want a string as %s", c, what)
	}
	for _, wanted := range []byte("ull") {
		if c, err := j.readByte(); err != nil {
			return nil, err
		} else if c != wanted {
			return nil, j.errorf("there is %q; want a string as %s, or null", c, what)
		}
	}
	return nil, nil
}

// string reads the rest of a string after its opening quote. It may have at most limit bytes,
// unless that is 0.
func (j *jsonReader) string(limit int) ([]byte, error) {
	text := &j.text
	for limit == 0 || text.size <= limit {
		c, err := j.readByte()
		switch {
		case err != nil:
			return nil, err
		case c == '"':
			all := text.bytes()
			if !utf8.Valid(all) {
				return nil, j.errorf("a string is not UTF-8")
			}
			return all, nil
		case c == '\\':
			if err := j.escape(text); err != nil {
				return nil, err
			}
		case c < ' ':
			return nil, j.errorf("there is %q in a string; want it as an escape", c)
		default:
			text.WriteByte(c) //nolint:errcheck // it returns no error
		}
	}
	return nil, j.errorf("there is a key of more than %d bytes", limit)
}

// escape reads what follows a backslash, and appends what it stands for.
func (j *jsonReader) escape(text *chunks) error {
	c, err := j.readByte()
	if err != nil {
		return err
	}
	switch c {
	case '"', '\\', '/':
	case 'b':
		c = '\b'
	case 'f':
		c = '\f'
	case 'n':
		c = '\n'
	case 'r':
		c = '\r'
	case 't':
		c = '\t'
	case 'u':
		return j.unicodeEscape(text)
	default:
		return j.errorf("there is an escape %q, which JSON does not have", []byte{'\\', c})
	}
	return text.WriteByte(c)
}

func (j *jsonReader) unicodeEscape(text *chunks) error {
	r, err := j.hex()
	if err != nil {
		return err
	}
	if utf16.IsSurrogate(r) { // the first half of a pair
		for _, wanted := range []byte(`\u`) {
			if c, err := j.readByte(); err != nil {
				return err
			} else if c != wanted {
				return j.errorf("there is half of a surrogate pair")
			}
		}
		second, err := j.hex()
		if err != nil {
			return err
		}
		if r = utf16.DecodeRune(r, second); r == utf8.RuneError {
			return j.errorf("there is half of a surrogate pair")
		}
	}
	_, err = text.Write(utf8.AppendRune(nil, r))
	return err
}

// hex reads four hexadecimal digits.
func (j *jsonReader) hex() (rune, error) {
	var digits [4]byte
	for i := range digits {
		c, err := j.readByte()
		if err != nil {
			return 0, err
		}
		digits[i] = c
	}
	n, err := strconv.ParseUint(string(digits[:]), 16, 16)
	if err != nil {
		return 0, j.errorf("there are the digits %q; want four hexadecimal ones", digits[:])
	}
	return rune(n), nil
}
