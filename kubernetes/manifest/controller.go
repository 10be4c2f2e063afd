package manifest

import (
	"context"
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/platformbus/platform"
	"github.com/platformbus/platform/flux"
	"github.com/platformbus/platform/kubernetes/internal/kinds"
	"github.com/platformbus/platform/kubernetes/internal/parse"
	"github.com/platformbus/platform/kubernetes/internal/redact"
)

// ControllerOf returns the definition, in JSON, of the pod controller whose pods a service
// selects, as an Export has it: what to pass to SetImages, and then to Apply. It is complete: it
// has also what Plan has marked the object with.
//
// The error matches what Apply would say: platform.ErrNoMatchingService if the Export does not
// have the service, ErrServiceHasNoSelector or ErrEmptySelector if it cannot select pods,
// ErrNoMatching or ErrMultipleMatching if it does not select those of exactly one controller of
// the Export. Any other is about an Export that is malformed. An Export leaves out what the
// system makes and what other objects own, and may lack more if an error came beside it.
//
// It reads the whole Export, and keeps little of it in memory: one document at a time.
func ControllerOf(export []byte, id flux.ServiceID) ([]byte, error) {
	s := search{scopes: newScopes(metav1.NamespaceDefault), id: id}
	if err := s.read(export); err != nil {
		return nil, redact.Error(fmt.Errorf("the state of the cluster: %w", err))
	}
	controller, err := s.selected()
	if err != nil {
		return nil, redact.Error(fmt.Errorf("the service %s: %w", redact.Name(string(id)), err))
	}
	return s.definition(export, controller)
}

// A search looks for the pod controller of a service.
type search struct {
	scopes
	id          flux.ServiceID
	service     map[string]any
	controllers []podController // those in the namespace of the service
}

// A podController is what is kept of one.
type podController struct {
	key
	doc    int // the number of its document
	labels map[string]string
}

// read notes the service, and the controllers that it might select.
func (s *search) read(export []byte) error {
	namespace, name := s.id.Components()
	return eachObject(export, func(doc int, o parse.Object) error {
		k := s.keyFor(keyOf(o.Unstructured))
		if k.namespace != namespace {
			return nil
		}
		if k.GroupKind == kinds.Service && k.name == name {
			s.service = o.Object
		}
		kind := kinds.Of(k.GroupKind)
		if kind.Workload == nil {
			return nil
		}
		w, err := kind.ReadWorkload(o.Unstructured)
		if err != nil {
			return fmt.Errorf("line %d: %v: a field has another type than its kind gives it", o.Line, k) // err may quote values
		}
		if w.Template != nil && !w.IsOwned() {
			s.controllers = append(s.controllers, podController{k, doc, w.Template.Labels})
		}
		return nil
	})
}

// selected returns the one controller that the service selects.
func (s *search) selected() (podController, error) {
	if s.service == nil {
		return podController{}, platform.ErrNoMatchingService
	}
	if kinds.Nested(s.service, "spec", "type") == "ExternalName" {
		return podController{}, platform.ErrServiceHasNoSelector
	}
	selector := map[string]string{}
	fields, _ := kinds.Nested(s.service, "spec", "selector").(map[string]any)
	for name, value := range fields {
		selector[name], _ = value.(string)
	}
	if len(selector) == 0 {
		return podController{}, platform.ErrEmptySelector
	}
	found := slices.DeleteFunc(s.controllers, func(c podController) bool { return !kinds.IsSubset(selector, c.labels) })
	switch len(found) {
	case 0:
		return podController{}, platform.ErrNoMatching
	case 1:
		return found[0], nil
	}
	names := make([]string, 0, len(found))
	for _, c := range found {
		names = append(names, c.String())
	}
	slices.Sort(names)
	return podController{}, fmt.Errorf("%w: %s", platform.ErrMultipleMatching, strings.Join(names, ", "))
}

// definition reads a controller again.
func (s *search) definition(export []byte, c podController) (definition []byte, err error) {
	doc := parse.Split(export)[c.doc]
	err = objectsOf(doc, parse.NewLimits(len(export), parse.AnyNumber), func(o parse.Object) error {
		if s.keyFor(keyOf(o.Unstructured)) != c.key {
			return nil
		}
		definition, err = encode(o.Object)
		return err
	})
	return definition, err
}

// eachObject calls found with the objects of a text, and the number of the document of each.
func eachObject(text []byte, found func(doc int, o parse.Object) error) error {
	if parse.IsUTF16(text) {
		return parse.ErrUTF16
	}
	limits := parse.NewLimits(len(text), parse.AnyNumber)
	for i, doc := range parse.Split(text) {
		if err := objectsOf(doc, limits, func(o parse.Object) error { return found(i, o) }); err != nil {
			return err
		}
	}
	return nil
}

func objectsOf(doc parse.Document, limits *parse.Limits, found func(parse.Object) error) error {
	value, err := doc.Value(context.Background(), limits)
	if err != nil {
		return err
	}
	return doc.Objects(value, limits, found)
}
