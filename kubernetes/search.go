package kubernetes

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/platformbus/platform/flux"
	"github.com/platformbus/platform/kubernetes/internal/api"
	"github.com/platformbus/platform/kubernetes/internal/kinds"
	"github.com/platformbus/platform/kubernetes/internal/look"
	"github.com/platformbus/platform/kubernetes/internal/redact"
)

// servicesByID returns those of the services that are there, and why some cannot be read. IDs
// are such that namespaceOf accepts. Unless it may list, it gets each: credentials that may only list
// a service are not to change what is behind it.
func (c *core) servicesByID(ctx context.Context, ids []flux.ServiceID, mayList bool) (map[flux.ServiceID]*foundService, map[flux.ServiceID]error, error) {
	var (
		now    = time.Now()
		mu     sync.Mutex
		found  = map[flux.ServiceID]*foundService{} // guarded by mu
		failed = map[flux.ServiceID]error{}         // guarded by mu
		query  = look.Query{
			Resource: api.Resource{GroupVersionResource: serviceResource, Kind: kinds.Service.Kind, Namespaced: true, Listable: true},
			Whole:    true,
			Named:    true,
		}
	)
	for _, id := range ids {
		namespace, name := id.Components()
		query.Objects = append(query.Objects, look.Object{Namespace: namespace, Name: name})
	}
	query.SeenWhole = func(i int, live *unstructured.Unstructured) {
		service := &corev1.Service{}
		err := runtime.DefaultUnstructuredConverter.FromUnstructured(live.Object, service)
		mu.Lock()
		defer mu.Unlock()
		if err != nil {
			failed[ids[i]] = fmt.Errorf("read the service: %w", err)
			return
		}
		found[ids[i]] = newFoundService(service, now)
	}
	findings := make([]look.Finding, len(ids))
	if mayList {
		var err error
		if findings, err = c.looker.Look(ctx, query); err != nil {
			return nil, nil, err
		}
	}
	var group sync.WaitGroup
	for i, finding := range findings {
		if finding != look.Unknown {
			continue
		}
		// The answer to a request by name tells why.
		at := api.Target{GroupVersionResource: serviceResource, Namespace: query.Objects[i].Namespace, Name: query.Objects[i].Name}
		group.Go(func() {
			service := &corev1.Service{}
			err := c.client.Retry(ctx, func(ctx context.Context) error { return c.client.Get(ctx, at, service) })
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				found[ids[i]] = newFoundService(service, now)
			case !apierrors.IsNotFound(err):
				failed[ids[i]] = fmt.Errorf("get the service: %w", err)
			}
		})
	}
	group.Wait()
	return found, failed, nil
}

// selectedBy returns the pod controllers whose pods the services select.
// In each namespace it lists all of a kind, or, if these are far more than the services, those
// that have the labels of their pods themselves, and those with a record of such a template.
func (c *core) selectedBy(ctx context.Context, services []*foundService) *workloads {
	selectors := map[string][]map[string]string{} // by namespace
	for _, s := range services {
		if namespace, _ := s.ID.Components(); !s.external && len(s.selector) > 0 {
			selectors[namespace] = append(selectors[namespace], s.selector)
		}
	}
	found := newWorkloads(slices.Sorted(maps.Keys(selectors)))
	var (
		mu    sync.Mutex // guards found
		group sync.WaitGroup
	)
	for namespace, sets := range selectors {
		group.Go(func() {
			s := &selection{core: c, namespace: namespace, sets: sets, found: map[workloadKey]*workload{}}
			s.run(ctx)
			mu.Lock()
			defer mu.Unlock()
			found.add(slices.Collect(maps.Values(s.found)))
			found.hidden[namespace] = s.hidden
		})
	}
	group.Wait()
	return found.only(selectors)
}

// only returns an index of those that one of the selectors of their namespace selects. The others
// that were listed are not needed.
func (w *workloads) only(selectors map[string][]map[string]string) *workloads {
	wanted := map[*workload]bool{}
	for namespace, sets := range selectors {
		for _, set := range sets {
			for _, one := range w.selected(namespace, set) {
				wanted[one] = true
			}
		}
	}
	kept := newWorkloads(w.where)
	kept.hidden = w.hidden
	kept.add(slices.Collect(maps.Keys(wanted)))
	return kept
}

// A selection finds the pod controllers of a namespace whose pods are selected.
type selection struct {
	*core
	namespace string
	sets      []map[string]string // the selectors; none is empty

	mu      sync.Mutex
	found   map[workloadKey]*workload // guarded by mu
	crowded []*kinds.Kind             // those of which there are too many to list all; guarded by mu
	hidden  []error                   // why some kinds could not be read; guarded by mu
}

type workloadKey struct{ kind, name string }

func (s *selection) run(ctx context.Context) {
	s.each(kinds.Workloads(), func(kind *kinds.Kind) {
		if s.looker.IsCrowded(kind.Resource, s.namespace, len(s.sets)) {
			s.noteCrowded(kind)
		} else {
			s.listAll(ctx, kind, look.Budget(len(s.sets)))
		}
	})
	if len(s.crowded) == 0 {
		return
	}
	selectors := look.Selectors(s.sets)
	s.each(s.crowded, func(kind *kinds.Kind) { s.listLabelled(ctx, kind, selectors) })
	unseen := s.findOwners(ctx, selectors)
	if s.selectsEach() {
		return
	}
	// A controller without labels may have no record yet.
	s.each(slices.Clone(s.crowded), func(kind *kinds.Kind) { s.listAll(ctx, kind, lastResort) })
	if !s.selectsEach() { // what is missing may have a record
		s.add(nil, unseen)
	}
}

