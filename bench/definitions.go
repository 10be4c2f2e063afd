package main

import (
	"bytes"
	_ "embed"
	"fmt"
	"slices"
	"text/template"

	"k8s.io/apimachinery/pkg/runtime/schema"
)

// In the case large-objects, some objects are as large as those of operators are.
var ofLargeObjects = syncCase{
	what:       "large-objects",
	sizes:      []int{973},
	contenders: []syncContender{{who: us.who, start: library("platform", "-settle")}, {who: floor.who, start: library("floor", "-settle")}},
	steps: []step{
		{phase: first},
		{phase: cold, fresh: true, who: []string{us.who}},
		{phase: exported, who: []string{us.who}},
		{phase: planned, who: []string{us.who}},
	},
	manifests: largeManifests,
}

// definitions is the resource of the definitions of kinds.
var definitions = schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}

// The definitions of kinds. Three are nearly as large as YAML can be that etcd takes as JSON
// with its managed fields.
const (
	huge          = 3
	hugeBytes     = 980 << 10
	ordinaryBytes = 350 << 10
)

// largeManifests returns n objects, of which 70 in 973 are definitions of kinds. None is
// changed.
func largeManifests(prefix string, n, _ int) ([][]byte, error) {
	kinds := max(huge+1, n*70/973)
	var docs [][]byte
	for i := range kinds {
		size := ordinaryBytes
		if i < huge {
			size = hugeBytes
		}
		doc, err := definition(prefix, i, size)
		if err != nil {
			return nil, err
		}
		docs = append(docs, doc)
	}
	rest, err := manifests(prefix, n-kinds, 0)
	return slices.Concat(docs, rest), err
}

var (
	//go:embed definition.yaml
	definitionYAML     string
	definitionTemplate = template.Must(template.New("definition.yaml").Parse(definitionYAML))
)

// fieldsInGroup is the number of fields in each object of a generated schema.
const fieldsInGroup = 25

// definition returns the definition of a kind, of about size bytes. Its schema has objects of
// fields with descriptions.
func definition(prefix string, i, size int) ([]byte, error) {
	var b bytes.Buffer
	err := definitionTemplate.Execute(&b, map[string]string{
		"Group":    prefix + ".example.org",
		"Kind":     fmt.Sprintf("Kind%03d", i),
		"Singular": fmt.Sprintf("kind%03d", i),
		"Plural":   fmt.Sprintf("kind%03ds", i),
	})
	for field := 0; b.Len() < size; field++ {
		group := field / fieldsInGroup
		if field%fieldsInGroup == 0 {
			fmt.Fprintf(&b, `              group%03d:
                type: object
                description: Group %d of what can be set of a kind %d. It may be left out as a whole.
                properties:
`, group, group, i)
		}
		fmt.Fprintf(&b, `                  field%04d:
                    type: string
                    maxLength: %d
                    description: |-
                      Field %d is one of those in group %d. It is a text, and
                      what reads it replaces what it does not understand by a default.
`, field, 64+field%192, field, group)
	}
	return b.Bytes(), err
}
