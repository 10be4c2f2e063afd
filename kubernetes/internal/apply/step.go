package apply

import (
	"fmt"
	"time"

	"github.com/platformbus/platform/kubernetes/internal/api"
	"github.com/platformbus/platform/kubernetes/internal/graph"
)

// A Step is one thing to do: it applies or deletes one object.
type Step struct {
	Action int // index of the action it belongs to
	Index  int // index of its definition in that half of the action
	Object *Target
	Delete bool
	// Explicit says that the object is asked for by its name: it is looked at first, and what
	// its annotations say to a Sync does not count.
	Explicit bool
	// Failed is why the step cannot be taken, if that is known before it is begun.
	Failed error
	// Unchanged says that it is certain that to apply the object would change nothing.
	Unchanged bool
	// Result and Took are for the caller: what it has told of the step, or "", and how long that
	// took.
	Result string
	Took   time.Duration

	seen    *observation // what was seen of the live object; nil if nothing was
	doubt   bool         // it was as defined before, and has been written since
	hidden  bool         // it may not be looked at
	absent  bool         // it was looked for, and is not there
	follows bool         // a step before it is about the same object
	awaited bool         // another step waits for it
	progress
}

// progress is how far a step has come.
type progress struct {
	Begun time.Time // when the step was begun
	phase phase
	wait
	installs bool // it counts among those whose kinds are not served yet, see Applier.installing
}

// A wait is what a step waits for, if it does.
type wait struct {
	what  string        // empty if an error is waited for to pass
	since time.Time     // when it began
	next  time.Duration // how long the next pause is; 0 before the first
	// checkAfter is how long a kind is waited for until it is next asked whether its names are
	// taken.
	checkAfter time.Duration
}

// String names what the step does, as in "apply Deployment default/web".
func (s *Step) String() string {
	verb := "apply"
	if s.Delete {
		verb = "delete"
	}
	return verb + " " + s.Object.Key.String()
}

// A phase is what a step is at.
type phase int

const (
	starting   phase = iota
	deleting         // the object was deleted, and is waited for to be gone
	replacing        // likewise, and it is then made
	installing       // the definition of a kind was applied, and is waited for to be served
)

// A backoff is how long pauses are, at first and at most.
type backoff struct{ first, last time.Duration }

var (
	pollBackoff  = backoff{10 * time.Millisecond, time.Second}
	retryBackoff = backoff{api.MinBackoff, api.MaxBackoff}
)

// retry returns that the step is to be called again, since err may pass.
func (s *Step) retry(err error) error {
	return s.again("", 0, retryBackoff, func(cause error) error {
		return fmt.Errorf("%w; the last answer was: %w", cause, err)
	})
}

// beginWait begins a wait, unless the step is in it already. It says whether it has begun one.
func (s *Step) beginWait(what string) bool {
	if s.what == what {
		return false
	}
	s.wait = wait{what: what, since: time.Now()}
	return true
}

// again returns that the step is to be called again after a pause; pauses grow as long as the
// same is waited for. If limit, unless it is 0, or ctx is over, ended returns the error.
func (s *Step) again(what string, limit time.Duration, b backoff, ended func(cause error) error) error {
	s.beginWait(what)
	pause := min(max(s.next, b.first), b.last)
	if limit > 0 {
		left := limit - time.Since(s.since)
		if left <= 0 {
			return ended(api.Overdue("wait", limit))
		}
		pause = min(pause, left)
	}
	s.next = 2 * pause
	return &graph.Again{After: pause, Ended: ended}
}

// A goingError says that an object was applied that is being deleted: it will be gone.
type goingError struct{}

func (*goingError) Error() string { return "the object is being deleted" }
