// Package program is the common part of the program's commands: start and exit of the process,
// settings, the log, the connection to NATS, and the HTTP server.
package program

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"
	"unicode"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/platformbus/platform"
	"github.com/platformbus/platform/flux"
	"github.com/platformbus/platform/internal/oneline"
)

// The exit codes of the program, which scripts may rely on.
const (
	ExitFailed      = 1 // it failed, or was not confirmed
	ExitUsage       = 2 // arguments, environment or configuration file are wrong: nothing was attempted
	ExitDiffers     = 3 // plan --exit-code: the cluster is not as the folder says
	ExitUnavailable = 4 // no daemon, or no service, answers
	ExitPartly      = 5 // some of what was asked for failed; the rest is done
)

// ExitCodes is the help text about the exit codes.
const ExitCodes = `Exit codes: 0 done, 1 failed, 2 wrong arguments or settings, 3 the cluster differs (plan
--exit-code), 4 no daemon or no service answers, 5 some failed and the rest is done.`

var (
	// ErrUsage is matched by errors about arguments, environment and configuration file.
	ErrUsage = errors.New("see --help")
	// ErrDiffers ends a program with ExitDiffers and without a message.
	ErrDiffers = errors.New("the cluster differs")
)

// Usage returns an error that matches ErrUsage.
func Usage(format string, args ...any) error {
	return fmt.Errorf("%w (%w)", fmt.Errorf(format, args...), ErrUsage)
}

// Main executes a command and returns the exit code. The command's context ends with the
// first SIGTERM or Ctrl-C; the second one ends the process at once. An error is written to
// standard error, on one line, and its help text below it.
func Main(root *cobra.Command) int {
	ctx, restore := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, restore)
	defer restore()
	begun := false
	root.SilenceErrors, root.SilenceUsage = true, true
	root.PersistentPreRunE = func(cmd *cobra.Command, _ []string) error {
		if !isBuiltin(cmd) {
			if err := LoadSettings(cmd); err != nil {
				return err
			}
		}
		begun = true
		return nil
	}
	addBuiltins(root)
	if len(os.Args) > 1 && strings.HasPrefix(os.Args[1], cobra.ShellCompRequestCmd) { // the hidden commands that the scripts run
		prepareCompletion(root)
	}
	err := root.ExecuteContext(ctx)
	if err != nil && !begun && !errors.Is(err, ErrUsage) {
		err = cobraError(err)
	}
	code := exitCode(err)
	if err != nil && code != ExitDiffers {
		causes := strings.FieldsFunc(err.Error(), func(r rune) bool { return r == '\n' }) // such as those of errors.Join
		fmt.Fprintf(os.Stderr, "platform: %s\n", oneline.Line(strings.Join(causes, "; ")))
		if help := HelpOf(err); help != "" && code != ExitUsage {
			fmt.Fprintf(os.Stderr, "\n%s\n", strings.TrimSpace(help))
		}
	}
	return code
}

func exitCode(err error) int {
	var ofSync platform.SyncError
	var ofApply platform.ApplyError
	switch {
	case err == nil:
		return 0
	case errors.Is(err, ErrUsage):
		return ExitUsage
	case errors.Is(err, ErrDiffers):
		return ExitDiffers
	case errors.As(err, &ofSync), errors.As(err, &ofApply): // also if some were not available
		return ExitPartly
	case errors.Is(err, platform.ErrPlatformNotAvailable):
		return ExitUnavailable
	}
	return ExitFailed
}

// HelpOf returns the help text of an error, fit for a terminal, or nothing.
func HelpOf(err error) string {
	var helpful flux.HelpfulError
	if !errors.As(err, &helpful) || helpful.Base() == nil {
		return ""
	}
	return oneline.Lines(helpful.Base().Help)
}

// maxInstance is the maximum length of an instance ID, in bytes.
const maxInstance = 253

// InstanceID validates an instance ID that a user has entered. A bus accepts any string, but
// an ID that is empty, or contains a space or a line break, is most likely a mistake. So is a
// dot or two, which in a URL stand for another path than that of the instance.
func InstanceID(s string) (flux.InstanceID, error) {
	switch {
	case s == "":
		return "", errors.New("the instance ID is empty")
	case s == ".", s == "..":
		return "", fmt.Errorf("the instance ID %q cannot be part of a URL", s)
	case len(s) > maxInstance:
		return "", fmt.Errorf("the instance ID %.20q… has %d bytes; want at most %d", s, len(s), maxInstance)
	case !utf8.ValidString(s), strings.ContainsFunc(s, func(r rune) bool { return unicode.IsSpace(r) || !unicode.IsPrint(r) }):
		return "", fmt.Errorf("the instance ID %q contains a space or an unprintable character", s)
	}
	return flux.InstanceID(s), nil
}

// version is the version of the program, if the linker sets it: -X.
var version string

// Version returns the version that the linker has set, or else that of the program's main module.
func Version() string {
	if version != "" {
		return version
	}
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" {
		return "unknown"
	}
	return info.Main.Version
}
