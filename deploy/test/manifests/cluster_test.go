package manifests_test

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clientset "k8s.io/client-go/kubernetes"

	"github.com/platformbus/platform"
	"github.com/platformbus/platform/internal/controlplane"
	"github.com/platformbus/platform/kubernetes"
)

// The chart, applied by our own Sync, is accepted whole; its pods are admitted in a namespace that
// enforces the restricted standard, and become ready. A second Sync changes nothing.
func TestSyncOfTheChart(t *testing.T) {
	cp := controlplane.Require(t)
	var mu sync.Mutex
	results := map[string]kubernetes.Result{} // guarded by mu: of the last Sync, by object
	cluster, err := kubernetes.NewCluster(cp.Config(), kubernetes.Options{Timeout: limit, Events: func(e kubernetes.Event) {
		if e.Result != kubernetes.Waiting {
			mu.Lock()
			defer mu.Unlock()
			results[e.Object] = e.Result
		}
	}})
	require.NoError(t, err)
	client, err := clientset.NewForConfig(cp.Config())
	require.NoError(t, err)

	namespaces := platform.SyncDef{}
	for _, file := range []string{"base/namespace.yaml", "example/shop.yaml"} { // with the binding, which the chart has too
		text, err := os.ReadFile(filepath.Join("../..", file))
		require.NoError(t, err)
		namespaces.Actions = append(namespaces.Actions, platform.SyncAction{ResourceID: file, Apply: text})
	}
	require.NoError(t, cluster.Sync(namespaces))
	for name, key := range map[string]string{"platform-daemon-nats": "daemon.creds", "platform-service-nats": "service.creds", "platform-service-token": "token"} {
		_, err = client.CoreV1().Secrets("platform").Create(t.Context(), &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Name: name}, StringData: map[string]string{key: "x"}}, metav1.CreateOptions{})
		require.NoError(t, err)
	}

	sets := append(slices.Clone(required), `daemon.rbac.sync={"namespaces": ["shop"], "clusterRules": [{"apiGroups": [""], "resources": ["namespaces"], "verbs": ["get"]}]}`,
		`daemon.config={"bus-max-body": 268435456, "namespaces": ["shop"]}`, `service.config={"log-format": "json"}`)
	files, err := render(t, sets...)
	require.NoError(t, err)
	delete(files, "NOTES.txt")
	def := platform.SyncDef{}
	for _, file := range slices.Sorted(maps.Keys(files)) {
		def.Actions = append(def.Actions, platform.SyncAction{ResourceID: file, Apply: []byte(files[file])})
	}
	count := len(ofChart(t, sets...))
	for _, want := range []kubernetes.Result{kubernetes.Applied, kubernetes.Unchanged} {
		clear(results)
		require.NoError(t, cluster.Sync(def))
		assert.Len(t, results, count)
		for object, result := range results {
			assert.Equal(t, want, result, object)
		}
	}

	for name, replicas := range map[string]int32{"platform-daemon": 1, "platform-service": 2} {
		require.Eventually(t, func() bool {
			d, err := client.AppsV1().Deployments("platform").Get(t.Context(), name, metav1.GetOptions{})
			return err == nil && d.Status.AvailableReplicas == replicas
		}, limit, 50*time.Millisecond, "%s is available", name)
	}

	// Neither the pods nor their account give the service access to the cluster.
	pods, err := client.CoreV1().Pods("platform").List(t.Context(), metav1.ListOptions{LabelSelector: "app.kubernetes.io/component=service"})
	require.NoError(t, err)
	require.Len(t, pods.Items, 2)
	for _, pod := range pods.Items {
		for _, volume := range pod.Spec.Volumes {
			assert.Nil(t, volume.Projected, "the pod has no token: %s", volume.Name)
		}
	}
}
