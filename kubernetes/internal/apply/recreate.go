package apply

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
	"github.com/platformbus/platform/kubernetes/internal/kinds"
)

// dryRunCreate returns why the API server would not make the object that the definition says,
// were the one of its name not there.
func (a *Applier) dryRunCreate(ctx context.Context, t *Target) error {
	content := &unstructured.Unstructured{}
	if err := content.UnmarshalJSON(t.body); err != nil {
		return err
	}
	if t.Key.GroupKind == kinds.Service {
		if err := a.dropAllocated(ctx, t, content); err != nil {
			return err
		}
	}
	err := a.client.Once(ctx, func(ctx context.Context) error {
		_, err := a.objects(t).Create(ctx, content,
			metav1.CreateOptions{FieldManager: a.options.FieldManager, DryRun: []string{metav1.DryRunAll}})
		return err
	})
	if apierrors.IsAlreadyExists(err) { // the server looks at the name last
		return nil
	}
	return err
}

// dropAllocated drops from content, a Service that is to take the place of t's, the ports of the
// nodes that this one has: they will be free, but a dry run says that they are not. Of
// addresses it says nothing: it is an error if another Service has the one that is wanted.
func (a *Applier) dropAllocated(ctx context.Context, t *Target, content *unstructured.Unstructured) error {
	var live *unstructured.Unstructured
	err := a.client.Once(ctx, func(ctx context.Context) (err error) {
		live, err = a.objects(t).Get(ctx, t.Key.Name)
		return err
	})
	if apierrors.IsNotFound(err) {
		return nil
	} else if err != nil {
		return err
	}
	taken := allocatedValues(live)
	drop := func(from any, name string) {
		if m, ok := from.(map[string]any); ok && taken[fmt.Sprint(m[name])] {
			delete(m, name)
		}
	}
	drop(content.Object["spec"], "healthCheckNodePort")
	for port := range kinds.Items(content.Object["spec"], "ports") {
		drop(port, "nodePort")
	}
	var addresses []string // that it has not yet
	for wanted := range allocatedValues(content) {
		if net.ParseIP(wanted) != nil && !taken[wanted] {
			addresses = append(addresses, wanted)
		}
	}
	if len(addresses) == 0 {
		return nil
	}
	slices.Sort(addresses)
	return a.client.Pages(ctx, func(ctx context.Context, options metav1.ListOptions) (metav1.ListInterface, error) {
		services := &corev1.ServiceList{}
		if err := a.client.List(ctx, api.Target{GroupVersionResource: corev1.SchemeGroupVersion.WithResource("services")}, options, services); err != nil {
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

// allocatedValues returns what a Service has, or is to have, to itself: addresses and ports.
func allocatedValues(service *unstructured.Unstructured) map[string]bool {
	spec := service.Object["spec"]
	all := map[string]bool{fmt.Sprint(kinds.Nested(spec, "clusterIP")): true, fmt.Sprint(kinds.Nested(spec, "healthCheckNodePort")): true}
	for address := range kinds.Items(spec, "clusterIPs") {
		all[fmt.Sprint(address)] = true
	}
	for port := range kinds.Items(spec, "ports") {
		all[fmt.Sprint(kinds.Nested(port, "nodePort"))] = true
	}
	return all
}
