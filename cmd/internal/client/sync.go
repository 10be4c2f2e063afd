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
func plan(t *target, p platform.Platform, dir string, options manifest.PlanOptions) (def platform.SyncDef, report manifest.Report, err error) {
	desired, err := load(t, dir)
	if err != nil {
		return def, report, err
	}
	done := waiting(t.err, "exporting the cluster")
	current, err := p.Export()
	done()
	if err != nil {
		return def, report, fmt.Errorf("export the cluster, which a plan needs as a whole: %w", err)
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
		def, report, err := t.toSync(ctx, p, args[0], options, prune, yes)
		if err != nil {
			return err
		}
		done := waiting(t.err, fmt.Sprintf("syncing %d objects", len(def.Actions)))
		err = p.Sync(def)
		done()
		return c.writeOutcome(t.out, def, report, prune, err)
	})
	c.addInstance(cmd)
	c.output.addFlag(cmd)
	addPlanFlags(cmd.Flags(), &options)
	cmd.Flags().BoolVar(&prune, "prune", false, "also delete what the set had and the folder no longer has")
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "with --prune: delete without asking")
	return cmd
}

// toSync returns what to sync, and the report about it: all objects of the folder, or with prune
// what a plan says, once a person has confirmed its deletions.
func (t *target) toSync(ctx context.Context, p platform.Platform, dir string, options manifest.PlanOptions, prune, yes bool) (platform.SyncDef, manifest.Report, error) {
	if !prune {
		desired, err := load(t, dir)
		if err != nil {
			return platform.SyncDef{}, manifest.Report{}, err
		}
		return manifest.Plan(nil, desired, options) // of nothing: everything is to be added
	}
	def, report, err := plan(t, p, dir, options)
	if err == nil {
		err = writeReport(t.err, report)
	}
	if err == nil && len(report.Delete) > 0 && !yes {
		err = t.confirm(ctx, len(report.Delete))
	}
	return def, report, err
}

// confirm returns nil if a person confirms the deletion of n objects.
func (t *target) confirm(ctx context.Context, n int) error {
	if !isTerminal(t.in) {
		return program.Usage("the plan deletes %d objects, and there is no terminal to ask at: give --yes", n)
	}
	if answer := t.ask(ctx, fmt.Sprintf("\nDelete %d objects? [y/N] ", n)); answer != "y" && answer != "yes" {
		return errors.New("not confirmed: nothing is changed")
	}
	return nil
}

// ask asks a person, and returns the answer in lower case. It is empty if there is none, or if
// ctx ends. Its goroutine still reads then: nothing ends the read of a terminal but the end of
// the process, which follows.
func (t *target) ask(ctx context.Context, question string) string {
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
		return answer
	case <-ctx.Done():
		fmt.Fprintln(t.err)
		return ""
	}
}

// writeOutcome writes what came of a sync. The errors of a SyncError's objects are in the result,
// and the error that it returns only counts them.
func (c *config) writeOutcome(w io.Writer, def platform.SyncDef, report manifest.Report, prune bool, err error) error {
	var failed platform.SyncError
	if err != nil && !errors.As(err, &failed) {
		return err
	}
	failures := failuresOf(failed, report)
	result := map[string]any{"objects": len(def.Actions), "failures": failures}
	var text strings.Builder
	for _, id := range slices.Sorted(maps.Keys(failures)) {
		fmt.Fprintf(&text, "%s: %s\n", oneline.Line(id), failures[id])
	}
	if prune { // objects of the folder that no action was needed for
		result["unchanged"] = report.Unchanged
	}
	switch {
	case len(failed) > 0:
	case prune:
		fmt.Fprintln(&text, outcome(report))
	default:
		fmt.Fprintf(&text, "%d objects are as the folder says\n", len(def.Actions))
	}
	if err := c.output.write(w, result, func(w io.Writer) error { _, err := io.WriteString(w, text.String()); return err }); err != nil {
		return err
	}
	if len(failed) == 0 {
		return nil
	}
	return partly{fmt.Sprintf("%d of %d objects failed", len(failed), len(def.Actions)), err}
}

// failuresOf returns the error of each object that failed, after the file and the line of its
// definition.
func failuresOf(failed platform.SyncError, report manifest.Report) map[string]string {
	locations := map[string]string{}
	for _, e := range slices.Concat(report.Add, report.Change, report.Unseen) {
		locations[e.ID] = fmt.Sprintf("%s:%d: ", e.Source, e.Line)
	}
	failures := make(map[string]string, len(failed))
	for id, cause := range failed {
		text := "no cause given"
		if cause != nil {
			text = cause.Error()
		}
		failures[id] = oneline.Line(locations[id] + text)
	}
	return failures
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
