// Package gitops is a loop that makes a cluster what a directory says, through any
// Platform: the four steps that a GitOps tool repeats.
package gitops

import (
	"fmt"
	"io/fs"

	"github.com/platformbus/platform"
	"github.com/platformbus/platform/kubernetes/manifest"
)

// Reconcile makes the cluster behind p what the manifests in dir say, and deletes what an
// earlier Reconcile of the same set put there and dir no longer has. It shows approve what
// it is about to do, and does nothing if that returns false or nothing is to be done.
func Reconcile(p platform.Platform, dir fs.FS, options manifest.PlanOptions, approve func(manifest.Report) bool) error {
	desired, _, err := manifest.Load(dir) // what was ignored is of no interest here
	if err != nil {
		return fmt.Errorf("load the manifests: %w", err)
	}
	current, err := p.Export()
	if err != nil {
		return fmt.Errorf("look at the cluster: %w", err) // from half of it would follow half a plan
	}
	def, report, err := manifest.Plan(current, desired, options)
	if err != nil {
		return fmt.Errorf("plan: %w", err)
	}
	if len(def.Actions) == 0 || !approve(report) {
		return nil
	}
	return p.Sync(def)
}
