package api

import (
	"context"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"

	"github.com/platformbus/platform/kubernetes/internal/recent"
)

// A servedList is the latest answer of the API server about a group version.
type servedList struct {
	turn  chan struct{} // holds one token; whoever has it may use the fields below
	asked time.Time     // zero before the first answer
	list  []metav1.APIResource
}

// servedLimit is of how many group versions the latest answer is remembered.
const servedLimit = 100

func newServed() *recent.Cache[schema.GroupVersion, *servedList] {
	return recent.New[schema.GroupVersion](servedLimit, func(*servedList) int { return 1 })
}

// Serves says whether the server serves a resource under that kind: if so, it did after the time
// yes, and if not, it did not after the time no. Callers who ask about one group version share
// answers, as do those who wait for all kinds of an operator.
func (c *Client) Serves(ctx context.Context, r schema.GroupVersionResource, kind string, yes, no time.Time) (bool, error) {
	latest, ok := c.served.Get(r.GroupVersion())
	if !ok {
		latest = &servedList{turn: make(chan struct{}, 1)}
		c.served.Put(r.GroupVersion(), latest)
	}
	select {
	case latest.turn <- struct{}{}:
		defer func() { <-latest.turn }()
	case <-ctx.Done():
		return false, context.Cause(ctx)
	}
	isServed := func() bool {
		return slices.ContainsFunc(latest.list, func(one metav1.APIResource) bool { return one.Name == r.Resource && one.Kind == kind })
	}
	if served := isServed(); served && latest.asked.After(yes) || !served && latest.asked.After(no) {
		return served, nil
	}
	asked := time.Now()
	list, err := c.listServed(ctx, r.GroupVersion())
	if err != nil {
		return false, err
	}
	latest.asked, latest.list = asked, list
	return isServed(), nil
}

// listServed asks for the resources of a group version. One that is not there has none.
func (c *Client) listServed(ctx context.Context, gv schema.GroupVersion) ([]metav1.APIResource, error) {
	d := c.discoverer.discovery.(discovery.ServerResourcesInterfaceWithContext)
	var list *metav1.APIResourceList
	err := c.Once(ctx, func(ctx context.Context) (err error) {
		list, err = d.ServerResourcesForGroupVersionWithContext(ctx, gv.String())
		return err
	})
	switch {
	case apierrors.IsNotFound(err):
		return nil, nil
	case err != nil:
		return nil, err
	}
	return list.APIResources, nil
}
