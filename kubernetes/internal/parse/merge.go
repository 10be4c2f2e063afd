package parse

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	yamlv3 "go.yaml.in/yaml/v3"
)

// A merge is a map, or a list of maps, that a mapping merges by the key "<<".
type merge struct {
	number int // of the key, in the order of the document
	value  any
}

// mergePrefix begins the names that renameMerges gives to merge keys. A document that uses
// one itself merges by it.
const mergePrefix = "\x00<<"

// plainMerge matches what may be a merge key. "<<" as a shell writes it does not match.
var plainMerge = regexp.MustCompile(`<<(?:[\s:,}\]]|$)`)

// renameMerges returns the document's text with another name for each merge key. The YAML
// decoder takes merge keys for the keys that they stand for: if it is strict, an explicit key
// and a merged one are a duplicate. Under their own names, merged maps stay apart until
// mergeInto. root is the document as a tree, or nil.
func (d Document) renameMerges(ctx context.Context, root *yamlv3.Node) ([]byte, error) {
	if !plainMerge.Match(d.Text) {
		return d.Text, nil
	}
	if root == nil {
		var err error
		if root, err = d.tree(ctx); err != nil || root == nil {
			return d.Text, err
		}
	}
	r := renaming{text: d.Text, positions: NewPositions(d.Text)}
	if err := r.rename(root, 0); err != nil {
		return nil, d.at(err)
	}
	r.result.Write(d.Text[r.copied:])
	return r.result.Bytes(), nil
}

// A renaming writes a document's text with other names for its merge keys.
type renaming struct {
	text      []byte
	positions *Positions
	result    bytes.Buffer
	copied    int // how much of text is in result
	renamed   int // how many keys are
}

func (r *renaming) rename(n *yamlv3.Node, depth int) error {
	if depth > maxDepth {
		return errDepth
	}
	for i, child := range n.Content {
		if n.Kind == yamlv3.MappingNode && i%2 == 0 && isPlainMerge(child) {
			if !isMergeable(n.Content[i+1]) {
				return errMerge
			}
			at, err := r.positions.At(child.Line, child.Column)
			if err != nil {
				return err
			}
			if at < r.copied || !bytes.HasPrefix(r.text[at:], []byte("<<")) {
				return errors.New("a merge key with a tag or an anchor is not read")
			}
			r.renamed++
			r.result.Write(r.text[r.copied:at])
			fmt.Fprintf(&r.result, `"\0<<%d"`, r.renamed)
			r.copied = at + len("<<")
			continue
		}
		if err := r.rename(child, depth+1); err != nil {
			return err
		}
	}
	return nil
}

// isPlainMerge says whether a key is a merge key. One that is quoted is none, unless it has
// the tag, which the decoder sees to.
func isPlainMerge(key *yamlv3.Node) bool {
	return key.Kind == yamlv3.ScalarNode && key.Value == "<<" && key.Tag == "!!merge" &&
		key.Style&(yamlv3.SingleQuotedStyle|yamlv3.DoubleQuotedStyle) == 0
}

var errMerge = errors.New("a merge key (<<) wants a map, or a list of maps")

// isMergeable says whether a value can be merged: a map, or a list of maps that is no alias.
func isMergeable(value *yamlv3.Node) bool {
	isMap := func(n *yamlv3.Node) bool {
		return n.Kind == yamlv3.MappingNode || n.Kind == yamlv3.AliasNode && n.Alias.Kind == yamlv3.MappingNode
	}
	if value.Kind == yamlv3.SequenceNode {
		return !slices.ContainsFunc(value.Content, func(n *yamlv3.Node) bool { return !isMap(n) })
	}
	return isMap(value)
}

// mergeNumber returns the number of a merge key that has been renamed.
func mergeNumber(key any) (int, bool) {
	name, _ := key.(string)
	digits, ok := strings.CutPrefix(name, mergePrefix)
	if !ok {
		return 0, false
	}
	n, err := strconv.Atoi(digits)
	return n, err == nil
}

// mergeInto adds to m what it merges. What m has itself stays, and of several merged maps
// the earlier goes before the later.
func mergeInto(m map[string]any, merges []merge, depth int) error {
	slices.SortFunc(merges, func(a, b merge) int { return cmp.Compare(a.number, b.number) })
	for _, merge := range merges {
		value, err := plain(merge.value, depth+1)
		if err != nil {
			return err
		}
		list, ok := value.([]any)
		if !ok {
			list = []any{value}
		}
		for _, item := range list {
			from, ok := item.(map[string]any)
			if !ok {
				return errMerge
			}
			for name, value := range from {
				if _, there := m[name]; !there {
					m[name] = value
				}
			}
		}
	}
	return nil
}
