package kubernetes

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/platformbus/platform"
	"github.com/platformbus/platform/flux"
)

// AllServices lists the services of a namespace, or of all if it is empty, see
// platform.Platform. It leaves out the cluster's own add-ons. It takes one list for each
// kind, however many services there are. If a kind of pod controller cannot be listed,
// the services are returned all the same, with an error beside them that says so.
func (c *Cluster) AllServices(namespace string, ignored flux.ServiceIDSet) ([]platform.Service, error) {
	ctx, cancel := c.call()
	defer cancel()
	if namespace != "" {
		if err := c.mustExist(ctx, namespace); err != nil {
			return nil, platform.ClusterError(err)
		}
	}
	return c.services(ctx, namespace, func(s *corev1.Service) bool {
		return !isAddon(s) && !ignored.Contains(idOf(s))
	})
}

// SomeServices lists the services named, see platform.Platform. An ID that cannot be one
// of a service is an error beside the others' result.
func (c *Cluster) SomeServices(ids []flux.ServiceID) ([]platform.Service, error) {
	var (
		wanted flux.ServiceIDSet
		wrong  []error
		spaces = map[string]bool{}
	)
	for _, id := range ids {
		if _, err := flux.ParseServiceID(string(id)); err != nil {
			wrong = append(wrong, err)
			continue
		}
		namespace, _ := id.Components()
		spaces[namespace] = true
		wanted.Add([]flux.ServiceID{id})
	}
	var (
		found []platform.Service
		err   error
	)
	if len(wanted) > 0 {
		ctx, cancel := c.call()
		defer cancel()
		namespace := "" // all of them, unless one is enough
		if len(spaces) == 1 {
			for only := range spaces {
				namespace = only
			}
		}
		found, err = c.services(ctx, namespace, func(s *corev1.Service) bool { return wanted.Contains(idOf(s)) })
	}
	if err = join(append(wrong, err)...); err != nil {
		return found, platform.ClusterError(err)
	}
	return found, nil
}

// services describes the services of a namespace, or of all, that keep accepts.
func (c *clients) services(ctx context.Context, namespace string, keep func(*corev1.Service) bool) ([]platform.Service, error) {
	listed := make(chan *workloads, 1)
	go func() { listed <- c.workloads(ctx, namespace) }() // received below on every path
	var kept []corev1.Service
	err := c.pages(ctx, func(ctx context.Context, options metav1.ListOptions) (metav1.ListInterface, error) {
		if options.Continue == "" {
			kept = nil
		}
		list, err := c.typed.CoreV1().Services(namespace).List(ctx, options)
		if err != nil {
			return nil, err
		}
		for i := range list.Items {
			if s := &list.Items[i]; keep(s) {
				s.ManagedFields = nil
				kept = append(kept, *s)
			}
		}
		return list, nil
	})
	found := <-listed
	if err != nil {
		return nil, platform.ClusterError(fmt.Errorf("list services: %w", err))
	}
	services := make([]platform.Service, 0, len(kept))
	for i := range kept {
		services = append(services, describeService(&kept[i], found))
	}
	if err := join(found.hidden...); err != nil {
		return services, platform.ClusterError(err)
	}
	return services, nil
}

// mustExist returns an error if the namespace is known not to exist.
func (c *clients) mustExist(ctx context.Context, namespace string) error {
	err := retry(ctx, func(ctx context.Context) error {
		ctx, cancel := c.request(ctx)
		defer cancel()
		_, err := c.metadata.Resource(corev1.SchemeGroupVersion.WithResource("namespaces")).Get(ctx, namespace, metav1.GetOptions{})
		return causeOf(ctx, err)
	})
	if err == nil || apierrors.IsForbidden(err) { // who may see only its content may not see the namespace itself
		return nil
	}
	return fmt.Errorf("namespace %q: %w", namespace, err)
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

// describeService puts together what is known of a service.
func describeService(s *corev1.Service, all *workloads) platform.Service {
	service := platform.Service{
		ID:       idOf(s),
		IP:       s.Spec.ClusterIP,
		Metadata: metadataOf(s),
		Status:   "unknown",
	}
	selected, err := selectedBy(s, all)
	if err != nil {
		service.Containers.Excuse = err.Error()
		return service
	}
	service.Containers.Containers = selected.containers
	service.Status = selected.status
	return service
}

// selectedBy returns the one workload whose pods the service selects, or why there is not
// one: ErrServiceHasNoSelector, ErrEmptySelector, ErrNoMatching or ErrMultipleMatching.
func selectedBy(s *corev1.Service, all *workloads) (*workload, error) {
	switch {
	case s.Spec.Type == corev1.ServiceTypeExternalName:
		return nil, platform.ErrServiceHasNoSelector
	case len(s.Spec.Selector) == 0:
		return nil, platform.ErrEmptySelector
	}
	selected := all.selected(s.Namespace, s.Spec.Selector)
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
	case len(all.hidden) > 0:
		return nil, fmt.Errorf("%w among those that could be seen: %w", platform.ErrNoMatching, join(all.hidden...))
	default:
		return nil, platform.ErrNoMatching
	}
}

// metadataOf returns what a person would look for in a service.
func metadataOf(s *corev1.Service) map[string]string {
	m := map[string]string{
		"created_at":       s.CreationTimestamp.UTC().Format(time.RFC3339),
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
