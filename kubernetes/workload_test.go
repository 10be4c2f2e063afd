package kubernetes_test

import (
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/platformbus/platform"
	"github.com/platformbus/platform/kubernetes"
	"github.com/platformbus/platform/kubernetes/internal/kinds"
	"github.com/platformbus/platform/kubernetes/manifest"
)

const squads = `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: squads.GROUP}
spec:
  group: GROUP
  scope: Namespaced
  names: {kind: Squad, plural: squads, singular: squad}
  versions:
  - {name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}}
`

const squad = `
apiVersion: GROUP/v1
kind: Squad
metadata: {name: red}
members: 1
mold:
  labels: {app: red}
  pod:
    containers: [{name: main, image: "example.com/red:1", envFrom: [{configMapRef: {name: red}}]}]
`

// readSquad reads what a Squad says of itself.
func readSquad(object runtime.Object) kinds.Workload {
	u := object.(*unstructured.Unstructured)
	w := kinds.Workload{ObjectMeta: metav1.ObjectMeta{Namespace: u.GetNamespace(), Name: u.GetName()}, Template: &corev1.PodTemplateSpec{}}
	w.Template.Labels, _, _ = unstructured.NestedStringMap(u.Object, "mold", "labels")
	for c := range kinds.Items(kinds.Nested(u.Object, "mold", "pod"), "containers") {
		image, _ := kinds.Nested(c, "image").(string)
		name, _ := kinds.Nested(c, "name").(string)
		w.Template.Spec.Containers = append(w.Template.Spec.Containers, corev1.Container{Name: name, Image: image})
	}
	wanted, _ := u.Object["members"].(int64)
	there, _ := u.Object["there"].(int64)
	w.Desired, w.Current, w.Updated, w.Available = int32(wanted), int32(there), int32(there), int32(there)
	return w
}

// A kind of pod controller that nobody has heard of takes one entry in the table, and every
// method handles it.
func TestMadeUpKindOfPodController(t *testing.T) {
	w := newEnv(t, kubernetes.Options{})
	group := w.own("squads").Group
	in := func(text string) string { return strings.ReplaceAll(text, "GROUP", group) }
	t.Cleanup(kinds.Add(kinds.Kind{
		GroupKind:  schema.GroupKind{Group: group, Kind: "Squad"},
		Scope:      kinds.Namespaced,
		Stage:      kinds.Ordinary,
		Pods:       kinds.Path{"mold", "pod"},
		References: func(map[string]any) []kinds.Reference { return nil },
		Strip:      func(object map[string]any, _ kinds.Fields) { delete(object, "there") },
		Origin:     kinds.Users,
		Workload:   readSquad,
		Resource:   w.own("squads"),
		StatusAs:   w.own("squads").GroupVersion().WithKind("Squad"),
	}))
	w.removedAtEnd(t, in(squads))

	// Sync applies what its pods refer to first.
	cluster, requests := w.recorded(t, kubernetes.Options{}, nil)
	require.NoError(t, cluster.Sync(def(apply("squads", in(squads)), apply("red", in(squad), service("red", "red"), configMap("red", "1")))))
	order := requests.inOrder("PATCH")
	assert.Less(t, at(order, "/configmaps/red"), at(order, "/squads/red"))

	// AllServices knows its containers and how it stands.
	described := func() platform.Service {
		services, err := w.AllServices(w.namespace, nil)
		require.NoError(t, err)
		require.Len(t, services, 1)
		return services[0]
	}
	assert.Equal(t, []platform.Container{{Name: "main", Image: "example.com/red:1"}}, described().Containers.Containers)
	assert.Equal(t, "updating: 0 of 1 updated, 0 available", described().Status)

	// SetImages finds the container, and Apply waits for the rollout.
	changed, err := manifest.SetImages([]byte(in(squad)), map[string]string{"main": "example.com/red:2"})
	require.NoError(t, err)
	var once sync.Once
	come := func() {
		kind, patch := mergePatch(t, map[string]any{"there": 1})
		_, err := w.dynamic(t).Resource(w.own("squads")).Namespace(w.namespace).Patch(t.Context(), "red", kind, patch, metav1.PatchOptions{FieldManager: "squad-controller"})
		assert.NoError(t, err)
	}
	watching, _ := w.recorded(t, kubernetes.Options{Events: func(e kubernetes.Event) {
		if e.Result == kubernetes.Waiting {
			once.Do(come)
		}
	}}, nil)
	require.NoError(t, watching.Apply([]platform.ServiceDefinition{{ServiceID: w.id("red"), NewDefinition: changed}}))
	assert.Equal(t, []platform.Container{{Name: "main", Image: "example.com/red:2"}}, described().Containers.Containers)
	assert.Equal(t, "ready", described().Status)

	// Export leaves out what its controller sets, and a plan of it is empty.
	exported := w.planEmpty(t, kubernetes.Options{}, string(changed))
	found := false
	for _, o := range parsed(t, exported) {
		if o.GetKind() == "Squad" {
			found = true
			assert.NotContains(t, o.Object, "there")
		}
	}
	assert.True(t, found, "it is exported")
}
