package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/platformbus/platform/bench/contender"
	"github.com/platformbus/platform/internal/controlplane"
	"github.com/platformbus/platform/internal/faultproxy"
)

// The phases of a Sync, and of what may follow it.
const (
	first   = "first"          // the cluster is empty
	warm    = "unchanged-warm" // all objects exist, and this process created them
	cold    = "unchanged-cold" // all objects exist, and the process is new
	changed = "changed-1pct"   // one of a hundred objects is changed, and the process is not new

	someServices = "some-services" // three services of those that were applied
	exported     = "export"        // of the whole cluster
	planned      = "plan"          // of the same definitions, against an Export
)

var (
	syncPhases = []string{first, warm, cold, changed}
	phaseOrder = append(slices.Clone(syncPhases), someServices, exported, planned) // in the results
)

// access holds the paths that are needed to start a contender.
type access struct {
	kubeconfig string
	programs   string // folder of the programs of libraries
	profile    string // folder for profiles; empty for none
}

// A worker is a running contender.
type worker interface {
	// do does the work of a phase with the files in dir.
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

var (
	us          = syncContender{who: "platform", start: library("platform")}
	watching    = syncContender{who: "platform-watch", start: library("platform", "-watch")}
	floor       = syncContender{who: "floor", start: library("floor"), forgetful: true}
	fluxcd10    = syncContender{who: "fluxcd-ssa-10", start: library("fluxcd", "-concurrency=10"), largest: 1000}
	kubectlSSA  = syncContender{who: "kubectl-ssa", start: command("apply", "--server-side"), largest: 1000, forgetful: true}
	fluxcdPlain = syncContender{who: "fluxcd-ssa", start: library("fluxcd"), largest: 1000}
	kubectlCSA  = syncContender{who: "kubectl", start: command("apply"), largest: 1000, forgetful: true}
)

func library(program string, args ...string) func(context.Context, access) (worker, error) {
	return func(ctx context.Context, a access) (worker, error) { return startProcess(ctx, a, program, args...) }
}

func command(args ...string) func(context.Context, access) (worker, error) {
	return func(_ context.Context, a access) (worker, error) { return startKubectl(a, args...) }
}

// A step is a phase in the round of a contender.
type step struct {
	phase string
	newer bool     // the manifests have changes
	fresh bool     // it begins with a new process
	who   []string // the only contenders that take part; empty for all
}

// The steps of a Sync. Others may follow them, in the same process.
var syncSteps = []step{{phase: first}, {phase: warm}, {phase: changed, newer: true}, {phase: cold, newer: true, fresh: true}}

// A syncCase applies many manifests to a cluster: for the first time, again, and after a
// change.
type syncCase struct {
	what       string
	sizes      []int // unless the options have others
	contenders []syncContender
	steps      []step
	manifests  func(prefix string, n, changed int) ([][]byte, error)
	crowded    bool          // there are others' objects, as the options say
	delay      time.Duration // of bytes to the API server, and of those from it
}

// All contenders take part at a hundred objects and at a thousand, although kubectl's
// client-side apply takes three quarters of a minute to find a thousand unchanged. Ten
// thousand objects are for this library and its floor.
var ofSync = syncCase{
	what:       "sync",
	sizes:      []int{100, 1000, 10_000},
	contenders: []syncContender{us, floor, fluxcd10, fluxcdPlain, kubectlSSA, kubectlCSA},
	steps:      syncSteps,
	manifests:  manifests,
}

// In the case far, the API server is 50 ms away.
var ofFar = syncCase{
	what:       "far",
	sizes:      []int{1000},
	contenders: []syncContender{us, floor},
	steps:      syncSteps,
	manifests:  manifests,
	delay:      25 * time.Millisecond,
}

func (c syncCase) name() string { return c.what }

func (c syncCase) run(ctx context.Context, o options) (rows []row, err error) {
	if !slices.ContainsFunc(c.contenders, o.includes) { // no rows would replace those of an earlier run
		return nil, fmt.Errorf("-who: none of %q takes part", o.only)
	}
	dir, err := os.MkdirTemp("", "bench-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	if err := buildContenders(ctx, dir); err != nil {
		return nil, err
	}
	if !c.crowded {
		return c.runBeside(ctx, o, dir, nil)
	}
	for i := range o.others {
		more, err := c.runBeside(ctx, o, dir, &o.others[i])
		if err != nil {
			return nil, fmt.Errorf("beside %s: %w", o.others[i], err)
		}
		rows = append(rows, more...)
	}
	return rows, nil
}

// runBeside measures all sizes on a new control plane, which holds others' objects unless
// others is nil.
func (c syncCase) runBeside(ctx context.Context, o options, dir string, others *neighbours) (rows []row, err error) {
	cluster, err := startCluster(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, cluster.Stop()) }()
	r := &syncRun{syncCase: c, cluster: cluster, dir: dir, others: others, access: access{kubeconfig: cluster.Kubeconfig(), programs: dir}}
	if c.delay > 0 {
		proxy, kubeconfig, err := proxied(cluster, dir)
		if err != nil {
			return nil, err
		}
		defer proxy.Close()
		proxy.Delay(c.delay)
		r.access.kubeconfig = kubeconfig
	}
	if others != nil {
		if err := others.create(ctx, cluster); err != nil {
			return nil, fmt.Errorf("fill the cluster: %w", err)
		}
	}

	// The API server initializes a kind at its first request. These rounds, which are not
	// measured, include that cost.
	for _, contender := range c.contenders {
		if _, err := r.round(ctx, contender, 50); err != nil {
			return nil, fmt.Errorf("warm up: %s: %w", contender.who, err)
		}
	}
	r.access.profile = o.profile
	for _, size := range o.sizesOr(c.sizes) {
		more, err := r.measure(ctx, o, size)
		if err != nil {
			return nil, fmt.Errorf("%d objects: %w", size, err)
		}
		rows = append(rows, more...)
	}
	return rows, nil
}

