package apply

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"github.com/platformbus/platform/kubernetes/internal/api"
	"github.com/platformbus/platform/kubernetes/internal/kinds"
)

// isAdopted says whether the fields of an entry become ours. Those of a subresource do not.
func (a *Applier) isAdopted(entry *metav1.ManagedFieldsEntry) bool {
	return entry.Subresource == "" && entry.Manager != a.options.FieldManager && slices.Contains(a.options.Adopts, entry.Manager)
}

// isMoved says whether our entry has to be moved to the version of a definition: that of a
// custom resource at another version, which the API server may not serve any more, or which
// may lack fields that the new one has.
func (o *observation) isMoved(d *Definition) bool {
	return o.managedAs != "" && o.managedAs != d.GVK.GroupVersion().String() && !kinds.IsBuiltIn(d.GVK.Group)
}

// takeOver makes ours the fields that other tools have set, and remains, which nobody owns, so
// that none has two owners and those that the definition leaves out are removed; and it moves
// our entry to the definition's version. It changes nothing but the record of who owns what.
func (a *Applier) takeOver(ctx context.Context, t *Target, remains *fieldpath.Set) error {
	objects := a.metadata(t)
	return a.client.Once(ctx, func(ctx context.Context) error {
		live, err := objects.Get(ctx, t.Key.Name)
		if err != nil {
			if apierrors.IsNotFound(err) {
				return nil
			}
			return err
		}
		entries, err := a.takenOver(t.Definition, live.ManagedFields, remains)
		if err != nil {
			return err
		}
		patch, err := json.Marshal([]map[string]any{
			{"op": "replace", "path": "/metadata/managedFields", "value": entries},
			{"op": "replace", "path": "/metadata/resourceVersion", "value": live.ResourceVersion}, // fails if it was written meanwhile
		})
		if err != nil {
			return err
		}
		_, err = objects.Patch(ctx, t.Key.Name, types.JSONPatchType, patch, metav1.PatchOptions{FieldManager: a.options.FieldManager})
		if apierrors.IsConflict(err) {
			return api.Transient(err)
		}
		return err
	})
}

// takenOver returns the entries of an object with those that are adopted, and remains, in ours.
func (a *Applier) takenOver(d *Definition, entries []metav1.ManagedFieldsEntry, remains *fieldpath.Set) ([]metav1.ManagedFieldsEntry, error) {
	version := d.GVK.GroupVersion().String()
	ours := a.ours(entries)
	if ours != nil && kinds.IsBuiltIn(d.GVK.Group) {
		version = ours.APIVersion // the server converts it
	}
	taken := fieldpath.NewSet()
	var kept []metav1.ManagedFieldsEntry
	for i := range entries {
		entry := &entries[i]
		mayMove := entry.APIVersion == version || !kinds.IsBuiltIn(d.GVK.Group)
		if entry != ours && (!a.isAdopted(entry) || !mayMove || entry.FieldsV1 == nil) {
			kept = append(kept, *entry)
			continue
		}
		var set fieldpath.Set
		if err := set.FromJSON(bytes.NewReader(entry.FieldsV1.GetRawBytes())); err != nil {
			return nil, fmt.Errorf("read the fields of %q: %w", entry.Manager, err)
		}
		taken = taken.Union(&set)
	}
	if remains != nil {
		taken = taken.Union(remains.Difference(a.owned(kept)))
	}
	fields, err := taken.ToJSON()
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

// owned returns what the entries own together.
func (a *Applier) owned(entries []metav1.ManagedFieldsEntry) *fieldpath.Set {
	all := fieldpath.NewSet()
	for i := range entries {
		var set fieldpath.Set
		if fields := entries[i].FieldsV1; fields != nil && set.FromJSON(bytes.NewReader(fields.GetRawBytes())) == nil {
			all = all.Union(&set)
		}
	}
	return all
}

// freeRemains makes ours, so that the definition removes it, what a live object has of an
// earlier definition, nobody owns, and the new definition forbids. It says whether there is any.
func (a *Applier) freeRemains(ctx context.Context, t *Target) (bool, error) {
	var defined map[string]any
	if err := json.Unmarshal(t.body, &defined); err != nil {
		return false, err
	}
	found := false
	err := a.client.Once(ctx, func(ctx context.Context) error {
		live, err := a.objects(t).Get(ctx, t.Key.Name)
		if err != nil {
			return err
		}
		remains := kinds.Forbidden(t.GVK, defined, live.Object)
		if found = !remains.Empty(); !found {
			return nil
		}
		return a.takeOver(ctx, t, remains)
	})
	if apierrors.IsNotFound(err) {
		return false, nil
	}
	return found, err
}
