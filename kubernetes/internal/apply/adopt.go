package apply

import (
	"context"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/client-go/util/csaupgrade"

	"github.com/platformbus/platform/kubernetes/internal/api"
)

// adopt makes ours the fields that other tools have set, so that none has two owners and
// those that the definition leaves out are removed.
func (a *Applier) adopt(ctx context.Context, t *Target) error {
	objects := a.metadata(t)
	return a.client.Once(ctx, func(ctx context.Context) error {
		live, err := objects.Get(ctx, t.Key.Name)
		if err != nil {
			if apierrors.IsNotFound(err) {
				return nil
			}
			return err
		}
		foreign := sets.New[string]()
		for i := range live.ManagedFields {
			if entry := &live.ManagedFields[i]; isForeign(entry) {
				foreign.Insert(entry.Manager)
			}
		}
		patch, err := csaupgrade.UpgradeManagedFieldsPatch(live, foreign, a.options.FieldManager)
		if err != nil || patch == nil {
			return err
		}
		_, err = objects.Patch(ctx, t.Key.Name, types.JSONPatchType, patch, metav1.PatchOptions{FieldManager: a.options.FieldManager})
		if apierrors.IsConflict(err) {
			return api.Transient(err)
		}
		return err
	})
}
