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

// kindsFile defines the one thing that belongs to the whole cluster.
const kindsFile = "shop-kinds.yaml"

// manifests are the files that a service would find in its user's repository, in the
// order of their names. They are never changed.
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

// with returns the manifests as they are after an edit.
func (m manifests) with(old, new string) manifests {
	edited := slices.Clone(m.files)
	for i := range edited {
		edited[i].text = strings.ReplaceAll(edited[i].text, old, new)
	}
	return manifests{edited}
}

// syncDef asks for everything in the manifests. An error is to name the file.
func (m manifests) syncDef() platform.SyncDef {
	var def platform.SyncDef
	for _, f := range m.files {
		def.Actions = append(def.Actions, platform.SyncAction{ResourceID: f.name, Apply: []byte(f.text)})
	}
	return def
}

// objects counts them.
func (m manifests) objects() int {
	count := 0
	for _, f := range m.files {
		count += len(mustParse([]byte(f.text)))
	}
	return count
}

// rollout asks for the Deployment that has the service's name, and for nothing else.
func (m manifests) rollout(id flux.ServiceID) []platform.ServiceDefinition {
	_, name := id.Components()
	for _, f := range m.files {
		for _, object := range mustParse([]byte(f.text)) {
			if object.GetKind() != "Deployment" || object.GetName() != name {
				continue
			}
			definition, err := object.MarshalJSON()
			if err != nil {
				panic(err) // what was parsed can be written
			}
			return []platform.ServiceDefinition{{ServiceID: id, NewDefinition: definition}}
		}
	}
	panic(fmt.Sprintf("the manifests have no Deployment %s", name))
}

// mustParse is for our own files.
func mustParse(text []byte) []manifest.Object {
	objects, err := manifest.Parse(text)
	if err != nil {
		panic(err)
	}
	return objects
}
