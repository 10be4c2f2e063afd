package kubernetes

import (
	"context"
	"fmt"
	"sync"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/platformbus/platform"
)

// pageSize is how many objects the API server is asked for at once: few enough that
// neither side holds much, and enough that the number of requests does not matter.
const pageSize = 500

// A workload is a pod controller, reduced to what a service's description needs.
type workload struct {
	kind, namespace, name string
	podLabels             map[string]string
	containers            []platform.Container
	status                string
}

func (w *workload) String() string { return w.kind + " " + w.name }

func newWorkload(kind string, meta metav1.ObjectMeta, pod *corev1.PodTemplateSpec, r rollout) *workload {
	w := &workload{kind: kind, namespace: meta.Namespace, name: meta.Name, status: r.String()}
	if pod == nil { // a ReplicationController may lack it
		return w
	}
	w.podLabels = pod.Labels
	w.containers = make([]platform.Container, 0, len(pod.Spec.Containers))
	for _, c := range pod.Spec.Containers {
		w.containers = append(w.containers, platform.Container{Name: c.Name, Image: c.Image})
	}
	return w
}

// workloads is an index of pod controllers by the labels of their pods.
type workloads struct {
	byLabel map[labelKey][]*workload
	// hidden says which kinds could not be listed, and why.
	hidden []error
}

// A labelKey is one label of the pods of a workload.
type labelKey struct{ namespace, name, value string }

func (w *workloads) add(found []*workload) {
	for _, one := range found {
		for name, value := range one.podLabels {
			key := labelKey{one.namespace, name, value}
			w.byLabel[key] = append(w.byLabel[key], one)
		}
	}
}

// selected returns the workloads whose pods a selector selects, which must not be empty.
// It looks only at those that have the rarest of the selector's labels.
func (w *workloads) selected(namespace string, selector map[string]string) []*workload {
	var candidates []*workload
	first := true
	for name, value := range selector {
		having := w.byLabel[labelKey{namespace, name, value}]
		if first || len(having) < len(candidates) {
			candidates, first = having, false
		}
	}
	var selected []*workload
	for _, one := range candidates {
		if isSubset(selector, one.podLabels) {
			selected = append(selected, one)
		}
	}
	return selected
}

func isSubset(small, large map[string]string) bool {
	for name, value := range small {
		if got, ok := large[name]; !ok || got != value {
			return false
		}
	}
	return true
}

// workloads lists the pod controllers of a namespace, or of all if it is empty: one list
// for each kind, all at once. A kind that cannot be listed is left out, and hidden says
// so.
func (c *clients) workloads(ctx context.Context, namespace string) *workloads {
	found := &workloads{byLabel: map[labelKey][]*workload{}}
	var (
		mu    sync.Mutex // guards found
		lists sync.WaitGroup
	)
	for _, kind := range c.workloadKinds() {
		lists.Go(func() {
			var all []*workload
			err := c.pages(ctx, func(ctx context.Context, options metav1.ListOptions) (metav1.ListInterface, error) {
				if options.Continue == "" {
					all = nil
				}
				page, list, err := kind.list(ctx, namespace, options)
				all = append(all, page...)
				return list, err
			})
			mu.Lock()
			defer mu.Unlock()
			found.add(all)
			if err != nil {
				found.hidden = append(found.hidden, fmt.Errorf("list %s: %w", kind.name, err))
			}
		})
	}
	lists.Wait()
	sortErrors(found.hidden)
	return found
}

// A workloadKind is a kind of pod controller, and how to list a page of it.
type workloadKind struct {
	name string
	list func(ctx context.Context, namespace string, options metav1.ListOptions) ([]*workload, metav1.ListInterface, error)
}

func (c *clients) workloadKinds() []workloadKind {
	apps, core := c.typed.AppsV1(), c.typed.CoreV1()
	return []workloadKind{
		{"deployments", func(ctx context.Context, namespace string, options metav1.ListOptions) ([]*workload, metav1.ListInterface, error) {
			page, err := apps.Deployments(namespace).List(ctx, options)
			if err != nil {
				return nil, nil, err
			}
			return each(page.Items, func(d *appsv1.Deployment) *workload {
				return newWorkload("Deployment", d.ObjectMeta, &d.Spec.Template, deploymentRollout(d))
			}), page, nil
		}},
		{"statefulsets", func(ctx context.Context, namespace string, options metav1.ListOptions) ([]*workload, metav1.ListInterface, error) {
			page, err := apps.StatefulSets(namespace).List(ctx, options)
			if err != nil {
				return nil, nil, err
			}
			return each(page.Items, func(s *appsv1.StatefulSet) *workload {
				return newWorkload("StatefulSet", s.ObjectMeta, &s.Spec.Template, statefulSetRollout(s))
			}), page, nil
		}},
		{"daemonsets", func(ctx context.Context, namespace string, options metav1.ListOptions) ([]*workload, metav1.ListInterface, error) {
			page, err := apps.DaemonSets(namespace).List(ctx, options)
			if err != nil {
				return nil, nil, err
			}
			return each(page.Items, func(d *appsv1.DaemonSet) *workload {
				return newWorkload("DaemonSet", d.ObjectMeta, &d.Spec.Template, daemonSetRollout(d))
			}), page, nil
		}},
		{"replicasets", func(ctx context.Context, namespace string, options metav1.ListOptions) ([]*workload, metav1.ListInterface, error) {
			page, err := apps.ReplicaSets(namespace).List(ctx, options)
			if err != nil {
				return nil, nil, err
			}
			return each(page.Items, func(r *appsv1.ReplicaSet) *workload {
				if metav1.GetControllerOf(r) != nil {
					return nil // its Deployment speaks for it
				}
				return newWorkload("ReplicaSet", r.ObjectMeta, &r.Spec.Template,
					replicaRollout(r.ObjectMeta, r.Spec.Replicas, r.Status.ObservedGeneration, r.Status.Replicas, r.Status.AvailableReplicas))
			}), page, nil
		}},
		{"replicationcontrollers", func(ctx context.Context, namespace string, options metav1.ListOptions) ([]*workload, metav1.ListInterface, error) {
			page, err := core.ReplicationControllers(namespace).List(ctx, options)
			if err != nil {
				return nil, nil, err
			}
			return each(page.Items, func(r *corev1.ReplicationController) *workload {
				return newWorkload("ReplicationController", r.ObjectMeta, r.Spec.Template,
					replicaRollout(r.ObjectMeta, r.Spec.Replicas, r.Status.ObservedGeneration, r.Status.Replicas, r.Status.AvailableReplicas))
			}), page, nil
		}},
	}
}

// each returns what of makes of the objects, without those of which it makes nothing.
func each[O any](objects []O, of func(*O) *workload) []*workload {
	made := make([]*workload, 0, len(objects))
	for i := range objects {
		if w := of(&objects[i]); w != nil {
			made = append(made, w)
		}
	}
	return made
}

// pages asks for a list page by page. Where the list has changed so much that the server
// cannot go on, it begins anew: a page without Continue is always the first, and drops
// what came before.
func (c *clients) pages(ctx context.Context, page func(context.Context, metav1.ListOptions) (metav1.ListInterface, error)) error {
	options := metav1.ListOptions{Limit: pageSize}
	for {
		var list metav1.ListInterface
		err := retry(ctx, func(ctx context.Context) error {
			ctx, cancel := c.request(ctx)
			defer cancel()
			var err error
			list, err = page(ctx, options)
			return causeOf(ctx, err)
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
