package client

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"golang.org/x/term"
	"sigs.k8s.io/yaml"

	"github.com/platformbus/platform/cmd/internal/program"
	"github.com/platformbus/platform/internal/oneline"
)

// An output is the form in which a command writes its result.
type output struct{ format string }

func (o *output) addFlag(cmd *cobra.Command) {
	cmd.Flags().StringVarP(&o.format, "output", "o", "", "`form` of the result: json or yaml (default for people)")
	completeFlag(cmd, "output", cobra.FixedCompletions([]string{"json", "yaml"}, cobra.ShellCompDirectiveNoFileComp))
}

func (o *output) check() error {
	switch o.format {
	case "", "json", "yaml":
		return nil
	}
	return program.Usage("--output %.40q: want json or yaml", o.format)
}

// write writes a result: v as JSON or YAML, or what forPeople writes.
func (o *output) write(w io.Writer, v any, forPeople func(io.Writer) error) error {
	var text []byte
	var err error
	switch o.format {
	case "":
		return forPeople(w)
	case "json":
		text, err = json.MarshalIndent(v, "", "  ")
		text = append(text, '\n')
	case "yaml":
		text, err = yaml.Marshal(v)
	}
	if err != nil {
		return err
	}
	return writeText(w, string(text))
}

// writeText writes a text that a cluster may have made a part of: to a terminal escaped, and
// elsewhere as it is, for programs.
func writeText(w io.Writer, text string) error {
	if isTerminal(w) {
		text = escaped(text)
	}
	_, err := io.WriteString(w, text)
	return err
}

// escaped escapes the characters that could steer a terminal. Unlike oneline.Lines it leaves tabs,
// and cuts nothing.
func escaped(text string) string {
	var b strings.Builder
	for text != "" {
		_, size := utf8.DecodeRuneInString(text)
		if text[0] == '\t' {
			b.WriteByte('\t')
		} else {
			b.WriteString(oneline.Lines(text[:size]))
		}
		text = text[size:]
	}
	return b.String()
}

// writeTable writes rows in aligned columns. What comes from a cluster is made fit for a
// terminal.
func writeTable(w io.Writer, header []string, rows [][]string) error {
	var b strings.Builder
	table := tabwriter.NewWriter(&b, 0, 0, 3, ' ', 0)
	fmt.Fprintln(table, strings.Join(header, "\t"))
	for _, row := range rows {
		for i, cell := range row {
			row[i] = oneline.Line(strings.ReplaceAll(cell, "\t", " "))
		}
		fmt.Fprintln(table, strings.Join(row, "\t")) // also empty cells, or the columns would break here
	}
	if err := table.Flush(); err != nil {
		return err
	}
	for line := range strings.Lines(b.String()) {
		if _, err := fmt.Fprintln(w, strings.TrimRight(line, " \n")); err != nil {
			return err
		}
	}
	return nil
}

// isTerminal reports whether a stream is a terminal.
func isTerminal(stream any) bool {
	file, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(file.Fd()))
}

// hasColor reports whether a stream shows colours: a terminal does, unless NO_COLOR is set.
func hasColor(stream any) bool {
	return isTerminal(stream) && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
}

// colored colours the lines of a diff and of a list of changes by their first character.
func colored(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		color := ""
		switch {
		case strings.HasPrefix(line, "+"):
			color = "\x1b[32m"
		case strings.HasPrefix(line, "-"):
			color = "\x1b[31m"
		case strings.HasPrefix(line, "~"), strings.HasPrefix(line, "@@"):
			color = "\x1b[36m"
		}
		if color == "" {
			b.WriteString(line)
			continue
		}
		body := strings.TrimSuffix(line, "\n")
		b.WriteString(color + body + "\x1b[0m" + line[len(body):])
	}
	return b.String()
}

// waiting shows on a terminal what is waited for and for how long, until the function that it
// returns is called. That function waits until nothing more is written.
func waiting(w io.Writer, what string) (done func()) {
	if !isTerminal(w) {
		return func() {}
	}
	start, stop, ended := time.Now(), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(200 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				fmt.Fprint(w, "\r\x1b[K")
				return
			case <-tick.C:
				fmt.Fprintf(w, "\r%s … %v\x1b[K", what, time.Since(start).Round(time.Second))
			}
		}
	}()
	return func() {
		close(stop)
		<-ended
	}
}
