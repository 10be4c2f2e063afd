package parse

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
)

// A Document is the part of a manifest between separators.
type Document struct {
	Line int // of its first byte in the manifest, from 1
	At   int // where it begins in the manifest
	// Text has a byte order mark taken off, which some editors leave where they joined files.
	Text []byte
}

// maxDirectives is how many lines of directives a document may have: the YAML decoder
// compares each with all others.
const maxDirectives = 100

// Split cuts data at its separators: lines that begin with "---" and then end or go on
// after white space. YAML allows no such line within a document. Directives before a
// separator belong to the document after it. Documents without content are left out.
func Split(data []byte) []Document {
	var (
		docs  []Document
		start = Document{Line: 1}
		from  int
		line  = 1
	)
	directives := -1 // where those begin that no separator has followed yet
	directivesLine := 0
	add := func(to int) {
		start.At, start.Text = from, withoutVersion(withoutMark(data[from:to]))
		if !isBlank(start.Text) {
			docs = append(docs, start)
		}
	}
	content := false // the document has some, and no end mark after it
	for at := 0; at < len(data); line++ {
		end := len(data)
		if i := bytes.IndexByte(data[at:], '\n'); i >= 0 {
			end = at + i + 1
		}
		text := data[at:end]
		switch {
		case isMark(text, "---"):
			if directives >= 0 {
				add(directives)
				from, start = directives, Document{Line: directivesLine}
			} else {
				add(at)
				rest := text[len("---"):]
				from, start = end-len(bytes.TrimLeft(rest, " \t")), Document{Line: line}
			}
			directives, content = -1, !isBlank(text[len("---"):])
		case isMark(text, "..."):
			content = false
		case !content && bytes.HasPrefix(bytes.TrimPrefix(text, []byte("\ufeff")), []byte("%TAG")):
			if directives < 0 {
				directives, directivesLine = at, line
			}
		case !isBlank(text):
			content, directives = true, -1
		}
		at = end
	}
	add(len(data))
	return docs
}

// isMark says whether a line is a separator or an end mark.
func isMark(line []byte, mark string) bool {
	rest, ok := bytes.CutPrefix(line, []byte(mark))
	return ok && (len(rest) == 0 || bytes.IndexByte([]byte(" \t\r\n"), rest[0]) >= 0)
}

// withoutMark takes off a byte order mark. Line ends before it stay, so that lines can be
// counted.
func withoutMark(text []byte) []byte {
	content := bytes.TrimLeft(text, " \t\r\n")
	if rest, ok := bytes.CutPrefix(content, []byte("\ufeff")); ok {
		return slices.Concat(text[:len(text)-len(content)], rest)
	}
	return text
}

// withoutVersion makes comments of the %YAML directives before a document: decoders refuse
// versions that they read all the same.
func withoutVersion(text []byte) []byte {
	if !bytes.HasPrefix(text, []byte("%TAG")) {
		return text
	}
	text = slices.Clone(text)
	for at := 0; at < len(text); {
		line := text[at:]
		if i := bytes.IndexByte(line, '\n'); i >= 0 {
			line = line[:i+1]
		}
		switch {
		case isMark(line, "---"):
			return text
		case bytes.HasPrefix(line, []byte("%YAML")):
			line[0] = '#'
		}
		at += len(line)
	}
	return text
}

// isBlank says whether a document has no content: only white space, comments,
// directives and marks.
func isBlank(text []byte) bool {
	for line := range bytes.Lines(text) {
		line = bytes.TrimSpace(line)
		if len(line) > 0 && line[0] != '#' && line[0] != '%' && string(line) != "..." && string(line) != "---" {
			return false
		}
	}
	return true
}

// checkDirectives checks those at the beginning of a document, and counts what its tags
// stand for.
func (d Document) checkDirectives(limits *Limits) error {
	var lines, size int
	for line := range bytes.Lines(d.Text) {
		if isMark(line, "---") {
			break
		}
		if bytes.HasPrefix(line, []byte("%")) {
			lines++
			size = max(size, len(line))
		} else if !isBlank(line) {
			break
		}
	}
	if lines > maxDirectives {
		return fmt.Errorf("it has more than %d directives", maxDirectives)
	}
	if lines == 0 {
		return nil
	}
	if size > 1<<10 {
		return errors.New("it has a directive of more than 1 KiB")
	}
	return limits.expand(int64(size) * int64(bytes.Count(d.Text, []byte("!"))))
}
