package platform

import (
	"context"

	"github.com/platformbus/platform/internal/oneline"
)

// maxCaller bounds the name of a caller, in bytes.
const maxCaller = 256

type callerKey struct{}

// ContextWithCaller returns a context for calls, see WithContext, that names who asks for
// them: the user or program that a service acts for, as the service knows it. The buses pass
// the name on to the daemon's Platform, for its log and its traces.
//
// Nothing verifies the name: whoever may make calls can give any. A daemon must not grant
// anything by it.
//
// The name is kept as one line of at most 256 bytes. Characters that would break the line are
// escaped as in a Go string, and what is longer is cut off. An empty name names nobody.
func ContextWithCaller(ctx context.Context, name string) context.Context {
	name = oneline.Line(name[:min(len(name), maxCaller+1)]) // one byte more shows that it is too long
	return context.WithValue(ctx, callerKey{}, cut(name, maxCaller))
}

// CallerFrom returns the name that ContextWithCaller has put into ctx, or "" if nobody is
// named. It is one line of at most 256 bytes, and unverified.
func CallerFrom(ctx context.Context) string {
	name, _ := ctx.Value(callerKey{}).(string)
	return name
}
