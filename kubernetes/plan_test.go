package kubernetes_test

import (
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/platformbus/platform/internal/controlplane"
	"github.com/platformbus/platform/kubernetes"
	"github.com/platformbus/platform/kubernetes/manifest"
)

// What a plan has made of a real cluster, and the API server of that with its defaults and
// allocations, is what the next plan finds to be as desired.
func TestPlanOfWhatIsThereIsEmpty(t *testing.T) {
	cp := controlplane.Require(t)
	c, err := kubernetes.NewCluster(cp.Config(), kubernetes.Options{Timeout: time.Minute, ExportSecrets: true})
	require.NoError(t, err)
	text, err := os.ReadFile("testdata/plan.yaml")
	require.NoError(t, err)
	plan := func(desired bool, options manifest.PlanOptions) manifest.Report {
		t.Helper()
		var objects []manifest.Object
		if desired {
			objects, err = manifest.Parse(text)
			require.NoError(t, err)
		}
		current, err := c.Export()
		require.NoError(t, err)
		options.SyncSet, options.Namespace, options.DeleteBudget = "plan-test", "planned", 100
		def, report, err := manifest.Plan(current, objects, options)
		require.NoError(t, err)
		require.NoError(t, c.Sync(def))
		return report
	}
	everything := manifest.PlanOptions{AllowDeleteNamespaces: true, AllowDeleteCRDs: true, AllowDeletePVCs: true}
	t.Cleanup(func() { plan(false, everything) })

	assert.NotEmpty(t, plan(true, manifest.PlanOptions{}).Add)
	for range 2 {
		again := plan(true, manifest.PlanOptions{})
		assert.True(t, again.Empty(), "%s", again)
	}
	pruned := plan(false, manifest.PlanOptions{})
	assert.NotEmpty(t, pruned.Delete)
	kinds := map[string]bool{}
	for _, refused := range pruned.Refused {
		kinds[refused.ID] = true
	}
	assert.True(t, kinds["<cluster>:namespace/planned"], "a namespace is not deleted without being told to: %s", pruned)
	gone := plan(false, everything)
	assert.NotEmpty(t, gone.Delete)
	assert.Empty(t, gone.Refused, "%s", gone)
}

// A Secret that an Export leaves out is unseen, and is missing until it was applied.
func TestPlanOfSecretsThatAreNotExported(t *testing.T) {
	w := newEnv(t, kubernetes.Options{})
	cluster, _ := w.recorded(t, kubernetes.Options{Namespaces: []string{w.namespace}}, nil)
	plan := func() manifest.Report {
		t.Helper()
		current, err := cluster.Export()
		require.NoError(t, err)
		assert.NotContains(t, string(current), "hunter2")
		def, report, err := manifest.Plan(current, parsed(t, secret("login", "hunter2")), manifest.PlanOptions{SyncSet: w.namespace, Namespace: w.namespace})
		require.NoError(t, err)
		require.NoError(t, cluster.Sync(def))
		return report
	}
	w.kubectl(t, "", "create", "secret", "generic", "other", "--from-literal=a=hunter2")
	assert.False(t, plan().Empty())
	again := plan()
	assert.True(t, again.Empty(), "%s", again)
	assert.Len(t, again.Unseen, 1)
	require.NoError(t, w.client.CoreV1().Secrets(w.namespace).Delete(t.Context(), "login", metav1.DeleteOptions{}))
	assert.False(t, plan().Empty())
}
