package kubernetes

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
)

// A resource is a kind of object as the API server serves it.
type resource struct {
	schema.GroupVersionResource
	kind       string
	namespaced bool
	listable   bool
}

func (r resource) gvk() schema.GroupVersionKind { return r.GroupVersion().WithKind(r.kind) }

// served is what the API server served at one time. It is never changed.
type served struct {
	byKind map[schema.GroupVersionKind]resource
	// preferred has one resource for each group and kind, at the version that the server
	// prefers, in order.
	preferred []resource
	// broken has the group versions that the server lists and could not describe, for
	// instance because the server behind an APIService is down.
	broken map[schema.GroupVersion]error
}

// catalog knows which kinds the API server serves. It asks when first needed, and again
// when refresh says so.
type catalog struct {
	discovery discovery.AggregatedDiscoveryInterfaceWithContext
	limit     time.Duration

	asking chan struct{} // holds one token; whoever has it may ask the server

	mu    sync.Mutex
	known *served // guarded by mu; nil before the first answer
}

func newCatalog(d *discovery.DiscoveryClient, limit time.Duration) *catalog {
	return &catalog{discovery: d, limit: limit, asking: make(chan struct{}, 1)}
}

func (c *catalog) ping(ctx context.Context) error {
	ctx, cancel := requestContext(ctx, c.limit)
	defer cancel()
	_, err := c.discovery.(discovery.ServerVersionInterfaceWithContext).ServerVersionWithContext(ctx)
	return causeOf(ctx, err)
}

// kinds returns what the server is known to serve.
func (c *catalog) kinds(ctx context.Context) (*served, error) { return c.after(ctx, nil) }

// after returns what the server serves, from an answer later than old. Of many callers
// at once, one asks.
func (c *catalog) after(ctx context.Context, old *served) (*served, error) {
	if known := c.get(); known != old {
		return known, nil
	}
	select {
	case c.asking <- struct{}{}:
		defer func() { <-c.asking }()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	if known := c.get(); known != old {
		return known, nil
	}
	known, err := c.ask(ctx)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.known = known
	return known, nil
}

// forget makes the next caller ask anew.
func (c *catalog) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.known = nil
}

func (c *catalog) get() *served {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.known
}

func (c *catalog) ask(ctx context.Context) (*served, error) {
	ctx, cancel := requestContext(ctx, c.limit)
	defer cancel()
	groups, lists, broken, err := c.discovery.GroupsAndMaybeResourcesWithContext(ctx)
	if err != nil {
		return nil, fmt.Errorf("ask which kinds the cluster has: %w", causeOf(ctx, err))
	}
	if lists == nil { // a server before 1.26 does not aggregate
		d := c.discovery.(discovery.DiscoveryInterfaceWithContext)
		_, all, err := discovery.ServerGroupsAndResourcesWithContext(ctx, d)
		failed, partial := discovery.GroupDiscoveryFailedErrorGroups(err)
		if err != nil && !partial {
			return nil, fmt.Errorf("ask which kinds the cluster has: %w", causeOf(ctx, err))
		}
		broken, lists = failed, map[schema.GroupVersion]*metav1.APIResourceList{}
		for _, list := range all {
			if gv, err := schema.ParseGroupVersion(list.GroupVersion); err == nil {
				lists[gv] = list
			}
		}
	}
	return newKinds(groups, lists, broken), nil
}

func newKinds(groups *metav1.APIGroupList, lists map[schema.GroupVersion]*metav1.APIResourceList, broken map[schema.GroupVersion]error) *served {
	k := &served{byKind: map[schema.GroupVersionKind]resource{}, broken: broken}
	for _, group := range groups.Groups {
		taken := map[string]bool{}
		for _, version := range inOrderOfPreference(group) {
			gv := schema.GroupVersion{Group: group.Name, Version: version}
			list := lists[gv]
			if list == nil {
				continue
			}
			for _, r := range list.APIResources {
				if strings.Contains(r.Name, "/") {
					continue // a subresource
				}
				res := resource{
					GroupVersionResource: gv.WithResource(r.Name),
					kind:                 r.Kind,
					namespaced:           r.Namespaced,
					listable:             slices.Contains(r.Verbs, "list"),
				}
				k.byKind[res.gvk()] = res
				if !taken[r.Name] {
					taken[r.Name] = true
					k.preferred = append(k.preferred, res)
				}
			}
		}
	}
	slices.SortFunc(k.preferred, func(a, b resource) int {
		return strings.Compare(a.Group+"/"+a.Resource, b.Group+"/"+b.Resource)
	})
	return k
}

// inOrderOfPreference returns the versions of a group, the preferred one first.
func inOrderOfPreference(group metav1.APIGroup) []string {
	versions := []string{}
	if group.PreferredVersion.Version != "" {
		versions = append(versions, group.PreferredVersion.Version)
	}
	for _, v := range group.Versions {
		if !slices.Contains(versions, v.Version) {
			versions = append(versions, v.Version)
		}
	}
	return versions
}

// find returns the resource for gvk, or an error that says what the server has instead.
func (k *served) find(gvk schema.GroupVersionKind) (resource, error) {
	if r, ok := k.byKind[gvk]; ok {
		return r, nil
	}
	return resource{}, &unknownKindError{gvk: gvk, broken: k.broken[gvk.GroupVersion()], others: k.similar(gvk)}
}

// similar lists the group versions in which the server has the kind that gvk names, those
// of the same group first.
func (k *served) similar(gvk schema.GroupVersionKind) []string {
	var same, others []string
	for other := range maps.Keys(k.byKind) {
		switch {
		case other.Kind != gvk.Kind:
		case other.Group == gvk.Group:
			same = append(same, other.GroupVersion().String())
		default:
			others = append(others, other.GroupVersion().String())
		}
	}
	slices.Sort(same)
	slices.Sort(others)
	return append(same, others...)
}

// An unknownKindError says that the API server does not serve a kind.
type unknownKindError struct {
	gvk    schema.GroupVersionKind
	broken error    // why the server could not say, if it could not
	others []string // group versions in which it has the kind
}

func (e *unknownKindError) Error() string {
	switch {
	case e.broken != nil:
		return fmt.Sprintf("the cluster cannot say whether it has the kind %s in %s: %v", e.gvk.Kind, e.gvk.GroupVersion(), e.broken)
	case len(e.others) > 0:
		return fmt.Sprintf("the cluster has no kind %s in %s; it has one in %s", e.gvk.Kind, e.gvk.GroupVersion(), strings.Join(e.others, ", "))
	default:
		return fmt.Sprintf("the cluster has no kind %s in %s (is its CustomResourceDefinition installed?)", e.gvk.Kind, e.gvk.GroupVersion())
	}
}

func (e *unknownKindError) Unwrap() error { return e.broken }
