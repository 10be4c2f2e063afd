package main

import (
	"fmt"
	"slices"
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

var targets = slices.Concat([]target{
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
		want: float64(1 + len(appTemplates)), // the namespaces too
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
	{"a Ping over NATS with a span at each end takes how many times as long as without", quotient("bus-ping", 1, medianTime, rowKey{"", "platform-traced"}, ours("")), 1.5, true},
	{"64 callers over NATS make how many times the Pings of bare ones", quotient("bus-ping", 64, perSecond, ours(""), rowKey{"", "nats"}), 0.6, false},
	{"a Ping during an Export takes at the 99th percentile, in ms", figure("bus-ping", 1, duringExport, medianTime), 250, true},
	{"100,000 instances take how many times as long to subscribe as bare subscriptions", quotient("bus-subscribe", instances, medianTime, ours(""), rowKey{"", "nats"}), 3, true},
	{"peak RSS in MB of the client with 100,000 instances", figure("bus-subscribe", instances, "", peakRSS), 75, true},
	{"a daemon that is killed is noticed after, in ms", figure("bus-lost", 1, killed, medianTime), 4000, true},
	{"a daemon that is frozen is noticed after, in ms", figure("bus-lost", 1, frozen, medianTime), 6000, true},
	{"that there is no daemon is noticed after, in ms", figure("bus-lost", 1, absent, medianTime), 50, true},
	{"an Export over NATS takes how many times as long as a bare copy", quotient("bus-export", exportMiB, medianTime, ours(callerEnd), rowKey{callerEnd, "nats"}), 2.5, true},
	{"150 ms away: an Export over NATS takes how many times as long as a bare copy", quotient("bus-far", farMiB, medianTime, ours(""), rowKey{"", "nats"}), 1.5, true},
	{"150 ms away: a Ping during an Export takes at the 99th percentile, in ms", figure("bus-far", farMiB, duringExport, medianTime), 400, true},
	{"a Sync over NATS beside ten stalled daemons takes how many times as long as alone", quotient("bus-unfair", fairMiB, medianTime, ours(besideSlow), ours("")), 2, true},
	{"after all servers restart, 100,000 instances on 100 connections are known again after how many times as long as bare subscriptions", quotient("bus-restart", instances, medianTime, ours(""), rowKey{"", "nats"}), 3, true},
	{"an Export of 50 MiB over NATS: peak RSS in MB of the caller", figure("bus-export", exportMiB, callerEnd, peakRSS), 3 * exportMiB, true},
	{"an Export of 50 MiB over NATS: peak RSS in MB of the daemon", figure("bus-export", exportMiB, daemonEnd, peakRSS), 3 * exportMiB, true},
	{"50 ms from the API server: first apply: we take how many times as long as the floor", compare("far", 1000, first, "floor", true), 1.15, true},
	{"large objects: first apply: we take how many times as long as the floor", compare("large-objects", 973, first, "floor", true), 1.1, true},
	{"large objects: first apply: MB above the memory before", figure("large-objects", 973, first, aboveMB), 100, true},
	{"large objects: nothing changed, new process: MB above the memory before", figure("large-objects", 973, cold, aboveMB), 100, true},
	{"large objects: an Export takes how many MB above its own size", figure("large-objects", 973, exported, func(r row) float64 { return r.AboveMB - r.YAMLMB }), 60, true},
	{"large objects: a plan takes how many times the memory of its input", figure("large-objects", 973, planned, func(r row) float64 { return r.AboveMB / r.YAMLMB }), 4, true},
}, largeClusterTargets())

// largeClusterTargets returns the targets of the case large-cluster: what others have in the
// cluster costs us little, and we stay faster than what asks for each object by its name.
func largeClusterTargets() (all []target) {
	const most, shared = 20_000, 2000
	for _, phase := range append(slices.Clone(syncPhases), someServices) {
		for _, f := range []struct {
			text   string
			figure func(row) float64
		}{{"time", medianTime}, {"peak RSS", peakRSS}, {"KB read", readKB}} {
			of := figure("large-cluster", 100, phase, f.figure)
			all = append(all, target{
				text:  fmt.Sprintf("with %s others instead of 0, %s: %s", thousands(most), nameOf(phase), f.text),
				value: divided(beside(most, of), beside(0, of)),
				want:  1.5,
				most:  true,
			})
		}
	}
	for _, others := range []struct {
		number        int
		suffix, where string
	}{{most, "", ""}, {shared, sharedSuffix, " in our namespaces"}} {
		for _, phase := range syncPhases {
			want := 1.0
			if phase == warm {
				want = 30
				all = append(all, target{
					text: fmt.Sprintf("with %s others%s, %s, watching: %s takes how many times as long as we",
						thousands(float64(others.number)), others.where, nameOf(phase), nameOf(fluxcd10.who)),
					value: beside(others.number, quotient("large-cluster", 100, medianTime, rowKey{phase + others.suffix, fluxcd10.who}, rowKey{phase + others.suffix, watching.who})),
					want:  want,
				})
			}
			all = append(all, target{
				text: fmt.Sprintf("with %s others%s, %s: %s takes how many times as long as we",
					thousands(float64(others.number)), others.where, nameOf(phase), nameOf(fluxcd10.who)),
				value: beside(others.number, compare("large-cluster", 100, phase+others.suffix, fluxcd10.who, false)),
				want:  want,
			})
		}
	}
	return all
}

// reading is like ratio, for times at 10,000 services.
func reading(name, who, phase string, want float64, most bool) target {
	text := fmt.Sprintf("%s: %s takes how many times as long as we", name, who)
	if most {
		text = fmt.Sprintf("%s: we take how many times as long as the %s", name, who)
	}
	return target{text: text, want: want, most: most, value: compare(name, 10_000, phase, who, most)}
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
func readKB(r row) float64     { return r.ReadKB }
func aboveMB(r row) float64    { return r.AboveMB }

// figure returns one of our figures.
func figure(name string, size int, phase string, of func(row) float64) func(results) (float64, bool) {
	return figureOf(name, size, ours(phase), of)
}

func figureOf(name string, size int, key rowKey, of func(row) float64) func(results) (float64, bool) {
	return func(r results) (float64, bool) {
		row, ok := r.find(name, size, key.phase, key.who)
		return of(row), ok
	}
}

// beside returns the value among the results beside a number of others' objects.
func beside(others int, value func(results) (float64, bool)) func(results) (float64, bool) {
	return func(r results) (float64, bool) { return value(r.beside(others)) }
}

// quotient returns a figure of the row at a divided by that of the row at b, if both were
// measured.
func quotient(name string, size int, figure func(row) float64, a, b rowKey) func(results) (float64, bool) {
	return divided(figureOf(name, size, a, figure), figureOf(name, size, b, figure))
}

// divided returns the quotient of two values, if both were measured.
func divided(a, b func(results) (float64, bool)) func(results) (float64, bool) {
	return func(r results) (float64, bool) {
		one, ok1 := a(r)
		other, ok2 := b(r)
		if !ok1 || !ok2 {
			return 0, false
		}
		return one / other, true
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
