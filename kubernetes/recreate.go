package kubernetes

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/platformbus/platform/kubernetes/internal/api"
	"github.com/platformbus/platform/kubernetes/internal/redact"
)

// recreate deletes an object that cannot be changed into what the definition says, and
// makes it again. It does not delete what the server would not let it make.
func (c *clients) recreate(ctx context.Context, t *target, why error) error {
	if err := c.rehearse(ctx, t); err != nil {
		return fmt.Errorf("%w; not recreated, since the API server would not have it: %w", why, err)
	}
	c.options.Logger.InfoContext(ctx, "recreate an object that cannot be changed", "object", t.key.String(), "reason", redact.Line(redact.Content().Text(why.Error())))
	if err := c.delete(ctx, t, true); err != nil {
		return fmt.Errorf("recreate: delete: %w", err)
	}
	return c.patch(ctx, t)
}

// rehearse returns why the API server would not make the object that the definition says,
// were the one of its name not there.
func (c *clients) rehearse(ctx context.Context, t *target) error {
	content := &unstructured.Unstructured{}
	if err := content.UnmarshalJSON(t.body); err != nil {
		return err
	}
	if t.key.GroupKind == serviceKind {
		if err := c.takeOver(ctx, t, content); err != nil {
			return err
		}
	}
	err := retry(ctx, func(ctx context.Context) error {
		ctx, cancel := c.request(ctx)
		defer cancel()
		_, err := c.dynamicOf(t.resource, t.key.namespace).Create(ctx, content,
			metav1.CreateOptions{FieldManager: c.options.FieldManager, DryRun: []string{metav1.DryRunAll}})
		return causeOf(ctx, err)
	})
	if apierrors.IsAlreadyExists(err) { // the server looks at the name last
		return nil
	}
	return err
}

// takeOver drops from content, a Service that is to take the place of t's, the ports of the
// nodes that this one has: they will be free, but a dry run says that they are not. Of
// addresses it says nothing: it is an error if another Service has the one that is wanted.
func (c *clients) takeOver(ctx context.Context, t *target, content *unstructured.Unstructured) error {
	var live *unstructured.Unstructured
	err := retry(ctx, func(ctx context.Context) (err error) {
		ctx, cancel := c.request(ctx)
		defer cancel()
		live, err = c.dynamicOf(t.resource, t.key.namespace).Get(ctx, t.key.name)
		return causeOf(ctx, err)
	})
	if apierrors.IsNotFound(err) {
		return nil
	} else if err != nil {
		return err
	}
	taken := held(live)
	drop := func(from any, name string) {
		if m, ok := from.(map[string]any); ok && taken[fmt.Sprint(m[name])] {
			delete(m, name)
		}
	}
	drop(content.Object["spec"], "healthCheckNodePort")
	for port := range items(content.Object["spec"], "ports") {
		drop(port, "nodePort")
	}
	var addresses []string // that it has not yet
	for wanted := range held(content) {
		if net.ParseIP(wanted) != nil && !taken[wanted] {
			addresses = append(addresses, wanted)
		}
	}
	if len(addresses) == 0 {
		return nil
	}
	slices.Sort(addresses)
	return c.pages(ctx, func(ctx context.Context, options metav1.ListOptions) (metav1.ListInterface, error) {
		services := &corev1.ServiceList{}
		if err := c.api.List(ctx, api.Target{GroupVersionResource: serviceResource}, options, services); err != nil {
			return nil, fmt.Errorf("see whether another Service has %s: %w", strings.Join(addresses, " or "), err)
		}
		for i := range services.Items {
			other := &services.Items[i]
			for _, address := range other.Spec.ClusterIPs {
				if slices.Contains(addresses, address) {
					return nil, fmt.Errorf("the Service %s/%s has the address %s", other.Namespace, other.Name, address)
				}
			}
		}
		return services, nil
	})
}

// held returns what a Service has, or is to have, to itself: addresses and ports.
func held(service *unstructured.Unstructured) map[string]bool {
	spec := service.Object["spec"]
	all := map[string]bool{fmt.Sprint(dig(spec, "clusterIP")): true, fmt.Sprint(dig(spec, "healthCheckNodePort")): true}
	for address := range items(spec, "clusterIPs") {
		all[fmt.Sprint(address)] = true
	}
	for port := range items(spec, "ports") {
		all[fmt.Sprint(dig(port, "nodePort"))] = true
	}
	return all
}
