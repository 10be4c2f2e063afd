package manifest

import (
	"cmp"
	"errors"
	"slices"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/platformbus/platform/kubernetes/internal/kinds"
	"github.com/platformbus/platform/kubernetes/internal/parse"
	"github.com/platformbus/platform/kubernetes/internal/redact"
)

// A state is what the text of an Export says of a cluster. As maps, objects take several times
// their text, and a cluster has many: those of one document at a time are, and what is kept of
// each is its header.
type state struct {
	text    []byte
	docs    []parse.Document
	objects []*liveObject // in the order of the text
}

// A liveObject is an object of the cluster.
type liveObject struct {
	header
	version   schema.GroupVersionKind
	doc, item int   // where it is: the number of its document, and its own in that
	err       error // what is wrong with it
}

// readState reads the text of an Export, and calls found with each definition in it whose key
// is known without the others: those of Kubernetes' own kinds.
func readState(text []byte, s scopes, found func(*definition)) (*state, error) {
	if parse.IsUTF16(text) {
		return nil, parse.ErrUTF16
	}
	st := &state{text: text, docs: parse.Split(text)}
	limits := parse.NewLimits(len(text), parse.AnyNumber)
	for i := range st.docs {
		err := st.read(i, limits, func(item int, o parse.Object) {
			object := &liveObject{version: o.GroupVersionKind(), doc: i, item: item}
			kind := object.version.GroupKind()
			s.learn(kind, o.Unstructured)
			k := keyOf(o.Unstructured)
			isOwn := kinds.Lookup(kind) != nil
			if isOwn {
				k = s.keyFor(k)
				settled(o.Object)
			}
			d, err := newDefinition(o.Object, k, object.version, scopes{}) // nulls are no part of a header
			if object.err = err; err == nil {
				object.header = d.header
			}
			object.key, object.line = k, o.Line
			st.objects = append(st.objects, object)
			if isOwn && err == nil && k.check() == nil {
				found(d)
			}
		})
		if err != nil {
			return nil, redact.Error(err)
		}
	}
	return st, nil
}

// read calls found with the objects of a document.
func (st *state) read(doc int, limits *parse.Limits, found func(item int, o parse.Object)) error {
	item := 0
	return objectsOf(st.docs[doc], limits, func(o parse.Object) error {
		found(item, o)
		item++
		return nil
	})
}

// readAgain calls found with the definitions of objects, in the order of the text.
func (st *state) readAgain(objects []*liveObject, s scopes, found func(*definition) error) error {
	slices.SortFunc(objects, func(a, b *liveObject) int {
		return cmp.Or(a.doc-b.doc, a.item-b.item)
	})
	limits := parse.NewLimits(len(st.text), parse.AnyNumber)
	for len(objects) > 0 {
		var (
			failed error
			doc    = objects[0].doc
			before = len(objects)
		)
		err := st.read(doc, limits, func(item int, o parse.Object) {
			if len(objects) == 0 || objects[0].doc != doc || objects[0].item != item || failed != nil {
				return
			}
			settled(o.Object)
			var d *definition
			if d, failed = newDefinition(o.Object, objects[0].key, objects[0].version, s); failed == nil {
				failed = found(d)
			}
			objects = objects[1:]
		})
		if err := redact.Join(err, failed); err != nil {
			return err
		}
		if len(objects) == before {
			return errors.New("the text has changed while it was read")
		}
	}
	return nil
}
