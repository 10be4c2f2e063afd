package manifest

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/platformbus/platform/kubernetes/internal/redact"
)

// ignoreFileName is the name of the files that say what Load leaves out.
const ignoreFileName = ".platformignore"

// What files of that name hold at most.
const (
	maxIgnoreSize = 1 << 20 // bytes in one
	maxPattern    = 512     // bytes in one pattern
	maxPatterns   = 1000    // patterns that apply to one path
)

// An ignoreFile is a file of patterns. It applies to what is in its folder and below.
type ignoreFile struct {
	name     string
	folder   string
	patterns []ignorePattern
}

// An ignorePattern is one line of an ignoreFile.
type ignorePattern struct {
	line    int
	negated bool // what matches is not left out
	folders bool // it matches folders only
	base    bool // it is about the last element of a path, wherever that is
	glob    *regexp.Regexp
}

// readIgnoreFile adds the patterns of a folder to those that apply.
func (l *loader) readIgnoreFile(folder string) error {
	name := path.Join(folder, ignoreFileName)
	info, err := fs.Lstat(l.fsys, name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case !info.Mode().IsRegular():
		return errors.New("it is no regular file")
	}
	data, err := l.read(name, maxIgnoreSize)
	if err != nil {
		return err
	}
	f := ignoreFile{name: name, folder: folder}
	known := 0
	for _, other := range l.ignoreFiles {
		known += len(other.patterns)
	}
	number := 0
	for line := range bytes.Lines(bytes.TrimPrefix(data, []byte("\ufeff"))) {
		number++
		p, err := parsePattern(string(line))
		if err != nil {
			return fmt.Errorf("line %d: %w", number, err)
		}
		if p == nil {
			continue
		}
		if p.line = number; known+len(f.patterns) == maxPatterns {
			return fmt.Errorf("line %d: more than %d patterns apply to one folder", number, maxPatterns)
		}
		f.patterns = append(f.patterns, *p)
	}
	l.ignoreFiles = append(l.ignoreFiles, f)
	return nil
}

// leaveOut says which pattern leaves out a file or folder, or returns "" if none does. Paths
// come in the order of a walk: a file of patterns is done with when the walk has left its
// folder. The last pattern that matches decides, and a file in a folder goes before those
// of the folders around it.
func (l *loader) leaveOut(name string, isFolder bool) string {
	for len(l.ignoreFiles) > 0 && !isWithin(name, l.ignoreFiles[len(l.ignoreFiles)-1].folder) {
		l.ignoreFiles = l.ignoreFiles[:len(l.ignoreFiles)-1]
	}
	for i := len(l.ignoreFiles) - 1; i >= 0; i-- {
		f := l.ignoreFiles[i]
		below := name
		if f.folder != "." {
			below = name[len(f.folder)+1:]
		}
		for j := len(f.patterns) - 1; j >= 0; j-- {
			switch p := f.patterns[j]; {
			case !p.matches(below, isFolder):
			case p.negated:
				return ""
			default:
				return fmt.Sprintf("%s leaves it out, in line %d", redact.Name(f.name), p.line)
			}
		}
	}
	return ""
}

func isWithin(name, folder string) bool {
	return folder == "." || strings.HasPrefix(name, folder+"/")
}

func (p *ignorePattern) matches(name string, isFolder bool) bool {
	if p.folders && !isFolder {
		return false
	}
	if p.base {
		name = path.Base(name)
	}
	return p.glob.MatchString(name)
}

// parsePattern reads a line of gitignore's syntax. It returns nil for one that holds no
// pattern. Git passes over a pattern that is malformed; here that is an error, since
// somebody wanted something left out.
func parsePattern(line string) (*ignorePattern, error) {
	line = withoutTrailingSpaces(strings.TrimSuffix(strings.TrimSuffix(line, "\n"), "\r"))
	if line == "" || line[0] == '#' {
		return nil, nil
	}
	if len(line) > maxPattern {
		return nil, fmt.Errorf("the pattern has more than %d bytes", maxPattern)
	}
	if !utf8.ValidString(line) {
		return nil, errors.New("the pattern is not UTF-8")
	}
	var p ignorePattern
	line, p.negated = strings.CutPrefix(line, "!")
	line, p.folders = strings.CutSuffix(line, "/")
	if line == "" {
		return nil, nil // it matches nothing
	}
	p.base = !strings.Contains(line, "/")
	expression, err := globExpression(strings.TrimPrefix(line, "/"), !p.base)
	if err != nil {
		return nil, err
	}
	if p.glob, err = regexp.Compile(expression); err != nil {
		return nil, errors.New("the pattern is malformed")
	}
	return &p, nil
}

// withoutTrailingSpaces takes off the spaces at the end, but not one after a backslash.
func withoutTrailingSpaces(line string) string {
	end := 0
	for i := 0; i < len(line); i++ {
		switch line[i] {
		case ' ':
			continue
		case '\\':
			i++
		}
		end = min(i+1, len(line))
	}
	return line[:end]
}

