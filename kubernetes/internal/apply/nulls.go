package apply

import (
	"context"
	"encoding/json"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/platformbus/platform/kubernetes/internal/kinds"
)

// SettleNulls takes off the definitions of custom resources the fields that are null, unless
// their kinds allow it. It asks for the definition of each kind once. Do asks again for what is
// left: where the same Sync applies that definition, or it could not be read.
func (a *Applier) SettleNulls(ctx context.Context, steps []*Step) {
	a.settleAll(ctx, steps, func(s *Step) bool { return !s.Object.DefinedHere })
}

// settleAll settles the nulls of the steps that are accepted.
func (a *Applier) settleAll(ctx context.Context, steps []*Step, accept func(*Step) bool) {
	known, failed := map[schema.GroupVersionKind]map[string]any{}, map[schema.GroupVersionKind]bool{}
	for _, s := range steps {
		t := s.Object
		if !t.hasNulls || s.Failed != nil || failed[t.GVK] || !accept(s) {
			continue
		}
		failed[t.GVK] = a.settleNulls(ctx, t, known) != nil
	}
}

// settleNulls settles them for one definition. known has the schemas of kinds.
func (a *Applier) settleNulls(ctx context.Context, t *Target, known map[schema.GroupVersionKind]map[string]any) error {
	if !t.hasNulls || t.IsSummary() {
		return nil
	}
	allowed, asked := known[t.GVK]
	if !asked {
		var err error
		allowed, err = a.schemaOf(ctx, t)
		switch {
		case apierrors.IsNotFound(err), apierrors.IsForbidden(err): // the API server decides what a null is
			t.hasNulls = false
			return nil
		case err != nil:
			return err
		}
		if known != nil {
			known[t.GVK] = allowed
		}
	}
	var content map[string]any
	if err := json.Unmarshal(t.body, &content); err != nil {
		return err
	}
	kinds.DropNulls(content, allowed)
	t.hasNulls = false
	return t.setBody(content)
}

// schemaOf returns the schema of a custom resource's version.
func (a *Applier) schemaOf(ctx context.Context, t *Target) (map[string]any, error) {
	var crd *unstructured.Unstructured
	err := a.client.Once(ctx, func(ctx context.Context) (err error) {
		crds := a.client.Objects(kinds.CustomResourceDefinition.WithVersion("v1").GroupVersion().WithResource("customresourcedefinitions"), "")
		crd, err = crds.Get(ctx, t.Resource.Resource+"."+t.Resource.Group)
		return err
	})
	if err != nil {
		return nil, err
	}
	return kinds.SchemaOf(crd.Object, t.GVK.Version), nil
}
