package api

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
)

// A Resource is a kind of object as the API server serves it.
type Resource struct {
	schema.GroupVersionResource
	Kind       string
	Namespaced bool
	Listable   bool
	HasStatus  bool // the status of its objects is written apart
}

// GVK returns the kind with its group and version.
func (r Resource) GVK() schema.GroupVersionKind { return r.GroupVersion().WithKind(r.Kind) }

// A Catalog is what the API server served at one time. It is never changed.
type Catalog struct {
	byKind map[schema.GroupVersionKind]Resource
	// Preferred has one Resource for each group and kind, at the version that the server
	// prefers, in order.
	Preferred []Resource
	// Broken has the group versions that the server lists and could not describe, for
	// instance because the server behind an APIService is down.
	Broken map[schema.GroupVersion]error
}

// A discoverer knows which kinds the API server serves. It asks when first needed, and again
// when it is told to forget.
type discoverer struct {
	discovery discovery.AggregatedDiscoveryInterfaceWithContext
	limit     time.Duration

	asking chan struct{} // holds one token; whoever has it may ask the server

	mu    sync.Mutex
	known *Catalog // guarded by mu; nil before the first answer
}

func newDiscoverer(d *discovery.DiscoveryClient, limit time.Duration) *discoverer {
	return &discoverer{discovery: d, limit: limit, asking: make(chan struct{}, 1)}
}

func (c *discoverer) ping(ctx context.Context) error {
	ctx, cancel := withRequestTimeout(ctx, c.limit)
	defer cancel()
	_, err := c.discovery.(discovery.ServerVersionInterfaceWithContext).ServerVersionWithContext(ctx)
	return causeOf(ctx, err)
}

// after returns what the server serves, from an answer later than old. Of many callers
// at once, one asks.
func (c *discoverer) after(ctx context.Context, old *Catalog) (*Catalog, error) {
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
func (c *discoverer) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.known = nil
}

func (c *discoverer) get() *Catalog {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.known
}

func (c *discoverer) ask(ctx context.Context) (*Catalog, error) {
	ctx, cancel := withRequestTimeout(ctx, c.limit)
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
	return newCatalog(groups, lists, broken), nil
}

func newCatalog(groups *metav1.APIGroupList, lists map[schema.GroupVersion]*metav1.APIResourceList, broken map[schema.GroupVersion]error) *Catalog {
	k := &Catalog{byKind: map[schema.GroupVersionKind]Resource{}, Broken: broken}
	for _, group := range groups.Groups {
		taken := map[string]bool{}
		for _, version := range inOrderOfPreference(group) {
			gv := schema.GroupVersion{Group: group.Name, Version: version}
			list := lists[gv]
			if list == nil {
				continue
			}
			apart := map[string]bool{} // resources whose status is written apart
			for _, r := range list.APIResources {
				if name, isStatus := strings.CutSuffix(r.Name, "/status"); isStatus {
					apart[name] = true
				}
			}
			for _, r := range list.APIResources {
				if strings.Contains(r.Name, "/") {
					continue // a subresource
				}
				res := Resource{
					GroupVersionResource: gv.WithResource(r.Name),
					Kind:                 r.Kind,
					Namespaced:           r.Namespaced,
					Listable:             slices.Contains(r.Verbs, "list"),
					HasStatus:            apart[r.Name],
				}
				k.byKind[res.GVK()] = res
				if !taken[r.Name] {
					taken[r.Name] = true
					k.Preferred = append(k.Preferred, res)
				}
			}
		}
	}
	slices.SortFunc(k.Preferred, func(a, b Resource) int {
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

// Find returns the Resource for gvk, or an error that says what the server has instead.
func (k *Catalog) Find(gvk schema.GroupVersionKind) (Resource, error) {
	if r, ok := k.byKind[gvk]; ok {
		return r, nil
	}
	return Resource{}, &UnknownKindError{gvk: gvk, Broken: k.Broken[gvk.GroupVersion()], Others: k.similar(gvk)}
}

// similar lists the group versions in which the server has the kind that gvk names, those
// of the same group first.
func (k *Catalog) similar(gvk schema.GroupVersionKind) []string {
	var same, others []string
	for other := range k.byKind {
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

// An UnknownKindError says that the API server does not serve a kind.
type UnknownKindError struct {
	gvk    schema.GroupVersionKind
	Broken error    // why the server could not say, if it could not
	Others []string // group versions in which it has the kind
}

func (e *UnknownKindError) Error() string {
	switch {
	case e.Broken != nil:
		return fmt.Sprintf("the cluster cannot say whether it has the kind %s in %s: %v", e.gvk.Kind, e.gvk.GroupVersion(), e.Broken)
	case len(e.Others) > 0:
		return fmt.Sprintf("the cluster has no kind %s in %s; it has one in %s", e.gvk.Kind, e.gvk.GroupVersion(), strings.Join(e.Others, ", "))
	default:
		return fmt.Sprintf("the cluster has no kind %s in %s (is its CustomResourceDefinition installed?)", e.gvk.Kind, e.gvk.GroupVersion())
	}
}

func (e *UnknownKindError) Unwrap() error { return e.Broken }
