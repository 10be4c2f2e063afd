// Package program has what the daemon and the service have in common as processes: how
// they begin and end, how they reach NATS, and how they speak HTTP.
package program

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"
	"unicode"
	"unicode/utf8"

	"github.com/platformbus/platform/flux"
	"github.com/platformbus/platform/internal/oneline"
)

// ErrUsage is matched by errors about how a program was called.
var ErrUsage = errors.New("see -h")

// Main runs a program and exits: with 0 if run returns nil, with 2 if it was called wrongly,
// and with 1 if it failed. The context ends with the first SIGTERM or Ctrl-C; the second
// one ends the process at once. What run logs goes to standard error.
func Main(name string, run func(ctx context.Context, log *slog.Logger, args []string) error) {
	ctx, restore := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, restore)
	err := run(ctx, NewLogger(os.Stderr), os.Args[1:])
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
		return
	case errors.Is(err, ErrUsage):
		fmt.Fprintf(os.Stderr, "%s: %s\n", name, oneline.Line(err.Error()))
		os.Exit(2)
	}
	fmt.Fprintf(os.Stderr, "%s: %s\n", name, oneline.Line(err.Error()))
	os.Exit(1)
}

// NewLogger returns a logger of which each record is one line, and no longer for what others
// have made it quote, see package oneline. Of an error it writes the text, and no more, where slog would
// add the stack that some errors have.
func NewLogger(w io.Writer) *slog.Logger {
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		switch a.Value.Kind() {
		case slog.KindString:
			a.Value = slog.StringValue(oneline.Line(a.Value.String()))
		case slog.KindAny:
			switch v := a.Value.Any().(type) {
			case error:
				a.Value = slog.StringValue(oneline.Line(v.Error()))
			case slog.Level: // of the record
			default:
				a.Value = slog.StringValue(oneline.Line(fmt.Sprintf("%+v", v)))
			}
		}
		return a
	}}))
}

// Usage returns an error that matches ErrUsage.
func Usage(format string, args ...any) error {
	return fmt.Errorf("%w (%w)", fmt.Errorf(format, args...), ErrUsage)
}

// Parse parses arguments, of which there are no others than flags.
func Parse(flags *flag.FlagSet, args []string) error {
	flags.SetOutput(io.Discard) // an error would bury itself in the usage
	if err := flags.Parse(args); errors.Is(err, flag.ErrHelp) {
		flags.SetOutput(os.Stderr)
		flags.Usage()
		return err
	} else if err != nil {
		return Usage("%w", err)
	}
	if flags.NArg() > 0 {
		return Usage("there is an argument %q that belongs to no flag", flags.Arg(0))
	}
	return nil
}

// maxInstance is how long an instance ID may be, in bytes.
const maxInstance = 253

// InstanceID returns what somebody gave as the ID of an instance. A bus takes any text; a
// person who gives an empty one, or one with a blank or a line's end, has made a mistake.
func InstanceID(s string) (flux.InstanceID, error) {
	switch {
	case s == "":
		return "", errors.New("the instance ID is empty")
	case len(s) > maxInstance:
		return "", fmt.Errorf("the instance ID %.20q… has %d bytes; want at most %d", s, len(s), maxInstance)
	case !utf8.ValidString(s), strings.ContainsFunc(s, func(r rune) bool { return unicode.IsSpace(r) || !unicode.IsPrint(r) }):
		return "", fmt.Errorf("the instance ID %q has a blank, or what cannot be printed, in it", s)
	}
	return flux.InstanceID(s), nil
}

// Version returns the version that the program was built as.
func Version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" {
		return "unknown"
	}
	return info.Main.Version
}
