package main

import (
	"fmt"
	"strings"
)

// A target is a goal for a figure of this library. Missing one does not fail a run, since the
// machine may be the reason.
type target struct {
	text  string
	value func(results) (float64, bool)
	want  float64
	most  bool // want is an upper bound, not a lower one
}

var targets = []target{
	ratio("floor", first, 1.15, true),
	ratio("fluxcd-ssa-10", first, 2.2, false),
	ratio("fluxcd-ssa-10", warm, 60, false),
	ratio("kubectl-ssa", warm, 120, false),
	ratio("kubectl", warm, 120, false),
	ratio("fluxcd-ssa-10", cold, 10, false),
	ratio("fluxcd-ssa-10", changed, 20, false),
	{
		text: "requests if nothing changed in the same process (one list for each kind)",
		value: func(r results) (float64, bool) {
			row, ok := r.find("sync", 1000, warm, "platform")
			return row.Requests, ok
		},
		want: float64(len(resources)),
		most: true,
	},
	memory(1000, 60),
	memory(10_000, 200),
	reading("services", "floor", spread, 1.3, true),
	reading("services", "per-namespace", spread, 3, false),
	services("our peak RSS is how many times that of two bare lists", 1.2, peakRSS, ours(spread), rowKey{spread, "floor"}),
	services("in one namespace we take how many times as long as spread", 1.5, medianTime, ours(oneNamespace), ours(spread)),
	reading("export", "floor", spread, 1.5, true),
	{"a Ping over NATS takes how many times as long as a bare request", quotient("bus-ping", 1, medianTime, ours(""), rowKey{"", "nats"}), 1.5, true},
	{"64 callers over NATS make how many times the Pings of bare ones", quotient("bus-ping", 64, perSecond, ours(""), rowKey{"", "nats"}), 0.6, false},
	{"a Ping during an Export takes at the 99th percentile, in ms", figure("bus-ping", 1, duringExport, medianTime), 250, true},
	{"100,000 instances take how many times as long to subscribe as bare subscriptions", quotient("bus-subscribe", instances, medianTime, ours(""), rowKey{"", "nats"}), 3, true},
	{"peak RSS in MB of the client with 100,000 instances", figure("bus-subscribe", instances, "", peakRSS), 60, true},
	{"a daemon that is killed is noticed after, in ms", figure("bus-lost", 1, killed, medianTime), 4000, true},
	{"a daemon that is frozen is noticed after, in ms", figure("bus-lost", 1, frozen, medianTime), 6000, true},
	{"that there is no daemon is noticed after, in ms", figure("bus-lost", 1, absent, medianTime), 50, true},
	{"an Export over NATS takes how many times as long as a bare copy", quotient("bus-export", exportMiB, medianTime, ours(callerEnd), rowKey{callerEnd, "nats"}), 2.5, true},
	{"an Export of 50 MiB over NATS: peak RSS in MB of the caller", figure("bus-export", exportMiB, callerEnd, peakRSS), 3 * exportMiB, true},
	{"an Export of 50 MiB over NATS: peak RSS in MB of the daemon", figure("bus-export", exportMiB, daemonEnd, peakRSS), 3 * exportMiB, true},
}

// reading is like ratio, for times at 10,000 services.
func reading(name, who, phase string, want float64, most bool) target {
	t := ratio(who, phase, want, most)
	t.text = fmt.Sprintf("%s: %s takes how many times as long as we", name, who)
	if most {
		t.text = fmt.Sprintf("%s: we take how many times as long as the %s", name, who)
	}
	t.value = compare(name, 10_000, phase, who, most)
	return t
}

// ratio compares times at 1,000 objects: ours divided by the other's if want is an upper
// bound, and otherwise the other's divided by ours.
func ratio(who, phase string, want float64, most bool) target {
	text := fmt.Sprintf("%s: %s takes how many times as long as we", nameOf(phase), nameOf(who))
	if most {
		text = fmt.Sprintf("%s: we take how many times as long as %s", nameOf(phase), nameOf(who))
	}
	return target{text: text, want: want, most: most, value: compare("sync", 1000, phase, who, most)}
}

// services compares a figure of two rows at 10,000 services.
func services(text string, want float64, figure func(row) float64, a, b rowKey) target {
	return target{text: "list services: " + text, want: want, most: true, value: quotient("services", 10_000, figure, a, b)}
}

// compare returns the ratio of our time to that of another contender if most is set, and
// otherwise its inverse.
func compare(name string, size int, phase, who string, most bool) func(results) (float64, bool) {
	if most {
		return quotient(name, size, medianTime, ours(phase), rowKey{phase, who})
	}
	return quotient(name, size, medianTime, rowKey{phase, who}, ours(phase))
}

// A rowKey identifies a row among those of a case and size.
type rowKey struct{ phase, who string }

func ours(phase string) rowKey { return rowKey{phase, "platform"} }

func medianTime(r row) float64 { return r.MedianMS }
func peakRSS(r row) float64    { return r.PeakRSSMB }
func perSecond(r row) float64  { return r.PerSecond }

// figure returns one of our figures.
func figure(name string, size int, phase string, of func(row) float64) func(results) (float64, bool) {
	return func(r results) (float64, bool) {
		row, ok := r.find(name, size, phase, "platform")
		return of(row), ok
	}
}

// quotient returns a figure of the row at a divided by that of the row at b, if both were
// measured.
func quotient(name string, size int, figure func(row) float64, a, b rowKey) func(results) (float64, bool) {
	return func(r results) (float64, bool) {
		one, ok1 := r.find(name, size, a.phase, a.who)
		other, ok2 := r.find(name, size, b.phase, b.who)
		if !ok1 || !ok2 {
			return 0, false
		}
		return figure(one) / figure(other), true
	}
}

// memory returns a target for the peak RSS of the phase that takes most.
func memory(size int, want float64) target {
	return target{
		text: fmt.Sprintf("peak RSS in MB at %s objects", thousands(float64(size))),
		want: want,
		most: true,
		value: func(r results) (peak float64, ok bool) {
			for _, phase := range syncPhases {
				if row, found := r.find("sync", size, phase, "platform"); found {
					peak, ok = max(peak, row.PeakRSSMB), true
				}
			}
			return peak, ok
		},
	}
}

// checkTargets reports for each target whether it is reached.
func checkTargets(r results) string {
	var b strings.Builder
	for _, t := range targets {
		value, ok := t.value(r)
		bound, verdict := "at least", "reached"
		if t.most {
			bound = "at most"
		}
		switch {
		case !ok:
			value, verdict = 0, "not measured"
		case t.most && value > t.want, !t.most && value < t.want:
			verdict = "NOT REACHED"
		}
		fmt.Fprintf(&b, "%-12s  %6.2f, %s %g: %s\n", verdict, value, bound, t.want, t.text)
	}
	return b.String()
}
