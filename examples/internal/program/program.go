// Package program is the common part of the daemon and the service: start and exit of the
// process, the connection to NATS, and the HTTP server.
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

// ErrUsage is matched by errors about the arguments and the environment of a program.
var ErrUsage = errors.New("see -h")

// Main runs a program and exits: with 0 if run returns nil, with 2 if the error matches
// ErrUsage, and with 1 otherwise. The context ends with the first SIGTERM or Ctrl-C; the
// second one ends the process at once. The log goes to standard error.
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

// NewLogger returns a logger that writes each record on one line and limits the length of
// values, see package oneline. Of an error it writes only the text; slog would add the stack
// trace that some errors have.
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

// Parse parses arguments. It returns an error if there are arguments that are not flags.
func Parse(flags *flag.FlagSet, args []string) error {
	flags.SetOutput(io.Discard) // the usage would hide the error
	if err := flags.Parse(args); errors.Is(err, flag.ErrHelp) {
		flags.SetOutput(os.Stderr)
		flags.Usage()
		return err
	} else if err != nil {
		return Usage("%w", err)
	}
	if flags.NArg() > 0 {
		return Usage("unexpected argument %q", flags.Arg(0))
	}
	return nil
}

// maxInstance is the maximum length of an instance ID, in bytes.
const maxInstance = 253

// InstanceID validates an instance ID that a user has entered. A bus accepts any string, but
// an ID that is empty, or contains a space or a line break, is most likely a mistake.
func InstanceID(s string) (flux.InstanceID, error) {
	switch {
	case s == "":
		return "", errors.New("the instance ID is empty")
	case len(s) > maxInstance:
		return "", fmt.Errorf("the instance ID %.20q… has %d bytes; want at most %d", s, len(s), maxInstance)
	case !utf8.ValidString(s), strings.ContainsFunc(s, func(r rune) bool { return unicode.IsSpace(r) || !unicode.IsPrint(r) }):
		return "", fmt.Errorf("the instance ID %q contains a space or an unprintable character", s)
	}
	return flux.InstanceID(s), nil
}

// Version returns the version of the program's main module.
func Version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" {
		return "unknown"
	}
	return info.Main.Version
}
