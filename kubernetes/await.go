package kubernetes

import (
	"context"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	"github.com/pkg/errors"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
)

// awaitRollouts waits until each target is what its definition says, and yields those
// that failed, with why. All targets of a kind in a namespace share one watch.
func (c *clients) awaitRollouts(ctx context.Context, targets []*target) iter.Seq2[*target, error] {
	type place struct {
		res       resource
		namespace string
	}
	waits := map[place]*rolloutWait{}
	for _, t := range targets {
		at := place{t.resource, t.key.namespace}
		if waits[at] == nil {
			waits[at] = &rolloutWait{clients: c, res: at.res, namespace: at.namespace, left: map[string]*awaited{}}
		}
		waits[at].left[t.key.name] = &awaited{target: t}
	}
	var (
		mu     sync.Mutex
		failed = map[*target]error{} // guarded by mu
		group  sync.WaitGroup
	)
	for _, w := range waits {
		group.Go(func() {
			w.run(ctx)
			mu.Lock()
			defer mu.Unlock()
			maps.Copy(failed, w.failed)
		})
	}
	group.Wait()
	return maps.All(failed)
}

// A rolloutWait waits for pod controllers of one kind in one namespace. It belongs to one
// goroutine.
type rolloutWait struct {
	*clients
	res       resource
	namespace string
	left      map[string]*awaited // by name
	failed    map[*target]error
}

// awaited is a target that is not done, and how far it was when last seen.
type awaited struct {
	*target
	progress string
	selector *metav1.LabelSelector
}

// run waits until none is left, or time is up, and then says what each was waiting for.
func (w *rolloutWait) run(ctx context.Context) {
	ctx, cancel := w.wait(ctx)
	defer cancel()
	w.failed = map[*target]error{}
	ended := w.follow(ctx)
	if ended == nil {
		return
	}
	// Who has cancelled the call does not want to wait for this; who has run out of time
	// needs it.
	var look context.Context
	if errors.Is(ended, context.DeadlineExceeded) {
		look, cancel = context.WithTimeout(context.WithoutCancel(ctx), podTroubleLimit)
		defer cancel()
	}
	for _, name := range slices.Sorted(maps.Keys(w.left)) {
		a, err := w.left[name], ended
		if a.progress != "" {
			err = fmt.Errorf("%w; it was at: %s", err, a.progress)
		}
		w.fail(look, a, err)
	}
}

// follow lists, then watches, and begins anew when the watch ends, until none is left.
func (w *rolloutWait) follow(ctx context.Context) error {
	for wait := minBackoff; ; wait = min(2*wait, maxBackoff) {
		version, err := w.list(ctx)
		if err != nil || len(w.left) == 0 {
			return err
		}
		if err := w.watch(ctx, version); err != nil || len(w.left) == 0 {
			return err
		}
		if err := sleep(ctx, wait); err != nil {
			return err
		}
	}
}

func (w *rolloutWait) options() metav1.ListOptions {
	if len(w.left) == 1 {
		for name := range w.left {
			return metav1.ListOptions{FieldSelector: "metadata.name=" + name}
		}
	}
	return metav1.ListOptions{}
}

func (w *rolloutWait) list(ctx context.Context) (version string, err error) {
	missing := maps.Clone(w.left)
	err = w.pages(ctx, func(ctx context.Context, options metav1.ListOptions) (metav1.ListInterface, error) {
		options.FieldSelector = w.options().FieldSelector
		list, err := w.dynamicOf(w.res, w.namespace).List(ctx, options)
		if err != nil {
			return nil, err
		}
		version = list.GetResourceVersion()
		for i := range list.Items {
			delete(missing, list.Items[i].GetName())
			w.see(ctx, &list.Items[i])
		}
		return list, nil
	})
	if err != nil {
		return "", err
	}
	for name := range missing {
		w.gone(name)
	}
	return version, nil
}

// watch follows the objects until none is left, the watch ends (nil), or ctx does.
func (w *rolloutWait) watch(ctx context.Context, version string) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	options := w.options()
	options.ResourceVersion = version
	events, err := w.dynamicOf(w.res, w.namespace).Watch(ctx, options)
	if err != nil {
		if isTransient(err) {
			return nil
		}
		return causeOf(ctx, err)
	}
	defer events.Stop()
	for len(w.left) > 0 {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case event, open := <-events.ResultChan():
			if !open {
				return nil
			}
			object, ok := event.Object.(*unstructured.Unstructured)
			switch {
			case event.Type == watch.Error:
				if err := apierrors.FromObject(event.Object); !isTransient(err) && !apierrors.IsResourceExpired(err) && !apierrors.IsGone(err) {
					return err
				}
				return nil
			case !ok:
			case event.Type == watch.Deleted:
				w.gone(object.GetName())
			default:
				w.see(ctx, object)
			}
		}
	}
	return nil
}

