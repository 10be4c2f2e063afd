// Package rollout tells how far pod controllers have come with what they were last told, and
// waits for them.
package rollout

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/platformbus/platform/kubernetes/internal/kinds"
	"github.com/platformbus/platform/kubernetes/internal/redact"
)

// A Phase is how a rollout stands.
type Phase int

// The phases.
const (
	Ready    Phase = iota + 1 // all that is wanted is there, and nothing else
	Updating                  // it is under way
	Paused                    // it waits for somebody to resume it
	Stalled                   // it will not get further by itself
)

// A State is how the rollout of a pod controller stands.
type State struct {
	Phase Phase
	// Text describes the state for a reader.
	Text string
	// Blames is the ReplicaSet that the reason for having stalled names, if it names one.
	Blames string
}

// Of returns the state of a pod controller. object is typed or unstructured.
func Of(kind *kinds.Kind, object runtime.Object, w kinds.Workload) State {
	if isComplete(w) {
		if w.Desired == 0 {
			return State{Phase: Ready, Text: "scaled to zero"}
		}
		return State{Phase: Ready, Text: "ready"}
	}
	counts := fmt.Sprintf("%d of %d updated, %d available", w.Updated, w.Desired, w.Available)
	_, untyped := object.(*unstructured.Unstructured)
	reason, stalled := "", false
	if untyped || len(w.Conditions) > 0 { // of others there is no reason that kstatus could know
		reason, stalled = stall(kind, object)
	}
	switch {
	case stalled:
		s := State{Phase: Stalled, Text: "stalled: " + reason}
		s.Text = redacted(s.Text, w)
		if match := blamed.FindStringSubmatch(reason); match != nil {
			s.Blames = match[1]
		}
		return s
	case w.Paused && w.Updated < w.Desired:
		return State{Phase: Paused, Text: "paused: " + counts}
	case w.Unobserved:
		return State{Phase: Updating, Text: "updating"}
	}
	for _, c := range w.Conditions { // they may pass, once there is room in a quota, say
		counts += fmt.Sprintf("; %s: %s", c.Reason, c.Message)
	}
	return State{Phase: Updating, Text: redacted("updating: "+counts, w)}
}

// redacted returns what may be shown of a text about w.
func redacted(text string, w kinds.Workload) string {
	if w.Template == nil {
		return text
	}
	return withoutSecrets(text, w.Template.Spec)
}

// blamed matches the reason for a Deployment's having stalled.
var blamed = regexp.MustCompile(`^ProgressDeadlineExceeded: ReplicaSet "([^"]+)" has timed out`)

// isComplete says by the counts alone whether a rollout is over. Most are, and to ask kstatus
// costs more than to list them.
func isComplete(w kinds.Workload) bool {
	return !w.Unobserved && len(w.Conditions) == 0 &&
		w.Updated >= w.Desired && w.Available >= w.Desired && w.Current <= w.Desired
}

// stall returns why a rollout will not get further by itself, as kstatus sees it, if it will not.
func stall(kind *kinds.Kind, object runtime.Object) (reason string, stalled bool) {
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(object)
	if err != nil {
		return "", false
	}
	u := &unstructured.Unstructured{Object: content}
	u.SetGroupVersionKind(kind.StatusAs) // lists of built-in kinds leave it out
	result, err := status.Compute(u)
	if err != nil || result.Status != status.FailedStatus {
		return "", false
	}
	reason = result.Message
	for _, c := range result.Conditions {
		reason = strings.TrimSuffix(fmt.Sprintf("%s: %s", c.Reason, c.Message), ".")
	}
	return reason, true
}

// withoutSecrets returns what may be shown of a text about pods: container runtimes and
// webhooks quote arguments and environment.
func withoutSecrets(text string, spec corev1.PodSpec) string {
	body, err := json.Marshal(map[string]any{"spec": spec})
	if err != nil {
		return redact.Hidden
	}
	return redact.Line(redact.Of(false, body).Text(text))
}
