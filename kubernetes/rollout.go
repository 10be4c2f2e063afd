package kubernetes

import (
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// A rollout is how far a pod controller has come with what it was last told.
type rollout struct {
	unseen    bool   // its controller has not looked at the last change yet
	paused    bool   // somebody told it to wait
	stalled   string // why it will not get further by itself
	desired   int32  // pods wanted
	current   int32  // pods there, old ones included
	updated   int32  // pods made from the last definition
	available int32  // pods that serve
}

// wanting says whether pods are wanted that do not serve.
func (r rollout) wanting() bool {
	return r.desired > 0 && (r.stalled != "" || r.updated < r.desired || r.available < r.desired)
}

// String says it for display.
func (r rollout) String() string {
	switch {
	case r.stalled != "":
		return "stalled: " + r.stalled
	case r.paused && r.updated < r.desired:
		return fmt.Sprintf("paused: %d of %d updated, %d available", r.updated, r.desired, r.available)
	case r.unseen:
		return "updating"
	case r.updated < r.desired || r.available < r.desired || r.current > r.desired:
		return fmt.Sprintf("updating: %d of %d updated, %d available", r.updated, r.desired, r.available)
	case r.desired == 0:
		return "scaled to zero"
	default:
		return "ready"
	}
}

func replicas(wanted *int32) int32 {
	if wanted == nil {
		return 1 // the API server's default
	}
	return *wanted
}

func deploymentRollout(d *appsv1.Deployment) rollout {
	r := rollout{
		unseen:    d.Status.ObservedGeneration < d.Generation,
		paused:    d.Spec.Paused,
		desired:   replicas(d.Spec.Replicas),
		current:   d.Status.Replicas,
		updated:   d.Status.UpdatedReplicas,
		available: d.Status.AvailableReplicas,
	}
	for _, c := range d.Status.Conditions {
		late := c.Type == appsv1.DeploymentProgressing && c.Reason == "ProgressDeadlineExceeded"
		refused := c.Type == appsv1.DeploymentReplicaFailure && c.Status == corev1.ConditionTrue
		if (late || refused) && !r.unseen {
			r.stalled = fmt.Sprintf("%s: %s", c.Reason, withoutSecrets(c.Message, d.Spec.Template.Spec))
		}
	}
	return r
}

func statefulSetRollout(s *appsv1.StatefulSet) rollout {
	r := rollout{
		unseen:    s.Status.ObservedGeneration < s.Generation,
		desired:   replicas(s.Spec.Replicas),
		current:   s.Status.Replicas,
		updated:   s.Status.UpdatedReplicas,
		available: s.Status.AvailableReplicas,
	}
	if u := s.Spec.UpdateStrategy; u.Type == appsv1.OnDeleteStatefulSetStrategyType {
		r.updated = r.current // it replaces no pod by itself
	} else if u.RollingUpdate != nil && u.RollingUpdate.Partition != nil {
		r.updated = min(r.current, r.updated+*u.RollingUpdate.Partition) // those below it stay as they are
	}
	return r
}

func daemonSetRollout(d *appsv1.DaemonSet) rollout {
	r := rollout{
		unseen:    d.Status.ObservedGeneration < d.Generation,
		desired:   d.Status.DesiredNumberScheduled,
		current:   d.Status.CurrentNumberScheduled,
		updated:   d.Status.UpdatedNumberScheduled,
		available: d.Status.NumberAvailable,
	}
	if d.Spec.UpdateStrategy.Type == appsv1.OnDeleteDaemonSetStrategyType {
		r.updated = r.current // it replaces no pod by itself
	}
	return r
}

// replicaRollout is for the controllers that never replace a pod.
func replicaRollout(meta metav1.ObjectMeta, wanted *int32, observed int64, current, available int32) rollout {
	return rollout{
		unseen:    observed < meta.Generation,
		desired:   replicas(wanted),
		current:   current,
		updated:   current,
		available: available,
	}
}
