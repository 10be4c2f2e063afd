package manifest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v2"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	kjson "sigs.k8s.io/json"
)

// maxDepth bounds how deep the values of a document, and Lists in Lists, may nest. No
// real object comes near it.
const maxDepth = 500

// An Object is one object of a manifest.
type Object struct {
	*unstructured.Unstructured
	// Source is the file that the object was read from, a path in the file system given to
	// Load. Parse, which knows of no file, leaves it empty.
	Source string
	// Line is where the document that holds the object begins, counted from 1.
	Line int
}

// Parse returns the objects in data, in their order. Documents that are empty, or only
// comments, count for nothing. Every object has an apiVersion, a kind and a name. Parse
// fails as a whole: it returns all objects, or an error about the first document that
// is wrong.
func Parse(data []byte) ([]Object, error) {
	if bytes.HasPrefix(data, []byte("\xff\xfe")) || bytes.HasPrefix(data, []byte("\xfe\xff")) {
		return nil, fmt.Errorf("line 1: the text is UTF-16; only UTF-8 is read")
	}
	var objects []Object
	for _, doc := range split(data) {
		value, err := decode(doc)
		if err != nil {
			return nil, err
		}
		objects, err = flatten(objects, value, doc.line, 0)
		if err != nil {
			return nil, fmt.Errorf("document at line %d: %w", doc.line, err)
		}
	}
	return objects, nil
}

// A document is the part of a manifest between separators.
type document struct {
	line int // of its first byte in the manifest, from 1
	at   int // where it begins in the manifest
	text []byte
}

// split cuts data at its separators: lines that begin with "---" and then end or go on
// after white space. YAML allows no such line within a document.
func split(data []byte) []document {
	var (
		docs  []document
		start = document{line: 1}
		from  int
		line  = 1
	)
	add := func(to int) {
		start.at, start.text = from, withoutMark(data[from:to])
		if !isBlank(start.text) {
			docs = append(docs, start)
		}
	}
	for at := 0; at < len(data); line++ {
		end := len(data)
		if i := bytes.IndexByte(data[at:], '\n'); i >= 0 {
			end = at + i + 1
		}
		if rest, ok := bytes.CutPrefix(data[at:end], []byte("---")); ok && (len(rest) == 0 || bytes.IndexByte([]byte(" \t\r\n"), rest[0]) >= 0) {
			add(at)
			from, start = end-len(bytes.TrimLeft(rest, " \t")), document{line: line}
		}
		at = end
	}
	add(len(data))
	return docs
}

// withoutMark takes off a byte order mark, which some editors leave where they joined
// files. Line ends before it stay, so that lines can be counted.
func withoutMark(text []byte) []byte {
	content := bytes.TrimLeft(text, " \t\r\n")
	if rest, ok := bytes.CutPrefix(content, []byte("\ufeff")); ok {
		return slices.Concat(text[:len(text)-len(content)], rest)
	}
	return text
}

// isBlank says whether a document has no content: only white space, comments,
// directives and an end mark.
func isBlank(text []byte) bool {
	for line := range bytes.Lines(text) {
		line = bytes.TrimSpace(line)
		if len(line) > 0 && line[0] != '#' && line[0] != '%' && string(line) != "..." {
			return false
		}
	}
	return true
}

// decode returns the document's content in the form of package unstructured: maps,
// slices, strings, booleans, int64, float64 and nil.
func decode(doc document) (any, error) {
	text := bytes.TrimSpace(doc.text)
	if bytes.HasPrefix(text, []byte("{")) {
		if value, err, isJSON := decodeJSON(text); isJSON {
			if err != nil {
				return nil, fmt.Errorf("document at line %d: %w", doc.line, err)
			}
			return value, nil
		}
	}
	var raw, more any
	decoder := yaml.NewDecoder(bytes.NewReader(doc.text))
	decoder.SetStrict(true)
	if err := decoder.Decode(&raw); err != nil {
		return nil, doc.explain(err)
	}
	// What follows an end mark, or a JSON object, would be lost without a word.
	if err := decoder.Decode(&more); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("document at line %d: more follows after its end, without a line --- before it", doc.line)
	}
	value, err := plain(raw, 0)
	if err != nil {
		return nil, fmt.Errorf("document at line %d: %w", doc.line, err)
	}
	return value, nil
}

// decodeJSON decodes JSON strictly. What is not JSON may still be YAML.
func decodeJSON(text []byte) (value any, err error, isJSON bool) {
	if !json.Valid(text) {
		return nil, nil, false
	}
	strict, err := kjson.UnmarshalStrict(text, &value)
	if err == nil && len(strict) > 0 {
		err = strict[0]
	}
	return value, err, true
}

