package rollout

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/pkg/errors"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/platformbus/platform/kubernetes/internal/api"
	"github.com/platformbus/platform/kubernetes/internal/kinds"
	"github.com/platformbus/platform/kubernetes/internal/redact"
)

// A Target is a pod controller whose rollout is waited for.
type Target struct {
	Key      api.Key
	Resource api.Resource
	EntryID  string // the ServiceID of the definition it comes from
}

// A Waiter waits for rollouts.
type Waiter struct {
	Client *api.Client
	// Timeout bounds a wait as a whole.
	Timeout time.Duration
	// Waiting is called with how far a target has come, each time that it comes further.
	Waiting func(ctx context.Context, t Target, progress string)
}

// fewTargets is for how many targets of a namespace each has a watch of its own.
const fewTargets = 64

// Wait waits until each target is rolled out, and returns why some are not. Each has a watch of
// its own, so that nothing is heard of other objects; where there are many of a kind in a
// namespace they share one.
func (w *Waiter) Wait(ctx context.Context, targets []Target) map[Target]error {
	ctx, cancel := context.WithTimeoutCause(ctx, w.Timeout, api.Overdue("wait", w.Timeout))
	defer cancel()
	type place struct {
		resource  api.Resource
		namespace string
	}
	byKey, byPlace := map[api.Key]*awaited{}, map[place][]*awaited{}
	for _, t := range targets {
		a := byKey[t.Key]
		if a == nil {
			a = &awaited{key: t.Key}
			at := place{t.Resource, t.Key.Namespace}
			byKey[t.Key], byPlace[at] = a, append(byPlace[at], a)
		}
		a.targets = append(a.targets, t)
	}
	var (
		mu     sync.Mutex
		failed = map[Target]error{} // guarded by mu
		group  sync.WaitGroup
	)
	for at, some := range byPlace {
		size := 1
		if len(some) > fewTargets {
			size = len(some)
		}
		for shared := range slices.Chunk(some, size) {
			one := &rolloutWatch{Waiter: w, kind: kinds.Of(shared[0].key.GroupKind), resource: at.resource, namespace: at.namespace, left: map[api.Key]*awaited{}, failed: map[Target]error{}}
			for _, a := range shared {
				one.left[a.key] = a
			}
			group.Go(func() {
				one.run(ctx)
				mu.Lock()
				defer mu.Unlock()
				maps.Copy(failed, one.failed)
			})
		}
	}
	group.Wait()
	return failed
}

// A rolloutWatch waits for pod controllers of one kind in a namespace. It belongs to one
// goroutine.
type rolloutWatch struct {
	*Waiter
	kind      *kinds.Kind
	resource  api.Resource
	namespace string
	left      map[api.Key]*awaited
	failed    map[Target]error
}

// awaited is an object that is not rolled out, and how far it was when last seen.
type awaited struct {
	key       api.Key
	targets   []Target // several if definitions of several services have it
	progress  string
	podLabels map[string]string
}

