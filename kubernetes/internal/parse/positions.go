package parse

import (
	"fmt"
	"unicode/utf8"
)

// Positions finds where the lines and columns that the YAML parser speaks of are in a text.
type Positions struct {
	text   []byte
	starts []int // of the lines
	last   position
}

// A position in a text is where a character is.
type position struct{ line, column, at int }

// NewPositions returns the positions of a text.
func NewPositions(text []byte) *Positions {
	return &Positions{text: text, starts: lineStarts(text)}
}

// At returns where a column is, which counts characters, in a line. Both count from 1. It is
// fast for positions in their order: the next is mostly on the same line, further on.
func (p *Positions) At(line, column int) (int, error) {
	if line < 1 || line > len(p.starts) {
		return 0, fmt.Errorf("line %d is beyond its end", line)
	}
	from := position{line, 1, p.starts[line-1]}
	if p.last.line == line && p.last.column <= column {
		from = p.last
	}
	for ; from.column < column; from.column++ {
		_, size := utf8.DecodeRune(p.text[from.at:])
		from.at += size
	}
	p.last = from
	return from.at, nil
}

// lineStarts returns where lines begin, by what YAML 1.1 takes for the end of one.
func lineStarts(text []byte) []int {
	starts := []int{0}
	for at := 0; at < len(text); {
		r, size := utf8.DecodeRune(text[at:])
		at += size
		switch r {
		case '\r':
			if at < len(text) && text[at] == '\n' {
				at++
			}
		case '\n', '\u0085', '\u2028', '\u2029':
		default:
			continue
		}
		starts = append(starts, at)
	}
	return starts
}
