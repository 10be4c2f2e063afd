// Package programs lists the programs of a control plane, pins their versions, and
// locates them on this machine.
//
// It is separate from package controlplane, which starts them, so that their builder
// needs only the standard library.
package programs

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// The versions that the modules below hack/controlplane build. A test compares
// them with the go.mod files there.
const (
	KubernetesVersion = "v1.37.2"
	EtcdVersion       = "v3.7.0"
	KwokVersion       = "v0.8.0"
)

// AssetsVariable is the environment variable that names a folder of programs to use
// instead of the builder's. controller-runtime's envtest and setup-envtest use the
// same variable.
const AssetsVariable = "KUBEBUILDER_ASSETS"

// A Program is one of the programs of a control plane, and how to build it.
type Program struct {
	Name    string
	Version string
	Module  string // folder of the module that pins it, relative to the repository's root
	Package string // import path of its main package
	LDFlags string

	// FirstBuild is the approximate duration of the first build on 2 cores, measured
	// with an empty build cache in the order of All: later builds reuse packages
	// that earlier ones compiled.
	FirstBuild time.Duration
}

// All returns the programs in the order in which they are built.
func All() []Program {
	// The symbol tables are half of each file. Without a version the server reports
	// "v0.0.0-master+$Format:%H$", which kubectl cannot parse.
	const (
		strip      = "-s -w"
		kubernetes = strip + " -X k8s.io/component-base/version.gitVersion=" + KubernetesVersion
		module     = "hack/controlplane"
	)
	return []Program{
		{"etcd", EtcdVersion, module, "go.etcd.io/etcd/server/v3", strip, 40 * time.Second},
		{"kube-apiserver", KubernetesVersion, module, "k8s.io/kubernetes/cmd/kube-apiserver", kubernetes, 4 * time.Minute},
		{"kube-controller-manager", KubernetesVersion, module, "k8s.io/kubernetes/cmd/kube-controller-manager", kubernetes, 100 * time.Second},
		{"kube-scheduler", KubernetesVersion, module, "k8s.io/kubernetes/cmd/kube-scheduler", kubernetes, 10 * time.Second},
		{"kubectl", KubernetesVersion, module, "k8s.io/kubernetes/cmd/kubectl", kubernetes, 20 * time.Second},
		{"kwok", KwokVersion, module + "/kwok", "sigs.k8s.io/kwok/cmd/kwok", strip, 70 * time.Second},
	}
}

// Names returns the names of all programs.
func Names() []string {
	var names []string
	for _, p := range All() {
		names = append(names, p.Name)
	}
	return names
}

// CacheFolder returns the folder of the builder's programs. Its name contains the
// pinned versions, so that programs of other versions are never used.
func CacheFolder() (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("find the folder of the control plane's programs: %w", err)
	}
	key := "kubernetes-" + KubernetesVersion + "_etcd-" + EtcdVersion + "_kwok-" + KwokVersion
	return filepath.Join(cache, "platform", "controlplane", key), nil
}

// Locate returns the folder that contains all the named programs: the one in
// KUBEBUILDER_ASSETS if that is set and contains them all, or else the builder's.
// It returns a MissingError if neither does. It never mixes the two, because
// programs of different versions may be incompatible.
func Locate(names ...string) (string, error) {
	cache, err := CacheFolder()
	if err != nil {
		return "", err
	}
	folders := []string{cache}
	if assets := os.Getenv(AssetsVariable); assets != "" {
		folders = []string{assets, cache}
	}
	missing := &MissingError{}
	for _, folder := range folders {
		absent := Absent(folder, names...)
		if len(absent) == 0 {
			return folder, nil
		}
		missing.Folders = append(missing.Folders, folder)
		missing.Programs = absent // of the builder's folder, which comes last
	}
	return "", missing
}

// Absent returns the named programs that are not in folder.
func Absent(folder string, names ...string) []string {
	var absent []string
	for _, name := range names {
		info, err := os.Stat(filepath.Join(folder, name))
		if err != nil || !info.Mode().IsRegular() || info.Mode()&0o111 == 0 {
			absent = append(absent, name)
		}
	}
	return absent
}

// A MissingError names the programs that are missing. Its text says how to build them.
type MissingError struct {
	Programs []string
	Folders  []string // the folders that were searched
}

func (e *MissingError) Error() string {
	return fmt.Sprintf("programs of the control plane are missing: %s not in %s: "+
		"build them with `make controlplane` (8 to 12 minutes the first time, on 2 cores), "+
		"or set %s to a folder that holds them",
		strings.Join(e.Programs, ", "), strings.Join(e.Folders, " or "), AssetsVariable)
}
