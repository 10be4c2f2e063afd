package gitops_test

import (
	"io/fs"
	"os"
	"testing"
	"testing/fstest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/platformbus/platform"
	"github.com/platformbus/platform/examples/gitops"
	"github.com/platformbus/platform/internal/controlplane"
	"github.com/platformbus/platform/kubernetes"
	"github.com/platformbus/platform/kubernetes/manifest"
)

func TestMain(m *testing.M) { os.Exit(controlplane.Main(m)) }

// repository returns a copy of the demo's directory that tests may change.
func repository(t *testing.T) fstest.MapFS {
	t.Helper()
	repo := fstest.MapFS{"README.md": {Data: []byte("# Not a manifest")}}
	demo := os.DirFS("../demo/manifests")
	require.NoError(t, fs.WalkDir(demo, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := fs.ReadFile(demo, path)
		repo[path] = &fstest.MapFile{Data: data}
		return err
	}))
	return repo
}

func TestLoop(t *testing.T) {
	cp := controlplane.Require(t)
	cluster, err := kubernetes.NewCluster(cp.Config(), kubernetes.Options{Timeout: time.Minute})
	require.NoError(t, err)
	bus := platform.NewStandaloneMessageBus(platform.BusMetrics{})
	bus.Subscribe("demo", cluster, nil)
	p, err := bus.Connect("demo") // as a service would
	require.NoError(t, err)

	options := manifest.PlanOptions{SyncSet: "demo", Namespace: "platform-demo"}
	repo := repository(t)
	var plan manifest.Report
	reconcile := func() error {
		plan = manifest.Report{}
		return gitops.Reconcile(p, repo, options, func(r manifest.Report) bool { plan = r; return true })
	}

	require.NoError(t, reconcile())
	assert.NotEmpty(t, plan.Add)
	assert.Empty(t, plan.Delete)
	require.NoError(t, reconcile())
	assert.True(t, plan.Empty(), "the second time there is nothing to do:\n%s", plan)

	// SetImages changes the image, and no other byte of the file.
	file := repo["frontend.yaml"]
	objects, err := manifest.Parse(file.Data)
	require.NoError(t, err)
	container := containerOf(t, objects)
	file.Data, err = manifest.SetImages(file.Data, map[string]string{container: "nginx:1.28"})
	require.NoError(t, err)
	require.NoError(t, reconcile())
	require.Len(t, plan.Change, 1, "%s", plan)
	assert.Contains(t, plan.Change[0].Diff, "nginx:1.28")
	services, err := p.AllServices("platform-demo", nil)
	require.NoError(t, err)
	found := false
	for _, s := range services {
		for _, c := range s.ContainersOrNil() {
			found = found || c == platform.Container{Name: container, Image: "nginx:1.28"}
		}
	}
	assert.True(t, found, "%v", services)

	// Objects that are no longer in the directory are deleted, and no others.
	worker, err := manifest.Parse(repo["worker.yaml"].Data)
	require.NoError(t, err)
	delete(repo, "worker.yaml")
	require.NoError(t, reconcile())
	assert.Len(t, plan.Delete, len(worker), "%s", plan)
	require.NoError(t, reconcile())
	assert.True(t, plan.Empty(), "%s", plan)

	// An empty directory is more likely a mistake than intended.
	for name := range repo {
		delete(repo, name)
	}
	var refused *manifest.DeleteBudgetError
	require.ErrorAs(t, reconcile(), &refused)
}

// containerOf returns the name of a container of the first Deployment.
func containerOf(t *testing.T, objects []manifest.Object) string {
	t.Helper()
	for _, o := range objects {
		if o.GetKind() == "Deployment" {
			spec := o.Object["spec"].(map[string]any)["template"].(map[string]any)["spec"].(map[string]any)
			return spec["containers"].([]any)[0].(map[string]any)["name"].(string)
		}
	}
	t.Fatal("there is no Deployment")
	return ""
}
