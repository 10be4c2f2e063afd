package parse

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v2"
	yamlv3 "go.yaml.in/yaml/v3"
	kjson "sigs.k8s.io/json"

	"github.com/platformbus/platform/kubernetes/internal/redact"
)

// Value returns the document's content in the form of package unstructured: maps, slices,
// strings, booleans, int64, float64 and nil. Its errors hold no value of the document.
func (d Document) Value(ctx context.Context, limits *Limits) (any, error) {
	done, err := turn(ctx, len(d.Text))
	if err != nil {
		return nil, err
	}
	defer done()
	text := bytes.TrimSpace(d.Text)
	if bytes.HasPrefix(text, []byte("{")) {
		if value, err, isJSON := decodeJSON(text); isJSON {
			return value, d.at(err)
		}
	}
	root, err := d.checkYAML(ctx, limits)
	if err != nil {
		return nil, err
	}
	source, err := d.renameMerges(ctx, root)
	if err != nil {
		return nil, err
	}
	var raw, more any
	decoder := yaml.NewDecoder(reader{ctx, bytes.NewReader(source)})
	decoder.SetStrict(true)
	if err := decoder.Decode(&raw); err != nil {
		return nil, d.explain(ctx, err)
	}
	// What follows an end mark, or a JSON object, would be lost without a word.
	if err := decoder.Decode(&more); !errors.Is(err, io.EOF) {
		return nil, d.at(errors.New("more follows after its end, without a line --- before it"))
	}
	value, err := plain(raw, 0)
	return value, d.at(err)
}

// at says of an error in which document it is.
func (d Document) at(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("document at line %d: %w", d.Line, err)
}

// decodeJSON decodes JSON strictly. What is not JSON may still be YAML.
func decodeJSON(text []byte) (value any, err error, isJSON bool) {
	if !json.Valid(text) {
		return nil, nil, false
	}
	if err := checkJSON(text); err != nil {
		return nil, err, true
	}
	strict, err := kjson.UnmarshalStrict(text, &value)
	if err == nil && len(strict) > 0 {
		err = strict[0]
	}
	if err != nil {
		err = errors.New(hideAll.Text(err.Error()))
	}
	return value, err, true
}

// hideAll hides what a parser quotes, which may be of a Secret: it does not know yet.
var hideAll = redact.Of(true, nil)

// checkJSON bounds the depth and the number of values of valid JSON.
func checkJSON(text []byte) error {
	values, depth := 1, 0
	inString := false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case inString && c == '\\':
			i++
		case c == '"':
			inString = !inString
		case inString:
		case c == ',':
			values++
		case c == '{' || c == '[':
			values++ // its first; one too many for an empty one
			if depth++; depth > maxDepth {
				return errDepth
			}
		case c == '}' || c == ']':
			depth--
		}
	}
	if values > maxValuesOfJSON {
		return fmt.Errorf("it has more than %d values", maxValuesOfJSON)
	}
	return nil
}

var errDepth = fmt.Errorf("nested more than %d deep", maxDepth)

// checkYAML bounds what a document becomes before it is made. It returns the document as a
// tree if it needed one.
func (d Document) checkYAML(ctx context.Context, limits *Limits) (*yamlv3.Node, error) {
	if err := d.checkDirectives(limits); err != nil {
		return nil, d.at(err)
	}
	n := d.atMost()
	if n > fewValues && len(d.Text) <= preciseSize {
		root, err := d.tree(ctx)
		if err != nil {
			return nil, err
		}
		n = count(root)
	}
	if err := limits.read(n); err != nil {
		return nil, d.at(err)
	}
	if bytes.IndexByte(d.Text, '&') < 0 || bytes.IndexByte(d.Text, '*') < 0 {
		return nil, nil // it has no alias
	}
	root, err := d.tree(ctx)
	if err != nil || root == nil {
		return nil, err
	}
	e := expansion{known: map[*yamlv3.Node]*extent{}}
	all, err := e.of(root)
	switch {
	case err != nil:
		return nil, d.at(err)
	case all.depth > maxDepth:
		return nil, d.at(errDepth)
	case e.aliases:
		err = limits.expand(all.bytes - e.written)
	}
	return root, d.at(err)
}

// preciseSize is for how large a document its values are counted precisely if there may be
// too many: to do so takes up to 200 bytes for each.
const preciseSize = 768 << 10

// atMost returns how many values the document may hold. Each begins at one of the bytes that
// are counted; some of these may be within scalars.
func (d Document) atMost() int {
	n := 0
	for i, c := range d.Text {
		switch c {
		case '\n', '\r', ',', '[':
			n++
		case '{':
			if n++; i+1 < len(d.Text) && d.Text[i+1] != '}' {
				n += mapValues
			}
		}
	}
	return n + bytes.Count(d.Text, []byte("- ")) + bytes.Count(d.Text, []byte("? "))
}

// count returns how many values a tree holds.
func count(n *yamlv3.Node) int {
	if n == nil {
		return 0
	}
	sum := 1
	if n.Kind == yamlv3.MappingNode && len(n.Content) > 0 {
		sum += mapValues
	}
	for _, child := range n.Content {
		sum += count(child)
	}
	return sum
}

