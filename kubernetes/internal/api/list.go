package api

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	kjson "k8s.io/apimachinery/pkg/util/json"

	"github.com/platformbus/platform/kubernetes/internal/redact"
)

// PageSize is how many objects the API server is asked for at once: few enough that
// neither side holds much, and enough that the number of requests does not matter.
const PageSize = 500

// Pages asks for a list page by page. Where the list has changed so much that the server
// cannot go on, it begins anew: a page without Continue is always the first, and drops
// what came before.
func (c *Client) Pages(ctx context.Context, page func(context.Context, metav1.ListOptions) (metav1.ListInterface, error)) error {
	options := metav1.ListOptions{Limit: PageSize}
	for {
		var list metav1.ListInterface
		err := c.Retry(ctx, func(ctx context.Context) (err error) {
			list, err = page(ctx, options)
			return err
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

// A Scope is a list of namespaces. A nil Scope is all of them, cluster-scoped objects included.
type Scope []string

// A View says how much of a Scope could be listed.
type View struct {
	Namespaces Scope   // those that could be listed one by one; nil if all were listed at once
	Hidden     []error // why the others could not be
}

// A Lister asks for one page of a list, of a namespace or of all if it is empty, and
// reduces what is in it.
type Lister[T any] func(ctx context.Context, namespace string, options metav1.ListOptions) ([]T, metav1.ListInterface, error)

// ListScope lists objects in a scope. In errors they are called name.
func ListScope[T any](ctx context.Context, c *Client, where Scope, name string, list Lister[T]) ([]T, View) {
	if where == nil {
		found, err := listOne(ctx, c, "", name, list)
		if err != nil {
			return found, View{Hidden: []error{err}}
		}
		return found, View{}
	}
	var (
		mu    sync.Mutex
		found []T                         // guarded by mu
		view  = View{Namespaces: Scope{}} // guarded by mu
		group sync.WaitGroup
	)
	for _, namespace := range where {
		group.Go(func() {
			some, err := listOne(ctx, c, namespace, name, list)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				view.Hidden = append(view.Hidden, err)
				return
			}
			found = append(found, some...)
			view.Namespaces = append(view.Namespaces, namespace)
		})
	}
	group.Wait()
	redact.Sort(view.Hidden)
	return found, view
}

// listOne lists one namespace, or all at once if it is empty.
func listOne[T any](ctx context.Context, c *Client, namespace, name string, list Lister[T]) ([]T, error) {
	var found []T
	err := c.Pages(ctx, func(ctx context.Context, options metav1.ListOptions) (metav1.ListInterface, error) {
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

// A RawList is a page of a list of objects, which are not decoded yet.
type RawList struct {
	metav1.ListMeta `json:"metadata"`
	Items           []json.RawMessage `json:"items"`
	Size            int               `json:"-"` // of the answer, in bytes
}

// ListRaw lists objects of any kind. The dynamic client reads each answer three times: for its
// kind, for where the objects begin, and for what is in them.
func (c *Client) ListRaw(ctx context.Context, t Target, options metav1.ListOptions) (*RawList, error) {
	body, err := c.listJSON(ctx, t, options)
	if err != nil {
		return nil, err
	}
	list := &RawList{Size: len(body)}
	if err := kjson.Unmarshal(body, list); err != nil {
		return nil, fmt.Errorf("read the API server's answer: %w", err)
	}
	return list, nil
}

// A SomeList tells of a page of a list of which some objects were wanted.
type SomeList struct {
	metav1.ListMeta
	Listed, Wanted int // how many objects it has, and how many of them were wanted
}

// ListSome lists objects of a kind, and calls seen with each of those that are wanted, by
// namespace and name. It decodes one at a time, and of the others nothing else.
func (c *Client) ListSome(ctx context.Context, kind schema.GroupVersionKind, t Target, options metav1.ListOptions, wanted func(namespace, name string) bool, seen func(*unstructured.Unstructured)) (*SomeList, error) {
	page, err := c.ListRaw(ctx, t, options)
	if err != nil {
		return nil, err
	}
	list := &SomeList{ListMeta: page.ListMeta, Listed: len(page.Items)}
	for i, item := range page.Items {
		var head struct {
			Metadata struct {
				Namespace string `json:"namespace"`
				Name      string `json:"name"`
			} `json:"metadata"`
		}
		if err := kjson.Unmarshal(item, &head); err != nil {
			return nil, fmt.Errorf("read the API server's answer: %w", err)
		}
		if wanted(head.Metadata.Namespace, head.Metadata.Name) {
			object := &unstructured.Unstructured{}
			if err := kjson.Unmarshal(item, &object.Object); err != nil {
				return nil, fmt.Errorf("read the API server's answer: %w", err)
			}
			object.SetGroupVersionKind(kind) // which lists of built-in kinds leave out
			list.Wanted++
			seen(object)
		}
		page.Items[i] = nil
	}
	return list, nil
}
