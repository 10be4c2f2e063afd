package manifest

import (
	"bytes"
	"errors"
	"strings"

	"go.yaml.in/yaml/v3"
)

// separateImage gives a mapping that merges its image one of its own, unless the one that it
// merges will be as it shall be.
func (s *imageSetter) separateImage(mapping *node) error {
	if want := s.desired[mapping]; want != s.mergedImage(mapping) {
		return s.insertImage(mapping, want)
	}
	return nil
}

// mergedImage returns the image that a mapping will merge, or "" if it is no string.
func (s *imageSetter) mergedImage(mapping *node) string {
	for _, from := range mapping.merged() {
		if from.get("image") == nil {
			continue
		}
		if image, ok := s.desired[from]; ok {
			return image
		}
		if own := from.own("image"); own != nil {
			image, _ := own.str()
			return image
		}
		return s.mergedImage(from)
	}
	return ""
}

var errNoPlace = errors.New("a container has its image from a merge key, and there is no place for one of its own")

// insertImage writes an image into a mapping after the last of its merge keys: there it
// overrides what is merged, whoever reads it.
func (s *imageSetter) insertImage(mapping *node, image string) error {
	last := -1
	for i := 0; i+1 < len(mapping.content); i += 2 {
		if mapping.content[i].Tag == "!!merge" {
			last = i
		}
	}
	if last < 0 || image == "" {
		return errNoPlace
	}
	text := "image: " + plainOrQuoted(image)
	isFlow := mapping.Style&yaml.FlowStyle != 0
	if last+2 < len(mapping.content) { // before the next key
		at := mapping.content[last+2].start
		if isFlow {
			s.edits = append(s.edits, splice{at, at, text + ", "})
			return nil
		}
		indent, ok := s.indentAt(at, " ")
		if !ok {
			return errNoPlace
		}
		s.edits = append(s.edits, splice{at, at, text + s.lineEnd(at-len(indent)) + indent})
		return nil
	}
	end, err := s.endOfMerged(mapping.content[last+1])
	if err != nil {
		return err
	}
	if isFlow {
		s.edits = append(s.edits, splice{end, end, ", " + text})
		return nil
	}
	indent, ok := s.indentAt(mapping.content[last].start, " -")
	if !ok {
		return errNoPlace
	}
	if i := bytes.IndexByte(s.text[end:], '\n'); i >= 0 {
		end += len(bytes.TrimSuffix(s.text[end:end+i], []byte("\r")))
	} else {
		end = len(s.text)
	}
	s.edits = append(s.edits, splice{end, end, s.lineEnd(end+2) + indent + text})
	return nil
}

// indentAt returns the spaces that a line begins with which goes as far as at, or false if
// there is more before at than the characters allowed.
func (s *imageSetter) indentAt(at int, allowed string) (string, bool) {
	before := s.text[bytes.LastIndexByte(s.text[:at], '\n')+1 : at]
	return strings.Repeat(" ", len(before)), len(bytes.Trim(before, allowed)) == 0
}

// lineEnd returns the line end before at, or else the usual one.
func (s *imageSetter) lineEnd(at int) string {
	if bytes.HasSuffix(s.text[:min(at, len(s.text))], []byte("\r\n")) {
		return "\r\n"
	}
	return "\n"
}

// endOfMerged returns where the value of a merge key ends, if that is an alias or a list of
// aliases.
func (s *imageSetter) endOfMerged(value *node) (int, error) {
	end := value
	if value.Kind == yaml.SequenceNode && len(value.content) > 0 {
		end = value.content[len(value.content)-1]
	}
	if end.alias == nil {
		return 0, errNoPlace
	}
	at := end.start + len("*") + len(end.Value)
	if value.alias != nil || value.Style&yaml.FlowStyle == 0 {
		return at, nil
	}
	rest := bytes.TrimLeft(s.text[at:], " \t\r\n,")
	if !bytes.HasPrefix(rest, []byte("]")) {
		return 0, errNoPlace
	}
	return len(s.text) - len(rest) + len("]"), nil
}