func (w *rolloutWait) gone(name string) {
	if a := w.left[name]; a != nil {
		delete(w.left, name)
		w.failed[a.target] = fmt.Errorf("it was deleted meanwhile")
	}
}

// see takes note of how far an object has come.
func (w *rolloutWait) see(ctx context.Context, object *unstructured.Unstructured) {
	a := w.left[object.GetName()]
	if a == nil {
		return
	}
	result, err := computeStatus(object)
	if err != nil {
		delete(w.left, object.GetName())
		w.failed[a.target] = err
		return
	}
	if a.progress != result.Message && result.Status == status.InProgressStatus {
		w.tell(Event{ID: a.label, Object: a.key.String(), Result: Waiting, Progress: result.Message})
	}
	a.progress = result.Message
	a.selector = selectorOf(object)
	switch result.Status {
	case status.CurrentStatus:
		delete(w.left, object.GetName())
	case status.FailedStatus:
		for _, condition := range result.Conditions {
			a.progress = fmt.Sprintf("%s: %s", condition.Reason, strings.TrimSuffix(condition.Message, "."))
		}
		w.fail(ctx, a, errStalled(a.progress))
	}
}

// errStalled is a rollout that will not get further by itself.
type errStalled string

func (e errStalled) Error() string { return "stalled: " + string(e) }

// fail ends the wait for a, with what its pods say unless look, the context for asking
// them, is nil.
func (w *rolloutWait) fail(look context.Context, a *awaited, err error) {
	delete(w.left, a.key.name)
	if look != nil {
		if reasons := w.podTrouble(look, a); len(reasons) > 0 {
			err = fmt.Errorf("%w; pods: %s", err, strings.Join(reasons, "; "))
		}
	}
	w.failed[a.target] = onOneLine(err)
}

// podTroubleLimit bounds the time for one more look at the pods when the call's own time
// is over: it is what the reader of the error needs.
const podTroubleLimit = 2 * time.Second

// podTrouble returns why the containers of a's pods do not run, each reason once.
func (w *rolloutWait) podTrouble(ctx context.Context, a *awaited) []string {
	selector, err := metav1.LabelSelectorAsSelector(a.selector)
	if err != nil || a.selector == nil {
		return nil
	}
	ctx, cancel := w.request(ctx)
	defer cancel()
	pods, err := w.typed.CoreV1().Pods(w.namespace).List(ctx, metav1.ListOptions{LabelSelector: selector.String(), Limit: pageSize})
	if err != nil {
		return nil // it only adds to an error that is there already
	}
	reasons := map[string]bool{}
	for i := range pods.Items {
		for _, reason := range troubleOf(&pods.Items[i]) {
			reasons[reason] = true
		}
	}
	return slices.Sorted(maps.Keys(reasons))
}

// troubleOf returns why the pod's containers do not run.
func troubleOf(pod *corev1.Pod) []string {
	var reasons []string
	for _, c := range slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses) {
		switch {
		case c.State.Waiting != nil && c.State.Waiting.Reason != "" && c.State.Waiting.Reason != "ContainerCreating" && c.State.Waiting.Reason != "PodInitializing":
			reasons = append(reasons, strings.TrimSuffix(fmt.Sprintf("container %s (%s): %s: %s", c.Name, c.Image, c.State.Waiting.Reason, c.State.Waiting.Message), ": "))
		case c.State.Terminated != nil && c.State.Terminated.ExitCode != 0:
			reasons = append(reasons, fmt.Sprintf("container %s (%s): exited with %d: %s", c.Name, c.Image, c.State.Terminated.ExitCode, c.State.Terminated.Reason))
		}
	}
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse {
			reasons = append(reasons, fmt.Sprintf("%s: %s", c.Reason, c.Message))
		}
	}
	return reasons
}

// computeStatus is kstatus', which knows ReplicationControllers only by the kind that
// took their place; their status has the same form.
func computeStatus(object *unstructured.Unstructured) (*status.Result, error) {
	if object.GroupVersionKind().GroupKind() == (schema.GroupKind{Kind: "ReplicationController"}) {
		object = &unstructured.Unstructured{Object: maps.Clone(object.Object)}
		object.SetGroupVersionKind(schema.GroupVersionKind{Group: "apps", Version: "v1", Kind: "ReplicaSet"})
	}
	return status.Compute(object)
}

// selectorOf returns the selector of a pod controller, which is a mere map for a
// ReplicationController.
func selectorOf(object *unstructured.Unstructured) *metav1.LabelSelector {
	value := dig(object.Object, "spec", "selector", "matchLabels")
	if object.GetKind() == "ReplicationController" {
		value = dig(object.Object, "spec", "selector")
	}
	labels, _ := value.(map[string]any)
	selector := &metav1.LabelSelector{MatchLabels: map[string]string{}}
	for name, value := range labels {
		selector.MatchLabels[name] = fmt.Sprint(value)
	}
	if len(selector.MatchLabels) == 0 {
		return nil
	}
	return selector
}
