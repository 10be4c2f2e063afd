package manifest

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v3"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/platformbus/platform/kubernetes/internal/kinds"
	"github.com/platformbus/platform/kubernetes/internal/parse"
)

// A use is a container's use of a node as its image.
type use struct {
	container string
	want      string // the image to set, or "" if none was asked for
}

// An imageSetter finds the images of one document and works out how to set them.
type imageSetter struct {
	text   []byte
	images map[string]string
	// separate says that a container which merges its image, and shall not have the one that
	// it merges, gets one of its own.
	separate bool
	merging  []*node          // the mappings of containers that merge their image, if separate
	desired  map[*node]string // the image that the mapping of each container shall have, if separate

	sites  []*node // the values of the field image, in the order in which they are found
	uses   map[*node][]use
	shared map[*node]agreement // of what has an anchor
	wants  map[*node]wanted    // see want
	edits  []splice
}

// An agreement is about the image that a node and all that stands for it shall have.
type agreement struct {
	want  string
	alike bool // they all shall have the same
	err   error
}

// setImages returns the edits of the whole manifest that set images in one document of it.
func setImagesIn(d parse.Document, manifest []byte, images map[string]string, separate bool) ([]splice, error) {
	root, err := nodes(d)
	if err != nil {
		return nil, err
	}
	s := imageSetter{text: d.Text, images: images, separate: separate, desired: map[*node]string{}, uses: map[*node][]use{}, shared: map[*node]agreement{}, wants: map[*node]wanted{}}
	if err := s.find(root, schema.GroupKind{}); err != nil {
		return nil, err
	}
	for _, site := range s.sites {
		if err := s.set(site); err != nil {
			return nil, err
		}
	}
	for _, mapping := range s.merging {
		if err := s.separateImage(mapping); err != nil {
			return nil, err
		}
	}
	mark := markAt(d, manifest)
	for i := range s.edits {
		s.edits[i].start += d.At
		s.edits[i].end += d.At
		if mark >= 0 && s.edits[i].start >= mark {
			s.edits[i].start += len("\ufeff")
			s.edits[i].end += len("\ufeff")
		}
	}
	return s.edits, nil
}

// markAt returns where in the manifest the byte order mark is that was taken off the
// document's text, or -1.
func markAt(d parse.Document, manifest []byte) int {
	content := bytes.TrimLeft(manifest[d.At:], " \t\r\n")
	if bytes.HasPrefix(content, []byte("\ufeff")) {
		return len(manifest) - len(content)
	}
	return -1
}