// lastResort is how many controllers of each kind are listed if a service selects none of those
// that are found otherwise.
const lastResort = 64

// each calls do for each kind, at once.
func (s *selection) each(some []*kinds.Kind, do func(*kinds.Kind)) {
	var group sync.WaitGroup
	for _, kind := range some {
		group.Go(func() { do(kind) })
	}
	group.Wait()
}

// selectsEach says whether each of the selectors selects the pods of a controller that was found.
func (s *selection) selectsEach() bool {
	return !slices.ContainsFunc(s.sets, func(set map[string]string) bool {
		for _, w := range s.found {
			if kinds.IsSubset(set, w.podLabels) {
				return false
			}
		}
		return true
	})
}

func (s *selection) add(some []*workload, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, w := range some {
		s.found[workloadKey{w.kind, w.name}] = w
	}
	if err != nil {
		s.hidden = append(s.hidden, err)
	}
}

// noteCrowded notes that there are too many of a kind to list all.
func (s *selection) noteCrowded(kind *kinds.Kind) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.crowded = append(s.crowded, kind)
}

// listAll lists all of a kind, or the first if they turn out to be more than budget.
func (s *selection) listAll(ctx context.Context, kind *kinds.Kind, budget int) {
	list := s.workloadsOf(kind, "")
	some, view := api.ListScope(ctx, s.client, api.Scope{s.namespace}, kind.Resource.Resource, func(ctx context.Context, namespace string, options metav1.ListOptions) ([]*workload, metav1.ListInterface, error) {
		options.Limit = min(api.PageSize, int64(budget))
		some, page, err := list(ctx, namespace, options)
		if err == nil && page.GetContinue() != "" && int(options.Limit)+remaining(page) > budget {
			s.noteCrowded(kind)
			s.looker.Holds(kind.Resource, namespace, int(options.Limit)+remaining(page))
			page.SetContinue("")
		}
		return some, page, err
	})
	s.add(some, redact.Join(view.Hidden...))
}

// remaining returns how many objects a list has after a page, at least.
func remaining(page metav1.ListInterface) int {
	if n := page.GetRemainingItemCount(); n != nil {
		return int(*n)
	}
	return 1
}

// listLabelled lists those of a kind that have the labels of their pods themselves.
func (s *selection) listLabelled(ctx context.Context, kind *kinds.Kind, selectors []string) {
	for _, selector := range selectors {
		some, view := api.ListScope(ctx, s.client, api.Scope{s.namespace}, kind.Resource.Resource, s.workloadsOf(kind, selector))
		s.add(some, redact.Join(view.Hidden...))
	}
}

// findOwners gets the controllers that own records of templates with the labels, and have not
// been found. It returns why some records could not be read: who may not see them does without.
func (s *selection) findOwners(ctx context.Context, selectors []string) error {
	var unseen []error
	owners := map[*kinds.Kind]map[string]bool{} // names, by kind
	for _, resource := range kinds.TemplateRecords() {
		for _, selector := range selectors {
			records, view := api.ListScope(ctx, s.client, api.Scope{s.namespace}, resource.Resource, func(ctx context.Context, namespace string, options metav1.ListOptions) ([]metav1.PartialObjectMetadata, metav1.ListInterface, error) {
				options.LabelSelector = selector
				list, err := s.client.Metadata(resource, namespace).List(ctx, options)
				if err != nil {
					return nil, nil, err
				}
				return list.Items, list, nil
			})
			unseen = append(unseen, view.Hidden...)
			for i := range records {
				kind, name := s.controllerOf(&records[i], resource)
				if kind == nil || s.found[workloadKey{kind.Kind, name}] != nil {
					continue
				}
				if owners[kind] == nil {
					owners[kind] = map[string]bool{}
				}
				owners[kind][name] = true
			}
		}
	}
	var group sync.WaitGroup
	for kind, names := range owners {
		for name := range names {
			group.Go(func() { s.add(s.getWorkload(ctx, kind, name)) })
		}
	}
	group.Wait()
	return redact.Join(unseen...)
}

// controllerOf returns the pod controller that a record is of, which may be itself, or nil.
func (s *selection) controllerOf(record *metav1.PartialObjectMetadata, resource schema.GroupVersionResource) (*kinds.Kind, string) {
	if owner := metav1.GetControllerOf(record); owner != nil {
		if kind := kinds.Of(schema.FromAPIVersionAndKind(owner.APIVersion, owner.Kind).GroupKind()); kind.Workload != nil {
			return kind, owner.Name
		}
	}
	for _, kind := range kinds.Workloads() {
		if kind.Resource == resource {
			return kind, record.Name
		}
	}
	return nil, ""
}

// getWorkload gets one pod controller, or none if it is gone.
func (s *selection) getWorkload(ctx context.Context, kind *kinds.Kind, name string) ([]*workload, error) {
	list := s.workloadsOf(kind, "")
	some, view := api.ListScope(ctx, s.client, api.Scope{s.namespace}, kind.Resource.Resource, func(ctx context.Context, namespace string, options metav1.ListOptions) ([]*workload, metav1.ListInterface, error) {
		options.FieldSelector = fields.OneTermEqualSelector("metadata.name", name).String()
		return list(ctx, namespace, options)
	})
	return some, redact.Join(view.Hidden...)
}
