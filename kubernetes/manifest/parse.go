package manifest

import (
	"context"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/platformbus/platform/kubernetes/internal/parse"
	"github.com/platformbus/platform/kubernetes/internal/redact"
)

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
// comments, count for nothing. Every object has an apiVersion, a kind and a name of which
// requests can be made, and annotations and labels that are strings; see the package comment
// for how merge keys and nulls are read. Parse fails as a whole: it returns all objects, or an
// error about the first document that is wrong, which holds no value of it.
//
// What it takes to read data is bounded by its size. It is an error if a document holds more
// than a million values, if data holds more than half a million and one in eight bytes, if
// aliases stand for more than ten times the size of data and 1 MiB, or if values nest more
// than 500 deep.
func Parse(data []byte) ([]Object, error) {
	var objects []Object
	err := parse.Each(context.Background(), data, parse.NewLimits(len(data), parse.AnyNumber), func(o parse.Object) error {
		objects = append(objects, Object{Unstructured: o.Unstructured, Line: o.Line})
		return nil
	})
	if err != nil {
		return nil, redact.Error(err)
	}
	return objects, nil
}
