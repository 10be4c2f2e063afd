package kubernetes

import (
	"context"
	"encoding/json"
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
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/platformbus/platform/kubernetes/internal/api"
	"github.com/platformbus/platform/kubernetes/internal/redact"
)

// awaitRollouts waits until each target is what its definition says, and yields those
// that failed, with why. All targets of a kind share one watch: there is none over
// several kinds. Who may not watch all namespaces has one for each of them.
func (c *clients) awaitRollouts(ctx context.Context, targets []*target) iter.Seq2[*target, error] {
	return maps.All(c.awaitTogether(ctx, targets, func(t *target) place { return place{res: t.resource} }))
}

// A place is where to watch: in a namespace, or in all.
type place struct {
	res       resource
	namespace string
}

func (t *target) place() place { return place{t.resource, t.key.namespace} }

// awaitTogether waits for targets, those of one group with one watch, and returns why some
// of them failed.
func (c *clients) awaitTogether(ctx context.Context, targets []*target, groupOf func(*target) place) map[*target]error {
	waits := map[place]*rolloutWait{}
	for _, t := range targets {
		at := groupOf(t)
		w := waits[at]
		if w == nil {
			w = &rolloutWait{clients: c, place: t.place(), left: map[objectKey]*awaited{}, failed: map[*target]error{}}
			waits[at] = w
		}
		if w.namespace != t.key.namespace {
			w.namespace = ""
		}
		w.left[t.key] = &awaited{target: t}
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
	return failed
}

// A rolloutWait waits for pod controllers of one kind. It belongs to one goroutine.
type rolloutWait struct {
	*clients
	place
	left   map[objectKey]*awaited
	failed map[*target]error
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
	ended := w.follow(ctx)
	if ended == nil {
		return
	}
	if apierrors.IsForbidden(ended) && w.namespace == "" {
		var targets []*target
		for _, a := range w.left {
			targets = append(targets, a.target)
		}
		maps.Copy(w.failed, w.awaitTogether(ctx, targets, (*target).place))
		return
	}
	// Who has cancelled the call does not want to wait for this; who has run out of time
	// needs it.
	var look context.Context
	if errors.Is(ended, context.DeadlineExceeded) {
		look, cancel = context.WithTimeout(context.WithoutCancel(ctx), podTroubleLimit)
		defer cancel()
	}
	for _, a := range w.left {
		err := ended
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
		for key := range w.left {
			return metav1.ListOptions{FieldSelector: fields.OneTermEqualSelector("metadata.name", key.name).String()}
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
			delete(missing, w.keyOf(&list.Items[i]))
			w.see(ctx, &list.Items[i])
		}
		return list, nil
	})
	if err != nil {
		return "", err
	}
	for key := range missing {
		w.gone(key)
	}
	return version, nil
}

func (w *rolloutWait) keyOf(object *unstructured.Unstructured) objectKey {
	return objectKey{w.res.gvk().GroupKind(), object.GetNamespace(), object.GetName()}
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
				if err := api.FromObject(event.Object, w.res.Resource); !isTransient(err) && !apierrors.IsResourceExpired(err) && !apierrors.IsGone(err) {
					return err
				}
				return nil
			case !ok:
			case event.Type == watch.Deleted:
				w.gone(w.keyOf(object))
			default:
				w.see(ctx, object)
			}
		}
	}
	return nil
}

func (w *rolloutWait) gone(key objectKey) {
	if a := w.left[key]; a != nil {
		delete(w.left, key)
		w.failed[a.target] = errors.New("it was deleted meanwhile")
	}
}

// see takes note of how far an object has come.
func (w *rolloutWait) see(ctx context.Context, object *unstructured.Unstructured) {
	a := w.left[w.keyOf(object)]
	if a == nil {
		return
	}
	result, err := computeStatus(object)
	if err != nil {
		delete(w.left, a.key)
		w.failed[a.target] = err
		return
	}
	hide := func(text string) string { return text }
	if result.Status != status.CurrentStatus {
		if body, err := object.MarshalJSON(); err == nil {
			hide = redact.Of(false, body).Text
		}
	}
	result.Message = hide(result.Message)
	if a.progress != result.Message && result.Status == status.InProgressStatus {
		w.tell(Event{ID: a.label, Object: a.key.String(), Result: Waiting, Progress: result.Message})
	}
	a.progress = result.Message
	a.selector = selectorOf(object)
	switch result.Status {
	case status.CurrentStatus:
		delete(w.left, a.key)
	case status.FailedStatus:
		for _, condition := range result.Conditions {
			a.progress = fmt.Sprintf("%s: %s", condition.Reason, strings.TrimSuffix(hide(condition.Message), "."))
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
	delete(w.left, a.key)
	if look != nil {
		if reasons := w.podTrouble(look, a); len(reasons) > 0 {
			err = fmt.Errorf("%w; pods: %s", err, strings.Join(reasons, "; "))
		}
	}
	w.failed[a.target] = redact.Error(err)
}

// podTroubleLimit bounds the time for a look at pods. It is what the reader of the error
// needs, even if the call's own time is over, but others wait meanwhile.
const podTroubleLimit = 2 * time.Second

// podTrouble returns why the containers of a's pods do not run, each reason once.
func (w *rolloutWait) podTrouble(ctx context.Context, a *awaited) []string {
	selector, err := metav1.LabelSelectorAsSelector(a.selector)
	if err != nil || a.selector == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, podTroubleLimit)
	defer cancel()
	pods := &corev1.PodList{}
	options := metav1.ListOptions{LabelSelector: selector.String(), Limit: pageSize}
	if err := w.api.List(ctx, api.Target{GroupVersionResource: podResource, Namespace: a.key.namespace}, options, pods); err != nil {
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
	for i := range reasons {
		reasons[i] = withoutSecrets(reasons[i], pod.Spec)
	}
	return reasons
}

// withoutSecrets returns what may be shown of a text about pods: container runtimes and
// webhooks quote arguments and environment.
func withoutSecrets(text string, spec corev1.PodSpec) string {
	body, err := json.Marshal(map[string]any{"spec": spec})
	if err != nil {
		return redact.Hidden
	}
	return redact.Line(redact.Of(false, body).Text(text))
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
