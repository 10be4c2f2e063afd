package main

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/platformbus/platform/flux"
)

// A narrator writes a log of the steps, with the duration of each.
type narrator struct {
	out   io.Writer
	begun time.Time
	count int
	since time.Time // when the current step began
}

func newNarrator(out io.Writer) *narrator {
	return &narrator{out: out, begun: time.Now()}
}

// step ends the current step, and begins the next one: what it shows, and why that is hard.
func (n *narrator) step(title, hard string) {
	n.endStep()
	n.count++
	n.since = time.Now()
	fmt.Fprintf(n.out, "\n%d. %s\n   Hard: %s.\n", n.count, title, hard)
}

func (n *narrator) endStep() {
	if n.count > 0 {
		fmt.Fprintf(n.out, "   [%s]\n", round(time.Since(n.since)))
	}
}

// end ends the last step, and writes the outcome.
func (n *narrator) end(err error) {
	n.endStep()
	if err == nil {
		fmt.Fprintf(n.out, "\nAll of it went as it should, in %s.\n", round(time.Since(n.begun)))
	}
}

// say writes lines of the current step.
func (n *narrator) say(format string, args ...any) { n.quote("   ", fmt.Sprintf(format, args...)) }

// failure shows the text of an error, and the title of its help if it has one.
func (n *narrator) failure(err error) {
	n.quote("   ! ", err.Error())
	var helpful flux.HelpfulError
	if errors.As(err, &helpful) {
		title, rest, _ := strings.Cut(strings.TrimSpace(helpful.Base().Help), "\n")
		n.quote("   | ", fmt.Sprintf("%s (and %d lines of help for the user)", title, strings.Count(rest, "\n")))
	}
}

// quote writes each line of text after a prefix, and wraps long lines between words.
func (n *narrator) quote(prefix, text string) {
	for line := range strings.Lines(strings.TrimSpace(text)) {
		line = strings.TrimRight(line, " \n")
		for len(line) > width {
			at := strings.LastIndex(line[:width], " ")
			if at <= 0 {
				break
			}
			fmt.Fprintln(n.out, prefix+line[:at])
			line = line[at+1:]
		}
		fmt.Fprintln(n.out, strings.TrimRight(prefix+line, " "))
	}
}

// width is the maximum length of a line, without its prefix.
const width = 92

// round rounds a duration for display.
func round(d time.Duration) time.Duration {
	if d < time.Second {
		return d.Round(100 * time.Microsecond)
	}
	return d.Round(100 * time.Millisecond)
}
