package kubernetes_test

import (
	"context"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/platformbus/platform/kubernetes"
)

// A real HorizontalPodAutoscaler needs no metrics to see that there are fewer replicas
// than its least.
const autoscaler = `
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: web}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: web}
  minReplicas: 4
  maxReplicas: 6
`

// watchDeployment yields what becomes of a Deployment from now on.
func watchDeployment(ctx context.Context, t *testing.T, w env, name string) <-chan watch.Event {
	t.Helper()
	deployments := w.client.AppsV1().Deployments(w.namespace)
	history, err := deployments.Watch(ctx, metav1.ListOptions{FieldSelector: "metadata.name=" + name, ResourceVersion: live(t, deployments.Get, name).ResourceVersion})
	require.NoError(t, err)
	t.Cleanup(history.Stop)
	return history.ResultChan()
}

// awaitReplicas waits until the Deployment wants so many.
func awaitReplicas(t *testing.T, history <-chan watch.Event, wanted int32) {
	t.Helper()
	for event := range history {
		if d, ok := event.Object.(*appsv1.Deployment); ok && *d.Spec.Replicas == wanted {
			return
		}
	}
	require.FailNow(t, "it never does", "%d replicas", wanted)
}

// Whoever leaves the replicas out of a definition leaves them to the autoscaler.
func TestAutoscalerScalesWhatIsNotDefined(t *testing.T) {
	w := newEnv(t, kubernetes.Options{})
	ctx, cancel := context.WithTimeout(t.Context(), testLimit)
	defer cancel()
	warm, requests := w.recorded(t, kubernetes.Options{}, nil)
	web := strings.Replace(labelled("web"), "  replicas: 2\n", "", 1)
	require.NoError(t, warm.Sync(def(apply("web", web))))
	history := watchDeployment(ctx, t, w, "web")
	all := def(apply("web", web), apply("autoscaler", autoscaler))
	require.NoError(t, warm.Sync(all))
	awaitReplicas(t, history, 4)

	cold, others := w.recorded(t, kubernetes.Options{}, nil)
	for range 2 { // at first the generation is a doubt to who knows the object, and it is applied
		requests.take("")
		require.NoError(t, warm.Sync(all))
		require.NoError(t, cold.Sync(all))
	}
	for _, request := range append(requests.take("PATCH"), others.take("PATCH")...) {
		assert.NotContains(t, request, "/deployments/")
	}
	all.Actions[0].Apply = []byte(strings.Replace(web, "web:1", "web:2", 1))
	require.NoError(t, cold.Sync(all))
	d := live(t, w.client.AppsV1().Deployments(w.namespace).Get, "web")
	assert.Equal(t, "example.com/web:2", d.Spec.Template.Spec.Containers[0].Image)
	for {
		event := <-history
		then, ok := event.Object.(*appsv1.Deployment)
		require.True(t, ok, "%v", event)
		require.EqualValues(t, 4, *then.Spec.Replicas, "nor does anything else touch them, at any time")
		if then.Generation >= d.Generation {
			break
		}
	}
}

// Whoever defines them gets them, each time the autoscaler has changed them, and is told.
func TestAutoscalerIsDriftOfWhatIsDefined(t *testing.T) {
	w := newEnv(t, kubernetes.Options{})
	ctx, cancel := context.WithTimeout(t.Context(), 2*testLimit)
	defer cancel()
	var d recorder
	warm, _ := w.recorded(t, kubernetes.Options{Events: d.note}, nil)
	cold, _ := w.recorded(t, kubernetes.Options{Events: d.note}, nil)
	all := def(apply("web", labelled("web")))
	require.NoError(t, warm.Sync(all))
	history := watchDeployment(ctx, t, w, "web")
	require.NoError(t, warm.Sync(def(apply("autoscaler", autoscaler))))
	for age, cluster := range map[string]*kubernetes.Cluster{"warm": warm, "cold": cold} {
		awaitReplicas(t, history, 4)
		d.take()
		require.NoError(t, cluster.Sync(all))
		assert.Equal(t, kubernetes.Applied, d.take()["Deployment "+w.namespace+"/web"], age)
		awaitReplicas(t, history, 2)
	}
}
