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
	taken := kinds.AllocatedValues(live.Object)
	isTaken := func(value string) bool { return slices.Contains(taken, value) }
	kinds.DropAllocatedPorts(content.Object, isTaken)
	var addresses []string // that it has not yet
	for _, wanted := range kinds.AllocatedValues(content.Object) {
		if net.ParseIP(wanted) != nil && !isTaken(wanted) {
			addresses = append(addresses, wanted)
		}
	}
	if len(addresses) == 0 {
		return nil
	}
	slices.Sort(addresses)
	addresses = slices.Compact(addresses)
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