// proxied starts a proxy in front of the API server, and writes the access by way of it.
func proxied(c *cluster, dir string) (*faultproxy.Proxy, string, error) {
	config := c.Config()
	server, err := url.Parse(config.Host)
	if err != nil {
		return nil, "", err
	}
	proxy, err := faultproxy.Start(server.Host)
	if err != nil {
		return nil, "", err
	}
	config.Host = "https://" + proxy.Addr()
	kubeconfig := filepath.Join(dir, "far.kubeconfig")
	if err := controlplane.WriteKubeconfig(kubeconfig, config); err != nil {
		proxy.Close()
		return nil, "", err
	}
	return proxy, kubeconfig, nil
}

// A syncRun is a run of a case on one control plane.
type syncRun struct {
	syncCase
	cluster *cluster
	dir     string // for manifests
	access  access
	others  *neighbours // nil if there are none
	rounds  int         // so far
}

// measure measures all contenders that take part at a size, in turns.
func (r *syncRun) measure(ctx context.Context, o options, size int) ([]row, error) {
	var taking []syncContender
	for _, c := range r.contenders {
		if o.includes(c) && (c.largest == 0 || size <= c.largest) {
			taking = append(taking, c)
		}
	}
	runs := o.runs
	if size > 1000 {
		runs = 1 // a run takes long, and memory hardly varies
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
			for _, phase := range phaseOrder {
				if m, ok := phases[phase]; ok {
					taken[c.who][phase] = append(taken[c.who][phase], m)
					fmt.Fprintf(os.Stderr, " %s %.0f ms,", phase, m.MS)
				}
			}
			fmt.Fprintf(os.Stderr, " with all %.0f s\n", time.Since(begin).Seconds())
		}
	}
	var rows []row
	for _, phase := range phaseOrder {
		for _, c := range taking {
			if m := taken[c.who][phase]; len(m) > 0 {
				rows = append(rows, r.others.mark(row{Case: r.what, Size: size, Phase: phase, Who: c.who}).withMedians(m))
			}
		}
	}
	return rows, nil
}

// round measures a contender once, in all phases. Each round has new namespaces: for half a
// minute after a namespace was deleted, the API server reads it from etcd whenever an object
// is created in one of the same name. Only namespaces with others' objects stay.
func (r *syncRun) round(ctx context.Context, c syncContender, size int) (_ map[string]measurement, err error) {
	r.rounds++
	prefix := fmt.Sprintf("bench-%d", r.rounds)
	older, newer := filepath.Join(r.dir, prefix+"-older"), filepath.Join(r.dir, prefix+"-newer")
	defer os.RemoveAll(older)
	defer os.RemoveAll(newer)
	if r.cluster.shared {
		prefix = sharedPrefix
	}
	for dir, changed := range map[string]int{older: 0, newer: size / 100} {
		docs, err := r.manifests(prefix, size, changed)
		if err := errors.Join(err, writeFiles(dir, docs)); err != nil {
			return nil, err
		}
	}
	defer func() { err = errors.Join(err, r.cluster.clean(ctx)) }()

	taken := map[string]measurement{}
	var w worker
	end := func() (err error) {
		if w != nil {
			err, w = w.close(), nil
		}
		return err
	}
	defer func() { err = errors.Join(err, end()) }()
	for _, s := range r.steps {
		switch {
		case len(s.who) > 0 && !slices.Contains(s.who, c.who):
			continue
		case s.fresh && c.forgetful:
			taken[s.phase] = taken[warm]
			continue
		case s.fresh:
			if err := end(); err != nil {
				return nil, err
			}
		}
		if w == nil {
			if w, err = c.start(ctx, r.access); err != nil {
				return nil, err
			}
		}
		dir, changed := older, 0
		if s.newer {
			dir, changed = newer, size/100
		}
		if taken[s.phase], err = r.do(ctx, w, s.phase, dir, size, changed); err != nil {
			return nil, err
		}
	}
	return taken, nil
}

// pause is the pause before each phase. After the previous phase, and above all after a
// clean-up, the API server has work of its own, and does not report its end.
const pause = 600 * time.Millisecond

// do measures one phase of a contender, and verifies the result: the number of objects, and
// how many of them are of the new version.
func (r *syncRun) do(ctx context.Context, w worker, phase, dir string, objects, newer int) (m measurement, err error) {
	select {
	case <-time.After(pause):
	case <-ctx.Done():
		return m, context.Cause(ctx)
	}
	before, err := r.cluster.requests(ctx)
	if err != nil {
		return m, err
	}
	if m.Measurement, err = w.do(ctx, phase, dir); err != nil {
		return m, fmt.Errorf("%s: %w", phase, err)
	}
	after, err := r.cluster.requests(ctx)
	if err != nil {
		return m, err
	}
	m.requests = after - before
	if err := r.cluster.verify(ctx, objects, newer); err != nil {
		return m, fmt.Errorf("after %s: %w", phase, err)
	}
	return m, nil
}
