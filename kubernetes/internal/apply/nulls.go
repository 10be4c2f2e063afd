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
// their kinds allow it. It asks for the definition of each kind once. Where the same Sync applies
// that definition, this holds for DetectUnchanged only: Do asks again.
func (a *Applier) SettleNulls(ctx context.Context, steps []*Step) error {
	known := map[schema.GroupVersionKind]map[string]any{}
	for _, s := range steps {
		if s.Object.Fresh || s.Failed != nil {
			continue
		}
		if s.Object.DefinedHere && s.Object.hasNulls {
			s.Object.unsettled = s.Object.body
		}
		if err := a.settleNulls(ctx, s.Object, known); err != nil {
			return err
		}
	}
	return nil
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
