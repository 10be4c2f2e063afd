// Package redact decides what may be shown of texts that quote what they are about: those of
// the API server, of webhooks behind it, and of the YAML parser. Paths and reasons stay, so
// that a reader can find and mend what is wrong; secret values go.
package redact

import (
	"bytes"
	"encoding/json"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/platformbus/platform/kubernetes/internal/kinds"
)

// Hidden stands in a text where a value was.
const Hidden = "(hidden)"

// An Object is what texts are about. The zero Object is one of which nothing is known; it is
// not taken for a Secret.
type Object struct {
	secret  bool
	values  values // that no text may show, whatever its form
	content bool   // no value at all may be shown
}

// Of returns an object that is a Secret or not, of which body, if it is not nil, is the
// definition in JSON.
func Of(secret bool, body []byte) Object {
	o := Object{secret: secret}
	var content map[string]any
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.UseNumber() // to see numbers as they are written
	if decoder.Decode(&content) == nil {
		kind, _ := content["kind"].(string)
		o.secret = secret || kinds.IsSecret(kind)
		o.values = valuesOf(content, o.secret)
	}
	return o
}

// Content returns an object of which no value may be shown: for a log, which never gets the
// content of a definition.
func Content() Object { return Object{secret: true, content: true} }

// maxRead is how much of a text is looked at, in bytes. More than oneline.Max of it is not
// shown, but what is hidden takes no room.
const maxRead = 64 << 10

// Text returns what may be shown of a text about o.
func (o Object) Text(text string) string {
	cut := len(text) > maxRead
	if cut {
		text = text[:maxRead]
	}
	// First by the forms, which a value that is hidden elsewhere might destroy.
	return o.values.hide(o.withoutQuotes(withoutDifference(text)), cut)
}

// withoutDifference hides the difference that validation of what may not be changed shows, on the
// lines after the reason.
func withoutDifference(text string) string {
	if at := strings.Index(text, "Forbidden: "); at >= 0 {
		if end := strings.IndexByte(text[at:], '\n'); end >= 0 {
			return text[:at+end+1] + Hidden
		}
	}
	return text
}

// A form is one in which texts quote a value.
type form struct {
	begin string // matches what comes before the value
	// hide returns where the value ends that begins at the start of rest, and what is shown
	// in its place, given the path that the text names, which may be empty.
	hide func(o Object, path, rest string) (end int, shown string)
}

var forms = []form{
	// Validation: spec.x: Invalid value: "a": why.
	{`(?:(?:Invalid|Unsupported|Duplicate) value|Not found|Too many|Too few): `, Object.quoted},
	// What is found where a map or a list is wanted may be anything, also a secret.
	{`expected (?:map|list), got `, func(_ Object, _, rest string) (int, string) { return Content().got("", rest) }},
	// Schemas of server-side apply: .spec.x: expected string, got &value.valueUnstructured{Value:1}.
	{`expected [a-z ()]+, got `, Object.got},
	// Elements of lists, in schemas and in conflicts.
	{`duplicate entries for key \[`, Object.element},
	{`(?:args|command)\[="`, func(_ Object, _, rest string) (int, string) { return max(quoteEnd(rest, '"')-1, 0), Hidden }},
	// The decoder of older API servers quotes what is around an error.
	{`error found in #\d+ byte of `, toTheEnd},
	// Numbers, times and URLs that cannot be decoded.
	{`cannot unmarshal number `, func(_ Object, _, rest string) (int, string) {
		return len(rest) - len(strings.TrimLeft(rest, "+-.0123456789eE")), ""
	}},
	{`(?:parsing(?: time)?|cannot parse|parse|as) "`, Object.literal},
	// YAML.
	{"(?:unknown )?anchor '|cannot decode !!\\S* `|cannot unmarshal !!\\S* `", Object.yaml},
	{`invalid map key: `, toTheEnd},
}

// anyForm matches the begin of any form; group i+1 is that of forms[i].
var anyForm = func() *regexp.Regexp {
	begins := make([]string, len(forms))
	for i, f := range forms {
		begins[i] = "(" + f.begin + ")"
	}
	return regexp.MustCompile(strings.Join(begins, "|"))
}()

// withoutQuotes hides values by the forms in which texts quote them.
func (o Object) withoutQuotes(text string) string {
	var b strings.Builder
	at := 0
	for {
		found := anyForm.FindStringSubmatchIndex(text[at:])
		if found == nil {
			b.WriteString(text[at:])
			return b.String()
		}
		which := 0
		for found[2*which+2] < 0 {
			which++
		}
		begin, end := at+found[0], at+found[1]
		length, shown := forms[which].hide(o, pathBefore(text[:begin]), text[end:])
		b.WriteString(text[at:end])
		b.WriteString(shown)
		at = end + length
	}
}

func toTheEnd(_ Object, _, rest string) (int, string) { return len(rest), Hidden }

// maxPath is how long a path may be, in bytes, to be seen as one.
const maxPath = 1 << 10

