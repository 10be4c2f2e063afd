package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// A benchCase is a kind of work that is done by this library and by others.
type benchCase interface {
	// name returns the name in rows and in the flag -case.
	name() string
	// run starts the programs that the case needs, measures, and returns one row for
	// each size, phase and contender.
	run(ctx context.Context, o options) ([]row, error)
}

var cases = []benchCase{ofSync, ofFar, ofLargeCluster, ofLargeObjects, servicesCase, exportCase, busPingCase, busSubscribeCase, busExportCase, busLostCase, busFarCase, busUnfairCase, busRestartCase}

// options are the options of the measurement from the command line.
type options struct {
	runs    int
	sizes   []int        // empty for those of the case
	others  []neighbours // of the case large-cluster
	profile string       // folder for profiles of the libraries; empty for none
	only    []string     // the contenders to measure; empty for all
}

// sizesOr returns the sizes of the options, or those of a case if the options have none.
func (o options) sizesOr(usual []int) []int {
	if len(o.sizes) > 0 {
		return o.sizes
	}
	return usual
}

// includes reports whether a contender is to be measured.
func (o options) includes(c syncContender) bool {
	return len(o.only) == 0 || slices.Contains(o.only, c.who)
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	var (
		o      options
		out    = flag.String("out", "results.json", "`file` of the results")
		page   = flag.String("page", "", "measure nothing, and put the table of the results into this `file`")
		sizes  = flag.String("sizes", "", "`numbers` of objects instead of those of the case; above 1,000 only this library and the floor apply them, once")
		others = flag.String("others", "0,5000,20000,2000-shared", "`numbers` of others' objects in the case large-cluster, with -shared if they are in the same namespaces")
		who    = flag.String("who", "", "the only contenders to measure in cases that apply manifests, as the results call them: `names`, with commas")
		which  = flag.String("case", "", "the only case to measure, beside whose results those of the others stay in the file: "+strings.Join(caseNames(), ", "))
	)
	flag.IntVar(&o.runs, "runs", 5, "how often to measure")
	flag.StringVar(&o.profile, "profile", "", "write profiles of the processor and of memory into this `folder`")
	flag.Parse()
	if *sizes != "" {
		for size := range strings.SplitSeq(*sizes, ",") {
			n, err := strconv.Atoi(size)
			if err != nil || n < 1 {
				return fmt.Errorf("-sizes: %q is not a number of objects", size)
			}
			o.sizes = append(o.sizes, n)
		}
	}
	for number := range strings.SplitSeq(*others, ",") {
		n, err := parseNeighbours(number)
		if err != nil {
			return fmt.Errorf("-others: %w", err)
		}
		o.others = append(o.others, n)
	}
	if *who != "" {
		o.only = strings.Split(*who, ",")
	}
	switch {
	case flag.NArg() > 0:
		return fmt.Errorf("unexpected argument %q", flag.Arg(0))
	case o.runs < 1:
		return errors.New("-runs must be positive")
	case *which != "" && !slices.Contains(caseNames(), *which):
		return fmt.Errorf("-case: there is no case %q", *which)
	case *page != "":
		return render(*out, *page)
	}
	return measureAll(ctx, o, *which, *out)
}

func caseNames() []string {
	names := make([]string, len(cases))
	for i, c := range cases {
		names[i] = c.name()
	}
	return names
}

// measureAll measures the cases, and writes the results of each case to a file when it has
// ended. If only one case is measured, it keeps the results of the others in the file.
func measureAll(ctx context.Context, o options, which, out string) error {
	machine, err := describeMachine()
	if err != nil {
		return err
	}
	all := results{Machine: machine}
	if which != "" {
		if all, err = resultsToAddTo(out, machine); err != nil {
			return err
		}
	}
	for _, c := range cases {
		if which != "" && which != c.name() {
			continue
		}
		day := time.Now().UTC().Format(time.DateOnly)
		rows, err := c.run(ctx, o)
		if err != nil {
			return fmt.Errorf("%s: %w", c.name(), err)
		}
		all.put(c.name(), day, rows, caseNames())
		if err := all.write(out); err != nil {
			return err
		}
	}
	fmt.Printf("\n%s\n%s", table(all), checkTargets(all))
	return nil
}

// render puts the table of the results into a file.
func render(results, file string) error {
	all, err := readResults(results)
	if err != nil {
		return err
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	text, err = insert(text, table(all))
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	fmt.Print(checkTargets(all))
	return os.WriteFile(file, text, 0o644)
}
