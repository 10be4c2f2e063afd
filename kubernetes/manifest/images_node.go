package manifest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"

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
	b := builder{parse.NewPositions(d.Text), map[*yaml.Node]*node{}}
	return b.build(root.Content[0])
}

// A builder places the nodes of a YAML document.
type builder struct {
	positions *parse.Positions
	known     map[*yaml.Node]*node
}

func (b *builder) build(y *yaml.Node) (*node, error) {
	n := &node{Node: *y}
	var err error
	if n.start, err = b.positions.At(y.Line, y.Column); err != nil {
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

// get returns the value of a key as it is written: it may be an alias. What a mapping itself
// has goes before what it merges, and what it merges first before what it merges later.
func (n *node) get(name string) *node {
	n = n.value()
	if own := n.own(name); own != nil {
		return own
	}
	for _, from := range n.merged() {
		if found := from.get(name); found != nil {
			return found
		}
	}
	return nil
}

// own returns the value of a key that a mapping has itself.
func (n *node) own(name string) *node {
	if n == nil || n.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(n.content); i += 2 {
		if k := n.content[i].value(); k.Kind == yaml.ScalarNode && k.Value == name {
			return n.content[i+1]
		}
	}
	return nil
}

// merged returns the mappings that a mapping merges, in their order.
func (n *node) merged() []*node {
	if n == nil || n.Kind != yaml.MappingNode {
		return nil
	}
	var list []*node
	for i := 0; i+1 < len(n.content); i += 2 {
		if n.content[i].Tag != "!!merge" {
			continue
		}
		if from := n.content[i+1].value(); from.Kind == yaml.SequenceNode {
			for _, item := range from.content {
				list = append(list, item.value())
			}
		} else {
			list = append(list, from)
		}
	}
	return list
}

func (n *node) nested(path ...string) *node {
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
