package rollout

import (
	"math/rand/v2"
	"testing"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/platformbus/platform/kubernetes/internal/kinds"
)

// stateOf returns the state of a typed object.
func stateOf(object runtime.Object) State {
	kind := kinds.Of(object.GetObjectKind().GroupVersionKind().GroupKind())
	return Of(kind, object, kind.Workload(object))
}

func TestText(t *testing.T) {
	kind := kinds.Of(kinds.Deployment)
	for _, c := range []struct {
		w    kinds.Workload
		want string
	}{
		{kinds.Workload{Desired: 2, Current: 2, Updated: 2, Available: 2}, "ready"},
		{kinds.Workload{Desired: 5, Current: 6, Updated: 2, Available: 1}, "updating: 2 of 5 updated, 1 available"},
		{kinds.Workload{Desired: 2, Current: 2, Updated: 2, Available: 0}, "updating: 2 of 2 updated, 0 available"},
		{kinds.Workload{Desired: 2, Current: 3, Updated: 2, Available: 3}, "updating: 2 of 2 updated, 3 available"},
		{kinds.Workload{Unobserved: true, Desired: 2, Current: 2, Updated: 2, Available: 2}, "updating"},
		{kinds.Workload{Paused: true, Desired: 2, Current: 2, Updated: 1, Available: 2}, "paused: 1 of 2 updated, 2 available"},
		{kinds.Workload{Paused: true, Desired: 2, Current: 2, Updated: 2, Available: 2}, "ready"},
		{kinds.Workload{}, "scaled to zero"},
	} {
		assert.Equal(t, c.want, Of(kind, &appsv1.Deployment{}, c.w).Text, "%+v", c.w)
	}
}

// Whether a rollout is over is told by the counts, since kstatus works on another form of
// objects, which costs more than a listing; the two must agree.
func TestStateAgreesWithKstatus(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	seen := map[status.Status]int{}
	check := func(object runtime.Object) {
		t.Helper()
		own := stateOf(object)
		content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(object)
		require.NoError(t, err)
		theirs, err := status.Compute(&unstructured.Unstructured{Object: content})
		require.NoError(t, err)
		seen[theirs.Status]++
		done := own.Phase == Ready
		switch theirs.Status {
		case status.CurrentStatus:
			assert.True(t, done, "%s: kstatus: %s, ours: %v\n%+v", object.GetObjectKind().GroupVersionKind().Kind, theirs.Message, own, content)
		case status.FailedStatus:
			assert.Equal(t, Stalled, own.Phase, "kstatus: %s, ours: %v", theirs.Message, own)
		default:
			assert.False(t, done, "kstatus: %s: %s, ours: %v\n%+v", theirs.Status, theirs.Message, own, content)
		}
	}
	few := func() int32 { return int32(r.IntN(3)) }
	for range 5000 {
		wanted, there := few(), few()
		updated := min(few(), there)
		ready := min(few(), there)
		meta := metav1.ObjectMeta{Name: "a", Generation: 2 + int64(r.IntN(2))}
		available := corev1.ConditionFalse
		if ready >= wanted {
			available = corev1.ConditionTrue
		}
		deployment := &appsv1.Deployment{
			TypeMeta:   metav1.TypeMeta{APIVersion: "apps/v1", Kind: "Deployment"},
			ObjectMeta: meta,
			Spec:       appsv1.DeploymentSpec{Replicas: &wanted},
			Status: appsv1.DeploymentStatus{
				ObservedGeneration: 2, Replicas: there, UpdatedReplicas: updated, ReadyReplicas: ready, AvailableReplicas: ready,
				Conditions: []appsv1.DeploymentCondition{{Type: appsv1.DeploymentAvailable, Status: available}, {Type: appsv1.DeploymentProgressing, Status: corev1.ConditionTrue, Reason: "NewReplicaSetAvailable"}},
			},
		}
		if r.IntN(5) == 0 {
			deployment.Status.Conditions[1].Status, deployment.Status.Conditions[1].Reason = corev1.ConditionFalse, "ProgressDeadlineExceeded"
		}
		check(deployment)

		set := &appsv1.ReplicaSet{
			TypeMeta:   metav1.TypeMeta{APIVersion: "apps/v1", Kind: "ReplicaSet"},
			ObjectMeta: meta,
			Spec:       appsv1.ReplicaSetSpec{Replicas: &wanted},
			Status:     appsv1.ReplicaSetStatus{ObservedGeneration: 2, Replicas: there, FullyLabeledReplicas: there, ReadyReplicas: ready, AvailableReplicas: ready},
		}
		check(set)

		daemon := &appsv1.DaemonSet{
			TypeMeta:   metav1.TypeMeta{APIVersion: "apps/v1", Kind: "DaemonSet"},
			ObjectMeta: meta,
			Status: appsv1.DaemonSetStatus{ObservedGeneration: 2, DesiredNumberScheduled: wanted, CurrentNumberScheduled: min(there, wanted), UpdatedNumberScheduled: min(updated, wanted),
				NumberAvailable: min(ready, wanted), NumberReady: min(ready, wanted)},
		}
		check(daemon)
	}
	for _, s := range []status.Status{status.CurrentStatus, status.InProgressStatus, status.FailedStatus} {
		assert.Greater(t, seen[s], 100, "%s", s)
	}
}

// A container's runtime quotes what it cannot start, and a webhook what it does not let
// through.
func TestTroubleHoldsNoSecret(t *testing.T) {
	spec := corev1.PodSpec{Containers: []corev1.Container{{Name: "main", Image: "example.com/x:1",
		Args: []string{"--password=correct-horse"}, Env: []corev1.EnvVar{{Name: "TOKEN", Value: "correct-horse-2"}}}}}
	pod := &corev1.Pod{Spec: spec, Status: corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{{Name: "main", Image: "example.com/x:1",
		State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "RunContainerError", Message: `exec: "--password=correct-horse": executable file not found in $PATH`}}}}}}
	assert.Equal(t, []string{`container main (example.com/x:1): RunContainerError: exec: "(hidden)": executable file not found in $PATH`}, TroubleOf(pod))

	d := &appsv1.Deployment{TypeMeta: metav1.TypeMeta{APIVersion: "apps/v1", Kind: "Deployment"}, Spec: appsv1.DeploymentSpec{Template: corev1.PodTemplateSpec{Spec: spec}}, Status: appsv1.DeploymentStatus{Conditions: []appsv1.DeploymentCondition{
		{Type: appsv1.DeploymentReplicaFailure, Status: corev1.ConditionTrue, Reason: "FailedCreate", Message: "denied: TOKEN is correct-horse-2"}}}}
	assert.Equal(t, "updating: 0 of 1 updated, 0 available; FailedCreate: denied: TOKEN is (hidden)", stateOf(d).Text)
}
