package kubernetes

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/duration"

	"github.com/platformbus/platform"
	"github.com/platformbus/platform/flux"
	"github.com/platformbus/platform/kubernetes/internal/api"
	"github.com/platformbus/platform/kubernetes/internal/kinds"
	"github.com/platformbus/platform/kubernetes/internal/redact"
)

// AllServices lists the services of a namespace, or of all that Options offer if it is
// empty, see platform.Platform. It leaves out the cluster's own add-ons. It takes one list
// for each kind, however many services there are. A kind of pod controller or a namespace that
// may not be read is named in the excuse of the services concerned, and in an error that comes
// with the result.
func (c *Cluster) AllServices(namespace string, ignored flux.ServiceIDSet) ([]platform.Service, error) {
	ctx, cancel, err := c.call()
	if err != nil {
		return nil, clusterError(err)
	}
	defer cancel()
	where := c.offered()
	if namespace != "" {
		if err := kinds.CheckNamespace(namespace); err != nil {
			return nil, clusterError(err)
		}
		if !c.offers(namespace) {
			return nil, clusterError(fmt.Errorf("namespace %q is not one of those that are offered", namespace))
		}
		if err := c.mustExist(ctx, namespace); err != nil {
			return nil, clusterError(err)
		}
		where = api.Scope{namespace}
	}
	return c.services(ctx, where, func(s *corev1.Service) bool {
		return c.offers(s.Namespace) && !isAddon(s) && !ignored.Contains(idOf(s))
	})
}

// SomeServices lists the services named, see platform.Platform. An ID that no service can have
// is an error that comes with the others' result. What it reads follows how many are named; see
// "Cost" in the package comment.
func (c *Cluster) SomeServices(ids []flux.ServiceID) ([]platform.Service, error) {
	ctx, cancel, err := c.call()
	if err != nil {
		return nil, clusterError(err)
	}
	defer cancel()
	var (
		wanted = flux.ServiceIDSet{}
		wrong  []error
	)
	for _, id := range ids {
		namespace, err := namespaceOf(id)
		if err != nil {
			wrong = append(wrong, err)
		} else if c.offers(namespace) {
			wanted.Add([]flux.ServiceID{id})
		}
	}
	services := []platform.Service{}
	if len(wanted) > 0 {
		found, failed, err := c.servicesByID(ctx, slices.Sorted(maps.Keys(wanted)), true)
		if err != nil {
			return services, clusterError(redact.Join(append(wrong, err)...))
		}
		all := c.selectedBy(ctx, slices.Collect(maps.Values(found)))
		all.confirm(ctx, c.core)
		all.findTrouble(ctx, c.core)
		for _, id := range slices.Sorted(maps.Keys(found)) {
			services = append(services, found[id].describe(all))
		}
		for _, id := range slices.Sorted(maps.Keys(failed)) {
			wrong = append(wrong, fmt.Errorf("the service %q: %w", id, failed[id]))
		}
		wrong = append(wrong, all.failures()...)
	}
	if err := redact.Join(wrong...); err != nil {
		return services, clusterError(err)
	}
	return services, nil
}

// namespaceOf returns the namespace of the service that has an ID, or an error if none can
// have it.
func namespaceOf(id flux.ServiceID) (string, error) {
	if _, err := flux.ParseServiceID(string(id)); err != nil {
		return "", err
	}
	namespace, name := id.Components()
	err := kinds.CheckNamespace(namespace)
	if err == nil {
		err = kinds.CheckName(name)
	}
	if err != nil {
		return "", fmt.Errorf("the service %.100q: %w", id, err)
	}
	return namespace, nil
}

// A foundService is a service before it is known which pod controller it selects.
type foundService struct {
	platform.Service
	selector map[string]string
	external bool
}

