package wire

import (
	"errors"

	"github.com/platformbus/platform"
	"github.com/platformbus/platform/flux"
)

// ErrClosed is natsbus.ErrClosed.
var ErrClosed = errors.New("bus is closed")

var codec = platform.ErrorCodec{Sentinels: map[string]error{"closed": ErrClosed}}

// EncodeError returns err as it travels, or nil.
func EncodeError(err error) *platform.WireError { return codec.Encode(err) }

// DecodeError returns the error at this end, or nil. One that says by its type what it is comes as
// it was, and any other in a ClusterError.
func DecodeError(w *platform.WireError) error {
	switch err := codec.Decode(w).(type) { //nolint:errorlint // of what is inside, ClusterError shows the text
	case nil, platform.ApplyError, platform.SyncError, platform.FatalError, flux.HelpfulError:
		return err
	default:
		return platform.ClusterError(err)
	}
}
