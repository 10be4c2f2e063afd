package kubernetes

import (
	"context"
	"maps"
	"slices"
	"strings"
	"sync"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/platformbus/platform"
	"github.com/platformbus/platform/kubernetes/internal/api"
	"github.com/platformbus/platform/kubernetes/internal/redact"
)

// A workload is a pod controller, reduced to what a service's description needs.
type workload struct {
	kind, namespace, name string
	podLabels             map[string]string
	containers            []platform.Container
	rollout               rollout
	trouble               []string // why its pods do not run; see findTrouble
}

func (w *workload) String() string { return w.kind + " " + w.name }

// status summarises it for display.
func (w *workload) status() string {
	text := w.rollout.String()
	if len(w.trouble) > 0 {
		text += " (" + strings.Join(w.trouble, "; ") + ")"
	}
	return text
}

func newWorkload(kind string, meta metav1.ObjectMeta, pod *corev1.PodTemplateSpec, r rollout) *workload {
	w := &workload{kind: kind, namespace: meta.Namespace, name: meta.Name, rollout: r}
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
	where   scope // where they were looked for
	all     []*workload
	byLabel map[labelKey][]*workload
	hidden  []error // what could not be seen, and why
}

// A labelKey is one label of the pods of a workload.
type labelKey struct{ namespace, name, value string }

func (w *workloads) add(found []*workload) {
	w.all = append(w.all, found...)
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
	key, _ := w.rarest(namespace, selector)
	var selected []*workload
	for _, one := range w.byLabel[key] {
		if isSubset(selector, one.podLabels) {
			selected = append(selected, one)
		}
	}
	return selected
}

// rarest returns which of the labels the fewest workloads of the namespace have. There is
// none if there are no labels.
func (w *workloads) rarest(namespace string, labels map[string]string) (rarest labelKey, ok bool) {
	for name, value := range labels {
		key := labelKey{namespace, name, value}
		if !ok || len(w.byLabel[key]) < len(w.byLabel[rarest]) {
			rarest, ok = key, true
		}
	}
	return rarest, ok
}

func isSubset(small, large map[string]string) bool {
	for name, value := range small {
		if got, ok := large[name]; !ok || got != value {
			return false
		}
	}
	return true
}

// workloads lists the pod controllers in a scope: one list for each kind, all at once. A
// kind that cannot be listed is left out, and hidden says so.
func (c *clients) workloads(ctx context.Context, where scope) *workloads {
	found := &workloads{where: where, byLabel: map[labelKey][]*workload{}}
	var (
		mu    sync.Mutex // guards found
		lists sync.WaitGroup
	)
	for _, kind := range c.workloadKinds() {
		lists.Go(func() {
			some, seen := listScope(ctx, c, where, kind.name, kind.list)
			mu.Lock()
			defer mu.Unlock()
			found.add(some)
			found.hidden = append(found.hidden, seen.hidden...)
		})
	}
	lists.Wait()
	redact.Sort(found.hidden)
	return found
}

// findTrouble finds out why the pods of those workloads do not run that are not ready. It
// only adds to what is known already: what it cannot see it leaves out. A cluster in
// which all is well is not asked.
func (w *workloads) findTrouble(ctx context.Context, c *clients) {
	// Each under the rarest of its labels, so that those that many share do not matter.
	unready := map[labelKey][]*workload{}
	namespaces := map[string]bool{}
	for _, one := range w.all {
		if key, ok := w.rarest(one.namespace, one.podLabels); ok && one.rollout.wanting() {
			unready[key] = append(unready[key], one)
			namespaces[one.namespace] = true
		}
	}
	if len(unready) == 0 {
		return
	}
	where := w.where
	if len(namespaces) <= fewNamespaces || where != nil {
		where = slices.Sorted(maps.Keys(namespaces))
	}
	pods, _ := listScope(ctx, c, where, "pods", c.troubledPods)
	for _, pod := range pods {
		for name, value := range pod.labels {
			for _, one := range unready[labelKey{pod.namespace, name, value}] {
				if isSubset(one.podLabels, pod.labels) {
					one.trouble = append(one.trouble, pod.reasons...)
				}
			}
		}
	}
	for _, some := range unready {
		for _, one := range some {
			slices.Sort(one.trouble)
			one.trouble = slices.Compact(one.trouble)
		}
	}
}

