package main

import (
	"embed"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/platformbus/platform"
	"github.com/platformbus/platform/flux"
	"github.com/platformbus/platform/kubernetes/manifest"
)

//go:embed manifests/*.yaml
var manifestFiles embed.FS

// kindsFile defines the only cluster-scoped object besides the namespace.
const kindsFile = "shop-kinds.yaml"

// manifests are the files of a user's repository, in the order of their names. They are
// immutable.
type manifests struct {
	files []file
}

type file struct{ name, text string }

// loadManifests reads the files, without the definition of kinds if the cluster has them.
func loadManifests(hasKinds bool) (manifests, error) {
	entries, err := fs.ReadDir(manifestFiles, "manifests")
	if err != nil {
		return manifests{}, err
	}
	var m manifests
	for _, entry := range entries {
		if hasKinds && entry.Name() == kindsFile {
			continue
		}
		text, err := fs.ReadFile(manifestFiles, "manifests/"+entry.Name())
		if err != nil {
			return manifests{}, err
		}
		m.files = append(m.files, file{entry.Name(), string(text)})
	}
	return m, nil
}

// with returns a copy of the manifests in which old is replaced by new.
func (m manifests) with(old, new string) manifests {
	edited := slices.Clone(m.files)
	for i := range edited {
		edited[i].text = strings.ReplaceAll(edited[i].text, old, new)
	}
	return manifests{edited}
}

// without returns a copy of the manifests without a file.
func (m manifests) without(name string) manifests {
	return manifests{slices.DeleteFunc(slices.Clone(m.files), func(f file) bool { return f.name == name })}
}

// syncDef returns a SyncDef that applies all manifests. Its resource IDs are the file names,
// so that errors name the file.
func (m manifests) syncDef() platform.SyncDef {
	var def platform.SyncDef
	for _, f := range m.files {
		def.Actions = append(def.Actions, platform.SyncAction{ResourceID: f.name, Apply: []byte(f.text)})
	}
	return def
}

// objects returns the number of objects in the manifests.
func (m manifests) objects() int {
	count := 0
	for _, f := range m.files {
		count += len(mustParse([]byte(f.text)))
	}
	return count
}

// syncSet is the name of the set that the manifests form in a cluster.
const syncSet = namespace

// plan returns what to sync so that a cluster, of which current is the export, is as the
// manifests say.
func (m manifests) plan(current []byte) (platform.SyncDef, manifest.Report, error) {
	var desired []manifest.Object
	for _, f := range m.files {
		for _, object := range mustParse([]byte(f.text)) {
			object.Source = f.name
			desired = append(desired, object)
		}
	}
	return manifest.Plan(current, desired, manifest.PlanOptions{SyncSet: syncSet})
}

// rollout returns the definition of the Deployment that has the service's name, with the marks
// of a plan: otherwise the next plan would have to take the object over.
func (m manifests) rollout(id flux.ServiceID) []platform.ServiceDefinition {
	def, _, err := m.plan(nil)
	if err != nil {
		panic(err) // the files are the demo's own
	}
	_, name := id.Components()
	for _, action := range def.Actions {
		if action.ResourceID == namespace+":deployment/"+name {
			return []platform.ServiceDefinition{{ServiceID: id, NewDefinition: action.Apply}}
		}
	}
	panic(fmt.Sprintf("the manifests have no Deployment %s", name))
}

// mustParse parses the demo's own files.
func mustParse(text []byte) []manifest.Object {
	objects, err := manifest.Parse(text)
	if err != nil {
		panic(err)
	}
	return objects
}
