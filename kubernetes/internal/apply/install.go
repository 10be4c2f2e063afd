package apply

import (
	"context"
	"fmt"

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
	var live *unstructured.Unstructured
	err := a.client.Once(ctx, func(ctx context.Context) (err error) {
		live, err = a.objects(s.Object).Get(ctx, s.Object.Key.Name)
		return err
	})
	if err != nil && !api.IsTransient(err) {
		return fmt.Errorf("wait until it is established: %w", err)
	}
	if err == nil {
		for condition := range kinds.Items(live.Object["status"], "conditions") {
			if kinds.Nested(condition, "type") == "NamesAccepted" && kinds.Nested(condition, "status") == "False" {
				return fmt.Errorf("wait until it is established: names not accepted: %v", kinds.Nested(condition, "message"))
			}
			if kinds.Nested(condition, "type") == "Established" && kinds.Nested(condition, "status") == "True" {
				return nil
			}
		}
	}
	return s.wait(what, a.options.WaitTimeout, pollBackoff, func(cause error) error {
		return fmt.Errorf("wait until it is established: %w", redact.Join(cause, err))
	})
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
