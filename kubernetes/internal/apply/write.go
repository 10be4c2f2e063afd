package apply

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/pkg/errors"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"github.com/platformbus/platform/kubernetes/internal/api"
	"github.com/platformbus/platform/kubernetes/internal/graph"
	"github.com/platformbus/platform/kubernetes/internal/kinds"
	"github.com/platformbus/platform/kubernetes/internal/redact"
)

// An Outcome is what became of an object.
type Outcome int

// The outcomes.
const (
	Applied Outcome = iota + 1
	Unchanged
	Deleted
	Ignored
)

// Do takes a step as far as it gets without waiting. If it has to wait, for something to be
// gone or served or for an error to pass, the error is a graph.Again. Otherwise the step is
// over, and took is how long it was under way.
func (a *Applier) Do(ctx context.Context, n *graph.Step[*Step]) (outcome Outcome, took time.Duration, err error) {
	s := n.Value
	s.awaited = n.HasDependents()
	if s.Begun.IsZero() {
		s.Begun = time.Now()
	}
	unlock, err := a.writing.lock(ctx, s.Object.Key)
	if err == nil {
		defer unlock()
		outcome, err = a.advance(ctx, s)
		if err != nil && api.IsTransient(err) && ctx.Err() == nil {
			err = s.retry(err)
		}
	}
	var again *graph.Again
	if !errors.As(err, &again) {
		a.countInstalling(ctx, s, false)
	}
	return outcome, time.Since(s.Begun), err
}

// advance goes on with a step in the phase that it is at.
func (a *Applier) advance(ctx context.Context, s *Step) (Outcome, error) {
	switch s.phase {
	case starting:
		return a.start(ctx, s)
	case deleting, replacing:
		if err := a.awaitGone(ctx, s); err != nil {
			return 0, err
		}
		if s.phase == deleting {
			return Deleted, nil
		}
		s.phase, s.seen = starting, nil
		return a.apply(ctx, s)
	default:
		return Applied, a.awaitServed(ctx, s)
	}
}

func (a *Applier) start(ctx context.Context, s *Step) (Outcome, error) {
	t := s.Object
	if t.Fresh {
		if err := a.resolve(ctx, s); err != nil {
			return 0, err
		}
		s.follows = true // objects may be there at other versions of the kind
	}
	if err := a.settleNulls(ctx, t, nil); err != nil {
		return 0, err
	}
	if s.seen == nil && (s.Delete || s.follows || s.Explicit) {
		err := a.observeOne(ctx, s)
		if s.hidden = apierrors.IsForbidden(err) && !s.Delete; err != nil && !s.hidden { // who may not look can still apply
			return 0, err
		}
	}
	if s.hidden && !s.Explicit {
		if err := a.observeByDryRun(ctx, s); err != nil {
			return 0, err
		}
	}
	if s.doubt {
		if err := a.settleDoubt(ctx, s); err != nil {
			return 0, err
		}
	}
	if s.seen != nil && s.seen.ignored && !s.Explicit {
		a.options.Logger.InfoContext(ctx, "left alone, as its annotation says", "object", t.Key.String(), "annotation", kinds.IgnoreAnnotation)
		return Ignored, nil
	}
	switch {
	case s.Delete:
		return a.delete(ctx, s)
	case s.Unchanged:
		return Unchanged, nil
	case s.seen != nil && s.seen.goes:
		return a.replace(ctx, s)
	}
	return a.apply(ctx, s)
}

// replace waits until an object that is being deleted is gone, and makes it again. For a
// namespace, which may take for ever, it says at once what holds it.
func (a *Applier) replace(ctx context.Context, s *Step) (Outcome, error) {
	if s.Object.Key.GroupKind == kinds.Namespace {
		return 0, a.heldNamespace(ctx, s.Object)
	}
	s.phase = replacing
	return a.advance(ctx, s)
}

// heldNamespace returns an error that tells what a namespace that is being deleted waits for.
func (a *Applier) heldNamespace(ctx context.Context, t *Target) error {
	var live *unstructured.Unstructured
	err := a.client.Once(ctx, func(ctx context.Context) (err error) {
		live, err = a.objects(t).Get(ctx, t.Key.Name)
		return err
	})
	if err != nil {
		return fmt.Errorf("the namespace is being deleted: %w", err)
	}
	var held []string
	for condition := range kinds.Items(live.Object["status"], "conditions") {
		if kinds.Nested(condition, "status") == "True" {
			held = append(held, fmt.Sprint(kinds.Nested(condition, "message")))
		}
	}
	if len(held) == 0 {
		held = append(held, "it is not empty yet")
	}
	return fmt.Errorf("the namespace is being deleted, and nothing can be made in it: %s", redact.Line(strings.Join(held, "; ")))
}