// pathBefore returns the path of the field that a text speaks of at its end: a word, in which
// a place in a list or a map, in brackets, may hold anything.
func pathBefore(text string) string {
	text, ok := strings.CutSuffix(text, ": ")
	if !ok {
		return ""
	}
	i, depth := len(text), 0
	for ; i > 0; i-- {
		c := text[i-1]
		switch {
		case len(text)-i > maxPath:
			return ""
		case c == '"' && depth > 0:
			i = max(strings.LastIndexByte(text[:i-1], '"'), 0) + 1 // where the quote begins
		case c == ']':
			depth++
		case c == '[' && depth > 0:
			depth--
		case depth == 0 && strings.IndexByte("[ \t\r\n,", c) >= 0:
			return text[i:]
		}
	}
	return text
}

// shows says whether a scalar at a path may be shown.
func (o Object) shows(path string) bool {
	switch {
	case o.content:
		return false
	case kinds.IsSecretField(path):
		return false
	case o.secret:
		return path != "" && kinds.IsShownInSecret(path)
	}
	return true
}

// schemaTypes are what the API server names in place of a value that fails a rule.
var schemaTypes = []string{"object", "array", "string", "integer", "number", "boolean", "null"}

// quoted hides the value in an error of validation.
func (o Object) quoted(path, rest string) (int, string) {
	end, composite := valueEnd(rest)
	value := rest[:end]
	if unquoted, err := strconv.Unquote(value); err == nil && slices.Contains(schemaTypes, unquoted) {
		return end, value
	}
	if !composite && o.shows(path) {
		return end, value
	}
	return end, Hidden
}

// plainGot matches a scalar that has no more than one reading in an error of a schema.
var plainGot = regexp.MustCompile(`^&(?:value\.valueUnstructured)?\{(?:Value:)?("(?:[^"\\]|\\.)*"|[\w.+/:@-]*)\}(\n|$)`)

// got hides the value in an error of a schema.
func (o Object) got(path, rest string) (int, string) {
	if !strings.HasPrefix(rest, "&") {
		end := strings.IndexByte(rest, '\n') // a type
		if end < 0 {
			end = len(rest)
		}
		return end, rest[:end]
	}
	if match := plainGot.FindStringSubmatch(rest); match != nil {
		end := len(match[0]) - len(match[2])
		if o.shows(path) {
			return end, match[1]
		}
		return end, Hidden
	}
	if strings.HasPrefix(rest, "&value.valueUnstructured{") {
		end, _ := valueEnd(rest)
		return end, Hidden
	}
	return len(rest), Hidden // nothing says where it ends
}

// element hides the element of a list that is there twice.
func (o Object) element(path, rest string) (int, string) {
	end := 0
	for end < len(rest) && rest[end] != ']' {
		if end++; rest[end-1] == '"' {
			end += quoteEnd(rest[end:], '"')
		}
	}
	if o.shows(path) {
		return end, rest[:end]
	}
	return end, Hidden
}

// literal hides what is quoted, up to the quote that ends it.
func (o Object) literal(path, rest string) (int, string) {
	end := quoteEnd(rest, '"')
	if end < len(rest) {
		end-- // the quote stays
	}
	if o.secret || o.content || kinds.IsSecretField(path) {
		return end, Hidden
	}
	return end, rest[:end]
}

// yaml hides what the YAML parser quotes: it does not know what it reads.
func (o Object) yaml(_, rest string) (int, string) {
	for i, r := range rest {
		if r == '\'' || r == '`' {
			if after := rest[i+1:]; after == "" || strings.HasPrefix(after, " referenced") || strings.HasPrefix(after, " value") || strings.HasPrefix(after, " as a") || strings.HasPrefix(after, " into") {
				return i, Hidden
			}
		}
	}
	return len(rest), Hidden
}

// valueEnd returns where the value ends that a text begins with, and whether it is made of
// others. Brackets within quotes do not count. A value without an end takes all of the text.
func valueEnd(text string) (end int, composite bool) {
	if strings.HasPrefix(text, `"`) {
		return min(quoteEnd(text[1:], '"')+1, len(text)), false
	}
	depth := 0
	for i := 0; i < len(text); i++ {
		switch c := text[i]; c {
		case '{', '[', '(':
			depth, composite = depth+1, true
		case '}', ']', ')':
			if depth == 0 {
				return i, composite // it ends what the value is in
			}
			if depth--; depth == 0 && c != ']' || depth == 0 && !goesOn(text[i+1:]) {
				return i + 1, composite
			}
		case '"', '`':
			i += quoteEnd(text[i+1:], c)
		case ':', ',', ';', '\n':
			if depth == 0 && (c != ':' || i+1 == len(text) || text[i+1] == ' ') { // a time has colons too
				return i, composite
			}
		}
	}
	return len(text), composite
}

// goesOn says whether what follows a bracket belongs to the same value, as the name of a type
// does in []core.Container{...} and map[string]string{...}.
func goesOn(rest string) bool {
	return rest != "" && rest[0] != ':' && rest[0] != ',' && rest[0] != ' ' && rest[0] != ']' && rest[0] != '\n'
}

// quoteEnd returns where the text of a quote ends, its closing mark included.
func quoteEnd(text string, mark byte) int {
	for i := 0; i < len(text); i++ {
		switch {
		case text[i] == '\\' && mark == '"':
			i++
		case text[i] == mark:
			return i + 1
		}
	}
	return len(text)
}