// find notes the images of the object that n is, or of those of the List that it is. What
// an item of a typed list leaves out, it has from the list.
func (s *imageSetter) find(n *node, inherited schema.GroupKind) error {
	apiVersion, ok1 := n.get("apiVersion").str()
	name, ok2 := n.get("kind").str()
	kind := schema.FromAPIVersionAndKind(apiVersion, name).GroupKind()
	if !ok1 && !ok2 {
		kind = inherited
	}
	if items := n.get("items").value(); items != nil && items.Kind == yaml.SequenceNode && strings.HasSuffix(kind.Kind, "List") {
		kind.Kind = strings.TrimSuffix(kind.Kind, "List")
		for _, item := range items.content {
			if err := s.find(item, kind); err != nil {
				return err
			}
		}
		return nil
	}
	for _, path := range kinds.PodPaths(kind) {
		for _, field := range kinds.ContainerFields {
			for _, container := range n.nested(path...).get(field).items() {
				if err := s.note(container); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// note adds a container's use of its image.
func (s *imageSetter) note(container *node) error {
	name, _ := container.get("name").str()
	want, asked := s.images[name]
	site := container.get("image")
	value := site.value()
	if asked {
		switch {
		case value == nil || value.Kind == yaml.ScalarNode && value.Tag == "!!null":
			return fmt.Errorf("container %q has no image to set", name)
		case value.Kind != yaml.ScalarNode:
			return fmt.Errorf("container %q has an image that is not a string", name)
		}
	}
	if site == nil {
		return nil
	}
	if s.separate {
		mapping := container.value()
		_, before := s.desired[mapping]
		if s.desired[mapping] = want; want == "" {
			s.desired[mapping], _ = site.str()
		}
		if mapping.own("image") == nil {
			if !before {
				s.merging = append(s.merging, mapping)
			}
			return nil
		}
	}
	if _, before := s.uses[site]; !before {
		s.sites = append(s.sites, site)
	}
	s.uses[site] = append(s.uses[site], use{name, want})
	return nil
}

// A wanted is what a node's uses want of it together.
type wanted struct {
	image string
	err   error
}

// want returns the image that a node shall have, or "" if that is the one it has.
func (s *imageSetter) want(site *node) (string, error) {
	w, known := s.wants[site]
	if !known {
		w.image, w.err = s.agree(site)
		s.wants[site] = w
	}
	return w.image, w.err
}

func (s *imageSetter) agree(site *node) (string, error) {
	uses := s.uses[site]
	if len(uses) == 0 {
		return "", nil
	}
	have, isString := site.str()
	if !isString {
		have = ""
	}
	for _, u := range uses[1:] {
		if u.want != uses[0].want && (u.want != "" && u.want != have || uses[0].want != "" && uses[0].want != have) {
			return "", fmt.Errorf("the containers %q and %q have their image from the same line, and cannot have different ones", uses[0].container, u.container)
		}
	}
	if uses[0].want == have {
		return "", nil
	}
	return uses[0].want, nil
}

// set works out the edits that give a node its image.
func (s *imageSetter) set(site *node) error {
	want, err := s.want(site)
	if err != nil || want == "" {
		return err
	}
	if site.alias != nil {
		anchored, err := s.want(site.value())
		if err != nil {
			return err
		}
		if alike, err := s.alike(site.value(), want); err != nil || alike && anchored == want {
			return err // the anchored value is edited, for all of them
		}
		end := site.start + len("*") + len(site.Value)
		if !bytes.HasPrefix(s.text[site.start:], []byte("*"+site.Value)) {
			return errNotFound
		}
		s.edits = append(s.edits, splice{site.start, end, plainOrQuoted(want)})
		return nil
	}
	if site.Anchor != "" {
		alike, err := s.alike(site, want)
		if err != nil {
			return err
		}
		if !alike {
			if err := s.moveAnchor(site); err != nil {
				return err
			}
		}
	}
	edits, err := replace(s.text, site, want)
	s.edits = append(s.edits, edits...)
	return err
}

// alike says whether all that stands for a node shall have the image want.
func (s *imageSetter) alike(anchored *node, want string) (bool, error) {
	a, known := s.shared[anchored]
	if !known {
		a.alike = true
		for i, alias := range anchored.aliases {
			other, err := s.want(alias)
			if i == 0 {
				a.want = other
			}
			if err != nil || other != a.want {
				a.alike, a.err = false, err
				break
			}
		}
		s.shared[anchored] = a
	}
	return a.alike && (a.want == want || len(anchored.aliases) == 0), a.err
}

// moveAnchor gives the value that a node has now, and its anchor, to the first of those
// that stand for it and stay as they are.
func (s *imageSetter) moveAnchor(anchored *node) error {
	for _, a := range anchored.aliases {
		want, err := s.want(a)
		if err != nil {
			return err
		}
		if want != "" {
			continue
		}
		start, end, err := extent(s.text, anchored)
		if err != nil {
			return err
		}
		if start < 0 || bytes.ContainsAny(s.text[anchored.start:end], "\r\n") {
			return errors.New("an image that others share by an anchor is written over several lines")
		}
		name := "&" + anchored.Anchor
		at := bytes.Index(s.text[anchored.start:start], []byte(name))
		if at < 0 {
			return errNotFound
		}
		at += anchored.start
		after := at + len(name)
		for after < start && (s.text[after] == ' ' || s.text[after] == '\t') {
			after++
		}
		s.edits = append(s.edits,
			splice{a.start, a.start + len("*") + len(a.Value), string(s.text[anchored.start:end])},
			splice{at, after, ""})
		return nil
	}
	return nil // the anchor may stay, nothing uses it any more
}

var errNotFound = errors.New("an image is not found where it should be written")

// replace returns the edits that put an image in place of the text of a scalar, in the
// same style if that can express it.
func replace(text []byte, n *node, image string) ([]splice, error) {
	if n.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0 {
		return replaceBlock(text, n, image)
	}
	start, end, err := extent(text, n)
	if err != nil {
		return nil, err
	}
	switch text[start] {
	case '"':
		image = `"` + escape(image) + `"`
	case '\'':
		image = "'" + strings.ReplaceAll(image, "'", "''") + "'"
	default:
		image = plainOrQuoted(image)
	}
	return []splice{{start, end, image}}, nil
}

// replaceBlock replaces the one line of a block scalar. The header gets the mark that
// keeps the line's end out of the value.
func replaceBlock(text []byte, n *node, image string) ([]splice, error) {
	start := skipProperties(text, n.start)
	value := strings.TrimRight(n.Value, "\n")
	eol := bytes.IndexByte(text[start:], '\n')
	if value == "" || strings.Contains(value, "\n") || eol < 0 {
		return nil, errors.New("an image is written over several lines")
	}
	var edits []splice
	header := start + 1
	for header < len(text) && text[header] >= '0' && text[header] <= '9' {
		header++
	}
	if value != n.Value {
		end := header
		if text[header] == '+' {
			end++
		}
		edits = append(edits, splice{header, end, "-"})
	}
	for at := start + eol + 1; at < len(text); {
		line := text[at:]
		if i := bytes.IndexByte(line, '\n'); i >= 0 {
			line = line[:i+1]
		}
		if content := bytes.TrimRight(line, "\r\n"); len(bytes.TrimSpace(content)) > 0 {
			if !bytes.HasSuffix(content, []byte(value)) {
				return nil, errNotFound
			}
			end := at + len(content)
			return append(edits, splice{end - len(value), end, image}), nil
		}
		at += len(line)
	}
	return nil, errNotFound
}

// plainImage matches what needs no quotes, wherever it stands.
var plainImage = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._/@:+-]*$`)

func plainOrQuoted(image string) string {
	if plainImage.MatchString(image) && !strings.HasSuffix(image, ":") && isPlainString(image) {
		return image
	}
	return `"` + escape(image) + `"`
}

func escape(image string) string {
	return strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(image)
}

// extent returns where a scalar that is no block scalar begins, after its tag and anchor,
// and where it ends. The start of a block scalar is -1.
func extent(text []byte, n *node) (start, end int, err error) {
	if n.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0 {
		return -1, -1, nil
	}
	start = skipProperties(text, n.start)
	if start >= len(text) {
		return 0, 0, errNotFound
	}
	switch {
	case n.Style&yaml.DoubleQuotedStyle != 0 && text[start] == '"':
		for end = start + 1; end < len(text) && text[end] != '"'; end++ {
			if text[end] == '\\' {
				end++
			}
		}
		end++
	case n.Style&yaml.SingleQuotedStyle != 0 && text[start] == '\'':
		for end = start + 1; end < len(text); end++ {
			if text[end] != '\'' {
				continue
			}
			if end+1 == len(text) || text[end+1] != '\'' {
				break
			}
			end++
		}
		end++
	case n.Style&(yaml.DoubleQuotedStyle|yaml.SingleQuotedStyle) == 0:
		end = start + len(n.Value)
		if !bytes.HasPrefix(text[start:], []byte(n.Value)) {
			return 0, 0, errors.New("an image is written over several lines")
		}
	default:
		return 0, 0, errNotFound
	}
	if end > len(text) {
		return 0, 0, errNotFound
	}
	return start, end, nil
}

// skipProperties returns where a value begins that may have a tag and an anchor before it.
func skipProperties(text []byte, at int) int {
	for at < len(text) && (text[at] == '&' || text[at] == '!') {
		for at < len(text) && bytes.IndexByte([]byte(" \t\r\n"), text[at]) < 0 {
			at++
		}
		for at < len(text) {
			if text[at] == '#' {
				if i := bytes.IndexByte(text[at:], '\n'); i >= 0 {
					at += i
				} else {
					at = len(text)
				}
				continue
			}
			if bytes.IndexByte([]byte(" \t\r\n"), text[at]) < 0 {
				break
			}
			at++
		}
	}
	return at
}