// apply makes the object what its definition says, by server-side apply.
func (a *Applier) apply(ctx context.Context, s *Step) (Outcome, error) {
	t := s.Object
	if s.seen != nil && (s.seen.foreign || s.seen.isMoved(t.Definition)) {
		if err := a.takeOver(ctx, t); err != nil {
			return 0, fmt.Errorf("adopt the fields of other tools: %w", err)
		}
	}
	if s.seen != nil && (s.seen.hostNetwork && !t.hostNetwork || t.keepsSilently) { // nothing refuses what is left behind
		if _, _, err := a.freeRemains(ctx, t); err != nil {
			return 0, fmt.Errorf("see what is left of an earlier definition: %w", err)
		}
	}
	err := a.patch(ctx, s)
	if v, ok := a.verified.Get(t.Key); err == nil && ok && v.foreign { // the server gives what nobody owned to "before-first-apply"
		if err := a.takeOver(ctx, t); err != nil {
			return 0, fmt.Errorf("adopt the fields of other tools: %w", err)
		}
		err = a.patch(ctx, s)
	}
	cannotChange := api.IsImmutable(err)
	if apierrors.IsInvalid(err) {
		freed, held, failed := a.freeRemains(ctx, t)
		if going := (&goingError{}); errors.As(failed, &going) {
			return a.replace(ctx, s)
		}
		if failed != nil {
			return 0, fmt.Errorf("%w; and to see what is left of an earlier definition: %w", err, failed)
		}
		if freed {
			err = a.patch(ctx, s)
			cannotChange = api.IsImmutable(err)
		}
		cannotChange = cannotChange || held && apierrors.IsInvalid(err)
	}
	var going *goingError
	switch {
	case errors.As(err, &going):
		return a.replace(ctx, s)
	case !cannotChange:
	case t.mayRecreate():
		if failed := a.dryRunCreate(ctx, t); failed != nil {
			return 0, fmt.Errorf("%w; not recreated, since the API server would not have it: %w", err, failed)
		}
		a.options.Logger.InfoContext(ctx, "recreate an object that cannot be changed", "object", t.Key.String(), "reason", redact.Line(redact.Content().Text(err.Error())))
		if err := a.sendDelete(ctx, t); err != nil && !apierrors.IsNotFound(err) { // somebody deleted it meanwhile
			return 0, fmt.Errorf("recreate: delete: %w", err)
		}
		s.phase = replacing
		return a.advance(ctx, s)
	default:
		err = fmt.Errorf("%w (with the annotation %s: 'true' in its definition it would be deleted and made again)", err, kinds.RecreateAnnotation)
	}
	if err != nil {
		return 0, err
	}
	return a.applied(ctx, s)
}

// applied ends a step whose object is applied, or waits for what it defines.
func (a *Applier) applied(ctx context.Context, s *Step) (Outcome, error) {
	if s.Object.Key.GroupKind != kinds.CustomResourceDefinition {
		return Applied, nil
	}
	s.phase = installing
	return a.advance(ctx, s)
}

// patch sends the definition, and remembers what it made of the object.
func (a *Applier) patch(ctx context.Context, s *Step) error {
	t := s.Object
	force := !a.options.FailOnConflict
	a.verified.Forget(t.Key)
	return a.client.Once(ctx, func(ctx context.Context) error {
		live, err := a.metadata(t).Patch(ctx, t.Key.Name, types.ApplyPatchType, t.body,
			metav1.PatchOptions{FieldManager: a.options.FieldManager, Force: &force, FieldValidation: t.fieldValidation()})
		if err == nil && live.DeletionTimestamp != nil {
			return &goingError{}
		}
		if err == nil {
			a.remember(t, a.observe(live, live.ManagedFields))
			a.looker.Wrote(t.Resource.GroupVersionResource, t.Key.Namespace, t.Key.Name, live.ResourceVersion)
			return nil
		}
		if apierrors.IsNotFound(err) && apierrors.HasStatusCause(err, metav1.CauseTypeUnexpectedServerResponse) {
			if t.DefinedHere {
				return api.Transient(err)
			}
			a.client.ForgetKinds() // the kind is not what it was
		}
		if api.IsTooLarge(err) {
			return fmt.Errorf("the definition has %d bytes, which is more than the API server takes: %w", len(t.body), err)
		}
		return err
	})
}

// fieldValidation says how the API server validates fields. Of its own kinds it refuses those
// that it does not know, whatever this says; unless it ignores the rest, it reads the body a
// second time, to find keys that are there twice, which none of ours is.
func (d *Definition) fieldValidation() string {
	if kinds.Lookup(d.GVK.GroupKind()) != nil {
		return metav1.FieldValidationIgnore
	}
	return "" // it warns of fields that are dropped
}

// delete deletes the object; one that is gone already is fine. If other steps depend on it
// the step is over when the object is really gone.
func (a *Applier) delete(ctx context.Context, s *Step) (Outcome, error) {
	err := a.sendDelete(ctx, s.Object)
	switch {
	case apierrors.IsNotFound(err):
		return Deleted, nil
	case err != nil:
		return 0, err
	case !s.awaited:
		return Deleted, nil
	}
	s.phase = deleting
	return a.advance(ctx, s)
}

func (a *Applier) sendDelete(ctx context.Context, t *Target) error {
	a.verified.Forget(t.Key)
	if t.Key.GroupKind == kinds.Namespace {
		a.wipe(t.Key.Name)
	}
	propagation := metav1.DeletePropagationBackground
	return a.client.Once(ctx, func(ctx context.Context) error {
		return a.metadata(t).Delete(ctx, t.Key.Name, metav1.DeleteOptions{PropagationPolicy: &propagation})
	})
}

// awaitGone returns nil if the object that was deleted is gone.
func (a *Applier) awaitGone(ctx context.Context, s *Step) error {
	const what = "until it is gone"
	if s.beginWait(what) {
		a.options.Waiting(ctx, s.Object, what)
	}
	var live *metav1.PartialObjectMetadata
	err := a.client.Once(ctx, func(ctx context.Context) (err error) {
		live, err = a.metadata(s.Object).Get(ctx, s.Object.Key.Name)
		return err
	})
	switch {
	case apierrors.IsNotFound(err):
		return nil
	case err != nil && !api.IsTransient(err):
		return fmt.Errorf("wait until it is gone: %w", err)
	case err == nil && live.DeletionTimestamp == nil: // somebody made it again
		return nil
	}
	why := ""
	if err == nil && len(live.Finalizers) > 0 {
		why = ", for its finalizers " + strings.Join(live.Finalizers, ", ")
	}
	return s.again(what, a.options.WaitTimeout, pollBackoff, func(cause error) error {
		return fmt.Errorf("wait until it is gone%s: %w", why, redact.Join(cause, err))
	})
}
