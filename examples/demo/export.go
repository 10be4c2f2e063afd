package main

import (
	"bytes"
	"fmt"

	"github.com/platformbus/platform"
	"github.com/platformbus/platform/kubernetes/manifest"
)

// exported is the export of a cluster, with the objects in the demo's namespace.
type exported struct {
	text []byte
	own  []manifest.Object
}

func (s *story) export(service platform.Platform) (exported, error) {
	text, err := service.Export()
	if err != nil && (len(text) == 0 || !s.cluster.foreign) { // in a foreign cluster we may lack permissions
		return exported{}, fmt.Errorf("export: %w", err)
	}
	objects, err := manifest.Parse(text)
	if err != nil {
		return exported{}, fmt.Errorf("read what was exported: %w", err)
	}
	e := exported{text: text}
	for _, object := range objects {
		if object.GetNamespace() == namespace {
			e.own = append(e.own, object)
		}
	}
	return e, nil
}

// sameExport returns an error if the objects in the namespace differ.
func sameExport(before, after exported) error {
	if len(before.own) != len(after.own) {
		return fmt.Errorf("there were %d objects, and now there are %d", len(before.own), len(after.own))
	}
	for i, was := range before.own {
		a, err := was.MarshalJSON()
		if err != nil {
			return err
		}
		b, err := after.own[i].MarshalJSON()
		if err != nil {
			return err
		}
		if !bytes.Equal(a, b) {
			return fmt.Errorf("%s %s was %s and is %s", was.GetKind(), was.GetName(), a, b)
		}
	}
	return nil
}
