package kinds

import (
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/scheme"
)

// TemplateRecords returns the resources in which pod controllers record the templates of their
// pods. Their objects have the labels of the template, and the controller as their owner.
func TemplateRecords() []schema.GroupVersionResource {
	return []schema.GroupVersionResource{appsv1.SchemeGroupVersion.WithResource("replicasets"), appsv1.SchemeGroupVersion.WithResource("controllerrevisions")}
}

// ReadWorkload reads an object of the kind as it comes from a watch.
func (k *Kind) ReadWorkload(object *unstructured.Unstructured) (Workload, error) {
	typed, err := scheme.Scheme.New(object.GroupVersionKind())
	if err != nil {
		return k.Workload(object), nil //nolint:nilerr // the entry is of a kind without Go type
	}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, typed); err != nil {
		return Workload{}, fmt.Errorf("read the status: %w", err)
	}
	return k.Workload(typed), nil
}

func replicas(wanted *int32) int32 {
	if wanted == nil {
		return 1 // the API server's default
	}
	return *wanted
}

func deployment(o runtime.Object) Workload {
	d, ok := o.(*appsv1.Deployment)
	if !ok {
		return Workload{}
	}
	w := Workload{
		ObjectMeta: d.ObjectMeta,
		Template:   &d.Spec.Template,
		Unobserved: d.Status.ObservedGeneration < d.Generation,
		Paused:     d.Spec.Paused,
		Desired:    replicas(d.Spec.Replicas),
		Current:    d.Status.Replicas,
		Updated:    d.Status.UpdatedReplicas,
		Available:  d.Status.AvailableReplicas,
	}
	for _, c := range d.Status.Conditions {
		late := c.Type == appsv1.DeploymentProgressing && c.Reason == "ProgressDeadlineExceeded"
		refused := c.Type == appsv1.DeploymentReplicaFailure && c.Status == corev1.ConditionTrue
		if late || refused {
			w.Conditions = append(w.Conditions, Condition{c.Reason, c.Message})
		}
	}
	return w
}

func statefulSet(o runtime.Object) Workload {
	s, ok := o.(*appsv1.StatefulSet)
	if !ok {
		return Workload{}
	}
	w := Workload{
		ObjectMeta: s.ObjectMeta,
		Template:   &s.Spec.Template,
		Unobserved: s.Status.ObservedGeneration < s.Generation,
		Desired:    replicas(s.Spec.Replicas),
		Current:    s.Status.Replicas,
		Updated:    s.Status.UpdatedReplicas,
		Available:  s.Status.AvailableReplicas,
	}
	if u := s.Spec.UpdateStrategy; u.Type == appsv1.OnDeleteStatefulSetStrategyType {
		w.Updated = w.Current // it replaces no pod by itself
	} else if u.RollingUpdate != nil && u.RollingUpdate.Partition != nil {
		w.Updated = min(w.Current, w.Updated+*u.RollingUpdate.Partition) // those below it stay as they are
	}
	return w
}

func daemonSet(o runtime.Object) Workload {
	d, ok := o.(*appsv1.DaemonSet)
	if !ok {
		return Workload{}
	}
	w := Workload{
		ObjectMeta: d.ObjectMeta,
		Template:   &d.Spec.Template,
		Unobserved: d.Status.ObservedGeneration < d.Generation,
		Desired:    d.Status.DesiredNumberScheduled,
		Current:    d.Status.CurrentNumberScheduled,
		Updated:    d.Status.UpdatedNumberScheduled,
		Available:  d.Status.NumberAvailable,
	}
	if d.Spec.UpdateStrategy.Type == appsv1.OnDeleteDaemonSetStrategyType {
		w.Updated = w.Current // it replaces no pod by itself
	}
	return w
}

// A ReplicaSet, and a ReplicationController, never replaces a pod.
func replicaSet(o runtime.Object) Workload {
	r, ok := o.(*appsv1.ReplicaSet)
	if !ok {
		return Workload{}
	}
	return Workload{
		ObjectMeta: r.ObjectMeta,
		Template:   &r.Spec.Template,
		Unobserved: r.Status.ObservedGeneration < r.Generation,
		Desired:    replicas(r.Spec.Replicas),
		Current:    r.Status.Replicas,
		Updated:    r.Status.Replicas,
		Available:  r.Status.AvailableReplicas,
	}
}

func replicationController(o runtime.Object) Workload {
	r, ok := o.(*corev1.ReplicationController)
	if !ok {
		return Workload{}
	}
	return Workload{
		ObjectMeta: r.ObjectMeta,
		Template:   r.Spec.Template,
		Unobserved: r.Status.ObservedGeneration < r.Generation,
		Desired:    replicas(r.Spec.Replicas),
		Current:    r.Status.Replicas,
		Updated:    r.Status.Replicas,
		Available:  r.Status.AvailableReplicas,
	}
}
