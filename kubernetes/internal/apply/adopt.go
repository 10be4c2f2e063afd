package apply

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"github.com/platformbus/platform/kubernetes/internal/api"
	"github.com/platformbus/platform/kubernetes/internal/kinds"
)

// isAdopted says whether the fields of an entry become ours, given our own entry, which may be
// nil. Those of a subresource do not, nor can those of one of Kubernetes' own kinds at another
// version than ours, which the server alone can convert.
func (a *Applier) isAdopted(entry, ours *metav1.ManagedFieldsEntry) bool {
	if entry.Subresource != "" || entry.FieldsV1 == nil || entry.Manager == a.options.FieldManager || !slices.Contains(a.options.Adopts, entry.Manager) {
		return false
	}
	gv, err := schema.ParseGroupVersion(entry.APIVersion)
	return err == nil && (ours == nil || ours.APIVersion == entry.APIVersion || !kinds.IsOwnGroup(gv.Group))
}

// isMoved says whether our entry has to be moved to the version of a definition: that of a
// custom resource at another version, which the API server may not serve any more, or which
// may lack fields that the new one has.
func (o *observation) isMoved(d *Definition) bool {
	return o.managedAs != "" && o.managedAs != d.GVK.GroupVersion().String() && kinds.Lookup(d.GVK.GroupKind()) == nil
}

// takeOver makes ours the fields that other tools have set, so that none has two owners and those
// that the definition leaves out are removed; and it moves our entry to the definition's version.
// It changes nothing but the record of who owns what.
func (a *Applier) takeOver(ctx context.Context, t *Target) error {
	return a.client.Once(ctx, func(ctx context.Context) error {
		live, err := a.metadata(t).Get(ctx, t.Key.Name)
		if apierrors.IsNotFound(err) {
			return nil
		} else if err != nil {
			return err
		}
		return a.setEntries(ctx, t, live, fieldpath.NewSet())
	})
}

// setEntries replaces the entries of a live object by what takenOver makes of them. The error
// is transient if the object was written since it was read.
func (a *Applier) setEntries(ctx context.Context, t *Target, live metav1.Object, remains *fieldpath.Set) error {
	entries, err := a.takenOver(t.Definition, live.GetManagedFields(), remains)
	if err != nil {
		return err
	}
	patch, err := json.Marshal([]map[string]any{
		{"op": "replace", "path": "/metadata/managedFields", "value": entries},
		{"op": "replace", "path": "/metadata/resourceVersion", "value": live.GetResourceVersion()}, // fails if it was written meanwhile
	})
	if err != nil {
		return err
	}
	_, err = a.metadata(t).Patch(ctx, t.Key.Name, types.JSONPatchType, patch, metav1.PatchOptions{FieldManager: a.options.FieldManager})
	if apierrors.IsConflict(err) {
		return api.Transient(err)
	}
	return err
}

// takenOver returns the entries of an object with those that are adopted, and remains, which
// nobody owns, in ours.
func (a *Applier) takenOver(d *Definition, entries []metav1.ManagedFieldsEntry, remains *fieldpath.Set) ([]metav1.ManagedFieldsEntry, error) {
	version := d.GVK.GroupVersion().String()
	ours := a.ours(entries)
	base := ours
	for i := 0; base == nil && i < len(entries); i++ {
		if a.isAdopted(&entries[i], nil) {
			base = &entries[i]
		}
	}
	if base != nil && kinds.Lookup(d.GVK.GroupKind()) != nil {
		version = base.APIVersion // the server converts it
	}
	taken := fieldpath.NewSet()
	var kept []metav1.ManagedFieldsEntry
	for i := range entries {
		entry := &entries[i]
		if entry != ours && !a.isAdopted(entry, base) {
			kept = append(kept, *entry)
			continue
		}
		var set fieldpath.Set
		if err := set.FromJSON(bytes.NewReader(entry.FieldsV1.GetRawBytes())); err != nil {
			return nil, fmt.Errorf("read the fields of %q: %w", entry.Manager, err)
		}
		taken = taken.Union(&set)
	}
	fields, err := taken.Union(remains).ToJSON()
	if err != nil {
		return nil, err
	}
	merged := metav1.ManagedFieldsEntry{Manager: a.options.FieldManager, Operation: metav1.ManagedFieldsOperationApply, APIVersion: version, FieldsType: "FieldsV1", FieldsV1: &metav1.FieldsV1{}}
	if err := merged.FieldsV1.UnmarshalJSON(fields); err != nil {
		return nil, err
	}
	if ours != nil {
		merged.Time = ours.Time
	} else {
		now := metav1.Now()
		merged.Time = &now
	}
	return append(kept, merged), nil
}

// freeRemains makes ours, so that the definition removes it, what a live object has of an
// earlier definition, nobody owns, and the new definition forbids. It says whether there is
// any, and whether there is some that another manager owns, which keeps it. The error is a
// goingError if the object is being deleted.
func (a *Applier) freeRemains(ctx context.Context, t *Target) (freed, held bool, err error) {
	var defined map[string]any
	if err := json.Unmarshal(t.body, &defined); err != nil {
		return false, false, err
	}
	err = a.client.Once(ctx, func(ctx context.Context) error {
		live, err := a.objects(t).Get(ctx, t.Key.Name)
		if apierrors.IsNotFound(err) {
			return nil
		} else if err != nil {
			return err
		}
		if live.GetDeletionTimestamp() != nil {
			return &goingError{}
		}
		remains := kinds.Forbidden(t.GVK, defined, live.Object)
		others := a.heldByOthers(live.GetManagedFields(), remains)
		held = !others.Empty()
		remains = remains.Difference(others)
		if freed = !remains.Empty(); !freed {
			return nil
		}
		return a.setEntries(ctx, t, live, remains)
	})
	return freed, held, err
}

// heldByOthers returns those of the fields that managers which are not adopted own, as a whole
// or in part.
func (a *Applier) heldByOthers(entries []metav1.ManagedFieldsEntry, fields *fieldpath.Set) *fieldpath.Set {
	held, ours := fieldpath.NewSet(), a.ours(entries)
	for i := range entries {
		entry := &entries[i]
		var set fieldpath.Set
		if entry == ours || a.isAdopted(entry, ours) || entry.FieldsV1 == nil || set.FromJSON(bytes.NewReader(entry.FieldsV1.GetRawBytes())) != nil {
			continue
		}
		set.Iterate(func(path fieldpath.Path) {
			for n := range path {
				if above := path[:n+1]; fields.Has(above) {
					held.Insert(above.Copy())
				}
			}
		})
	}
	return held
}
