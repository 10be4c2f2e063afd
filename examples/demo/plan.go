package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/platformbus/platform"
	"github.com/platformbus/platform/kubernetes/manifest"
)

// plan compares a cluster with the files.
func (s *story) plan(service platform.Platform, files manifests) (platform.SyncDef, manifest.Report, error) {
	e, err := s.export(service)
	if err != nil {
		return platform.SyncDef{}, manifest.Report{}, err
	}
	return files.plan(e.text)
}

// counts returns the first line of a report.
func counts(r manifest.Report) string {
	first, _, _ := strings.Cut(r.String(), "\n")
	return first
}

// checkEntries checks of which objects in the namespace a list of a report is.
func checkEntries(what string, got []manifest.Entry, want ...string) error {
	ids := make([]string, len(got))
	for i, entry := range got {
		ids[i] = strings.TrimPrefix(entry.ID, namespace+":")
	}
	slices.Sort(ids)
	slices.Sort(want)
	if !slices.Equal(ids, want) {
		return fmt.Errorf("the plan would %s %q, want %q", what, ids, want)
	}
	return nil
}

// somebodyElses makes an object that is in no file, in the way of a tool that makes no plans.
var somebodyElses = platform.SyncDef{Actions: []platform.SyncAction{{ResourceID: "somebody-elses", Apply: []byte(`
apiVersion: v1
kind: ConfigMap
metadata:
  name: somebody-elses
  namespace: ` + namespace)}}}

// checkDeleted checks that the worker is gone, and that somebody else's object is still there.
func (s *story) checkDeleted(service platform.Platform) error {
	e, err := s.export(service)
	if err != nil {
		return err
	}
	has := func(name string) bool {
		return slices.ContainsFunc(e.own, func(o manifest.Object) bool { return o.GetName() == name })
	}
	switch {
	case has("worker"):
		return errors.New("the worker is still there")
	case !has("somebody-elses"):
		return errors.New("a plan has deleted what was not its own")
	}
	s.say("They are gone. A ConfigMap that another tool has made beside them is still there.")
	return nil
}

// checkUnchanged syncs what is there already, and checks that this changes nothing.
func (s *story) checkUnchanged(service platform.Platform, all platform.SyncDef) error {
	before, err := s.export(service)
	if err != nil {
		return err
	}
	if _, err := s.setup.takeReport(); err != nil { // about the steps before
		return err
	}
	began := time.Now()
	if err := s.setup.sync(s.ctx, east, all); err != nil {
		return fmt.Errorf("sync: %w", err)
	}
	took := time.Since(began)
	after, err := s.export(service)
	if err != nil {
		return err
	}
	if err := sameExport(before, after); err != nil {
		return fmt.Errorf("a second Sync of the same definitions: %w", err)
	}
	s.say("Sync took %s and had nothing to send. Export gives the same as before.", round(took))
	return s.showReport()
}

// bringWest plans the files for west, whose cluster is empty, and waits until they run there.
func (s *story) bringWest(service platform.Platform, files manifests) error {
	if s.cluster.hasKinds { // east had them before, and west has not
		all, err := loadManifests(false)
		if err != nil {
			return err
		}
		files = manifests{append(slices.Clone(files.files), slices.DeleteFunc(all.files, func(f file) bool { return f.name != kindsFile })...)}
	}
	def, report, err := s.plan(service, files)
	if err != nil {
		return err
	}
	s.say("%s", counts(report))
	if err := s.setup.sync(s.ctx, west, def); err != nil {
		return fmt.Errorf("sync: %w", err)
	}
	began := time.Now()
	if err := s.poll(service, allReady, func([]platform.Service) {}); err != nil {
		return err
	}
	s.say("All of them are ready after %s.", round(time.Since(began)))
	return nil
}
