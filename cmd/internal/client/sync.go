package client

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/platformbus/platform"
	"github.com/platformbus/platform/cmd/internal/jsonform"
	"github.com/platformbus/platform/cmd/internal/program"
	"github.com/platformbus/platform/internal/oneline"
	"github.com/platformbus/platform/kubernetes/manifest"
)

// addPlanFlags adds flags for the options of a plan.
func addPlanFlags(flags *pflag.FlagSet, o *manifest.PlanOptions) {
	flags.StringVar(&o.SyncSet, "set", "", "`name` of the set that the folder's objects form; only what belongs to it is deleted")
	flags.StringVarP(&o.Namespace, "namespace", "n", "", "`namespace` of definitions without one, the same as the daemon's (default \"default\")")
	flags.IntVar(&o.DeleteBudget, "delete-budget", 0, "how many objects may be deleted; negative for none (default 10 or a quarter of the set)")
	flags.BoolVar(&o.AllowDeleteNamespaces, "allow-delete-namespaces", false, "let namespaces be deleted")
	flags.BoolVar(&o.AllowDeleteCRDs, "allow-delete-crds", false, "let definitions of kinds be deleted")
	flags.BoolVar(&o.AllowDeletePVCs, "allow-delete-pvcs", false, "let volumes and claims of volumes be deleted")
}

func planCommand() *cobra.Command {
	c := new(config)
	var options manifest.PlanOptions
	var exitCode bool
	cmd := c.newCommand(&cobra.Command{
		Use:   "plan DIR",
		Short: "Show what a sync of a folder would change",
		Long: `Show what a sync of a folder would change: additions, changes with their diffs, and, with --set,
deletions of what an earlier sync of the set applied and the folder no longer has.

It reads the whole cluster by an export.`,
		Example:           "  platform plan ./manifests --instance production --set shop",
		Args:              wantArgs(cobra.ExactArgs(1), "DIR"),
		ValidArgsFunction: completeDir,
	}, func(ctx context.Context, t *target, args []string) error {
		p, err := c.platform(ctx, t)
		if err != nil {
			return err
		}
		_, report, err := plan(t, p, args[0], options)
		if overBudget := new(manifest.DeleteBudgetError); err != nil && !errors.As(err, &overBudget) {
			return err
		}
		if err := c.output.write(t.out, jsonform.Report(report), func(w io.Writer) error { return writeReport(w, report) }); err != nil {
			return err
		}
		if err != nil { // too much would be deleted, as the report shows
			return err
		}
		if exitCode && !report.Empty() {
			return program.ErrDiffers
		}
		return nil
	})
	c.addInstance(cmd)
	c.output.addFlag(cmd)
	addPlanFlags(cmd.Flags(), &options)
	cmd.Flags().BoolVar(&exitCode, "exit-code", false, "exit with 3 if a sync would change something; of Secrets, only whether they are there is known, unless the daemon exports them")
	return cmd
}

// load returns the objects of a folder.
func load(t *target, dir string) ([]manifest.Object, error) {
	objects, ignored, err := manifest.Load(os.DirFS(dir))
	for _, one := range ignored {
		fmt.Fprintf(t.err, "ignored: %s\n", oneline.Line(one.String()))
	}
	if err != nil {
		return nil, fmt.Errorf("load the manifests in %s: %w", dir, err)
	}
	if len(objects) == 0 {
		fmt.Fprintf(t.err, "no manifests in %s\n", oneline.Line(dir))
	}
	return objects, nil
}

// plan compares a folder with the cluster.
func plan(t *target, p platform.Platform, dir string, options manifest.PlanOptions) (platform.SyncDef, manifest.Report, error) {
	var none platform.SyncDef
	desired, err := load(t, dir)
	if err != nil {
		return none, manifest.Report{}, err
	}
	done := waiting(t.err, "exporting the cluster")
	current, err := p.Export()
	done()
	if err != nil {
		return none, manifest.Report{}, fmt.Errorf("export the cluster, which a plan needs as a whole: %w", err)
	}
	return manifest.Plan(current, desired, options)
}

func writeReport(w io.Writer, report manifest.Report) error {
	text := escaped(report.String()) // a diff shows what a cluster holds
	if hasColor(w) {
		text = colored(text)
	}
	_, err := io.WriteString(w, text)
	return err
}

