package main

import (
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/platformbus/platform/kubernetes"
)

// eventLog collects the events of a daemon's cluster.
type eventLog struct {
	mu     sync.Mutex
	events []kubernetes.Event // since last taken; guarded by mu
}

// add is for kubernetes.Options.Events, which calls it from many goroutines.
func (l *eventLog) add(e kubernetes.Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.events = append(l.events, e)
}

// takeSummary summarizes the events since the last call, and forgets them: the number of
// objects by result, the slowest object, and the objects that Sync waited for.
func (l *eventLog) takeSummary() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var (
		lines   []string
		counts  = map[kubernetes.Result]int{}
		slowest kubernetes.Event
	)
	for _, e := range l.events {
		counts[e.Result]++
		if e.Took > slowest.Took {
			slowest = e
		}
		if e.Result == kubernetes.Waiting {
			lines = append(lines, fmt.Sprintf("waited for %s: %s", e.Object, e.Progress))
		}
	}
	l.events = nil
	for _, result := range results {
		if n := counts[result]; n > 0 {
			lines = append(lines, fmt.Sprintf("%d %s", n, result))
		}
	}
	if slowest.Took > 0 {
		lines = append(lines, fmt.Sprintf("the slowest: %s, %s", slowest.Object, slowest.Took.Round(100*time.Microsecond)))
	}
	return "Events of the daemon: " + strings.Join(lines, "; ") + "."
}

// results are the results of objects, in the order in which they are shown.
var results = []kubernetes.Result{kubernetes.Applied, kubernetes.Unchanged, kubernetes.Deleted, kubernetes.Failed, kubernetes.Stalled}
