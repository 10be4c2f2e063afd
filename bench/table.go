package main

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// These mark the begin and the end of the table in a file.
const (
	beginMark = "<!-- bench -->"
	endMark   = "<!-- /bench -->"
)

// names maps cases, phases and contenders to their names in the table, if these differ.
var names = map[string]string{
	"sync":     "objects",
	"services": "services with their deployments: list them",
	"export":   "services with their deployments: export",

	"far":           "objects, 50 ms from the API server",
	"large-cluster": "objects",
	"large-objects": "objects, some of them large definitions of kinds: time, and memory beyond that before, for how much YAML",

	"bus-ping":      "calling at once: a Ping over NATS",
	"bus-subscribe": "instances on one connection to NATS: subscribe them",
	"bus-export":    "MiB over NATS: an Export",
	"bus-lost":      "call over NATS: taken for lost when its daemon is",
	"bus-far":       "MiB over NATS from 150 ms away: an Export",
	"bus-unfair":    "MiB over NATS: a Sync",
	"bus-restart":   "instances on 100 connections: all known again after three NATS servers restarted",
	"":              "time",
	daemonEnd:       "memory of the daemon",
	noInstance:      "memory before",
	absent:          "not there",
	duringExport:    "99th percentile, during an Export of 50 MiB on a link of 10 MiB/s",
	besideSlow:      "beside larger ones to ten daemons on links of 64 KiB/s in all",
	"nats":          "nats.go alone",

	"bus-far/" + duringExport: "99th percentile of a Ping, during the Export",

	spread:       "in 100 namespaces",
	oneNamespace: "in one namespace",

	"services/floor":       "two bare lists, decoded",
	"export/floor":         "bare lists, decoded",
	"large-cluster/plan":   "an Export, and a plan",
	"large-objects/export": "an Export",

	"per-namespace": "three lists for each namespace, JSON",

	first:   "first apply",
	warm:    "nothing changed, same process",
	cold:    "nothing changed, new process",
	changed: "1 % changed",

	someServices: "ask for three services",
	planned:      "a plan",

	"platform":        "**this library**",
	"platform-watch":  "**this library**, watching",
	"platform-traced": "**this library**, with a span at each end",
	"floor":           "bare server-side apply, 16 workers",
	"fluxcd-ssa-10":   "fluxcd/pkg/ssa, concurrency 10",
	"fluxcd-ssa":      "fluxcd/pkg/ssa, as it comes",
	"kubectl-ssa":     "kubectl apply --server-side",
	"kubectl":         "kubectl apply",
}

func nameOf(key string) string {
	if name, ok := names[key]; ok {
		return name
	}
	return key
}

// nameIn returns the name of a phase or a contender in the table of a case.
func nameIn(name, key string) string {
	if special, ok := names[name+"/"+key]; ok {
		return special
	}
	return nameOf(key)
}

// insert replaces the table between the marks in text.
func insert(text []byte, table string) ([]byte, error) {
	before, rest, ok1 := bytes.Cut(text, []byte(beginMark))
	_, after, ok2 := bytes.Cut(rest, []byte(endMark))
	if !ok1 || !ok2 {
		return nil, fmt.Errorf("there is no %s with a %s after it", beginMark, endMark)
	}
	return slices.Concat(before, []byte(beginMark+"\n"+table), []byte(endMark), after), nil
}

