package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/platformbus/platform/bench/contender"
)

// The phases of a Sync.
const (
	first   = "first"          // the cluster is empty
	warm    = "unchanged-warm" // all objects exist, and this process created them
	cold    = "unchanged-cold" // all objects exist, and the process is new
	changed = "changed-1pct"   // one of a hundred objects is changed, and the process is not new
)

var syncPhases = []string{first, warm, cold, changed}

// access holds the paths that are needed to start a contender.
type access struct {
	kubeconfig string
	programs   string // folder of the programs of libraries
	profile    string // folder for profiles; empty for none
}

// A worker is a running contender.
type worker interface {
	// do applies the files in dir to the cluster.
	do(ctx context.Context, phase, dir string) (contender.Measurement, error)
	close() error
}

// A syncContender is a contender that applies manifests to a cluster.
type syncContender struct {
	who       string
	largest   int  // the largest size at which it takes part; 0 for any
	forgetful bool // it keeps no state in a process between phases
	start     func(context.Context, access) (worker, error)
}

// All contenders take part at a hundred objects and at a thousand, although kubectl's
// client-side apply takes three quarters of a minute to find a thousand unchanged. Ten
// thousand objects are only for the memory of this library.
var syncContenders = []syncContender{
	{who: "platform", start: library("platform")},
	{who: "floor", start: library("floor"), largest: 1000, forgetful: true},
	{who: "fluxcd-ssa-10", start: library("fluxcd", "-concurrency=10"), largest: 1000},
	{who: "fluxcd-ssa", start: library("fluxcd"), largest: 1000},
	{who: "kubectl-ssa", start: command("apply", "--server-side"), largest: 1000, forgetful: true},
	{who: "kubectl", start: command("apply"), largest: 1000, forgetful: true},
}

func library(program string, args ...string) func(context.Context, access) (worker, error) {
	return func(ctx context.Context, a access) (worker, error) { return startProcess(ctx, a, program, args...) }
}

func command(args ...string) func(context.Context, access) (worker, error) {
	return func(_ context.Context, a access) (worker, error) { return startKubectl(a, args...) }
}

// syncCase applies many manifests to a cluster: for the first time, again, and after a change.
type syncCase struct{}

func (syncCase) name() string { return "sync" }

func (syncCase) run(ctx context.Context, o options) (rows []row, err error) {
	dir, err := os.MkdirTemp("", "bench-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	if err := buildContenders(ctx, dir); err != nil {
		return nil, err
	}
	c, err := startCluster(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, c.Stop()) }()
	r := &syncRun{cluster: c, dir: dir, access: access{kubeconfig: c.Kubeconfig(), programs: dir}}

	// The API server initializes a kind at its first request. These rounds, which are not
	// measured, include that cost.
	for _, contender := range syncContenders {
		if _, err := r.round(ctx, contender, 50); err != nil {
			return nil, fmt.Errorf("warm up: %s: %w", contender.who, err)
		}
	}
	r.access.profile = o.profile
	for _, size := range o.sizes {
		more, err := r.measure(ctx, o, size)
		if err != nil {
			return nil, fmt.Errorf("%d objects: %w", size, err)
		}
		rows = append(rows, more...)
	}
	return rows, nil
}

// A syncRun is a run of the case.
type syncRun struct {
	cluster *cluster
	dir     string // for manifests
	access  access
	rounds  int // so far
}

// measure measures all contenders that take part at a size, in turns.
func (r *syncRun) measure(ctx context.Context, o options, size int) ([]row, error) {
	var taking []syncContender
	for _, c := range syncContenders {
		if (len(o.only) == 0 || slices.Contains(o.only, c.who)) && (c.largest == 0 || size <= c.largest) {
			taking = append(taking, c)
		}
	}
	runs := o.runs
	if size > 1000 {
		runs = 1 // only memory is of interest here, and it hardly varies
	}
	taken := map[string]map[string][]measurement{} // by contender and phase
	for round := range runs {
		for i := range taking {
			c := taking[(i+round)%len(taking)] // so that no contender is always the first
			begin := time.Now()
			phases, err := r.round(ctx, c, size)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", c.who, err)
			}
			if taken[c.who] == nil {
				taken[c.who] = map[string][]measurement{}
			}
			fmt.Fprintf(os.Stderr, "%d objects, round %d of %d, %s:", size, round+1, runs, c.who)
			for _, phase := range syncPhases {
				taken[c.who][phase] = append(taken[c.who][phase], phases[phase])
				fmt.Fprintf(os.Stderr, " %s %.0f ms,", phase, phases[phase].MS)
			}
			fmt.Fprintf(os.Stderr, " with all %.0f s\n", time.Since(begin).Seconds())
		}
	}
	var rows []row
	for _, phase := range syncPhases {
		for _, c := range taking {
			rows = append(rows, row{Case: "sync", Size: size, Phase: phase, Who: c.who}.withMedians(taken[c.who][phase]))
		}
	}
	return rows, nil
}

// round measures a contender once, in all phases. Each round has new namespaces: for half a
// minute after a namespace was deleted, the API server reads it from etcd whenever an object
// is created in one of the same name.
func (r *syncRun) round(ctx context.Context, c syncContender, size int) (_ map[string]measurement, err error) {
	r.rounds++
	prefix := fmt.Sprintf("bench-%d", r.rounds)
	older, newer := filepath.Join(r.dir, prefix+"-older"), filepath.Join(r.dir, prefix+"-newer")
	defer os.RemoveAll(older)
	defer os.RemoveAll(newer)
	if err := errors.Join(writeManifests(older, prefix, size, 0), writeManifests(newer, prefix, size, size/100)); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.cluster.clean(ctx)) }()

	taken := map[string]measurement{}
	w, err := c.start(ctx, r.access)
	if err != nil {
		return nil, err
	}
	err = errors.Join(r.do(ctx, w, taken, first, older, size, 0),
		r.do(ctx, w, taken, warm, older, size, 0),
		r.do(ctx, w, taken, changed, newer, size, size/100),
		w.close())
	if err != nil {
		return nil, err
	}
	if c.forgetful {
		taken[cold] = taken[warm]
		return taken, nil
	}
	if w, err = c.start(ctx, r.access); err != nil {
		return nil, err
	}
	return taken, errors.Join(r.do(ctx, w, taken, cold, newer, size, size/100), w.close())
}

// pause is the pause before each phase. After the previous phase, and above all after a
// clean-up, the API server has work of its own, and does not report its end.
const pause = 600 * time.Millisecond

// do measures one phase of a contender, and verifies the result: the number of objects, and
// how many of them are of the new version.
func (r *syncRun) do(ctx context.Context, w worker, taken map[string]measurement, phase, dir string, objects, newer int) error {
	select {
	case <-time.After(pause):
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	before, err := r.cluster.requests(ctx)
	if err != nil {
		return err
	}
	m, err := w.do(ctx, phase, dir)
	if err != nil {
		return fmt.Errorf("%s: %w", phase, err)
	}
	after, err := r.cluster.requests(ctx)
	if err != nil {
		return err
	}
	taken[phase] = measurement{m, after - before}
	if err := r.cluster.verify(ctx, objects, newer); err != nil {
		return fmt.Errorf("after %s: %w", phase, err)
	}
	return nil
}
