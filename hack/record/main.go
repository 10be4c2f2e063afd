// Command record makes an animated SVG of what a program prints, slowly enough to be read:
//
//	bin/demo/demo | go run ./hack/record >docs/demo.svg
package main

import (
	"bufio"
	"fmt"
	"html"
	"io"
	"os"
	"strings"
	"time"
)

const (
	rows    = 30
	columns = 96
	width   = 840 // of the picture; a column has 8.4 pixels, a row 18
	row     = 18
	padding = 12
	rest    = 6 * time.Second // for which the end stays
	// Between two lines is the time that the program took, but as much as reading takes, and
	// no longer than anybody wants to watch a program wait.
	shortest = 150 * time.Millisecond
	longest  = 1500 * time.Millisecond
	step     = time.Second // the least at an empty line, which ends a step
)

// A line is printed at a time.
type line struct {
	text string
	at   time.Duration
}

func main() {
	lines, err := read(os.Stdin, os.Stderr)
	if err == nil {
		err = write(os.Stdout, lines)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "record:", err)
		os.Exit(1)
	}
}

// read reads lines as they come, and shows them.
func read(in io.Reader, shown io.Writer) (lines []line, err error) {
	scanner := bufio.NewScanner(in)
	var at time.Duration
	last := time.Now()
	for scanner.Scan() {
		fmt.Fprintln(shown, scanner.Text())
		least := shortest
		if scanner.Text() == "" {
			least = step
		}
		at += max(min(time.Since(last), longest), least)
		last = time.Now()
		lines = append(lines, line{scanner.Text(), at})
	}
	return lines, scanner.Err()
}

// write writes the picture. Each line appears at its time, and the text moves up when the
// window is full. The animation repeats.
func write(w io.Writer, lines []line) error {
	if len(lines) == 0 {
		return fmt.Errorf("there is nothing to show")
	}
	total := lines[len(lines)-1].at + rest
	percent := func(at time.Duration) float64 { return 100 * float64(at) / float64(total) }
	height := rows*row + 2*padding

	b := bufio.NewWriter(w)
	fmt.Fprintf(b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" role="img" aria-label="A recording of make demo">`+"\n", width, height)
	fmt.Fprintf(b, "<style>\ntext{font:14px/18px ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;fill:#d6deeb;white-space:pre}\n"+
		".t{fill:#fff;font-weight:bold}.h{fill:#7f9bb3}.e{fill:#ff8c82}.d{fill:#ff8c82}.a{fill:#9be38f}.c{fill:#7fdbff}\n"+
		"#s{animation:s %.1fs infinite step-end}\n@keyframes s{0%%{transform:translateY(0)}", total.Seconds())
	for i, l := range lines {
		if i >= rows {
			fmt.Fprintf(b, "%.2f%%{transform:translateY(-%dpx)}", percent(l.at), (i-rows+1)*row)
		}
	}
	fmt.Fprint(b, "}\n")
	// Lines that appear together share an animation.
	appear := map[string]string{}
	class := func(at time.Duration) string {
		key := fmt.Sprintf("%.1f", percent(at))
		name, ok := appear[key]
		if !ok {
			name = fmt.Sprintf("l%d", len(appear))
			appear[key] = name
			fmt.Fprintf(b, ".%s{animation:%s %.1fs infinite step-end}@keyframes %s{0%%{opacity:0}%s%%{opacity:1}}\n", name, name, total.Seconds(), name, key)
		}
		return name
	}
	names := make([]string, len(lines))
	for i, l := range lines {
		names[i] = class(l.at)
	}
	fmt.Fprintf(b, "</style>\n<clipPath id=\"w\"><rect width=\"%d\" height=\"%d\"/></clipPath>\n", width, height)
	fmt.Fprintf(b, `<rect width="%d" height="%d" rx="8" fill="#011627"/>`+"\n<g clip-path=\"url(#w)\"><g id=\"s\">\n", width, height)
	for i, l := range lines {
		text := []rune(strings.TrimRight(l.text, " "))
		if len(text) == 0 {
			continue
		}
		if len(text) > columns {
			text = append(text[:columns-1], '…')
		}
		fmt.Fprintf(b, `<text x="%d" y="%d" class="%s">%s</text>`+"\n", padding, padding+(i+1)*row-5,
			strings.TrimSpace(names[i]+" "+styleOf(string(text))), html.EscapeString(string(text)))
	}
	fmt.Fprint(b, "</g></g>\n</svg>\n")
	return b.Flush()
}

// styleOf returns the class of a line: of a title, of a remark, of an error, of a diff.
func styleOf(text string) string {
	trimmed := strings.TrimSpace(text)
	switch {
	case text[0] >= '0' && text[0] <= '9':
		return "t"
	case strings.HasPrefix(trimmed, "Hard:"), strings.HasPrefix(trimmed, "["):
		return "h"
	case strings.HasPrefix(trimmed, "! "), strings.HasPrefix(trimmed, "| "):
		return "e"
	case strings.HasPrefix(trimmed, "- "), strings.HasPrefix(trimmed, "-  "):
		return "d"
	case strings.HasPrefix(trimmed, "+"):
		return "a"
	case strings.HasPrefix(trimmed, "~"), strings.HasPrefix(trimmed, "@@"):
		return "c"
	}
	return ""
}
