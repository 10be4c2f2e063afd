package manifest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"unicode/utf8"

	yamlv2 "go.yaml.in/yaml/v2"
	"go.yaml.in/yaml/v3"

	"github.com/platformbus/platform/kubernetes/internal/parse"
)

// A node is a value in the text of a document, and where it stands there.
type node struct {
	yaml.Node         // of which Content, Alias, Line and Column are not used
	content   []*node // of a mapping, each key followed by its value
	alias     *node   // what an alias stands for
	aliases   []*node // what stands for this node, in the order of the text
	start     int     // in the document's text; what is there may be a tag or an anchor
}

// nodes returns the root of a document, and its text in which the nodes are placed.
func nodes(d parse.Document) (*node, error) {
	text := bytes.TrimSpace(d.Text)
	if bytes.HasPrefix(text, []byte("{")) && json.Valid(text) {
		r := jsonReader{Decoder: json.NewDecoder(bytes.NewReader(d.Text)), text: d.Text}
		r.UseNumber()
		return r.node()
	}
	var root yaml.Node
	if err := yaml.Unmarshal(d.Text, &root); err != nil {
		return nil, errors.New(d.Explanation(err))
	}
	if len(root.Content) != 1 {
		return nil, fmt.Errorf("it has %d values", len(root.Content))
	}
	b := builder{starts: lineStarts(d.Text), text: d.Text, known: map[*yaml.Node]*node{}}
	return b.build(root.Content[0])
}

// A builder places the nodes of a YAML document.
type builder struct {
	text   []byte
	starts []int // of the lines
	known  map[*yaml.Node]*node
	last   position // of the node placed last; the next is mostly on the same line, further on
}

// A position in a text is where a character is.
type position struct{ line, column, at int }

func (b *builder) build(y *yaml.Node) (*node, error) {
	n := &node{Node: *y}
	var err error
	if n.start, err = b.place(y); err != nil {
		return nil, err
	}
	b.known[y] = n
	for _, child := range y.Content {
		c, err := b.build(child)
		if err != nil {
			return nil, err
		}
		n.content = append(n.content, c)
	}
	if y.Kind == yaml.AliasNode {
		n.alias = b.known[y.Alias]
		n.alias.aliases = append(n.alias.aliases, n)
	}
	return n, nil
}

// place returns where a node begins. The column counts characters.
func (b *builder) place(y *yaml.Node) (int, error) {
	if y.Line < 1 || y.Line > len(b.starts) {
		return 0, fmt.Errorf("line %d is beyond its end", y.Line)
	}
	from := position{y.Line, 1, b.starts[y.Line-1]}
	if b.last.line == y.Line && b.last.column <= y.Column {
		from = b.last
	}
	for ; from.column < y.Column; from.column++ {
		_, size := utf8.DecodeRune(b.text[from.at:])
		from.at += size
	}
	b.last = from
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

// A jsonReader places the nodes of a JSON document.
type jsonReader struct {
	*json.Decoder
	text []byte
}

func (r jsonReader) node() (*node, error) {
	start := int(r.InputOffset())
	for start < len(r.text) && bytes.IndexByte([]byte(" \t\r\n,:"), r.text[start]) >= 0 {
		start++
	}
	token, err := r.Token()
	if err != nil {
		return nil, err
	}
	n := &node{start: start}
	switch t := token.(type) {
	case json.Delim:
		n.Kind = yaml.SequenceNode
		if t == '{' {
			n.Kind = yaml.MappingNode
		}
		for r.More() {
			child, err := r.node()
			if err != nil {
				return nil, err
			}
			n.content = append(n.content, child)
		}
		_, err = r.Token() // the end
		return n, err
	case string:
		n.Kind, n.Style, n.Tag, n.Value = yaml.ScalarNode, yaml.DoubleQuotedStyle, "!!str", t
	case nil:
		n.Kind, n.Tag = yaml.ScalarNode, "!!null"
	default:
		n.Kind, n.Value = yaml.ScalarNode, fmt.Sprint(t)
	}
	return n, nil
}

// value returns n, or what it stands for if it is an alias. It returns nil for nil.
func (n *node) value() *node {
	for n != nil && n.alias != nil {
		n = n.alias
	}
	return n
}

// get returns the value of a key as it is written: it may be an alias. As in all that
// reads YAML, what a mapping itself has goes before what it merges, and what it merges
// first before what it merges later.
func (n *node) get(name string) *node {
	if n = n.value(); n == nil || n.Kind != yaml.MappingNode {
		return nil
	}
	var merged *node
	for i := 0; i+1 < len(n.content); i += 2 {
		k := n.content[i].value()
		switch {
		case k.Kind != yaml.ScalarNode:
		case k.Value == name:
			return n.content[i+1]
		case k.Tag == "!!merge" && merged == nil:
			merged = n.content[i+1]
		}
	}
	from := merged.value()
	if from == nil || from.Kind != yaml.SequenceNode {
		return from.get(name)
	}
	for _, item := range from.content {
		if found := item.get(name); found != nil {
			return found
		}
	}
	return nil
}

func (n *node) dig(path ...string) *node {
	for _, name := range path {
		n = n.get(name)
	}
	return n
}

// items returns the elements of a list.
func (n *node) items() []*node {
	if n = n.value(); n == nil || n.Kind != yaml.SequenceNode {
		return nil
	}
	return n.content
}

// str returns the value of a string, and false for anything else.
func (n *node) str() (string, bool) {
	if n = n.value(); n == nil || n.Kind != yaml.ScalarNode {
		return "", false
	}
	if n.Style == 0 && !isPlainString(n.Value) {
		return "", false
	}
	return n.Value, true
}

// isPlainString says whether Parse, which reads YAML 1.1, takes the text for a string if it
// is not quoted.
func isPlainString(text string) bool {
	var value any
	if err := yamlv2.Unmarshal([]byte(text), &value); err != nil {
		return false
	}
	got, ok := value.(string)
	return ok && got == text
}
