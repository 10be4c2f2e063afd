package manifest

import (
	"context"
	"errors"
	"fmt"

	"github.com/platformbus/platform"
	"github.com/platformbus/platform/kubernetes/internal/parse"
	"github.com/platformbus/platform/kubernetes/internal/redact"
)

// Desired returns the objects that def applies, in their order, for a Plan. The Source of each
// is the ResourceID of its action. It returns all objects, or an error about the first action
// that is wrong: one whose manifest Parse would refuse, or one that deletes something, since a
// Plan finds out by its sync set what to delete.
//
// What it takes to read the manifests is bounded by their size together, as Parse bounds that of
// one, and it reads no more than 100,000 objects.
func Desired(def platform.SyncDef) ([]Object, error) {
	size := 0
	for _, a := range def.Actions {
		size += len(a.Apply)
	}
	var objects []Object
	limits := parse.NewLimits(size, maxObjects)
	for _, a := range def.Actions {
		err := parse.Each(context.Background(), a.Apply, limits, func(o parse.Object) error {
			objects = append(objects, Object{Unstructured: o.Unstructured, Source: a.ResourceID, Line: o.Line})
			return nil
		})
		if len(a.Delete) > 0 {
			err = errors.New("it deletes something: what is desired is only what is applied")
		}
		if err != nil {
			return nil, redact.Error(fmt.Errorf("%s: %w", redact.Name(a.ResourceID), err))
		}
	}
	return objects, nil
}
