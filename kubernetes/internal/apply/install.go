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
	if s.beginWait(what) {
		a.options.Waiting(ctx, s.Object, what)
		a.countInstalling(ctx, s, true)
	}
	missing, err := a.unserved(ctx, s)
	if err != nil && !api.IsTransient(err) {
		return fmt.Errorf("wait until it is established: %w", err)
	}
	if err == nil && missing == "" {
		a.established.Store(time.Now().UnixNano())
		return nil
	}
	if err == nil && a.doubtsNames(s) {
		s.checkAfter = 3 * time.Since(s.since)
		if err := a.checkNames(ctx, s.Object); err != nil {
			return fmt.Errorf("wait until it is established: %w", err)
		}
	}
	return s.again(what, a.options.WaitTimeout, a.installBackoff(s), func(cause error) error {
		a.countInstalling(ctx, s, false)
		return fmt.Errorf("wait until it is established: %s is not served yet: %w", missing, redact.Join(cause, err))
	})
}

// countInstalling notes that the definition of a kind is waited for, or not any more.
func (a *Applier) countInstalling(ctx context.Context, s *Step, waits bool) {
	if s.installs == waits {
		return
	}
	n := 1
	if !waits {
		n = -1
	}
	s.installs = waits
	a.installing.Add(int64(n))
	api.Burden(ctx, n*s.Object.size)
}

// installBackoff makes requests often enough that the wait is hardly longer than it must be, and
// few, however many definitions are waited for: the API server establishes one after the other,
// with all that it has to do for other requests at the same time.
func (a *Applier) installBackoff(s *Step) backoff {
	const (
		first = 50 * time.Millisecond
		last  = 5 * time.Second
		each  = 20 * time.Millisecond // for each definition that is waited for
		part  = 20                    // of the wait so far
	)
	pause := max(time.Duration(a.installing.Load())*each, time.Since(s.since)/part)
	return backoff{first, max(first, min(pause, last))}
}

// How long is waited, at least, until it is asked whether the names of a kind are taken: where one
// definition is waited for, and since the API server has established the last one where there
// are several.
const (
	patience       = 700 * time.Millisecond
	patienceOfMany = 3 * time.Second
)

// doubtsNames says whether it is time to ask whether the names that a definition defines are
// taken, which only the whole definition tells. As long as the API server establishes others,
// this one may be next.
func (a *Applier) doubtsNames(s *Step) bool {
	waited := time.Since(s.since)
	switch {
	case waited >= a.options.WaitTimeout: // it will not be asked again
		return true
	case waited < max(patience, s.checkAfter):
		return false
	}
	return a.installing.Load() == 1 ||
		min(waited, time.Since(time.Unix(0, a.established.Load()))) >= patienceOfMany
}

// unserved returns a kind that a CustomResourceDefinition defines and the API server does not
// serve yet. It asks for the lists of resources of the group's versions, which are small.
func (a *Applier) unserved(ctx context.Context, s *Step) (string, error) {
	age := 100 * time.Millisecond // of answers that others got
	if s.next > 0 {
		age = min(age, s.next/4) // the last pause was at least half of next
	}
	no := time.Now().Add(-age)
	for _, d := range s.Object.Defines {
		served, err := a.client.Serves(ctx, d.GroupVersion().WithResource(d.Plural), d.Kind, s.since, no)
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
			return s.again("until its kind is served", a.options.WaitTimeout, retryBackoff, func(cause error) error {
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
