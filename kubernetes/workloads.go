package kubernetes

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/platformbus/platform"
	"github.com/platformbus/platform/kubernetes/internal/api"
	"github.com/platformbus/platform/kubernetes/internal/kinds"
	"github.com/platformbus/platform/kubernetes/internal/look"
	"github.com/platformbus/platform/kubernetes/internal/redact"
	"github.com/platformbus/platform/kubernetes/internal/rollout"
)

// A workload is a pod controller, reduced to what a service's description needs.
type workload struct {
	kind, namespace, name string
	podLabels             map[string]string
	containers            []platform.Container
	state                 rollout.State
	podsLack              bool            // pods are wanted that do not serve
	from                  *kinds.Workload // what it was read from, if it has stalled
	trouble               []string        // why its pods do not run; see findTrouble
}

func (w *workload) String() string { return w.kind + " " + w.name }

// maxTrouble is how many reasons why pods do not run a status has.
const maxTrouble = 10

// status summarises it for display.
func (w *workload) status() string {
	text := w.state.Text
	if n := len(w.trouble); n > 0 {
		text += " (" + strings.Join(w.trouble[:min(n, maxTrouble)], "; ")
		if n > maxTrouble {
			text += fmt.Sprintf("; and %d more", n-maxTrouble)
		}
		text += ")"
	}
	return redact.Line(text)
}

// newWorkload reduces a pod controller, or returns nil for one that another pod controller owns.
func newWorkload(kind *kinds.Kind, object runtime.Object) *workload {
	from := kind.Workload(object)
	if from.IsOwned() {
		return nil
	}
	w := &workload{
		kind: kind.Kind, namespace: from.Namespace, name: from.Name,
		state:    rollout.Of(kind, object, from),
		podsLack: from.Desired > 0 && (from.Updated < from.Desired || from.Available < from.Desired),
	}
	if w.state.Phase == rollout.Stalled {
		w.from = &from
	}
	if from.Template == nil { // a ReplicationController may lack it
		return w
	}
	w.podLabels = from.Template.Labels
	w.containers = make([]platform.Container, 0, len(from.Template.Spec.Containers))
	for _, c := range from.Template.Spec.Containers {
		w.containers = append(w.containers, platform.Container{Name: c.Name, Image: c.Image})
	}
	return w
}

// workloads is an index of pod controllers by the labels of their pods.
type workloads struct {
	where   api.Scope // where they were looked for
	all     []*workload
	byLabel map[labelKey][]*workload
	hidden  map[string][]error // why some could not be read, by namespace; "" if they may be in any
}

// newWorkloads returns an index for a scope, which is empty.
func newWorkloads(where api.Scope) *workloads {
	return &workloads{where: where, byLabel: map[labelKey][]*workload{}, hidden: map[string][]error{}}
}

// hiddenIn returns why some pod controllers of a namespace could not be read.
func (w *workloads) hiddenIn(namespace string) []error {
	return distinct(slices.Concat(w.hidden[""], w.hidden[namespace]))
}

// failures returns why some could not be read, in any namespace.
func (w *workloads) failures() []error {
	return distinct(slices.Concat(slices.Collect(maps.Values(w.hidden))...))
}