// services describes the services in a scope that keep accepts.
func (c *core) services(ctx context.Context, where api.Scope, keep func(*corev1.Service) bool) ([]platform.Service, error) {
	var (
		all   *workloads
		lists sync.WaitGroup
	)
	lists.Go(func() { all = c.workloads(ctx, where) })
	now := time.Now()
	list := func(ctx context.Context, namespace string, options metav1.ListOptions) ([]*foundService, metav1.ListInterface, error) {
		page := &corev1.ServiceList{}
		if err := c.client.List(ctx, api.Target{GroupVersionResource: serviceResource, Namespace: namespace}, options, page); err != nil {
			return nil, nil, err
		}
		found := make([]*foundService, 0, len(page.Items))
		for i := range page.Items {
			if s := &page.Items[i]; keep(s) {
				found = append(found, newFoundService(s, now))
			}
		}
		return found, page, nil
	}
	found, view := api.ListScope(ctx, c.client, where, "services", list)
	lists.Wait()
	if where == nil && len(view.Hidden) > 0 && apierrors.IsForbidden(view.Hidden[0]) {
		// Not all at once; perhaps one by one.
		names, err := c.namespaceNames(ctx)
		switch {
		case apierrors.IsForbidden(err):
			return nil, clusterError(fmt.Errorf("%w (nor may namespaces be listed; Options.Namespaces can name those to look at)", view.Hidden[0]))
		case err != nil:
			return nil, clusterError(fmt.Errorf("%w; list namespaces: %w", view.Hidden[0], err))
		}
		found, view = api.ListScope(ctx, c.client, names, "services", list)
		all = c.workloads(ctx, view.Namespaces)
	}
	all.confirm(ctx, c)
	all.findTrouble(ctx, c)
	services := make([]platform.Service, 0, len(found))
	for i := range found {
		services = append(services, found[i].describe(all))
	}
	if err := redact.Join(slices.Concat(view.Hidden, all.failures())...); err != nil {
		return services, clusterError(err)
	}
	return services, nil
}

func idOf(s *corev1.Service) flux.ServiceID { return flux.MakeServiceID(s.Namespace, s.Name) }

// isAddon says whether the service belongs to the cluster itself, by the labels that its
// add-on manager goes by.
func isAddon(s *corev1.Service) bool {
	if s.Namespace != metav1.NamespaceSystem {
		return false
	}
	mode := s.Labels["addonmanager.kubernetes.io/mode"]
	return s.Labels["kubernetes.io/cluster-service"] == "true" || mode == "EnsureExists" || mode == "Reconcile"
}

func newFoundService(s *corev1.Service, now time.Time) *foundService {
	return &foundService{
		Service: platform.Service{
			ID:       idOf(s),
			IP:       s.Spec.ClusterIP,
			Metadata: metadataOf(s, now),
			Status:   "unknown",
		},
		selector: s.Spec.Selector,
		external: s.Spec.Type == corev1.ServiceTypeExternalName,
	}
}

// describe completes what is known of the service.
func (s *foundService) describe(all *workloads) platform.Service {
	service := s.Service
	selected, err := s.selects(all)
	if err != nil {
		service.Containers.Excuse = redact.Line(err.Error())
		return service
	}
	service.Containers.Containers = slices.Clone(selected.containers)
	service.Status = selected.status()
	return service
}

// selects returns the one workload whose pods the service selects, or why there is not
// one: ErrServiceHasNoSelector, ErrEmptySelector, ErrNoMatching or ErrMultipleMatching.
func (s *foundService) selects(all *workloads) (*workload, error) {
	switch {
	case s.external:
		return nil, platform.ErrServiceHasNoSelector
	case len(s.selector) == 0:
		return nil, platform.ErrEmptySelector
	}
	namespace, _ := s.ID.Components()
	selected, hidden := all.selected(namespace, s.selector), all.hiddenIn(namespace)
	switch {
	case len(selected) == 1:
		return selected[0], nil
	case len(selected) > 1:
		names := make([]string, 0, len(selected))
		for _, w := range selected {
			names = append(names, w.String())
		}
		slices.Sort(names)
		return nil, fmt.Errorf("%w: %s", platform.ErrMultipleMatching, strings.Join(names, ", "))
	case len(hidden) > 0:
		return nil, fmt.Errorf("%w among those that could be seen: %w", platform.ErrNoMatching, redact.Join(hidden...))
	default:
		return nil, platform.ErrNoMatching
	}
}

// metadataOf returns what a person would look for in a service.
func metadataOf(s *corev1.Service, now time.Time) map[string]string {
	m := map[string]string{
		"created_at":       s.CreationTimestamp.UTC().Format(time.RFC3339),
		"age":              duration.HumanDuration(now.Sub(s.CreationTimestamp.Time)),
		"resource_version": s.ResourceVersion,
		"uid":              string(s.UID),
		"type":             string(s.Spec.Type),
	}
	if s.Spec.ExternalName != "" {
		m["external_name"] = s.Spec.ExternalName
	}
	ports := make([]string, 0, len(s.Spec.Ports))
	for _, p := range s.Spec.Ports {
		ports = append(ports, fmt.Sprintf("%d/%s", p.Port, p.Protocol))
	}
	if len(ports) > 0 {
		m["ports"] = strings.Join(ports, ",")
	}
	return m
}
