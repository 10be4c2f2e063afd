package kubernetes_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/platformbus/platform/kubernetes"
)

// A struct that a definition empties is emptied, also by a process that has not applied it.
func TestEmptiedStruct(t *testing.T) {
	w := newEnv(t, kubernetes.Options{})
	of := func(pod, container, resources, volume string) string {
		return "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec: {selector: {matchLabels: {app: web}}, template: {metadata: {labels: {app: web}}, spec: {securityContext: " + pod +
			", volumes: [{name: v, emptyDir: " + volume + "}], containers: [{name: main, image: 'example.com/a:1', securityContext: " + container + ", resources: " + resources + "}]}}}"
	}
	require.NoError(t, w.Sync(def(apply("web", of("{runAsUser: 0}", "{runAsUser: 0}", "{limits: {cpu: 1}}", "{medium: Memory}")))))
	cold, _ := w.recorded(t, kubernetes.Options{}, nil)
	require.NoError(t, cold.Sync(def(apply("web", of("{}", "{}", "{}", "{}")))))
	pod := live(t, w.client.AppsV1().Deployments(w.namespace).Get, "web").Spec.Template.Spec
	assert.Nil(t, pod.SecurityContext.RunAsUser)
	if own := pod.Containers[0].SecurityContext; own != nil {
		assert.Nil(t, own.RunAsUser)
	}
	assert.Empty(t, pod.Containers[0].Resources.Limits)
	if own := pod.Volumes[0].EmptyDir; own != nil {
		assert.Empty(t, own.Medium)
	}
}

// What goes with a namespace, or with a definition of a kind, that the same Sync deletes and makes
// again is made again.
func TestSyncThatDeletesAroundAnObject(t *testing.T) {
	w := newEnv(t, kubernetes.Options{})
	namespace := w.namespace + "-x"
	outer := "apiVersion: v1\nkind: Namespace\nmetadata: {name: " + namespace + "}"
	job := "apiVersion: batch/v1\nkind: Job\nmetadata: {namespace: " + namespace + ", name: once}\nspec: {suspend: true, ttlSecondsAfterFinished: 3600, template: {spec: {restartPolicy: Never, containers: [{name: main, image: 'example.com/job:1'}]}}}"
	inner := in(namespace, configMap("a", "1"))
	w.removedAtEnd(t, outer)
	cluster, _ := w.recorded(t, kubernetes.Options{}, nil)
	require.NoError(t, cluster.Sync(def(apply("all", outer, inner, job))))
	require.NoError(t, cluster.Sync(def(remove("gone", outer), apply("all", outer, inner, job))))
	_, err := w.client.CoreV1().ConfigMaps(namespace).Get(t.Context(), "a", metav1.GetOptions{})
	require.NoError(t, err)
	_, err = w.client.BatchV1().Jobs(namespace).Get(t.Context(), "once", metav1.GetOptions{})
	require.NoError(t, err)

	definition, object := crd(w.namespace, "Kept")
	w.removedAtEnd(t, definition)
	require.NoError(t, cluster.Sync(def(apply("all", definition, object))))
	require.NoError(t, cluster.Sync(def(remove("gone", definition), apply("all", definition, object))))
	_, err = w.dynamic(t).Resource(w.own("kepts")).Namespace(w.namespace).Get(t.Context(), "one", metav1.GetOptions{})
	require.False(t, apierrors.IsNotFound(err), "%v", err)
	require.NoError(t, err)
}

// A custom resource in a group that is called like those of Kubernetes moves to another version too.
func TestVersionsInAGroupOfKubernetes(t *testing.T) {
	w := newEnv(t, kubernetes.Options{})
	text := func(name string) string {
		own := strings.ReplaceAll(w.readCase(t, name), w.namespace+".example.com", w.namespace+".networking.k8s.io")
		return strings.Replace(own, "metadata: {name: boats.", "metadata: {annotations: {api-approved.kubernetes.io: 'https://example.com'}, name: boats.", 1)
	}
	w.removedAtEnd(t, text("05a-crd"))
	require.NoError(t, w.Sync(def(apply("crd", text("05a-crd"), text("05b-boat-beta")))))
	_, patch := mergePatch(t, map[string]any{"status": map[string]any{"storedVersions": []string{"v1"}}})
	_, err := w.dynamic(t).Resource(definitions).Patch(t.Context(), "boats."+w.namespace+".networking.k8s.io", types.MergePatchType, patch, metav1.PatchOptions{}, "status")
	require.NoError(t, err)
	require.NoError(t, w.Sync(def(apply("boats", text("05c-crd-without-beta"), text("05d-boat-v1")))))
	boats := w.own("boats")
	boats.Group = w.namespace + ".networking.k8s.io"
	assert.Equal(t, map[string]any{"sails": int64(3)}, w.object(t, boats, "one").Object["spec"])
}

// What kubectl applied at another version of one of Kubernetes' own kinds is handed over once.
func TestHandoverAtAnotherVersion(t *testing.T) {
	w := newEnv(t, kubernetes.Options{})
	const target = "scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: web}"
	w.kubectl(t, "apiVersion: autoscaling/v1\nkind: HorizontalPodAutoscaler\nmetadata: {name: web}\nspec: {minReplicas: 2, maxReplicas: 3, targetCPUUtilizationPercentage: 70, "+target+"}", "apply", "-f", "-")
	cluster, requests := w.recorded(t, kubernetes.Options{}, nil)
	ours := "apiVersion: autoscaling/v2\nkind: HorizontalPodAutoscaler\nmetadata: {name: web}\nspec: {maxReplicas: 4, " + target + "}"
	require.NoError(t, cluster.Sync(def(apply("web", ours))))
	scaler := live(t, w.client.AutoscalingV2().HorizontalPodAutoscalers(w.namespace).Get, "web")
	assert.EqualValues(t, 4, scaler.Spec.MaxReplicas)
	assert.EqualValues(t, 1, *scaler.Spec.MinReplicas, "the default again")
	w.sameAgain(t, cluster, requests, ours)
}

// An empty value that the server fills in is no change, neither for a Sync nor for a Plan.
func TestEmptyValuesThatAreFilledIn(t *testing.T) {
	for name, container := range map[string]string{
		"pull policy": "imagePullPolicy: ''", "message path": "terminationMessagePath: ''",
		"thresholds": "livenessProbe: {httpGet: {port: 80, path: ''}, failureThreshold: 0, timeoutSeconds: 0, periodSeconds: 0}",
	} {
		t.Run(name, func(t *testing.T) {
			w := newEnv(t, kubernetes.Options{})
			text := "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec: {selector: {matchLabels: {app: web}}, template: {metadata: {labels: {app: web}}, spec: {containers: [{name: main, image: 'example.com/a:1', " + container + "}]}}}"
			cluster, requests := w.recorded(t, kubernetes.Options{}, nil)
			require.NoError(t, cluster.Sync(def(apply("web", text))))
			w.sameAgain(t, cluster, requests, text)
			w.planEmpty(t, kubernetes.Options{}, text)
		})
	}
	w := newEnv(t, kubernetes.Options{})
	port := "apiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec: {ports: [{port: 80, protocol: ''}]}"
	cluster, requests := w.recorded(t, kubernetes.Options{}, nil)
	require.NoError(t, cluster.Sync(def(apply("web", port))))
	w.sameAgain(t, cluster, requests, port)
}
