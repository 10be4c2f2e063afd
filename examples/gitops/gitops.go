// Package gitops reconciles a cluster with a directory of manifests, through any Platform, in
// the four steps that a GitOps tool repeats.
package gitops

import (
	"fmt"
	"io/fs"

	"github.com/platformbus/platform"
	"github.com/platformbus/platform/kubernetes/manifest"
)

// Reconcile applies the manifests in dir to the cluster of p, and deletes objects that an
// earlier Reconcile of the same set applied and that are no longer in dir. It passes the plan
// to approve, and changes nothing if approve returns false or the plan is empty.
func Reconcile(p platform.Platform, dir fs.FS, options manifest.PlanOptions, approve func(manifest.Report) bool) error {
	desired, _, err := manifest.Load(dir) // the list of ignored files is not needed
	if err != nil {
		return fmt.Errorf("load the manifests: %w", err)
	}
	current, err := p.Export()
	if err != nil {
		return fmt.Errorf("look at the cluster: %w", err) // a plan needs the complete export
	}
	def, report, err := manifest.Plan(current, desired, options)
	if err != nil {
		return err // it begins with "plan: "
	}
	if len(def.Actions) == 0 || !approve(report) {
		return nil
	}
	return p.Sync(def)
}
