package kubernetes

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/pkg/errors"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilnet "k8s.io/apimachinery/pkg/util/net"

	"github.com/platformbus/platform"
	"github.com/platformbus/platform/kubernetes/internal/redact"
)

// clusterError returns a platform.ClusterError whose text is short and on one line.
func clusterError(err error) error { return platform.ClusterError(redact.Error(err)) }

// overdue says that a limit of ours is over. It is a context.DeadlineExceeded, but no
// time-out of a connection: it says nothing of the API server.
type overdue struct {
	what  string
	limit time.Duration
}

func (e overdue) Error() string {
	return fmt.Sprintf("the %s took longer than %v: %v", e.what, e.limit, context.DeadlineExceeded)
}

func (e overdue) Is(target error) bool { return target == context.DeadlineExceeded }

// causeOf returns err, or, if err only says that ctx has ended, the cause of that, which
// says whose limit it was.
func causeOf(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		return context.Cause(ctx)
	}
	return err
}

// isTransient says whether the same request may well succeed a moment later: the server
// is busy, a webhook is not up yet, a connection was lost.
func isTransient(err error) bool {
	var answer apierrors.APIStatus
	var early notServedYet
	var late changedMeanwhile
	if errors.As(err, &early) || errors.As(err, &late) {
		return true
	}
	if !errors.As(err, &answer) {
		return isConnectionTrouble(err)
	}
	switch s := answer.Status(); s.Code {
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	case http.StatusInternalServerError:
		// A definition that does not fit its schema is a 500 too, but without a reason.
		return s.Reason == metav1.StatusReasonInternalError || strings.Contains(s.Message, "etcdserver: ")
	}
	return false
}

// notServedYet says that a kind, though established, is not served by every API server.
type notServedYet struct{ error }

func (e notServedYet) Unwrap() error { return e.error }

// changedMeanwhile says that an object was written between our reading and writing it.
type changedMeanwhile struct{ error }

func (e changedMeanwhile) Unwrap() error { return e.error }

// isConnectionTrouble says whether err comes from the connection, not from the server.
func isConnectionTrouble(err error) bool {
	return err != nil && (utilnet.IsConnectionRefused(err) ||
		utilnet.IsProbableEOF(err) || // a reset, too
		utilnet.IsHTTP2ConnectionLost(err) || utilnet.IsTimeout(err))
}

// retry calls request until it succeeds, fails for good, or ctx ends; the error is then
// the last one that the server gave. Between calls it waits, ever longer, at most
// maxBackoff.
func retry(ctx context.Context, request func(context.Context) error) error {
	for wait := minBackoff; ; wait = min(2*wait, maxBackoff) {
		err := request(ctx)
		if err == nil || !isTransient(err) {
			return err
		}
		if stopped := sleep(ctx, wait); stopped != nil {
			return fmt.Errorf("%w; the last answer was: %w", stopped, err)
		}
	}
}

const (
	minBackoff = 100 * time.Millisecond
	maxBackoff = 5 * time.Second
)

// sleep waits for d, or less if ctx ends first; it then returns the cause.
func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// isUnreachable says whether err means that no request can succeed now: the server is not
// there, or refuses our credentials.
func isUnreachable(err error) bool {
	var answer apierrors.APIStatus
	return apierrors.IsUnauthorized(err) || !errors.As(err, &answer) && isConnectionTrouble(err)
}
