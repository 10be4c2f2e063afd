package api

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/platformbus/platform/kubernetes/internal/redact"
)

func answer(code int32, message string) error {
	return fmt.Errorf("apply: %w", &apierrors.StatusError{ErrStatus: metav1.Status{Status: metav1.StatusFailure, Code: code, Message: message}})
}

func TestIsTransient(t *testing.T) {
	for code := range passingCodes {
		assert.True(t, IsTransient(answer(code, "no")), code)
	}
	for text := range passingTexts {
		assert.True(t, IsTransient(answer(http.StatusInternalServerError, "Internal error occurred: "+text+" x")), text)
		assert.False(t, IsTransient(answer(http.StatusBadRequest, text)), "%s: not an internal error", text)
	}
	for _, text := range []string{
		"", "Internal error occurred", "etcdserver: mvcc: database space exceeded", "etcdserver: request is too large",
		"rpc error: code = ResourceExhausted desc = trying to send message larger than max (3000000 vs. 2097152)",
		"failed to convert new object: unable to convert unstructured object",
	} {
		assert.False(t, IsTransient(answer(http.StatusInternalServerError, text)), text)
	}
	for _, code := range []int32{400, 401, 403, 404, 405, 409, 410, 413, 415, 422} {
		assert.False(t, IsTransient(answer(code, "etcdserver: no leader")), code)
	}
	assert.True(t, IsTransient(Transient(answer(http.StatusConflict, "no"))))
	assert.False(t, IsTransient(nil))
	busy := answer(http.StatusServiceUnavailable, "no")
	assert.False(t, IsTransient(redact.Join(Overdue("wait", time.Minute), busy)), "a limit of ours is over, whatever the last answer was")
	assert.False(t, IsTransient(fmt.Errorf("%w; the last answer was: %w", Overdue("call", time.Minute), busy)))
}

func TestIsTooLarge(t *testing.T) {
	for text, want := range map[string]bool{
		"etcdserver: request is too large": true, "trying to send message larger than max (3 vs. 2)": true, "etcdserver: no leader": false,
	} {
		assert.Equal(t, want, IsTooLarge(answer(http.StatusInternalServerError, text)), text)
		assert.False(t, IsTooLarge(answer(http.StatusBadRequest, text)), text)
	}
	assert.False(t, IsTooLarge(nil))
}
