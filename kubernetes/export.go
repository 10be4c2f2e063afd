package kubernetes

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/platformbus/platform/kubernetes/internal/api"
	"github.com/platformbus/platform/kubernetes/internal/kinds"
	"github.com/platformbus/platform/kubernetes/internal/redact"
)

// Export returns definitions of every object of every kind that can be listed, as
// multi-document YAML in a defined order, see platform.Platform.
//
// It leaves out objects that other objects own or the system makes, unless we have applied them,
// and of each object the fields that a definition does not have, such as the status. Keys and
// certificates of the cluster itself never leave it. Namespaces are those that Options offer;
// Kubernetes' own only if Options.Namespaces names them. Secrets are left out, unless
// Options.ExportSecrets is set.
//
// An error beside the result names what may not be listed. Comments at the beginning of the text
// say what else is missing: how many Secrets were left out, and which of them we have applied; and
// each group and version, other than Kubernetes' own, that the API server cannot list because the
// server or webhook behind it is down. Such a group is asked for again for a few seconds only.
func (c *Cluster) Export() ([]byte, error) {
	ctx, cancel, err := c.call()
	if err != nil {
		return nil, clusterError(fmt.Errorf("export: %w", err))
	}
	defer cancel()
	known, err := c.client.LatestKinds(ctx) // what has come since counts too
	if err != nil {
		return nil, clusterError(fmt.Errorf("export: %w", err))
	}
	var (
		mu      sync.Mutex
		secrets []hiddenSecret                      // guarded by mu
		errs    []error                             // guarded by mu
		broken  = map[schema.GroupVersion][]error{} // guarded by mu
		group   sync.WaitGroup
		slots   = make(chan struct{}, fullPages)
		listed  = exportable(known)
		pages   = make([][]exportPage, len(listed))
	)
	for gv, err := range known.Broken {
		if kinds.IsOwnGroup(gv.Group) {
			errs = append(errs, fmt.Errorf("ask which kinds are in %v: %w", gv, err))
		} else {
			broken[gv] = append(broken[gv], err)
		}
	}
	for i, res := range listed {
		group.Go(func() {
			var (
				hidden []hiddenSecret
				view   api.View
			)
			if res.GVK().GroupKind() == kinds.Secret && !c.options.ExportSecrets {
				hidden, view = c.hiddenSecrets(ctx, res)
			} else {
				pages[i], view = c.export(ctx, res, slots)
			}
			mu.Lock()
			defer mu.Unlock()
			for _, err := range view.Hidden {
				switch gv := res.GroupVersion(); {
				case apierrors.IsNotFound(err): // removed since the server was asked for its kinds
				case concernsGroupOnly(ctx, gv, err):
					broken[gv] = append(broken[gv], err)
				default:
					errs = append(errs, err)
				}
			}
			secrets = append(secrets, hidden...)
		})
	}
	group.Wait()
	out, err := joinPages(slices.Concat(pages...), comments(secrets, broken))
	redact.Sort(errs)
	if err := redact.Join(append(errs, err)...); err != nil {
		return out, clusterError(fmt.Errorf("export: %w", err))
	}
	return out, nil
}

// concernsGroupOnly says whether a list failed because what serves or converts a group that is
// not Kubernetes' own is down: the API server itself is there, and allows the list.
func concernsGroupOnly(ctx context.Context, gv schema.GroupVersion, err error) bool {
	var answer apierrors.APIStatus
	failed := api.IsTransient(err) || errors.As(err, &answer) && answer.Status().Code >= http.StatusInternalServerError
	return ctx.Err() == nil && failed && !kinds.IsOwnGroup(gv.Group)
}

// comments returns the comments that say what an Export lacks. Package manifest reads them.
func comments(secrets []hiddenSecret, broken map[schema.GroupVersion][]error) string {
	var text strings.Builder
	if len(secrets) > 0 {
		fmt.Fprintf(&text, "# Secrets left out: %d\n", len(secrets))
	}
	var lines []string
	for _, s := range secrets {
		if s.ours {
			lines = append(lines, fmt.Sprintf("# Secret left out: %s/%s\n", s.namespace, s.name))
		}
	}
	for gv, errs := range broken {
		redact.Sort(errs)
		lines = append(lines, redact.Line(fmt.Sprintf("# Not exported: %v: %v", gv, redact.Join(errs...)))+"\n")
	}
	slices.Sort(lines)
	return text.String() + strings.Join(lines, "")
}

// compareKinds puts what others need first: namespaces, definitions of kinds, then the
// rest by group and kind.
func compareKinds(a, b api.Resource) int {
	return cmp.Or(
		cmp.Compare(kinds.Of(a.GVK().GroupKind()).Stage, kinds.Of(b.GVK().GroupKind()).Stage),
		strings.Compare(a.Group, b.Group),
		strings.Compare(a.Kind, b.Kind),
	)
}

