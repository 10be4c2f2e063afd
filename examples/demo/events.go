package main

import (
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/platformbus/platform/kubernetes"
)

// eventLog gathers what a daemon's cluster tells of each object, as it happens.
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

// summary tells of the events since the last summary: how many objects went how, which
// took longest, and what was waited for.
func (l *eventLog) summary() string {
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
	return "The daemon tells: " + strings.Join(lines, "; ") + "."
}

// results are what becomes of objects, in the order in which a person wants to know.
var results = []kubernetes.Result{kubernetes.Applied, kubernetes.Unchanged, kubernetes.Deleted, kubernetes.Failed, kubernetes.Stalled}
