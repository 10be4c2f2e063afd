package main

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/platformbus/platform"
	"github.com/platformbus/platform/kubernetes/manifest"
)

// exported is the export of a cluster, with the objects in the demo's namespace.
type exported struct {
	text []byte
	all  int // objects
	own  []manifest.Object
}

func (s *story) export(service platform.Platform) (exported, error) {
	text, err := service.Export()
	if len(text) == 0 || err != nil && !s.cluster.foreign { // in a foreign cluster we may lack permissions
		return exported{}, fmt.Errorf("export: %w", orNone(err))
	}
	objects, err := manifest.Parse(text)
	if err != nil {
		return exported{}, fmt.Errorf("read what was exported: %w", err)
	}
	e := exported{text: text, all: len(objects)}
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

// showExport shows the number of exported objects by kind, and the first lines.
func (s *story) showExport(e exported) {
	byKind := map[string]int{}
	for _, object := range e.own {
		byKind[object.GetKind()]++
	}
	counts := make([]string, 0, len(byKind))
	for _, kind := range slices.Sorted(maps.Keys(byKind)) {
		counts = append(counts, fmt.Sprintf("%d %s", byKind[kind], kind))
	}
	s.say("%d objects, %d of them in namespace %s: %s; %d bytes of YAML, which begin", e.all, len(e.own), namespace, strings.Join(counts, ", "), len(e.text))
	s.quote("   | ", head(string(e.text), headLines))
}

// headLines is the number of lines of an export that are shown.
const headLines = 8

func head(text string, lines int) string {
	parts := strings.SplitAfterN(text, "\n", lines+1)
	return strings.Join(parts[:min(lines, len(parts))], "")
}
