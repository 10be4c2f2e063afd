package api

import (
	"net/http"
	"strings"

	"github.com/pkg/errors"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	utilnet "k8s.io/apimachinery/pkg/util/net"
)

// passingCodes has the codes of refusals that may not be given a moment later, with the reason.
var passingCodes = map[int32]string{
	http.StatusTooManyRequests:    "the server is busy",
	http.StatusBadGateway:         "a proxy has lost the server",
	http.StatusServiceUnavailable: "the server, or one behind an APIService, is starting or going",
	http.StatusGatewayTimeout:     "the server, etcd or a webhook is slow",
}

// passingTexts has texts of internal errors that may not be given a moment later, with the
// reason. All other internal errors are for good: a definition that does not fit its schema is
// one, and so is one that etcd finds too large.
var passingTexts = map[string]string{
	"failed calling webhook":        "a webhook is not up, or its certificate not known yet",
	"failed to call webhook":        "likewise",
	"conversion webhook for":        "a conversion webhook is not up",
	"error trying to reach service": "a server behind an APIService is not up",
	"etcdserver: request timed out": "etcd is slow",
	"etcdserver: leader changed":    "etcd elects a leader",
	"etcdserver: no leader":         "etcd elects a leader",
	"etcdserver: not leader":        "etcd elects a leader",
	"etcdserver: too many requests": "etcd is busy",
	"etcdserver: server stopped":    "etcd is being restarted",
	"etcdserver: unhealthy cluster": "etcd has lost members",
	"code = Unavailable":            "etcd is being restarted",
	"code = DeadlineExceeded":       "etcd is slow",
	"context deadline exceeded":     "what the server asks is slow",
	"connection refused":            "what the server asks is not up",
	"connection reset by peer":      "what the server asks has gone away",
	"quota evaluation timed out":    "quotas are being worked out",
}

// IsTransient says whether the same request may well succeed a moment later: the server
// is busy, a webhook is not up yet, a connection was lost.
func IsTransient(err error) bool {
	var (
		late   overdue
		passes transient
		answer apierrors.APIStatus
	)
	switch {
	case errors.As(err, &late): // there is no time for another, whatever the last answer was
		return false
	case errors.As(err, &passes):
		return true
	case !errors.As(err, &answer):
		return isConnectionTrouble(err)
	}
	s := answer.Status()
	if _, passes := passingCodes[s.Code]; passes {
		return true
	}
	if s.Code != http.StatusInternalServerError || IsTooLarge(err) {
		return false
	}
	for text := range passingTexts {
		if strings.Contains(s.Message, text) {
			return true
		}
	}
	return false
}

// IsTooLarge says whether etcd refuses a request for its size. It does not say which; the
// server does, where it refuses one itself.
func IsTooLarge(err error) bool {
	var answer apierrors.APIStatus
	if !errors.As(err, &answer) {
		return false
	}
	s := answer.Status()
	return s.Code == http.StatusInternalServerError && (strings.Contains(s.Message, "request is too large") || strings.Contains(s.Message, "larger than max"))
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
