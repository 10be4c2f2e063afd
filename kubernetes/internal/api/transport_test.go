package api

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/platformbus/platform/kubernetes/internal/redact"
)

// A webhook's cause may quote several values of a Secret, at any length: none shows in part where
// the others before it are hidden.
func TestCausesHideLongValues(t *testing.T) {
	first, second := strings.Repeat("one-", 1500), strings.Repeat("two-", 1500)
	o := redact.Of(true, []byte(`{"kind":"Secret","stringData":{"a":"`+first+`","b":"`+second+`"}}`))
	status := &metav1.Status{Reason: metav1.StatusReasonInvalid, Details: &metav1.StatusDetails{
		Causes: []metav1.StatusCause{{Field: "spec", Message: "denied: " + first + " and " + second}},
	}}
	redactStatus(status, o)
	assert.Equal(t, "denied: (hidden) and (hidden)", status.Details.Causes[0].Message)
}
