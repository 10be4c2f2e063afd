package rollout

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// TroubleOf returns why the pod's containers do not run.
func TroubleOf(pod *corev1.Pod) []string {
	var reasons []string
	for _, c := range slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses) {
		switch {
		case c.State.Waiting != nil && c.State.Waiting.Reason != "" && c.State.Waiting.Reason != "ContainerCreating" && c.State.Waiting.Reason != "PodInitializing":
			reasons = append(reasons, strings.TrimSuffix(fmt.Sprintf("container %s (%s): %s: %s", c.Name, c.Image, c.State.Waiting.Reason, c.State.Waiting.Message), ": "))
		case c.State.Terminated != nil && c.State.Terminated.ExitCode != 0:
			reasons = append(reasons, fmt.Sprintf("container %s (%s): exited with %d: %s", c.Name, c.Image, c.State.Terminated.ExitCode, c.State.Terminated.Reason))
		}
	}
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse {
			reasons = append(reasons, fmt.Sprintf("%s: %s", c.Reason, c.Message))
		}
	}
	for i := range reasons {
		reasons[i] = withoutSecrets(reasons[i], pod.Spec)
	}
	return reasons
}