// globExpression returns a regular expression for a pattern. Two asterisks stand for any
// folders only in one that isPath.
func globExpression(glob string, isPath bool) (string, error) {
	var b strings.Builder
	b.WriteString(`(?s)\A`)
	for i := 0; i < len(glob); {
		rest := glob[i:]
		switch rest[0] {
		case '*':
			stars := len(rest) - len(strings.TrimLeft(rest, "*"))
			after := rest[stars:]
			switch folders := isPath && stars > 1 && (i == 0 || glob[i-1] == '/'); {
			case folders && after == "":
				b.WriteString(".*")
			case folders && after[0] == '/':
				b.WriteString("(?:.*/)?")
				stars++
			default:
				b.WriteString("[^/]*")
			}
			i += stars
		case '?':
			b.WriteString("[^/]")
			i++
		case '[':
			class, length, err := classExpression(rest)
			if err != nil {
				return "", err
			}
			b.WriteString(class)
			i += length
		case '\\':
			if i++; i == len(glob) {
				return "", errors.New(`the pattern ends in a backslash`)
			}
			fallthrough
		default:
			r, size := utf8.DecodeRuneInString(glob[i:])
			b.WriteString(regexp.QuoteMeta(string(r)))
			i += size
		}
	}
	b.WriteString(`\z`)
	return b.String(), nil
}

// A runeRange has both its ends.
type runeRange struct{ from, to rune }

// classes are those that a pattern may name, as in [[:digit:]].
var classes = map[string][]runeRange{
	"alnum":  {{'0', '9'}, {'A', 'Z'}, {'a', 'z'}},
	"alpha":  {{'A', 'Z'}, {'a', 'z'}},
	"blank":  {{' ', ' '}, {'\t', '\t'}},
	"cntrl":  {{0, 0x1f}, {0x7f, 0x7f}},
	"digit":  {{'0', '9'}},
	"graph":  {{'!', '~'}},
	"lower":  {{'a', 'z'}},
	"print":  {{' ', '~'}},
	"punct":  {{'!', '/'}, {':', '@'}, {'[', '`'}, {'{', '~'}},
	"space":  {{'\t', '\r'}, {' ', ' '}},
	"upper":  {{'A', 'Z'}},
	"xdigit": {{'0', '9'}, {'A', 'F'}, {'a', 'f'}},
}

// classExpression returns a regular expression for the class that a text begins with, and the
// length of the class. No class matches a slash.
func classExpression(text string) (expression string, length int, err error) {
	i := 1
	negated := strings.HasPrefix(text[i:], "!") || strings.HasPrefix(text[i:], "^")
	if negated {
		i++
	}
	open := errors.New("the pattern has a [ without its ]")
	next := func() (r rune, ok bool) { // what stands at i, which a backslash may precede
		if strings.HasPrefix(text[i:], `\`) {
			i++
		}
		r, size := utf8.DecodeRuneInString(text[i:])
		i += size
		return r, size > 0
	}
	var ranges []runeRange
	for first := true; first || !strings.HasPrefix(text[i:], "]"); first = false {
		if name, _, found := strings.Cut(strings.TrimPrefix(text[i:], "[:"), "]"); strings.HasPrefix(text[i:], "[:") && found && strings.HasSuffix(name, ":") {
			class, ok := classes[strings.TrimSuffix(name, ":")]
			if !ok {
				return "", 0, errors.New("the pattern has a class of characters that does not exist")
			}
			ranges = append(ranges, class...)
			i += len("[:") + len(name) + len("]")
			continue
		}
		from, ok := next()
		if !ok {
			return "", 0, open
		}
		to := from
		if rest := text[i:]; len(rest) > 1 && rest[0] == '-' && rest[1] != ']' {
			i++
			if to, ok = next(); !ok {
				return "", 0, open
			}
		}
		ranges = append(ranges, runeRange{from, to})
	}
	return writeClass(ranges, negated), i + 1, nil
}

func writeClass(ranges []runeRange, negated bool) string {
	if negated {
		ranges = append(ranges, runeRange{'/', '/'})
	}
	var b strings.Builder
	add := func(from, to rune) {
		if from <= to {
			fmt.Fprintf(&b, `\x{%x}-\x{%x}`, from, to)
		}
	}
	for _, r := range ranges {
		if negated || r.to < '/' || r.from > '/' {
			add(r.from, r.to)
			continue
		}
		add(r.from, '/'-1)
		add('/'+1, r.to)
	}
	switch {
	case negated:
		return "[^" + b.String() + "]"
	case b.Len() == 0:
		return `[^\x{0}-\x{10ffff}]` // nothing
	default:
		return "[" + b.String() + "]"
	}
}
