package rollout

import (
	"context"

	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/platformbus/platform/kubernetes/internal/api"
	"github.com/platformbus/platform/kubernetes/internal/kinds"
)

// revisionAnnotation has the number of the definition that a Deployment, or one of its
// ReplicaSets, is of.
const revisionAnnotation = "deployment.kubernetes.io/revision"

// Confirm returns s, or what it is instead if the reason for having stalled is an old one. A
// Deployment that goes back to an earlier ReplicaSet keeps the reason that the later one gave
// until it makes some progress.
func (s State) Confirm(ctx context.Context, client *api.Client, w kinds.Workload) State {
	if s.Phase != Stalled || s.Blames == "" {
		return s
	}
	var set *metav1.PartialObjectMetadata
	err := client.Once(ctx, func(ctx context.Context) (err error) {
		set, err = client.Metadata(appsv1.SchemeGroupVersion.WithResource("replicasets"), w.Namespace).Get(ctx, s.Blames)
		return err
	})
	switch {
	case apierrors.IsNotFound(err):
	case err != nil, set.Annotations[revisionAnnotation] == w.Annotations[revisionAnnotation]:
		return s
	}
	return State{Phase: Updating, Text: "updating"}
}
