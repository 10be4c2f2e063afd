package kubernetes

import (
	"context"
	"fmt"
	"path"
	"strings"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/platformbus/platform/kubernetes/internal/redact"
)

// pageSize is how many objects the API server is asked for at once: few enough that
// neither side holds much, and enough that the number of requests does not matter.
const pageSize = 500

// pages asks for a list page by page. Where the list has changed so much that the server
// cannot go on, it begins anew: a page without Continue is always the first, and drops
// what came before.
func (c *clients) pages(ctx context.Context, page func(context.Context, metav1.ListOptions) (metav1.ListInterface, error)) error {
	options := metav1.ListOptions{Limit: pageSize}
	for {
		var list metav1.ListInterface
		err := retry(ctx, func(ctx context.Context) error {
			ctx, cancel := c.request(ctx)
			defer cancel()
			var err error
			list, err = page(ctx, options)
			return causeOf(ctx, err)
		})
		switch {
		case apierrors.IsResourceExpired(err) && options.Continue != "":
			options = metav1.ListOptions{} // in one piece this time
			continue
		case err != nil:
			return err
		}
		if options.Continue = list.GetContinue(); options.Continue == "" {
			return nil
		}
	}
}

// seen is what a look at a scope has shown.
type seen struct {
	namespaces scope   // those that could be seen one by one; nil if all were seen at once
	hidden     []error // what could not be seen, and why
}

// A lister asks for one page of a list, of a namespace or of all if it is empty, and
// reduces what is in it.
type lister[T any] func(ctx context.Context, namespace string, options metav1.ListOptions) ([]T, metav1.ListInterface, error)

// listScope lists what is called name in errors in a scope, and says what it could not see.
func listScope[T any](ctx context.Context, c *clients, where scope, name string, list lister[T]) ([]T, seen) {
	if where == nil {
		found, err := listOne(ctx, c, "", name, list)
		if err != nil {
			return found, seen{hidden: []error{err}}
		}
		return found, seen{}
	}
	var (
		mu     sync.Mutex
		found  []T                         // guarded by mu
		result = seen{namespaces: scope{}} // guarded by mu
		group  sync.WaitGroup
	)
	for _, namespace := range where {
		group.Go(func() {
			some, err := listOne(ctx, c, namespace, name, list)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				result.hidden = append(result.hidden, err)
				return
			}
			found = append(found, some...)
			result.namespaces = append(result.namespaces, namespace)
		})
	}
	group.Wait()
	redact.Sort(result.hidden)
	return found, result
}

// listOne lists one namespace, or all at once if it is empty.
func listOne[T any](ctx context.Context, c *clients, namespace, name string, list lister[T]) ([]T, error) {
	var found []T
	err := c.pages(ctx, func(ctx context.Context, options metav1.ListOptions) (metav1.ListInterface, error) {
		if options.Continue == "" {
			found = nil
		}
		some, page, err := list(ctx, namespace, options)
		found = append(found, some...)
		return page, err
	})
	switch {
	case err == nil:
		return found, nil
	case namespace == "":
		return nil, fmt.Errorf("list %s: %w", name, err)
	default:
		return nil, fmt.Errorf("list %s in namespace %s: %w", name, namespace, err)
	}
}

// namespaceNames returns the namespaces that are there and offered.
func (c *clients) namespaceNames(ctx context.Context) (scope, error) {
	var names scope
	err := c.pages(ctx, func(ctx context.Context, options metav1.ListOptions) (metav1.ListInterface, error) {
		if options.Continue == "" {
			names = nil
		}
		list, err := c.api.Metadata(namespaceResource, "").List(ctx, options)
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

func isPattern(name string) bool { return strings.ContainsAny(name, `*?[\`) }

// matchesAny says whether a name matches one of the patterns, which were checked.
func matchesAny(patterns []string, name string) bool {
	for _, pattern := range patterns {
		if ok, err := path.Match(pattern, name); ok && err == nil {
			return true
		}
	}
	return false
}
