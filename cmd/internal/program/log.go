package program

import (
	"fmt"
	"io"
	"log/slog"

	"github.com/spf13/pflag"

	"github.com/platformbus/platform/internal/oneline"
)

// Log configures the log.
type Log struct {
	Verbose int
	Format  string
	Least   slog.Level // of what is logged without --verbose
}

// AddFlags adds the flags of the log.
func (l *Log) AddFlags(flags *pflag.FlagSet) {
	flags.CountVarP(&l.Verbose, "verbose", "v", "log more: -v also what is asked often, -vv also each object")
	flags.StringVar(&l.Format, "log-format", "text", "`format` of the log: text or json")
}

// LevelObjects is the level of records about single objects that are as they should be.
const LevelObjects = slog.LevelDebug - 4

// Logger returns a logger that writes to w.
func (l *Log) Logger(w io.Writer) (*slog.Logger, error) {
	options := slog.HandlerOptions{Level: l.Least, ReplaceAttr: bounded}
	switch {
	case l.Verbose == 1:
		options.Level = slog.LevelDebug
	case l.Verbose > 1:
		options.Level = LevelObjects
	}
	switch l.Format {
	case "text":
		return slog.New(slog.NewTextHandler(w, &options)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(w, &options)), nil
	}
	return nil, Usage("--log-format %.40q: want text or json", l.Format)
}

// bounded makes the text of a value one line of limited length, see package oneline. Of an
// error it leaves only the text; slog would add the stack trace that some errors have.
func bounded(_ []string, a slog.Attr) slog.Attr {
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
}
