package kinds

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// IsOwned says whether another pod controller made the workload, and speaks for it.
func (w Workload) IsOwned() bool {
	owner := metav1.GetControllerOf(&w.ObjectMeta)
	return owner != nil && Of(schema.FromAPIVersionAndKind(owner.APIVersion, owner.Kind).GroupKind()).Workload != nil
}