// distinct puts errors in an order, each text once: the same list may fail for several selectors.
func distinct(errs []error) []error {
	redact.Sort(errs)
	return slices.CompactFunc(errs, func(a, b error) bool { return a.Error() == b.Error() })
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
		if kinds.IsSubset(selector, one.podLabels) {
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

// workloads lists the pod controllers in a scope, with one list for each kind and namespace, or for
// each kind if the scope is all, at once. The errors of lists that fail are in hidden.
func (c *core) workloads(ctx context.Context, where api.Scope) *workloads {
	scopes := map[string]api.Scope{"": nil}
	if where != nil {
		scopes = map[string]api.Scope{}
		for _, namespace := range where {
			scopes[namespace] = api.Scope{namespace}
		}
	}
	found := newWorkloads(where)
	var (
		mu    sync.Mutex // guards found
		lists sync.WaitGroup
	)
	for _, kind := range kinds.Workloads() {
		for namespace, scope := range scopes {
			lists.Go(func() {
				some, view := api.ListScope(ctx, c.client, scope, kind.Resource.Resource, c.workloadsOf(kind, ""))
				mu.Lock()
				defer mu.Unlock()
				found.add(some)
				found.hidden[namespace] = append(found.hidden[namespace], view.Hidden...)
			})
		}
	}
	lists.Wait()
	return found
}

// confirm finds out which of the workloads have stalled for a reason that no longer holds.
func (w *workloads) confirm(ctx context.Context, c *core) {
	var looks sync.WaitGroup
	for _, one := range w.all {
		if one.from != nil {
			looks.Go(func() { one.state = one.state.Confirm(ctx, c.client, *one.from) })
		}
	}
	looks.Wait()
}

// findTrouble adds to each workload that is not ready why its pods do not run, as far as that can
// be read. It sends no request if all workloads are ready.
func (w *workloads) findTrouble(ctx context.Context, c *core) {
	// Each under the rarest of its labels, so that those that many share do not matter.
	unready := map[labelKey][]*workload{}
	for _, one := range w.all {
		if key, ok := w.rarest(one.namespace, one.podLabels); ok && (one.podsLack || one.state.Phase == rollout.Stalled) {
			unready[key] = append(unready[key], one)
		}
	}
	if len(unready) == 0 {
		return
	}
	pods := c.podsOf(ctx, w.where, unready)
	for _, pod := range pods {
		for name, value := range pod.labels {
			for _, one := range unready[labelKey{pod.namespace, name, value}] {
				if kinds.IsSubset(one.podLabels, pod.labels) {
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

// fewUnready is for how many workloads their own pods are asked for, rather than all.
const fewUnready = 64

// podsOf returns the pods that are in trouble, among them those of the workloads.
func (c *core) podsOf(ctx context.Context, where api.Scope, of map[labelKey][]*workload) []troubledPod {
	byNamespace := map[string][]map[string]string{} // the labels of the pods
	n := 0
	for _, some := range of {
		for _, one := range some {
			byNamespace[one.namespace] = append(byNamespace[one.namespace], one.podLabels)
			n++
		}
	}
	if n > fewUnready {
		if where != nil || len(byNamespace) == 1 {
			where = slices.Sorted(maps.Keys(byNamespace))
		}
		pods, _ := api.ListScope(ctx, c.client, where, "pods", c.troubledPods(""))
		return pods
	}
	var (
		mu    sync.Mutex
		all   []troubledPod // guarded by mu
		lists sync.WaitGroup
	)
	for namespace, sets := range byNamespace {
		for _, selector := range look.Selectors(sets) {
			lists.Go(func() {
				pods, _ := api.ListScope(ctx, c.client, api.Scope{namespace}, "pods", c.troubledPods(selector))
				mu.Lock()
				defer mu.Unlock()
				all = append(all, pods...)
			})
		}
	}
	lists.Wait()
	return all
}

// Resources that are read whatever definitions there are.
var (
	serviceResource = corev1.SchemeGroupVersion.WithResource("services")
	podResource     = corev1.SchemeGroupVersion.WithResource("pods")
)

// A troubledPod is a pod whose containers do not run.
type troubledPod struct {
	namespace string
	labels    map[string]string
	reasons   []string
}

// troubledPods lists the pods with certain labels, or all.
func (c *core) troubledPods(selector string) api.Lister[troubledPod] {
	return func(ctx context.Context, namespace string, options metav1.ListOptions) ([]troubledPod, metav1.ListInterface, error) {
		options.LabelSelector = selector
		options.FieldSelector = "status.phase!=Succeeded"
		page := &corev1.PodList{}
		if err := c.client.List(ctx, api.Target{GroupVersionResource: podResource, Namespace: namespace}, options, page); err != nil {
			return nil, nil, err
		}
		var troubled []troubledPod
		for i := range page.Items {
			pod := &page.Items[i]
			if reasons := rollout.TroubleOf(pod); len(reasons) > 0 {
				troubled = append(troubled, troubledPod{pod.Namespace, pod.Labels, reasons})
			}
		}
		return troubled, page, nil
	}
}

// workloadsOf lists pod controllers of a kind, with certain labels or all, page by page.
func (c *core) workloadsOf(kind *kinds.Kind, selector string) api.Lister[*workload] {
	return func(ctx context.Context, namespace string, options metav1.ListOptions) ([]*workload, metav1.ListInterface, error) {
		options.LabelSelector = selector
		page, err := c.client.ListTyped(ctx, api.Target{GroupVersionResource: kind.Resource, Namespace: namespace}, kind.Kind, options)
		if err != nil {
			return nil, nil, err
		}
		var found []*workload
		err = meta.EachListItem(page, func(object runtime.Object) error {
			if w := newWorkload(kind, object); w != nil {
				found = append(found, w)
			}
			return nil
		})
		list, _ := page.(metav1.ListInterface)
		return found, list, err
	}
}