// tree returns the document as a tree, which holds aliases as such, or nil if it is empty.
func (d Document) tree(ctx context.Context) (*yamlv3.Node, error) {
	root := &yamlv3.Node{}
	switch err := yamlv3.NewDecoder(reader{ctx, bytes.NewReader(d.Text)}).Decode(root); {
	case errors.Is(err, io.EOF):
		return nil, nil
	case err != nil:
		return nil, d.explain(ctx, err)
	}
	return root, nil
}

// An expansion finds out how large the values of a document are once each alias is replaced
// by what it stands for.
type expansion struct {
	known   map[*yamlv3.Node]*extent // of what has an anchor
	aliases bool
	written int64 // what the values take that the document has without its aliases
}

// An extent is how large a value is.
type extent struct {
	bytes int64 // at most expansionMax
	depth int
	open  bool // it is not known yet
}

// expansionMax keeps sums from running over.
const expansionMax = math.MaxInt64 / 4

// quotedKey is how many times its size a key takes in the decoder's error about one that is
// there twice.
const quotedKey = 8

// perValue is what a value takes beside its text.
const perValue = 32

func (e *expansion) of(n *yamlv3.Node) (extent, error) {
	if n.Kind == yamlv3.AliasNode {
		e.aliases = true
		known := e.known[n.Alias]
		if known == nil || known.open {
			return extent{}, errors.New("an anchor's value contains itself")
		}
		return *known, nil
	}
	sum := &extent{bytes: perValue + int64(len(n.Value)), open: true}
	e.written += sum.bytes
	if n.Anchor != "" {
		e.known[n] = sum
	}
	for i, child := range n.Content {
		below, err := e.of(child)
		if err != nil {
			return extent{}, err
		}
		if n.Kind == yamlv3.MappingNode && i%2 == 0 && child.Kind == yamlv3.AliasNode {
			below.bytes = min(below.bytes*quotedKey, expansionMax)
		}
		sum.bytes = min(sum.bytes+below.bytes, expansionMax)
		sum.depth = max(sum.depth, below.depth)
	}
	sum.depth++
	sum.open = false
	return *sum, nil
}

var yamlLine = regexp.MustCompile(`\bline \d+`)

// explain makes an error of the YAML decoder speak of lines of the manifest.
func (d Document) explain(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return d.at(errors.New(d.Explanation(err)))
}

// Explanation returns the text of an error of a YAML decoder about the document, with lines
// of the manifest and without values.
func (d Document) Explanation(err error) string {
	text := strings.TrimPrefix(err.Error(), "yaml: ")
	text = redact.Line(hideAll.Text(strings.TrimPrefix(text, "unmarshal errors:")))
	text = yamlLine.ReplaceAllStringFunc(text, func(s string) string {
		n, _ := strconv.Atoi(strings.TrimPrefix(s, "line "))
		return "line " + strconv.Itoa(n+d.Line-1)
	})
	if bytes.Contains(d.Text, []byte("{{")) {
		text += ` (it has "{{": is it a template that was never rendered?)`
	}
	return text
}

// plain turns what the YAML decoder returns into the form that Value promises, by the
// rules of sigs.k8s.io/yaml, without the way over JSON text, which costs as much as the
// parsing.
func plain(value any, depth int) (any, error) {
	if depth > maxDepth {
		return nil, errDepth
	}
	switch v := value.(type) {
	case map[any]any:
		m := make(map[string]any, len(v))
		var merges []merge
		for key, value := range v {
			if n, ok := mergeNumber(key); ok {
				merges = append(merges, merge{n, value})
				continue
			}
			name, err := plainKey(key)
			if err != nil {
				return nil, err
			}
			if _, ok := m[name]; ok {
				return nil, fmt.Errorf("key %.100q is there twice", name)
			}
			if m[name], err = plain(value, depth+1); err != nil {
				return nil, err
			}
		}
		return m, mergeInto(m, merges, depth)
	case []any:
		list := make([]any, len(v))
		for i, item := range v {
			var err error
			if list[i], err = plain(item, depth+1); err != nil {
				return nil, err
			}
		}
		return list, nil
	case string:
		if !utf8.ValidString(v) {
			return nil, errors.New("a string is not UTF-8")
		}
		return v, nil
	case int:
		return int64(v), nil
	case uint64:
		return float64(v), nil
	case float64:
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return nil, fmt.Errorf("the number %v has no place in an object", v)
		}
		if whole := int64(v); v == math.Trunc(v) && math.Abs(v) < 1<<53 {
			return whole, nil
		}
		return v, nil
	case nil, bool, int64:
		return v, nil
	default:
		return nil, fmt.Errorf("a value of type %T has no place in an object", value)
	}
}

func plainKey(key any) (string, error) {
	switch k := key.(type) {
	case string:
		if !utf8.ValidString(k) {
			return "", errors.New("a key is not UTF-8")
		}
		return k, nil
	case int, int64, uint64, bool, float64:
		return fmt.Sprint(k), nil
	default:
		return "", fmt.Errorf("a key is not a string, but %s", kindOf(key))
	}
}

// kindOf says what a value is, without the value.
func kindOf(value any) string {
	switch value.(type) {
	case nil:
		return "nothing"
	case []any:
		return "a list"
	case map[string]any, map[any]any:
		return "a map"
	case string:
		return "a string"
	case bool:
		return "a boolean"
	default:
		return "a number"
	}
}