// What is asked for as such, and not because a definition names it.
var (
	serviceResource   = corev1.SchemeGroupVersion.WithResource("services")
	podResource       = corev1.SchemeGroupVersion.WithResource("pods")
	namespaceResource = corev1.SchemeGroupVersion.WithResource("namespaces")
)

// A troubledPod is a pod whose containers do not run.
type troubledPod struct {
	namespace string
	labels    map[string]string
	reasons   []string
}

func (c *clients) troubledPods(ctx context.Context, namespace string, options metav1.ListOptions) ([]troubledPod, metav1.ListInterface, error) {
	options.FieldSelector = "status.phase!=Succeeded"
	page := &corev1.PodList{}
	if err := c.api.List(ctx, api.Target{GroupVersionResource: podResource, Namespace: namespace}, options, page); err != nil {
		return nil, nil, err
	}
	var troubled []troubledPod
	for i := range page.Items {
		if pod := &page.Items[i]; len(troubleOf(pod)) > 0 {
			troubled = append(troubled, troubledPod{pod.Namespace, pod.Labels, troubleOf(pod)})
		}
	}
	return troubled, page, nil
}

// A workloadKind is a kind of pod controller, and how to list a page of it.
type workloadKind struct {
	name string
	list lister[*workload]
}

func (c *clients) workloadKinds() []workloadKind {
	return []workloadKind{
		kindOf(c, appsv1.SchemeGroupVersion.WithResource("deployments"), func(l *appsv1.DeploymentList) []appsv1.Deployment { return l.Items },
			func(d *appsv1.Deployment) *workload {
				return newWorkload("Deployment", d.ObjectMeta, &d.Spec.Template, deploymentRollout(d))
			}),
		kindOf(c, appsv1.SchemeGroupVersion.WithResource("statefulsets"), func(l *appsv1.StatefulSetList) []appsv1.StatefulSet { return l.Items },
			func(s *appsv1.StatefulSet) *workload {
				return newWorkload("StatefulSet", s.ObjectMeta, &s.Spec.Template, statefulSetRollout(s))
			}),
		kindOf(c, appsv1.SchemeGroupVersion.WithResource("daemonsets"), func(l *appsv1.DaemonSetList) []appsv1.DaemonSet { return l.Items },
			func(d *appsv1.DaemonSet) *workload {
				return newWorkload("DaemonSet", d.ObjectMeta, &d.Spec.Template, daemonSetRollout(d))
			}),
		kindOf(c, appsv1.SchemeGroupVersion.WithResource("replicasets"), func(l *appsv1.ReplicaSetList) []appsv1.ReplicaSet { return l.Items },
			func(r *appsv1.ReplicaSet) *workload {
				if metav1.GetControllerOf(r) != nil {
					return nil // its Deployment speaks for it
				}
				return newWorkload("ReplicaSet", r.ObjectMeta, &r.Spec.Template,
					replicaRollout(r.ObjectMeta, r.Spec.Replicas, r.Status.ObservedGeneration, r.Status.Replicas, r.Status.AvailableReplicas))
			}),
		kindOf(c, corev1.SchemeGroupVersion.WithResource("replicationcontrollers"), func(l *corev1.ReplicationControllerList) []corev1.ReplicationController { return l.Items },
			func(r *corev1.ReplicationController) *workload {
				return newWorkload("ReplicationController", r.ObjectMeta, r.Spec.Template,
					replicaRollout(r.ObjectMeta, r.Spec.Replicas, r.Status.ObservedGeneration, r.Status.Replicas, r.Status.AvailableReplicas))
			}),
	}
}

// kindOf returns the kind of pod controller that a resource has, given what a list of it
// holds and what each of these is reduced to.
func kindOf[L, O any, P interface {
	*L
	runtime.Object
	metav1.ListInterface
}](c *clients, r schema.GroupVersionResource, items func(P) []O, of func(*O) *workload) workloadKind {
	return workloadKind{r.Resource, func(ctx context.Context, namespace string, options metav1.ListOptions) ([]*workload, metav1.ListInterface, error) {
		page := P(new(L))
		if err := c.api.List(ctx, api.Target{GroupVersionResource: r, Namespace: namespace}, options, page); err != nil {
			return nil, nil, err
		}
		return each(items(page), of), page, nil
	}}
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
