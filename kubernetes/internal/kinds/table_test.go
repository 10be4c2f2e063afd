package kinds

import (
	"reflect"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/scheme"
)

// optional are the fields that an entry need not have.
var optional = []string{"Workload", "Resource", "StatusAs", "LimitsPods", "IsSecret"}

// unanswered returns the questions that an entry does not answer.
func unanswered(k Kind) []string {
	var missing []string
	v := reflect.ValueOf(k)
	for i := range v.NumField() {
		if name := v.Type().Field(i).Name; !slices.Contains(optional, name) && v.Field(i).IsZero() {
			missing = append(missing, name)
		}
	}
	if k.Workload != nil && (k.Resource.Empty() || k.StatusAs.Empty() || len(k.Pods) == 0) {
		missing = append(missing, "how a kind of pod controllers is listed and judged")
	}
	return missing
}

func TestEachKindAnswersAll(t *testing.T) {
	seen := map[schema.GroupKind]bool{}
	for _, k := range table {
		assert.Empty(t, unanswered(k), "%v", k.GroupKind)
		assert.False(t, seen[k.GroupKind], "%v has one entry", k.GroupKind)
		seen[k.GroupKind] = true
	}
	whole := *Of(Deployment)
	for _, forget := range []func(*Kind){
		func(k *Kind) { k.Scope = 0 }, func(k *Kind) { k.Stage = 0 }, func(k *Kind) { k.Pods, k.Workload = nil, nil }, func(k *Kind) { k.References = nil },
		func(k *Kind) { k.Strip = nil }, func(k *Kind) { k.Origin = 0 }, func(k *Kind) { k.StatusAs = schema.GroupVersionKind{} }, func(k *Kind) { k.Resource = schema.GroupVersionResource{} },
	} {
		k := whole
		forget(&k)
		assert.Len(t, unanswered(k), 1, "an answer that is missing is found")
	}
}

// Kubernetes' own packages know which kinds there are: each has an entry, and its fields a
// shape.
func TestTableHasKubernetesKinds(t *testing.T) {
	for gvk := range scheme.Scheme.AllKnownTypes() {
		if !isObject(gvk) {
			continue
		}
		assert.NotNil(t, Lookup(gvk.GroupKind()), "%v has an entry", gvk)
	}
	for _, k := range table {
		known := false
		for _, gv := range scheme.Scheme.PrioritizedVersionsForGroup(k.Group) {
			known = known || ShapeOf(gv.WithKind(k.Kind)).Field("metadata").IsStruct() && scheme.Scheme.Recognizes(gv.WithKind(k.Kind))
		}
		_, mirrors := mirrored[k.GroupKind]
		assert.True(t, known || mirrors || slices.Contains(gone, k.GroupKind), "%v has a shape", k.GroupKind)
	}
}

// gone are kinds that older API servers have.
var gone = []schema.GroupKind{{Group: "policy", Kind: "PodSecurityPolicy"}}

// isObject says whether a kind is one of objects that a server keeps, not of lists, options,
// reviews and what is for a server alone.
func isObject(gvk schema.GroupVersionKind) bool {
	object, err := scheme.Scheme.New(gvk)
	if err != nil || gvk.Version == "__internal" {
		return false
	}
	t := reflect.TypeOf(object).Elem()
	if t.Kind() != reflect.Struct {
		return false
	}
	_, hasMeta := t.FieldByName("ObjectMeta")
	switch gvk.Kind {
	case "Eviction", "Scale", "SerializedReference", "RangeAllocation", "PodStatusResult", "DeploymentRollback", "ImageReview", "TokenRequest", "SelfSubjectReview":
		return false
	}
	return hasMeta && !slices.Contains([]string{"authentication.k8s.io", "authorization.k8s.io", "imagepolicy.k8s.io"}, gvk.Group)
}

// Kubernetes' own types tell the merge keys, which server-side apply has besides, and when an
// element lacks one.
func TestMergeKeys(t *testing.T) {
	pod := ShapeOf(schema.GroupVersionKind{Group: "apps", Version: "v1", Kind: "Deployment"}).Field("spec").Field("template").Field("spec")
	container := pod.Field("containers").Element()
	service := ShapeOf(schema.GroupVersionKind{Version: "v1", Kind: "Service"}).Field("spec")
	for name, c := range map[string]struct {
		got  Field
		want []string
	}{
		"containers":  {pod.Field("containers"), []string{"name"}},
		"tolerations": {pod.Field("tolerations"), nil},
		"spread":      {pod.Field("topologySpreadConstraints"), []string{"topologyKey", "whenUnsatisfiable"}},
		"aliases":     {pod.Field("hostAliases"), []string{"ip"}},
		"ports":       {container.Field("ports"), []string{"containerPort", "protocol"}},
		"env":         {container.Field("env"), []string{"name"}},
		"mounts":      {container.Field("volumeMounts"), []string{"mountPath"}},
		"args":        {container.Field("args"), nil},
		"service":     {service.Field("ports"), []string{"port", "protocol"}},
		"unknown":     {Shape{}.Field("ports"), nil},
	} {
		assert.Equal(t, c.want, c.got.MergeKeys, name)
	}
}