var yamlLine = regexp.MustCompile(`\bline \d+`)

// explain makes an error of the YAML decoder speak of lines of the manifest.
func (d document) explain(err error) error {
	text := strings.TrimPrefix(err.Error(), "yaml: ")
	text = strings.Join(strings.Fields(strings.TrimPrefix(text, "unmarshal errors:")), " ")
	text = yamlLine.ReplaceAllStringFunc(text, func(s string) string {
		n, _ := strconv.Atoi(strings.TrimPrefix(s, "line "))
		return "line " + strconv.Itoa(n+d.line-1)
	})
	if bytes.Contains(d.text, []byte("{{")) {
		text += ` (it has "{{": is it a template that was never rendered?)`
	}
	return fmt.Errorf("document at line %d: %s", d.line, text)
}

// plain turns what the YAML decoder returns into the form that decode promises, by the
// rules of sigs.k8s.io/yaml, without the way over JSON text, which costs as much as the
// parsing.
func plain(value any, depth int) (any, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("nested more than %d deep", maxDepth)
	}
	switch v := value.(type) {
	case map[any]any:
		m := make(map[string]any, len(v))
		for key, value := range v {
			name, err := plainKey(key)
			if err != nil {
				return nil, err
			}
			if _, ok := m[name]; ok {
				return nil, fmt.Errorf("key %q is there twice", name)
			}
			if m[name], err = plain(value, depth+1); err != nil {
				return nil, err
			}
		}
		return m, nil
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
			return nil, fmt.Errorf("the string %q is not UTF-8", v)
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
			return "", fmt.Errorf("the key %q is not UTF-8", k)
		}
		return k, nil
	case int, int64, uint64, bool, float64:
		return fmt.Sprint(k), nil
	default:
		return "", fmt.Errorf("the key %v is not a string", key)
	}
}

// flatten appends to objects the object that value is, or those of the List that it is.
func flatten(objects []Object, value any, line, depth int) ([]Object, error) {
	content, ok := value.(map[string]any)
	if !ok {
		return nil, fmt.Errorf("want an object with apiVersion and kind, got %s", describe(value))
	}
	u := &unstructured.Unstructured{Object: content}
	apiVersion, _ := content["apiVersion"].(string)
	kind, _ := content["kind"].(string)
	if apiVersion == "" || kind == "" {
		missing := "apiVersion"
		if apiVersion != "" {
			missing = "kind"
		}
		return nil, fmt.Errorf("%s is missing, or not a string", missing)
	}
	items, isList := content["items"].([]any)
	if isList && strings.HasSuffix(kind, "List") {
		if depth == maxDepth {
			return nil, fmt.Errorf("lists are nested more than %d deep", maxDepth)
		}
		for i, item := range items {
			inherit(item, apiVersion, strings.TrimSuffix(kind, "List"))
			var err error
			if objects, err = flatten(objects, item, line, depth+1); err != nil {
				return nil, fmt.Errorf("item %d of the %s: %w", i+1, kind, err)
			}
		}
		return objects, nil
	}
	if kind == "List" {
		return nil, fmt.Errorf("the List has no items")
	}
	metadata, ok := content["metadata"].(map[string]any)
	if !ok {
		return nil, fmt.Errorf("%s: metadata is missing, or not an object", kind)
	}
	if name, _ := metadata["name"].(string); name == "" {
		if _, ok := metadata["generateName"]; ok {
			return nil, fmt.Errorf("%s: it has a generateName and no name: each apply would make another", kind)
		}
		return nil, fmt.Errorf("%s: metadata.name is missing, or not a string", kind)
	}
	if namespace, ok := metadata["namespace"]; ok {
		if _, ok := namespace.(string); !ok {
			return nil, fmt.Errorf("%s %q: metadata.namespace is not a string", kind, u.GetName())
		}
	}
	return append(objects, Object{Unstructured: u, Line: line}), nil
}

// inherit gives an item of a typed list, such as a ConfigMapList, the type that its
// items may leave out.
func inherit(item any, apiVersion, kind string) {
	content, ok := item.(map[string]any)
	if !ok || kind == "" {
		return
	}
	if _, ok := content["kind"]; ok {
		return
	}
	if _, ok := content["apiVersion"]; ok {
		return
	}
	content["apiVersion"], content["kind"] = apiVersion, kind
}

func describe(value any) string {
	switch v := value.(type) {
	case nil:
		return "nothing"
	case []any:
		return "a list"
	case string:
		if len(v) > 40 {
			v = v[:40] + "…"
		}
		return fmt.Sprintf("the string %q", v)
	default:
		return fmt.Sprintf("the value %v", v)
	}
}
