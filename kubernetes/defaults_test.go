package kubernetes_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/platformbus/platform/kubernetes"
)

// claiming is a StatefulSet whose pods have a claim each.
func claiming(name, claim string) string {
	return statefulSet(name, "example.com/db:1") + "  serviceName: " + name + `
  volumeClaimTemplates:
  - metadata: {name: data}
    spec: {` + claim + `, resources: {requests: {storage: 1Gi}}}
`
}

// What the server adds by default to what is owned as a whole is no doubt: a new process
// finds it unchanged.
func TestDefaultsAreNoDoubt(t *testing.T) {
	w := newEnv(t, kubernetes.Options{})
	volumes := `    spec:
      volumes:
      - {name: all, projected: {sources: [{serviceAccountToken: {path: token}}, {downwardAPI: {items: [{path: name, fieldRef: {fieldPath: metadata.name}}]}}]}}
`
	variables := "containers: [{env: [{name: A, valueFrom: {fieldRef: {fieldPath: metadata.name}}}, {name: B, valueFrom: {resourceFieldRef: {resource: limits.cpu}}}], "
	pods := strings.Replace(strings.Replace(deployment("pods", "example.com/web:1"), "    spec:\n", volumes, 1), "containers: [{", variables, 1)
	hook := strings.NewReplacer(", scope: Namespaced", "", `, caBundle: ""`, "", "Policy: Fail", "Policy: Ignore").Replace(webhook(w.namespace, "https://127.0.0.1:1", nil))
	w.removedAtEnd(t, hook)
	for name, definition := range map[string]string{
		"claim templates": claiming("claiming", "accessModes: [ReadWriteOnce]"),
		"volume mode":     claiming("block", "accessModes: [ReadWriteOnce], volumeMode: Block"),
		"claim as dumped": strings.Replace(claiming("dumped", "accessModes: [ReadWriteOnce]"), "  - metadata:", "  - apiVersion: v1\n    kind: PersistentVolumeClaim\n    status: {phase: Pending}\n    metadata:", 1),
		"pods":            pods,
		"network policy":  "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: policy}\nspec: {podSelector: {}, ingress: [{ports: [{port: 80}]}]}",
		"webhook":         hook,
		"binding":         "apiVersion: rbac.authorization.k8s.io/v1\nkind: RoleBinding\nmetadata: {name: binding}\nroleRef: {kind: Role, name: a}\nsubjects: [{kind: User, name: a}, {kind: Group, name: b}, {kind: ServiceAccount, name: c}]",
	} {
		t.Run(name, func(t *testing.T) {
			all := def(apply("a", definition))
			require.NoError(t, w.Sync(all))
			cold, requests := w.recorded(t, kubernetes.Options{}, nil)
			require.NoError(t, cold.Sync(all))
			assert.Empty(t, requests.take("PATCH"))
		})
	}
}

// A StatefulSet whose claims are known to be as defined is no exception: whatever else of
// it is changed is repaired, and what only seems to be a default is not taken for one.
func TestDriftOfAStatefulSetWithClaims(t *testing.T) {
	w := newEnv(t, kubernetes.Options{})
	sets := w.client.AppsV1().StatefulSets(w.namespace)
	wanted := recreatable(strings.Replace(claiming("x", "accessModes: [ReadWriteOnce]"), "replicas: 2", "replicas: 0", 1))
	all := def(apply("x", wanted))
	for name, somebody := range map[string]func(t *testing.T){
		"scales it": func(t *testing.T) { w.kubectl(t, "", "scale", "statefulset/x", "--replicas=1") },
		"sets another image": func(t *testing.T) {
			w.kubectl(t, "", "set", "image", "statefulset/x", "main=example.com/other:1")
		},
		"makes another of the same name, with another volume mode": func(t *testing.T) {
			another(t, w, strings.Replace(wanted, "storage: 1Gi}}", "storage: 1Gi}}, volumeMode: Block", 1))
		},
		"makes another of the same name, with more access": func(t *testing.T) { another(t, w, strings.Replace(wanted, "[ReadWriteOnce]", "[ReadWriteMany]", 1)) },
		"makes another of the same name, with a labelled claim": func(t *testing.T) {
			another(t, w, strings.Replace(wanted, "{name: data}", "{name: data, labels: {a: b}}", 1))
		},
	} {
		t.Run("somebody "+name, func(t *testing.T) {
			warm, _ := w.recorded(t, kubernetes.Options{}, nil)
			require.NoError(t, warm.Sync(all))
			cold, requests := w.recorded(t, kubernetes.Options{}, nil)
			for age, cluster := range map[string]*kubernetes.Cluster{"warm": warm, "cold": cold} {
				somebody(t)
				require.NoError(t, cluster.Sync(all), age)
				set := live(t, sets.Get, "x")
				claim := set.Spec.VolumeClaimTemplates[0]
				assert.Zero(t, *set.Spec.Replicas, age)
				assert.Equal(t, "example.com/db:1", set.Spec.Template.Spec.Containers[0].Image, age)
				assert.Equal(t, corev1.PersistentVolumeFilesystem, *claim.Spec.VolumeMode, age)
				assert.Equal(t, []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}, claim.Spec.AccessModes, age)
				assert.Empty(t, claim.Labels, age)
			}
			require.NoError(t, cold.Sync(all)) // the other may have made it again
			requests.take("")
			require.NoError(t, cold.Sync(all))
			assert.Empty(t, requests.take("PATCH"))
		})
	}
}

// another puts another StatefulSet in the place of x, under our name: what the managed
// fields record is ours.
func another(t *testing.T, w env, definition string) {
	t.Helper()
	sets := w.client.AppsV1().StatefulSets(w.namespace)
	require.NoError(t, sets.Delete(t.Context(), "x", metav1.DeleteOptions{}))
	impostor, _ := w.recorded(t, kubernetes.Options{}, nil)
	require.NoError(t, impostor.Sync(def(apply("x", definition))))
}
