package main

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/platformbus/platform/flux"
)

// A narrator writes what happens, step by step, and how long each step took.
type narrator struct {
	out   io.Writer
	begun time.Time
	count int
	since time.Time // when the present step began
}

func newNarrator(out io.Writer) *narrator {
	return &narrator{out: out, begun: time.Now()}
}

// step ends the step before, and begins one.
func (n *narrator) step(format string, args ...any) {
	n.endStep()
	n.count++
	n.since = time.Now()
	fmt.Fprintf(n.out, "\n%d. %s\n", n.count, fmt.Sprintf(format, args...))
}

func (n *narrator) endStep() {
	if n.count > 0 {
		fmt.Fprintf(n.out, "   [%s]\n", round(time.Since(n.since)))
	}
}

// end ends the last step, and says how it all went.
func (n *narrator) end(err error) {
	n.endStep()
	if err == nil {
		fmt.Fprintf(n.out, "\nAll of it went as it should, in %s.\n", round(time.Since(n.begun)))
	}
}

// say writes lines that belong to the step.
func (n *narrator) say(format string, args ...any) { n.quote("   ", fmt.Sprintf(format, args...)) }

// failure shows an error as a service might: its text, and its help if it has one.
func (n *narrator) failure(err error) {
	n.quote("   ! ", err.Error())
	var helpful flux.HelpfulError
	if errors.As(err, &helpful) {
		n.quote("   | ", helpful.Base().Help)
	}
}

// quote writes each line of text behind a prefix, broken between words if it is long.
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

// width is how long a line may be, apart from what stands before it.
const width = 92

// round leaves of a duration what a reader wants.
func round(d time.Duration) time.Duration {
	if d < time.Second {
		return d.Round(100 * time.Microsecond)
	}
	return d.Round(100 * time.Millisecond)
}
