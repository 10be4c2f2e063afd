package manifest

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/platformbus/platform"
	"github.com/platformbus/platform/kubernetes/internal/kinds"
	"github.com/platformbus/platform/kubernetes/internal/parse"
	"github.com/platformbus/platform/kubernetes/internal/redact"
)

// SetImages returns the definition with other images: images has them by the name of the
// container. Every byte but those of the images stays: comments, order, quoting, anchors,
// line ends. An image that is there already counts as set, so that the result may equal
// the definition. A container that has its image from another by a merge key (<<), and shall
// not share it, gets a line for its own after that key.
//
// The definition is a manifest as Parse reads it. In each of its objects, containers, init
// containers and ephemeral containers are set, of a Pod, a PodTemplate, a CronJob, and
// whatever else has a pod's specification at spec.template.spec. Containers of one name in
// several objects all get the image.
//
// All or nothing is done. If any of the containers named is not there, the error matches
// platform.ErrNoMatchingImages and names all that are missing. It is an error as well if
// a container has no image to set, if an image is no possible one (empty, or with spaces
// or control characters), and if the definition is written in a way that lets an image not
// be set without changing something else. An image that stands for others too, by an
// anchor, can be: the others keep what they have.
func SetImages(definition []byte, images map[string]string) ([]byte, error) {
	result, err := setImages(definition, images)
	if err != nil {
		return nil, redact.Error(fmt.Errorf("set images: %w", err))
	}
	return result, nil
}

func setImages(definition []byte, images map[string]string) ([]byte, error) {
	for _, name := range slices.Sorted(maps.Keys(images)) {
		if err := checkImage(images[name]); err != nil {
			return nil, fmt.Errorf("container %q: %w", name, err)
		}
	}
	objects, err := Parse(definition)
	if err != nil {
		return nil, err
	}
	found := map[string]bool{}
	for _, o := range objects {
		expect(o.Object, images, found)
	}
	if missing := slices.DeleteFunc(slices.Sorted(maps.Keys(images)), func(name string) bool { return found[name] }); len(missing) > 0 {
		for i, name := range missing {
			missing[i] = strconv.Quote(name)
		}
		return nil, fmt.Errorf("%w: no container is named %s", platform.ErrNoMatchingImages, strings.Join(missing, " or "))
	}
	result, err := editImages(definition, objects, images, false)
	if err != nil {
		// Containers that merge what another has can have images of their own.
		if separate, tried := editImages(definition, objects, images, true); tried == nil {
			return separate, nil
		}
	}
	return result, err
}

// editImages sets images in the definition so that it holds the objects expected. If separate,
// containers that merge their image get one of their own where they need it.
func editImages(definition []byte, expected []Object, images map[string]string, separate bool) ([]byte, error) {
	var edits []splice
	for _, doc := range parse.Split(definition) {
		more, err := setImagesIn(doc, definition, images, separate)
		if err != nil {
			return nil, fmt.Errorf("document at line %d: %w", doc.Line, err)
		}
		edits = append(edits, more...)
	}
	result, err := apply(definition, edits)
	if err != nil {
		return nil, err
	}
	if err := verify(expected, result); err != nil {
		return nil, err
	}
	return result, nil
}

// checkImage says what is wrong with an image. It knows no more of their form than what
// lets them be written on a line.
func checkImage(image string) error {
	switch {
	case image == "":
		return errors.New("the image to set is empty")
	case !utf8.ValidString(image):
		return fmt.Errorf("the image to set, %q, is not UTF-8", image)
	case strings.ContainsFunc(image, func(r rune) bool { return unicode.IsSpace(r) || !unicode.IsGraphic(r) }):
		return fmt.Errorf("the image to set, %q, has spaces or control characters", image)
	}
	return nil
}

// verify compares what was made with what was to be, both as the API server would get
// them: YAML has more forms than the edits foresee.
func verify(expected []Object, result []byte) error {
	got, err := Parse(result)
	if err != nil {
		return fmt.Errorf("the images cannot be set where they are written: the result would be malformed: %w", err)
	}
	if len(got) != len(expected) {
		return errors.New("the images cannot be set where they are written: the result would have other objects")
	}
	for i, o := range got {
		if o.Line != expected[i].Line || !reflect.DeepEqual(o.Object, expected[i].Object) {
			return fmt.Errorf("document at line %d: the images cannot be set where they are written without changing something else", expected[i].Line)
		}
	}
	return nil
}

// expect sets images in a parsed object, and notes the names of containers it found.
func expect(content map[string]any, images map[string]string, found map[string]bool) {
	for _, path := range kinds.PodPaths(kindOf(content)) {
		for _, field := range kinds.ContainerFields {
			list, _ := kinds.Nested(kinds.Nested(content, path...), field).([]any)
			for _, item := range list {
				container, _ := item.(map[string]any)
				name, _ := container["name"].(string)
				if image, ok := images[name]; ok && container["name"] != nil {
					container["image"] = image
					found[name] = true
				}
			}
		}
	}
}

func kindOf(content map[string]any) schema.GroupKind {
	apiVersion, _ := content["apiVersion"].(string)
	kind, _ := content["kind"].(string)
	return schema.FromAPIVersionAndKind(apiVersion, kind).GroupKind()
}

// A splice replaces the bytes from start up to end.
type splice struct {
	start, end int
	text       string
}

func apply(data []byte, edits []splice) ([]byte, error) {
	slices.SortFunc(edits, func(a, b splice) int { return a.start - b.start })
	var b bytes.Buffer
	at := 0
	for _, e := range edits {
		if e.start < at || e.end < e.start || e.end > len(data) {
			return nil, errors.New("the images cannot be set where they are written: one is within another")
		}
		b.Write(data[at:e.start])
		b.WriteString(e.text)
		at = e.end
	}
	b.Write(data[at:])
	return b.Bytes(), nil
}
