package api

import (
	"context"
	"fmt"
	"time"

	"github.com/pkg/errors"
	utilnet "k8s.io/apimachinery/pkg/util/net"

	"github.com/platformbus/platform/kubernetes/internal/kinds"
)

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

// Overdue returns the error for something, such as a call or a wait, that took longer than
// its limit.
func Overdue(what string, limit time.Duration) error { return overdue{what, limit} }

// withRequestTimeout returns the context for one request.
func withRequestTimeout(ctx context.Context, limit time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, limit,
		fmt.Errorf("the API server took longer than %v: %w", limit, context.DeadlineExceeded))
}

// causeOf returns err, or, if err only says that ctx has ended, the cause of that, which
// says whose limit it was.
func causeOf(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		return context.Cause(ctx)
	}
	return err
}

// Sleep waits for d, or less if ctx ends first; it then returns the cause.
func Sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// How long is waited before a request is sent again: at first, and at most.
const (
	MinBackoff = 100 * time.Millisecond
	MaxBackoff = 5 * time.Second
)

// Once sends one request. Its context has the time limit of one, and waits until the call
// that it is part of has room for another. The error tells whose limit is over, if one is.
func (c *Client) Once(ctx context.Context, request func(context.Context) error) error {
	ctx, release := withSlot(ctx)
	defer release()
	ctx, cancel := withRequestTimeout(ctx, c.requestTimeout)
	defer cancel()
	return causeOf(ctx, request(ctx))
}

// foreignGroupKey is where a context says that requests are for a group that is not Kubernetes' own.
type foreignGroupKey struct{}

// groupPatience is how long such a request is sent again, unless the API server itself is not
// there: what serves or converts the objects may be down for good.
const groupPatience = 3 * time.Second

// ForGroup returns a context for requests for objects of a group. Retry does not try for ever what
// concerns that group only.
func ForGroup(ctx context.Context, group string) context.Context {
	if kinds.IsOwnGroup(group) {
		return ctx
	}
	return context.WithValue(ctx, foreignGroupKey{}, true)
}

// Retry sends a request, as Once does, until it succeeds, fails for good, or ctx ends; the
// error then holds the last one that the server gave. Between requests it waits, ever longer.
func (c *Client) Retry(ctx context.Context, request func(context.Context) error) error {
	limited := ctx.Value(foreignGroupKey{}) != nil
	begun := time.Now()
	for wait := MinBackoff; ; wait = min(2*wait, MaxBackoff) {
		err := c.Once(ctx, request)
		if err == nil || !IsTransient(err) {
			return err
		}
		if limited && time.Since(begun) > groupPatience && !utilnet.IsConnectionRefused(err) {
			return err
		}
		if stopped := Sleep(ctx, wait); stopped != nil {
			return fmt.Errorf("%w; the last answer was: %w", stopped, err)
		}
	}
}
