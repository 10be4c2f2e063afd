package api

import (
	"net/http"
	"strings"

	"github.com/pkg/errors"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilnet "k8s.io/apimachinery/pkg/util/net"
)

// IsTransient says whether the same request may well succeed a moment later: the server
// is busy, a webhook is not up yet, a connection was lost.
func IsTransient(err error) bool {
	var answer apierrors.APIStatus
	var passing transient
	if errors.As(err, &passing) {
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

// A transient error passes by itself, whatever it wraps.
type transient struct{ error }

func (e transient) Unwrap() error { return e.error }

// Transient returns err as one that passes by itself: a kind that was established is not
// served by every API server yet, or an object was written between our reading and writing it.
func Transient(err error) error { return transient{err} }

// isConnectionTrouble says whether err comes from the connection, not from the server.
func isConnectionTrouble(err error) bool {
	return err != nil && (utilnet.IsConnectionRefused(err) ||
		utilnet.IsProbableEOF(err) || // a reset, too
		utilnet.IsHTTP2ConnectionLost(err) || utilnet.IsTimeout(err))
}

// IsUnreachable says whether err means that no request can succeed now: the server is not
// there, or refuses our credentials.
func IsUnreachable(err error) bool {
	var answer apierrors.APIStatus
	return apierrors.IsUnauthorized(err) || !errors.As(err, &answer) && isConnectionTrouble(err)
}