func syncCommand() *cobra.Command {
	c := new(config)
	var options manifest.PlanOptions
	var prune, yes bool
	cmd := c.newCommand(&cobra.Command{
		Use:   "sync DIR",
		Short: "Apply a folder of manifests",
		Long: `Apply a folder of manifests, in the order in which the objects need each other. What is unchanged
costs nothing.

With --prune it also deletes what an earlier sync of the same --set applied and the folder no
longer has: it shows the plan, and asks before it deletes anything. Scripts give --yes.`,
		Example: `  platform sync ./manifests --instance production
  platform sync ./manifests --instance production --set shop --prune`,
		Args:              wantArgs(cobra.ExactArgs(1), "DIR"),
		ValidArgsFunction: completeDir,
	}, func(ctx context.Context, t *target, args []string) error {
		if prune && options.SyncSet == "" {
			return program.Usage("--prune needs --set: only what belongs to a set is deleted")
		}
		p, err := c.platform(ctx, t)
		if err != nil {
			return err
		}
		def, planned, err := t.toSync(ctx, p, args[0], options, prune, yes)
		if err != nil {
			return err
		}
		done := waiting(t.err, fmt.Sprintf("syncing %d objects", len(def.Actions)))
		err = p.Sync(def)
		done()
		return c.report(t, def, planned, err)
	})
	c.addInstance(cmd)
	c.output.addFlag(cmd)
	addPlanFlags(cmd.Flags(), &options)
	cmd.Flags().BoolVar(&prune, "prune", false, "also delete what the set had and the folder no longer has")
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "delete without asking")
	return cmd
}

// toSync returns what to sync: all objects of the folder, or with prune what a plan says,
// once a person has confirmed its deletions. The report is that of the plan, or nil.
func (t *target) toSync(ctx context.Context, p platform.Platform, dir string, options manifest.PlanOptions, prune, yes bool) (platform.SyncDef, *manifest.Report, error) {
	var none platform.SyncDef
	if !prune {
		desired, err := load(t, dir)
		if err != nil {
			return none, nil, err
		}
		def, _, err := manifest.Plan(nil, desired, options) // of nothing: everything is to be added
		return def, nil, err
	}
	def, report, err := plan(t, p, dir, options)
	if err != nil {
		return none, nil, err
	}
	if err := writeReport(t.err, report); err != nil {
		return none, nil, err
	}
	if len(report.Delete) == 0 || yes {
		return def, &report, nil
	}
	if !isTerminal(t.in) {
		return none, nil, program.Usage("the plan deletes %d objects, and there is no terminal to ask at: give --yes", len(report.Delete))
	}
	switch answer, err := t.ask(ctx, fmt.Sprintf("\nDelete %d objects? [y/N] ", len(report.Delete))); {
	case err != nil:
		return none, nil, err
	case answer != "y" && answer != "yes":
		return none, nil, errNotConfirmed
	}
	return def, &report, nil
}

var errNotConfirmed = errors.New("not confirmed: nothing is changed")

// ask asks a person, and returns the answer in lower case, which is empty if there is none. When
// ctx ends it returns an error. Its goroutine still reads then: nothing ends the read of a
// terminal but the end of the process, which follows.
func (t *target) ask(ctx context.Context, question string) (string, error) {
	fmt.Fprint(t.err, question)
	answers := make(chan string, 1)
	go func() {
		line, err := bufio.NewReader(t.in).ReadString('\n')
		if err != nil {
			line = ""
		}
		answers <- strings.ToLower(strings.TrimSpace(line))
	}()
	select {
	case answer := <-answers:
		return answer, nil
	case <-ctx.Done():
		fmt.Fprintln(t.err)
		return "", errNotConfirmed
	}
}

// report writes what came of a sync. The error of a SyncError's objects is in the result, and
// the error that it returns only counts them. The report is that of the plan, or nil.
func (c *config) report(t *target, def platform.SyncDef, planned *manifest.Report, err error) error {
	var failed platform.SyncError
	if err != nil && !errors.As(err, &failed) {
		return err
	}
	failures := map[string]string{}
	for id, cause := range failed {
		failures[id] = "no cause given"
		if cause != nil {
			failures[id] = oneline.Line(cause.Error())
		}
	}
	result := map[string]any{"objects": len(def.Actions), "failures": failures}
	if planned != nil { // objects of the folder that no action was needed for
		result["unchanged"] = planned.Unchanged
	}
	if err := c.output.write(t.out, result, func(w io.Writer) error {
		for _, id := range slices.Sorted(maps.Keys(failures)) {
			fmt.Fprintf(w, "%s: %s\n", oneline.Line(id), failures[id])
		}
		switch {
		case len(failed) > 0:
		case planned == nil:
			fmt.Fprintf(w, "%d objects are as the folder says\n", len(def.Actions))
		default:
			fmt.Fprintln(w, outcome(*planned))
		}
		return nil
	}); err != nil {
		return err
	}
	if len(failed) == 0 {
		return nil
	}
	return partly{fmt.Sprintf("%d of %d objects failed", len(failed), len(def.Actions)), err}
}

// outcome says what came of a plan that was carried out.
func outcome(r manifest.Report) string {
	changed := len(r.Add) + len(r.Change)
	text := fmt.Sprintf("%d objects are as the folder says, %d of them changed", changed+len(r.Unseen)+r.Unchanged, changed)
	if len(r.Unseen) > 0 {
		text += fmt.Sprintf(", %d applied unseen", len(r.Unseen))
	}
	if len(r.Delete) > 0 {
		text += fmt.Sprintf("; %d are deleted", len(r.Delete))
	}
	return text
}

// partly is an error that has been shown in full: its text only counts.
type partly struct {
	text  string
	cause error
}

func (e partly) Error() string { return e.text }
func (e partly) Unwrap() error { return e.cause }