// exportable returns the resources to export, in their order, each kind once: a kind that
// two groups serve, such as Event, is one that nobody defines.
func exportable(known *api.Catalog) []api.Resource {
	var chosen []api.Resource
	for _, res := range known.Preferred {
		if res.Listable && kinds.IsDefinable(res.GVK().GroupKind()) {
			chosen = append(chosen, res)
		}
	}
	slices.SortFunc(chosen, compareKinds)
	return chosen
}

// export lists a resource page by page, and keeps of each no more than is written. While
// it asks for a page that may be large it holds one of slots.
func (c *core) export(ctx context.Context, res api.Resource, slots chan struct{}) ([]exportPage, api.View) {
	var where api.Scope
	if res.Namespaced {
		where = c.offered()
	}
	ctx = api.ForGroup(ctx, res.Group)
	sizes := newPaging(res.GVK().GroupKind())
	pages, view := api.ListScope(ctx, c.client, where, res.GroupResource().String(), func(ctx context.Context, namespace string, options metav1.ListOptions) ([]exportPage, metav1.ListInterface, error) {
		if options.Continue == "" {
			sizes.forget(namespace)
		}
		if options.Limit > 0 { // else it is to be in one piece
			options.Limit = int64(sizes.limit(namespace))
		}
		if options.Limit == 0 || options.Continue != "" {
			select {
			case slots <- struct{}{}:
				defer func() { <-slots }()
			case <-ctx.Done():
				return nil, nil, context.Cause(ctx)
			}
		}
		list, err := c.client.ListRaw(ctx, api.Target{GroupVersionResource: res.GroupVersionResource, Namespace: namespace}, options)
		if err != nil {
			return nil, nil, err
		}
		sizes.note(namespace, len(list.Items), list.Size)
		page, err := c.writePage(res, list)
		return page, list, err
	})
	slices.SortStableFunc(pages, func(a, b exportPage) int { return strings.Compare(a.first, b.first) })
	return pages, view
}

// A hiddenSecret is one that an Export leaves out.
type hiddenSecret struct {
	namespace, name string
	ours            bool // we have applied it
}

// hiddenSecrets lists the Secrets that are left out, without looking into them.
func (c *core) hiddenSecrets(ctx context.Context, res api.Resource) ([]hiddenSecret, api.View) {
	return api.ListScope(ctx, c.client, c.offered(), res.GroupResource().String(), func(ctx context.Context, namespace string, options metav1.ListOptions) ([]hiddenSecret, metav1.ListInterface, error) {
		list, err := c.client.Metadata(res.GroupVersionResource, namespace).List(ctx, options)
		if err != nil {
			return nil, nil, err
		}
		var found []hiddenSecret
		for i := range list.Items {
			if object := fromMetadata(&list.Items[i]); c.exports(object) {
				ours := kinds.HasManager(object.Object, func(manager string) bool { return manager == c.options.FieldManager })
				found = append(found, hiddenSecret{object.GetNamespace(), object.GetName(), ours})
			}
		}
		return found, list, nil
	})
}

// exports says whether an object is exported: its namespace is offered, and it is
// somebody's definition.
func (c *core) exports(object *unstructured.Unstructured) bool {
	namespace := object.GetNamespace()
	if object.GroupVersionKind().GroupKind() == kinds.Namespace {
		namespace = object.GetName()
	}
	if namespace != "" && !c.offers(namespace) {
		return false
	}
	if kinds.IsSystemNamespace(namespace) && !slices.Contains(c.options.Namespaces, namespace) && !kinds.HasManager(object.Object, c.options.isOurs) {
		return false
	}
	return !kinds.IsMadeBySystem(object, c.options.isOurs)
}

// fromMetadata returns a Secret of which no more is known than its metadata, without what its
// managed fields list.
func fromMetadata(meta *metav1.PartialObjectMetadata) *unstructured.Unstructured {
	managed := make([]any, 0, len(meta.ManagedFields))
	for i := range meta.ManagedFields {
		entry := &meta.ManagedFields[i]
		managed = append(managed, map[string]any{"manager": entry.Manager, "subresource": entry.Subresource})
	}
	object := &unstructured.Unstructured{Object: map[string]any{"metadata": map[string]any{"managedFields": managed}}}
	object.SetGroupVersionKind(kinds.Secret.WithVersion("v1"))
	object.SetNamespace(meta.Namespace)
	object.SetName(meta.Name)
	object.SetOwnerReferences(meta.OwnerReferences)
	object.SetDeletionTimestamp(meta.DeletionTimestamp)
	object.SetLabels(meta.Labels)
	object.SetAnnotations(meta.Annotations)
	return object
}
