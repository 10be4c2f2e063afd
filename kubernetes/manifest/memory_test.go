package manifest_test

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/platformbus/platform/kubernetes/manifest"
)

// largeCRD is a CustomResourceDefinition of some 130 KB.
func largeCRD(i int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "---\napiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata:\n  name: things%d.example.com\nspec:\n"+
		"  group: example.com\n  scope: Namespaced\n  names:\n    kind: Thing%d\n    plural: things%d\n"+
		"  versions:\n  - name: v1\n    served: true\n    storage: true\n    schema:\n      openAPIV3Schema:\n        type: object\n        properties:\n", i, i, i)
	for j := range 1000 {
		fmt.Fprintf(&b, "          field%d:\n            type: string\n            description: what field %d of kind %d is for, which is long\n", j, j, i)
	}
	return b.String()
}

// A heapProbe is a value in a desired object that notes, when Plan reads the object, how large
// the live heap is.
type heapProbe struct{ seen *[]uint64 }

func (p heapProbe) MarshalJSON() ([]byte, error) {
	*p.seen = append(*p.seen, liveHeap())
	return []byte(`"1"`), nil
}

func liveHeap() uint64 {
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return stats.HeapAlloc
}

// Plan has few of the objects of an Export as maps at once, and of what it makes of those that
// are desired it keeps no more than the result: at none of three moments is the heap larger by
// half of the text, where the maps alone would be by more than all of it.
func TestPlanHoldsLittleOfTheExport(t *testing.T) {
	var text strings.Builder
	for i := range 20 {
		text.WriteString(largeCRD(i))
	}
	const thing, plain = "---\napiVersion: example.com/v1\nkind: Thing1\nmetadata: {name: %s, namespace: default}\n", "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: %s, namespace: default}\n"
	fmt.Fprintf(&text, thing+plain, "there", "there")
	seen := &[]uint64{}
	probe := func(apiVersion, kind, name string) manifest.Object {
		return manifest.Object{Unstructured: &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": apiVersion, "kind": kind, "metadata": map[string]any{"name": name, "namespace": "default"}, "data": map[string]any{"a": heapProbe{seen}},
		}}}
	}
	desired := slices.Concat(parse(t, text.String())[:20], []manifest.Object{
		probe("v1", "ConfigMap", "there"),          // read at the end of the Export
		probe("example.com/v1", "Thing1", "there"), // once all of that has been
		probe("v1", "ConfigMap", "new"),            // at the end
	})
	current := export(t, synced(t, text.String()))

	before := liveHeap()
	_, report, err := manifest.Plan(current, desired, demo)
	require.NoError(t, err)
	runtime.KeepAlive(current)
	runtime.KeepAlive(desired)
	assert.Equal(t, "+default:configmap/new ~default:configmap/there ~default:thing1.example.com/there", outline(report))
	require.Len(t, *seen, 3)
	for i, heap := range *seen {
		assert.Less(t, int64(heap)-int64(before), int64(len(current)/2), "moment %d, of a text of %d bytes", i, len(current))
	}
}
