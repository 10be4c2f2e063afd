package kubernetes

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/platformbus/platform/kubernetes/internal/api"
)

var namespaceResource = corev1.SchemeGroupVersion.WithResource("namespaces")

// offered returns the namespaces that Options name and do not exclude, or nil, which is all, if they
// name none, or by pattern.
func (c *core) offered() api.Scope {
	if len(c.options.Namespaces) == 0 || slices.ContainsFunc(c.options.Namespaces, isPattern) {
		return nil
	}
	where := api.Scope{}
	for _, namespace := range slices.Compact(slices.Sorted(slices.Values(c.options.Namespaces))) {
		if c.offers(namespace) {
			where = append(where, namespace)
		}
	}
	return where
}

// offers says whether Options let the namespace be seen.
func (c *core) offers(namespace string) bool {
	return (len(c.options.Namespaces) == 0 || matchesAny(c.options.Namespaces, namespace)) &&
		!matchesAny(c.options.ExcludeNamespaces, namespace)
}

// namespaceNames returns the namespaces that are there and offered.
func (c *core) namespaceNames(ctx context.Context) (api.Scope, error) {
	var names api.Scope // never nil, which would be all
	err := c.client.Pages(ctx, func(ctx context.Context, options metav1.ListOptions) (metav1.ListInterface, error) {
		if options.Continue == "" {
			names = api.Scope{}
		}
		list, err := c.client.Metadata(namespaceResource, "").List(ctx, options)
		if err != nil {
			return nil, err
		}
		for i := range list.Items {
			if name := list.Items[i].Name; c.offers(name) {
				names = append(names, name)
			}
		}
		return list, nil
	})
	return names, err
}

// mustExist returns an error unless the namespace exists, or may not be looked at.
func (c *core) mustExist(ctx context.Context, namespace string) error {
	err := c.client.Retry(ctx, func(ctx context.Context) error {
		_, err := c.client.Metadata(namespaceResource, "").Get(ctx, namespace)
		return err
	})
	if err == nil || apierrors.IsForbidden(err) { // credentials for its content need not be enough for the namespace itself
		return nil
	}
	return fmt.Errorf("namespace %q: %w", namespace, err)
}

func isPattern(name string) bool { return strings.ContainsAny(name, `*?[\`) }

// matchesAny says whether a name matches one of the patterns, which were checked.
func matchesAny(patterns []string, name string) bool {
	return slices.ContainsFunc(patterns, func(pattern string) bool {
		ok, err := path.Match(pattern, name)
		return ok && err == nil
	})
}
