package platform

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/platformbus/platform/flux"
	"github.com/platformbus/platform/internal/oneline"
)

// These errors all represent logical problems with platform configuration, and may
// be recoverable; e.g., it might be fine if a service does not have a matching
// RC/deployment.
var (
	// ErrEmptySelector reports that a service of a type that can select pods selects none.
	ErrEmptySelector = errors.New("empty selector")
	// ErrWrongResourceKind reports that the new definition has another kind or name
	// than the pod controller it would replace.
	ErrWrongResourceKind = errors.New("new definition does not match existing resource")
	// ErrNoMatchingService reports that a named service does not exist.
	ErrNoMatchingService = errors.New("no matching service")
	// ErrServiceHasNoSelector reports that a service is of a type that selects no pods.
	ErrServiceHasNoSelector = errors.New("service has no selector")
	// ErrNoMatching reports that a service selects no pod controller's pods.
	ErrNoMatching = errors.New("no matching replication controllers or deployments")
	// ErrMultipleMatching reports that a service selects the pods of several pod controllers.
	ErrMultipleMatching = errors.New("multiple matching replication controllers or deployments")
	// ErrNoMatchingImages reports that a definition holds none of the images to change.
	ErrNoMatchingImages = errors.New("no matching images")
)

// With these, errors.Is distinguishes the helpful errors that the cluster did not cause.
var (
	// ErrPlatformNotAvailable is matched by every UnavailableError, whatever its cause.
	ErrPlatformNotAvailable = errors.New("platform not available")
	// ErrUpgradeNeeded is matched by every UpgradeNeededError, whatever its cause.
	ErrUpgradeNeeded = errors.New("daemon needs an upgrade")
)

const clusterHelp = `Error from the cluster

The request reached the daemon in your cluster, and the cluster refused it,
failed to carry it out, or did not answer. The reason is below.

If it speaks of a definition (a field, a name, a kind), correct the
definition and try again. If it says "forbidden", give the daemon's service
account the permission that it names. Anything else may pass: try again, and
look at the daemon's log if it does not.
`

const unavailableHelp = `Cannot contact the cluster

No answer came from the daemon in your cluster. Most often it is not running,
or it cannot reach this service.

Check that the daemon's pod is running, that its log shows that it has
connected, and that it uses the instance ID and credentials of this instance.
It connects again by itself; if it has only just started, wait a moment and
try again.
`

const upgradeHelp = `The daemon needs an upgrade

The daemon in your cluster is too old to understand this request. Everything
it knew before still works.

Upgrade the daemon to the version of this service or later, then try again.
`

// ClusterError returns an error that reports that the daemon was reached, and that its
// cluster refused the request, failed to execute it, or did not answer the daemon. The text
// is that of err, and errors.Is and errors.As reach err. The help text quotes it too, in
// printable characters and at most 4 KiB, for clients that show nothing else. A
// flux.HelpfulError is returned unchanged, so that every hop may wrap the errors that it
// passes on. If err is nil the result is an error without a cause.
func ClusterError(err error) error {
	if _, ok := err.(flux.HelpfulError); ok {
		return err
	}
	text := strings.TrimSpace(oneline.Lines(textOf(err)))
	return problem(clusterHelp+"\n    "+strings.ReplaceAll(text, "\n", "\n    ")+"\n", err, nil)
}

// UnavailableError returns an error that reports that the platform did not answer: it is
// not connected, or was lost during the call. It is a flux.UserConfigProblem and matches
// ErrPlatformNotAvailable. The text is that of err, and errors.Is and errors.As reach err.
// If err is nil the result is an error without a cause.
func UnavailableError(err error) error {
	return problem(unavailableHelp, err, ErrPlatformNotAvailable)
}

// UpgradeNeededError returns an error that reports that the daemon does not know the
// method. It is a flux.UserConfigProblem and matches ErrUpgradeNeeded. The text is that of
// err, and errors.Is and errors.As reach err. If err is nil the result is an error without
// a cause.
func UpgradeNeededError(err error) error {
	return problem(upgradeHelp, err, ErrUpgradeNeeded)
}

// problem returns a helpful error that matches the sentinel too, unless that is nil.
func problem(help string, cause, sentinel error) error {
	return flux.UserConfigProblem{BaseError: flux.BaseError{Help: help, Err: cause}.Matching(sentinel)}
}

// Wrap errors in a FatalError to indicate that the platform should be considered dead,
// and disconnected: the bus ends its subscription, wherever in the tree of the returned
// error the FatalError is.
type FatalError struct {
	// Err is the cause.
	Err error
}

// Error returns the cause's text.
func (err FatalError) Error() string { return orNoCause(err.Err).Error() }

// Unwrap returns the cause.
func (err FatalError) Unwrap() error { return err.Err }

// AsFatal returns the first FatalError in the tree of err, as a bus looks for it. Unlike
// errors.As it also finds a pointer to one, even a nil pointer, on which no method can be
// called.
func AsFatal(err error) (FatalError, bool) {
	switch e := err.(type) {
	case nil:
		return FatalError{}, false
	case FatalError:
		return e, true
	case *FatalError:
		if e == nil {
			return FatalError{}, true
		}
		return *e, true
	case interface{ Unwrap() error }:
		return AsFatal(e.Unwrap())
	case interface{ Unwrap() []error }:
		for _, cause := range e.Unwrap() {
			if fatal, ok := AsFatal(cause); ok {
				return fatal, true
			}
		}
	}
	return FatalError{}, false
}

// describe lists failures in the order of their IDs, so that the same failures always
// have the same text. An ID may be any string, such as the name of an uploaded file: it is
// escaped to one line and limited in length.
func describe[ID ~string](failures map[ID]error) string {
	if len(failures) == 0 {
		return "no failure recorded"
	}
	var b strings.Builder
	for i, id := range slices.Sorted(maps.Keys(failures)) {
		if i > 0 {
			b.WriteString("; ")
		}
		fmt.Fprintf(&b, "%s: %v", oneline.Line(string(id)), orNoCause(failures[id]))
	}
	return b.String()
}

// causes returns the failures in the order of their IDs, without those that are nil.
func causes[ID ~string](failures map[ID]error) []error {
	errs := make([]error, 0, len(failures))
	for _, id := range slices.Sorted(maps.Keys(failures)) {
		if err := failures[id]; err != nil {
			errs = append(errs, err)
		}
	}
	return errs
}

// textOf returns the text of an error that comes from anywhere: one that is nil, or a nil
// pointer whose method panics, has one too.
func textOf(err error) (text string) {
	defer func() {
		if cause := recover(); cause != nil {
			text = fmt.Sprintf("an error of type %T, which panics when it is read: %v", err, cause)
		}
	}()
	if fatal, ok := err.(*FatalError); ok && fatal == nil {
		err = nil
	}
	return orNoCause(err).Error()
}

// orNoCause returns err, or if it is nil an error whose text says so.
func orNoCause(err error) error {
	if err == nil {
		return &flux.BaseError{}
	}
	return err
}
