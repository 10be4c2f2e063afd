// Package jsonlist cuts lists in JSON into their items. As maps these take several times their
// text, and whoever decodes one after another has but one of them so.
package jsonlist

import (
	"bytes"
	"errors"
	"slices"
)

var errNoList = errors.New("it is no list in JSON")

// Split returns the items of a list, which are slices of it, and the list without them. What
// is in an item may be malformed.
func Split(list []byte) (items [][]byte, rest []byte, err error) {
	from, to := 0, 0 // of the items
	at := skipSpace(list, 0)
	if at == len(list) || list[at] != '{' {
		return nil, nil, errNoList
	}
	for more := true; more; {
		at = skipSpace(list, at+1)
		if at < len(list) && list[at] == '}' {
			break
		}
		end := skipValue(list, at)
		if end < 0 || list[at] != '"' || bytes.IndexByte(list[at:end], '\\') >= 0 { // which may be another way to write items
			return nil, nil, errNoList
		}
		name := string(list[at:end])
		if at = skipSpace(list, end); at == len(list) || list[at] != ':' {
			return nil, nil, errNoList
		}
		at = skipSpace(list, at+1)
		if name == `"items"` && at < len(list) && list[at] == '[' {
			if to > 0 {
				return nil, nil, errNoList
			}
			from = at
			if items, at = splitItems(list, at); at < 0 {
				return nil, nil, errNoList
			}
			to = at
		} else if at = skipValue(list, at); at < 0 {
			return nil, nil, errNoList
		}
		at = skipSpace(list, at)
		more = at < len(list) && list[at] == ','
	}
	if to == 0 {
		return nil, list, nil
	}
	return items, slices.Concat(list[:from], []byte("[]"), list[to:]), nil
}

// splitItems returns the elements of the list that begins at a byte, and where it ends, or a
// negative number if it does not.
func splitItems(list []byte, at int) ([][]byte, int) {
	var items [][]byte
	if next := skipSpace(list, at+1); next < len(list) && list[next] == ']' {
		return nil, next + 1
	}
	for {
		at = skipSpace(list, at+1)
		end := skipValue(list, at)
		if end < 0 {
			return nil, -1
		}
		items = append(items, list[at:end])
		if at = skipSpace(list, end); at == len(list) {
			return nil, -1
		}
		switch list[at] {
		case ']':
			return items, at + 1
		case ',':
		default:
			return nil, -1
		}
	}
}

func skipSpace(list []byte, at int) int {
	for at < len(list) && (list[at] == ' ' || list[at] == '\n' || list[at] == '\t' || list[at] == '\r') {
		at++
	}
	return at
}

// skipValue returns where the value ends that begins at a byte, or a negative number. What is
// in the value may be malformed.
func skipValue(list []byte, at int) int {
	depth := 0
	for start := at; at < len(list); at++ {
		switch list[at] {
		case '"':
			if at = skipString(list, at); at < 0 {
				return -1
			}
			at-- // the loop goes on after it
		case '{', '[':
			depth++
			continue
		case '}', ']':
			depth--
		case ',', ':', ' ', '\n', '\t', '\r':
			if depth == 0 && at == start {
				return -1
			}
			if depth == 0 {
				return at
			}
			continue
		default:
			continue
		}
		switch {
		case depth < 0 && at == start:
			return -1
		case depth < 0:
			return at // of what is around it
		case depth == 0:
			return at + 1
		}
	}
	return -1
}

// skipString returns where the string ends that begins at a byte, or a negative number.
func skipString(list []byte, at int) int {
	for at++; ; at++ {
		i := bytes.IndexByte(list[at:], '"')
		if i < 0 {
			return -1
		}
		at += i
		before := at
		for list[before-1] == '\\' {
			before--
		}
		if (at-before)%2 == 0 {
			return at + 1
		}
	}
}
