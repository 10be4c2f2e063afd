// Package apply makes objects of a cluster what definitions say, or deletes them: it sees
// what need not be done, orders the rest, and writes.
package apply

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/platformbus/platform/kubernetes/internal/api"
	"github.com/platformbus/platform/kubernetes/internal/look"
	"github.com/platformbus/platform/kubernetes/internal/recent"
)

// Options configure an Applier. All are required.
type Options struct {
	FieldManager   string
	FailOnConflict bool
	Adopts         []string // the field managers whose fields become ours
	// WaitTimeout bounds each wait: for a deletion, for the definition of a kind to be served.
	WaitTimeout time.Duration
	Logger      *slog.Logger
	// Waiting is called when an object begins to be waited for.
	Waiting func(ctx context.Context, t *Target, progress string)
}

// An Applier writes objects, each by one caller at a time. It remembers which objects were
// what a definition says. It may be used by many goroutines at once.
type Applier struct {
	client  *api.Client
	options Options
	looker  *look.Looker
	writing keyLock
	// verified has the objects that were what a definition says when last seen.
	verified *recent.Cache[api.Key, verified]
	// wipes counts how often a namespace was deleted here.
	wipes *recent.Cache[string, int]

	installing  atomic.Int64 // how many definitions of kinds are waited for
	established atomic.Int64 // when one was last found to be served, in nanoseconds since 1970
}

// verifiedLimit is how many objects an Applier remembers. What is forgotten costs another
// look, nothing else.
const verifiedLimit = 100_000

// New returns an Applier that has verified nothing yet.
func New(client *api.Client, looker *look.Looker, options Options) *Applier {
	return &Applier{
		client:   client,
		options:  options,
		looker:   looker,
		wipes:    recent.New[string](verifiedLimit, func(int) int { return 1 }),
		verified: recent.New[api.Key](verifiedLimit, func(verified) int { return 1 }),
	}
}

func (a *Applier) metadata(t *Target) api.Metadata {
	return a.client.Metadata(t.Resource.GroupVersionResource, t.Key.Namespace)
}

func (a *Applier) objects(t *Target) api.Objects {
	return a.client.Objects(t.Resource.GroupVersionResource, t.Key.Namespace)
}

// remember notes that an object, as observed, is what the definition says.
func (a *Applier) remember(t *Target, seen *observation) {
	wipes, _ := a.wipes.Get(t.Key.Namespace)
	a.verified.Put(t.Key, verified{digest: t.digest, observation: *seen, wipes: wipes})
}

// wipe notes that a namespace is deleted, and all that is in it.
func (a *Applier) wipe(namespace string) {
	wipes, _ := a.wipes.Get(namespace)
	a.wipes.Put(namespace, wipes+1)
}