// run waits until none is left, or ctx ends, and then says what each was waiting for.
func (w *rolloutWatch) run(ctx context.Context) {
	ended := w.follow(ctx)
	if ended == nil {
		return
	}
	// A caller that has cancelled does not want to wait for the reasons; one that has run out
	// of time needs them.
	var look context.Context
	if errors.Is(ended, context.DeadlineExceeded) {
		var cancel context.CancelFunc
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
func (w *rolloutWatch) follow(ctx context.Context) error {
	for wait := api.MinBackoff; ; wait = min(2*wait, api.MaxBackoff) {
		version, err := w.list(ctx)
		if err != nil || len(w.left) == 0 {
			return err
		}
		if err := w.watch(ctx, version); err != nil || len(w.left) == 0 {
			return err
		}
		if err := api.Sleep(ctx, wait); err != nil {
			return err
		}
	}
}

func (w *rolloutWatch) options() metav1.ListOptions {
	if len(w.left) == 1 {
		for key := range w.left {
			return metav1.ListOptions{FieldSelector: fields.OneTermEqualSelector("metadata.name", key.Name).String()}
		}
	}
	return metav1.ListOptions{}
}

func (w *rolloutWatch) list(ctx context.Context) (version string, err error) {
	missing := maps.Clone(w.left)
	err = w.Client.Pages(ctx, func(ctx context.Context, options metav1.ListOptions) (metav1.ListInterface, error) {
		options.FieldSelector = w.options().FieldSelector
		list, err := w.Client.Objects(w.resource.GroupVersionResource, w.namespace).List(ctx, options)
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

func (w *rolloutWatch) keyOf(object *unstructured.Unstructured) api.Key {
	return api.Key{GroupKind: w.resource.GVK().GroupKind(), Namespace: object.GetNamespace(), Name: object.GetName()}
}

// watch follows the objects until none is left, the watch ends (nil), or ctx does.
func (w *rolloutWatch) watch(ctx context.Context, version string) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	options := w.options()
	options.ResourceVersion = version
	events, err := w.Client.Objects(w.resource.GroupVersionResource, w.namespace).Watch(ctx, options)
	switch {
	case err == nil:
	case startsAnew(err):
		return nil
	case ctx.Err() != nil:
		return context.Cause(ctx)
	default:
		return err
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
				if err := api.FromObject(event.Object, w.resource.Resource); !startsAnew(err) {
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

// startsAnew says whether the error of a watch calls for another list: the API server may answer a
// moment later, or does not know any more what happened since the last one.
func startsAnew(err error) bool {
	return api.IsTransient(err) || apierrors.IsResourceExpired(err) || apierrors.IsGone(err)
}

func (w *rolloutWatch) gone(key api.Key) {
	if a := w.left[key]; a != nil {
		w.end(a, errors.New("it was deleted meanwhile"))
	}
}

// see takes note of how far an object has come.
func (w *rolloutWatch) see(ctx context.Context, object *unstructured.Unstructured) {
	a := w.left[w.keyOf(object)]
	if a == nil {
		return
	}
	workload, err := w.kind.ReadWorkload(object)
	if err != nil {
		w.end(a, err)
		return
	}
	state := Of(w.kind, object, workload).Confirm(ctx, w.Client, workload)
	if workload.Template != nil {
		a.podLabels = workload.Template.Labels
	}
	if a.progress != state.Text && state.Phase == Updating {
		for _, t := range a.targets {
			w.Waiting(ctx, t, state.Text)
		}
	}
	a.progress = state.Text
	switch state.Phase {
	case Ready:
		w.end(a, nil)
	case Stalled, Paused:
		w.fail(ctx, a, errors.New(state.Text))
	case Updating:
	}
}

// fail ends the wait for a, with what its pods say unless look, the context for asking
// them, is nil.
func (w *rolloutWatch) fail(look context.Context, a *awaited, err error) {
	if look != nil {
		if reasons := w.podTrouble(look, a); len(reasons) > 0 {
			err = fmt.Errorf("%w; pods: %s", err, strings.Join(reasons, "; "))
		}
	}
	w.end(a, redact.Error(err))
}

// end ends the wait for a, which is rolled out unless err says why not.
func (w *rolloutWatch) end(a *awaited, err error) {
	delete(w.left, a.key)
	if err == nil {
		return
	}
	for _, t := range a.targets {
		w.failed[t] = err
	}
}

// podTroubleLimit bounds the time for a look at pods. It is what the reader of the error
// needs, even if the call's own time is over, but others wait meanwhile.
const podTroubleLimit = 2 * time.Second

// podTrouble returns why the containers of a's pods do not run, each reason once.
func (w *rolloutWatch) podTrouble(ctx context.Context, a *awaited) []string {
	if len(a.podLabels) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, podTroubleLimit)
	defer cancel()
	pods := &corev1.PodList{}
	options := metav1.ListOptions{LabelSelector: labels.SelectorFromSet(a.podLabels).String(), Limit: api.PageSize}
	at := api.Target{GroupVersionResource: corev1.SchemeGroupVersion.WithResource("pods"), Namespace: a.key.Namespace}
	if err := w.Client.List(ctx, at, options, pods); err != nil {
		return nil // it only adds to an error that is there already
	}
	reasons := map[string]bool{}
	for i := range pods.Items {
		for _, reason := range TroubleOf(&pods.Items[i]) {
			reasons[reason] = true
		}
	}
	return slices.Sorted(maps.Keys(reasons))
}
