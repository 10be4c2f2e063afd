// Package redact decides what may be shown of texts that quote what they are about: those of
// the API server, of webhooks behind it, and of the YAML parser. Paths and reasons stay, so
// that a reader can find and mend what is wrong; secret values go.
package redact

import (
	"cmp"
	"encoding/base64"
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
	values  []string // that no text may show, whatever its form; the longest first
	content bool     // no value at all may be shown
}

// Of returns an object of a kind, of which body, if it is not nil, is the definition in JSON.
func Of(secret bool, body []byte) Object {
	o := Object{secret: secret}
	var content map[string]any
	if json.Unmarshal(body, &content) == nil {
		o.values = secretValues(content, secret)
	}
	return o
}

// Content returns o as one of which no value may be shown, secret or not: for a log, which
// never gets the content of a definition.
func Content() Object { return Object{secret: true, content: true} }

// Text returns what may be shown of a text about o.
func (o Object) Text(text string) string {
	if len(o.values) > 0 {
		text = o.withoutValues(text)
	}
	return o.withoutQuotes(text)
}

// A form is one in which texts quote a value.
type form struct {
	begin *regexp.Regexp
	// hide returns where the value ends that begins at the start of rest, and what is shown
	// in its place, given the path that the text names, which may be empty.
	hide func(o Object, path, rest string) (end int, shown string)
}

var forms = []form{
	// Validation: spec.x: Invalid value: "a": why.
	{regexp.MustCompile(`(?:(?:Invalid|Unsupported|Duplicate) value|Not found|Too many|Too few): `), Object.quoted},
	// Schemas of server-side apply: .spec.x: expected string, got &value.valueUnstructured{Value:1}.
	// What is found where a map or a list is wanted may be anything, also a secret.
	{regexp.MustCompile(`expected (?:map|list), got `), func(o Object, _, rest string) (int, string) { return Content().got("", rest) }},
	{regexp.MustCompile(`expected [a-z ()]+, got `), Object.got},
	// The decoder of older API servers quotes what is around an error.
	{regexp.MustCompile(`error found in #\d+ byte of `), func(_ Object, _, rest string) (int, string) { return len(rest), Hidden }},
	// Numbers and times that cannot be decoded.
	{regexp.MustCompile(`cannot unmarshal number `), func(_ Object, _, rest string) (int, string) {
		return len(rest) - len(strings.TrimLeft(rest, "+-.0123456789eE")), ""
	}},
	{regexp.MustCompile(`(?:parsing(?: time)?|cannot parse|as) "`), Object.literal},
	// YAML.
	{regexp.MustCompile(`unknown anchor '|anchor '|cannot decode !!\S* ` + "`|cannot unmarshal !!\\S* `"), Object.yaml},
	{regexp.MustCompile(`invalid map key: `), func(_ Object, _, rest string) (int, string) { return len(rest), Hidden }},
}

// withoutQuotes hides values by the forms in which texts quote them.
func (o Object) withoutQuotes(text string) string {
	var b strings.Builder
	for {
		at, end, with := -1, 0, form{}
		for _, f := range forms {
			if found := f.begin.FindStringIndex(text); found != nil && (at < 0 || found[0] < at) {
				at, end, with = found[0], found[1], f
			}
		}
		if at < 0 {
			b.WriteString(text)
			return b.String()
		}
		length, shown := with.hide(o, pathBefore(text[:at]), text[end:])
		b.WriteString(text[:end])
		b.WriteString(shown)
		text = text[end+length:]
	}
}

// lastPath matches the path that a text ends with: a word, in which a place in a list or a
// map may hold anything.
var lastPath = regexp.MustCompile(`((?:[^\s,\[\]]|\[[^\[\]]*\])+): $`)

// pathBefore returns the path of the field that a text speaks of at its end.
func pathBefore(text string) string {
	match := lastPath.FindStringSubmatch(text[max(0, len(text)-1024):])
	if match == nil {
		return ""
	}
	return strings.TrimPrefix(match[1], "[")
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
			if depth == 0 {
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

// minValue is how long a value of an object that is no Secret must be, in bytes, to be looked
// for in texts: shorter ones stand in every text.
const minValue = 4

// secretValues returns the values of a definition that no text may show, in the forms in
// which a webhook or a policy may quote them.
func secretValues(content map[string]any, secret bool) []string {
	found, shown := map[string]bool{}, map[string]bool{}
	collect("", content, secret, found, shown)
	var values []string
	for value := range found {
		if value == "" || !secret && (shown[value] || len(value) < minValue) {
			continue
		}
		values = append(values, value)
		quoted := strconv.Quote(value)
		values = append(values, quoted[1:len(quoted)-1])
		if text, err := json.Marshal(value); err == nil {
			values = append(values, string(text[1:len(text)-1]))
		}
		values = append(values, strings.Join(strings.Fields(value), " "))
		if secret {
			values = append(values, base64.StdEncoding.EncodeToString([]byte(value)))
			if plain, err := base64.StdEncoding.DecodeString(value); err == nil && len(plain) > 0 {
				values = append(values, string(plain))
			}
		}
	}
	slices.SortFunc(values, func(a, b string) int { return cmp.Or(len(b)-len(a), strings.Compare(a, b)) })
	return slices.DeleteFunc(slices.Compact(values), func(v string) bool { return strings.TrimSpace(v) == "" })
}

// collect notes the scalars below a path: those that are secret, and those that are not.
func collect(path string, value any, secret bool, found, shown map[string]bool) {
	switch v := value.(type) {
	case map[string]any:
		for name, below := range v {
			collect(path+"."+name, below, secret, found, shown)
		}
	case []any:
		for _, below := range v {
			collect(path+"[]", below, secret, found, shown)
		}
	default:
		text, ok := v.(string)
		if !ok {
			encoded, err := json.Marshal(v)
			if err != nil || v == nil {
				return
			}
			text = string(encoded)
		}
		if kinds.IsSecretField(path) || secret && !kinds.IsShownInSecret(path) {
			found[text] = true
		} else {
			shown[text] = true
		}
	}
}

// withoutValues hides the values of o wherever they stand in a text. A short one counts only
// where it is a word of its own.
func (o Object) withoutValues(text string) string {
	const short = 6
	for _, value := range o.values {
		if len(value) >= short {
			text = strings.ReplaceAll(text, value, Hidden)
			continue
		}
		var b strings.Builder
		rest := text
		for from := 0; ; {
			i := strings.Index(rest[from:], value)
			if i < 0 {
				b.WriteString(rest)
				break
			}
			i += from
			after := i + len(value)
			if i > 0 && isWord(rest[i-1]) && isWord(value[0]) || after < len(rest) && isWord(rest[after]) && isWord(value[len(value)-1]) {
				from = i + 1
				continue
			}
			b.WriteString(rest[:i])
			b.WriteString(Hidden)
			rest, from = rest[after:], 0
		}
		text = b.String()
	}
	return text
}

func isWord(c byte) bool {
	return c == '_' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= 0x80
}
