package apply

import (
	"context"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/platformbus/platform/kubernetes/internal/api"
	"github.com/platformbus/platform/kubernetes/internal/kinds"
	"github.com/platformbus/platform/kubernetes/internal/redact"
)

// awaitServed returns nil if the API server serves all that a CustomResourceDefinition
// defines.
func (a *Applier) awaitServed(ctx context.Context, s *Step) error {
	const what = "until it is established"
	if s.waiting != what {
		a.options.Waiting(s.Object, what)
	}
	missing, err := a.unserved(ctx, s.Object)
	if err != nil && !api.IsTransient(err) {
		return fmt.Errorf("wait until it is established: %w", err)
	}
	if err == nil && missing == "" {
		return nil
	}
	if err == nil && s.attempts >= patience {
		if err := a.checkNames(ctx, s.Object); err != nil {
			return fmt.Errorf("wait until it is established: %w", err)
		}
	}
	return s.wait(what, a.options.WaitTimeout, installBackoff, func(cause error) error {
		return fmt.Errorf("wait until it is established: %s is not served yet: %w", missing, redact.Join(cause, err))
	})
}

// installBackoff makes few requests until a definition is served, which takes up to some
// seconds.
var installBackoff = backoff{50 * time.Millisecond, 5 * time.Second}

// patience is after how many requests it is asked whether the names of a kind are taken.
const patience = 4

// unserved returns a kind that a CustomResourceDefinition defines and the API server does not
// serve yet. It asks for the lists of resources of the group's versions, which are small.
func (a *Applier) unserved(ctx context.Context, t *Target) (string, error) {
	for _, d := range t.Defines {
		var served bool
		err := a.client.Once(ctx, func(ctx context.Context) (err error) {
			served, err = a.client.Serves(ctx, d.GroupVersion().WithResource(d.Plural), d.Kind)
			return err
		})
		if err != nil || !served {
			return d.Kind + " in " + d.GroupVersion().String(), err
		}
	}
	return "", nil
}

// checkNames returns an error if the names that a CustomResourceDefinition defines are taken.
func (a *Applier) checkNames(ctx context.Context, t *Target) error {
	var live *unstructured.Unstructured
	err := a.client.Once(ctx, func(ctx context.Context) (err error) {
		live, err = a.objects(t).Get(ctx, t.Key.Name)
		return err
	})
	if err != nil {
		if api.IsTransient(err) {
			return nil
		}
		return err
	}
	for condition := range kinds.Items(live.Object["status"], "conditions") {
		if kinds.Nested(condition, "type") == "NamesAccepted" && kinds.Nested(condition, "status") == "False" {
			return fmt.Errorf("names not accepted: %v", kinds.Nested(condition, "message"))
		}
	}
	return nil
}

// resolve replaces what the definition of the object's kind says of it, which this Sync has
// applied meanwhile, by what the API server says: no path is made of the former.
func (a *Applier) resolve(ctx context.Context, s *Step) error {
	t := s.Object
	known, err := a.client.Kinds(ctx)
	if err != nil {
		return err
	}
	res, err := known.Find(t.GVK)
	if err != nil { // what is known may be older than the definition
		if known, err = a.client.KindsAfter(ctx, known); err != nil {
			return err
		}
		if res, err = known.Find(t.GVK); err != nil {
			return s.wait("until its kind is served", a.options.WaitTimeout, retryBackoff, func(cause error) error {
				return fmt.Errorf("%w; the last answer was: %w", cause, err)
			})
		}
	}
	if res.Namespaced != t.Resource.Namespaced {
		return fmt.Errorf("the cluster does not serve the kind %s as its definition says", t.GVK.Kind)
	}
	t.Resource, t.Fresh = res, false
	return nil
}
