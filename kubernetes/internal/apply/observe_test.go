package apply

import (
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/platformbus/platform/kubernetes/internal/api"
	"github.com/platformbus/platform/kubernetes/internal/look"
)

// Calls at the same time share the summaries of definitions, and change none: the race detector
// would tell.
func TestSummariesAreNotChanged(t *testing.T) {
	summary := definitionsOf(t, "apiVersion: example.com/v1\nkind: A\nmetadata: {name: a}\nspec: {b: null}")[0].Summary()
	a := New(nil, look.New(nil, 0), Options{})
	var calls sync.WaitGroup
	for range 2 {
		calls.Go(func() {
			target := NewTarget(summary, api.Resource{Kind: "A"}, "default", "") // not listable: nothing is asked
			target.DefinedHere = true
			assert.NoError(t, a.DetectUnchanged(t.Context(), []*Step{{Object: target}}))
		})
	}
	calls.Wait()
}

// What was verified holds as long as nothing was written, or what was can have changed
// nothing that the definition says. Each single doubt is enough.
func TestVerifiedHolds(t *testing.T) {
	d := Definition{digest: [32]byte{1}, simple: true, labels: map[string]string{"l": "1"}, annotations: map[string]string{"a": "1"}}
	then := observation{uid: "u", version: "7", generation: 3, ours: [32]byte{2}}
	meta := metav1.ObjectMeta{Labels: map[string]string{"l": "1", "other": "2"}, Annotations: map[string]string{"a": "1", "other": "2"}}
	for name, c := range map[string]struct {
		change func(d *Definition, now *observation, meta *metav1.ObjectMeta)
		holds  bool
	}{
		"nothing was written": {func(*Definition, *observation, *metav1.ObjectMeta) {}, true},
		"nothing was written, whatever the kind": {func(d *Definition, now *observation, _ *metav1.ObjectMeta) {
			d.simple, now.generation = false, 0
		}, true},
		"its status was written":       {func(_ *Definition, now *observation, _ *metav1.ObjectMeta) { now.version = "8" }, true},
		"another definition":           {func(d *Definition, _ *observation, _ *metav1.ObjectMeta) { d.digest = [32]byte{9} }, false},
		"another object":               {func(_ *Definition, now *observation, _ *metav1.ObjectMeta) { now.uid = "v" }, false},
		"another tool has its fields":  {func(_ *Definition, now *observation, _ *metav1.ObjectMeta) { now.foreign = true }, false},
		"written, and fewer are ours":  {func(_ *Definition, now *observation, _ *metav1.ObjectMeta) { now.version, now.ours = "8", [32]byte{3} }, false},
		"written, and the spec is new": {func(_ *Definition, now *observation, _ *metav1.ObjectMeta) { now.version, now.generation = "8", 4 }, false},
		"written, and a label is new": {func(_ *Definition, now *observation, meta *metav1.ObjectMeta) {
			now.version, meta.Labels = "8", map[string]string{"l": "2"}
		}, false},
		"written, and an annotation is gone": {func(_ *Definition, now *observation, meta *metav1.ObjectMeta) {
			now.version, meta.Annotations = "8", nil
		}, false},
		"written, and it has more than metadata and spec": {func(d *Definition, now *observation, _ *metav1.ObjectMeta) { now.version, d.simple = "8", false }, false},
	} {
		d, now, meta := d, then, meta
		c.change(&d, &now, &meta)
		assert.Equal(t, c.holds, verified{digest: [32]byte{1}, observation: then}.holds(&d, &now, &meta), name)
	}
	then.generation = 0
	now := then
	now.version = "8"
	assert.False(t, verified{digest: [32]byte{1}, observation: then}.holds(&d, &now, &meta), "a kind without generations does not tell of changes")
}