// table returns the results in Markdown: a table for each case, size and number of others'
// objects, with a line for each contender and a column for each phase.
func table(r results) string {
	type group struct {
		name   string
		size   int
		beside string
	}
	var groups []group
	rows := map[group][]row{}
	for _, row := range r.Rows {
		g := group{row.Case, row.Size, besideOthers(row)}
		if rows[g] == nil {
			groups = append(groups, g)
		}
		rows[g] = append(rows[g], row)
	}
	var b strings.Builder
	for _, g := range groups {
		var phases, contenders []string
		for _, row := range rows[g] {
			if !slices.Contains(phases, row.Phase) {
				phases = append(phases, row.Phase)
			}
			if !slices.Contains(contenders, row.Who) {
				contenders = append(contenders, row.Who)
			}
		}
		fmt.Fprintf(&b, "| %s %s%s ", thousands(float64(g.size)), nameOf(g.name), g.beside)
		for _, phase := range phases {
			fmt.Fprintf(&b, "| %s ", nameIn(g.name, strings.TrimSuffix(phase, sharedSuffix)))
		}
		b.WriteString("| client CPU | peak RSS |\n|---|" + strings.Repeat("---|", len(phases)+2) + "\n")
		for _, who := range contenders {
			fmt.Fprintf(&b, "| %s ", nameIn(g.name, who))
			cpu, rss := 0.0, 0.0
			for _, phase := range phases {
				row, ok := results{Rows: rows[g]}.find(g.name, g.size, phase, who)
				if !ok {
					b.WriteString("| ")
					continue
				}
				cpu, rss = cpu+row.CPUMS, max(rss, row.PeakRSSMB)
				fmt.Fprintf(&b, "| %s ", figures(row))
			}
			if cpu == 0 && rss == 0 { // it was not measured
				b.WriteString("| | |\n")
				continue
			}
			fmt.Fprintf(&b, "| %s | %.0f MB |\n", duration(cpu), rss)
		}
		b.WriteByte('\n')
	}
	fmt.Fprintf(&b, "Medians of %s; client CPU is the sum of the columns, peak RSS their maximum.\n%s; %s.\n", runs(r), r.Machine, r.days())
	return b.String()
}

// besideOthers says what else is in the cluster of a row, if the case has others' objects.
func besideOthers(r row) string {
	switch {
	case r.Others == nil:
		return ""
	case strings.HasSuffix(r.Phase, sharedSuffix):
		return fmt.Sprintf(", with %s others in their namespaces", thousands(float64(*r.Others)))
	}
	return fmt.Sprintf(", with %s others in the cluster", thousands(float64(*r.Others)))
}

// figures returns the text of a cell: the time, a count if there is one, and what else the
// case is about.
func figures(r row) string {
	switch {
	case r.Others != nil && r.ReadKB > 0:
		return fmt.Sprintf("%s, %s, %s KB read", duration(r.MedianMS), count(r.Requests, "request"), thousands(r.ReadKB))
	case r.AboveMB > 0:
		return fmt.Sprintf("%s, %.0f MB for %.0f MB", duration(r.MedianMS), r.AboveMB, r.YAMLMB)
	case r.Phase == daemonEnd || r.Phase == noInstance:
		return fmt.Sprintf("%.0f MB", r.PeakRSSMB)
	case r.PerSecond > 0:
		return fmt.Sprintf("%s, %s a second", duration(r.MedianMS), thousands(r.PerSecond))
	case r.Requests > 0:
		return fmt.Sprintf("%s, %s", duration(r.MedianMS), count(r.Requests, "request"))
	}
	return duration(r.MedianMS)
}

// runs describes the number of runs.
func runs(r results) string {
	least, most := 0, 0
	for i, row := range r.Rows {
		if i == 0 || row.Runs < least {
			least = row.Runs
		}
		most = max(most, row.Runs)
	}
	if least == most {
		return count(float64(most), "run")
	}
	return fmt.Sprintf("%d to %d runs, as bench/results.json says of each", least, most)
}

func count(n float64, what string) string {
	if n != 1 {
		what += "s"
	}
	return thousands(n) + " " + what
}

// duration formats a duration with two or three significant digits.
func duration(ms float64) string {
	switch {
	case ms < 1:
		return fmt.Sprintf("%.0f µs", ms*1000)
	case ms < 10:
		return fmt.Sprintf("%.1f ms", ms)
	case ms < 1000:
		return fmt.Sprintf("%.0f ms", ms)
	case ms < 10_000:
		return fmt.Sprintf("%.2f s", ms/1000)
	default:
		return fmt.Sprintf("%.1f s", ms/1000)
	}
}

// thousands formats a number as 12,345.
func thousands(n float64) string {
	digits := strconv.FormatFloat(n, 'f', 0, 64)
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}
