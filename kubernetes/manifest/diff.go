package manifest

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

const (
	// contextLines is how many unchanged lines are shown around a change.
	contextLines = 3
	// maxEdits bounds the work of comparing two texts, which grows with its square. Texts
	// that differ in more lines are shown as one replacing the other.
	maxEdits = 500
	// These bound a diff: nobody reads more of one, and an operator brings definitions of kinds
	// of 30,000 lines.
	maxDiffLines = 5000
	maxDiffBytes = 256 << 10
	maxLineBytes = 1000
)

// An edit keeps, deletes or inserts one line.
type edit struct {
	op   byte // ' ', '-' or '+'
	line string
}

// unified returns the difference of two texts as a unified diff, or "" if there is none.
func unified(oldName, newName, oldText, newText string) string {
	edits := compareLines(lines(oldText), lines(newText))
	var b strings.Builder
	oldLine, newLine := 1, 1 // of edits[i]
	for i := 0; i < len(edits); {
		if edits[i].op == ' ' {
			i, oldLine, newLine = i+1, oldLine+1, newLine+1
			continue
		}
		if b.Len() == 0 {
			fmt.Fprintf(&b, "--- %s\n+++ %s\n", oldName, newName)
		}
		before := 0
		for before < contextLines && i-before > 0 && edits[i-before-1].op == ' ' {
			before++
		}
		end := endOfHunk(edits, i)
		hunk := edits[i-before : end]
		oldCount, newCount := countExcept(hunk, '+'), countExcept(hunk, '-')
		fmt.Fprintf(&b, "@@ -%s +%s @@\n", span(oldLine-before, oldCount), span(newLine-before, newCount))
		for _, e := range hunk {
			b.WriteByte(e.op)
			b.WriteString(e.line)
			b.WriteByte('\n')
		}
		i, oldLine, newLine = end, oldLine-before+oldCount, newLine-before+newCount
	}
	return b.String()
}

// bounded returns a diff cut to what an Entry has at most.
func bounded(diff string) string {
	var b strings.Builder
	lines := 0
	for line := range strings.Lines(diff) {
		line = cutLine(line)
		if lines == maxDiffLines || b.Len()+len(line) > maxDiffBytes {
			break
		}
		b.WriteString(line)
		lines++
	}
	if more := strings.Count(diff, "\n") - lines; more > 0 {
		fmt.Fprintf(&b, "(%d more lines are left out)\n", more)
	}
	return b.String()
}

// cutLine cuts a line that is too long, with its end, where a character ends.
func cutLine(line string) string {
	if len(line) <= maxLineBytes {
		return line
	}
	end := maxLineBytes
	for end > 0 && !utf8.RuneStart(line[end]) {
		end--
	}
	return fmt.Sprintf("%s... (%d more bytes)\n", line[:end], len(line)-end-len("\n"))
}

// firstLines returns the first lines of a text, and how many more it has.
func firstLines(text string, most int) (first string, more int) {
	end := 0
	for line := range strings.Lines(text) {
		if most == 0 {
			return text[:end], strings.Count(text[end:], "\n")
		}
		most--
		end += len(line)
	}
	return text, 0
}

// endOfHunk returns where the hunk ends that has its first change at i: after as many
// unchanged lines as are shown, unless a change follows so near that the next hunk would
// touch this one.
func endOfHunk(edits []edit, i int) int {
	end, kept := i, 0
	for ; i < len(edits) && kept <= 2*contextLines; i++ {
		if edits[i].op == ' ' {
			kept++
			continue
		}
		end, kept = i+1, 0
	}
	return min(end+contextLines, end+kept)
}

// countExcept returns how many of the edits are not of the op.
func countExcept(edits []edit, op byte) int {
	n := 0
	for _, e := range edits {
		if e.op != op {
			n++
		}
	}
	return n
}

// span writes where a hunk is, as diff -u does.
func span(start, n int) string {
	switch n {
	case 0:
		return fmt.Sprintf("%d,0", start-1)
	case 1:
		return fmt.Sprint(start)
	default:
		return fmt.Sprintf("%d,%d", start, n)
	}
}

func lines(text string) []string {
	if text == "" {
		return nil
	}
	return strings.Split(strings.TrimSuffix(text, "\n"), "\n")
}

// compareLines returns edits that turn a into b, the fewest unless there are too many.
func compareLines(a, b []string) []edit {
	head := 0
	for head < len(a) && head < len(b) && a[head] == b[head] {
		head++
	}
	tail := 0
	for tail < len(a)-head && tail < len(b)-head && a[len(a)-1-tail] == b[len(b)-1-tail] {
		tail++
	}
	edits := make([]edit, 0, len(a)+len(b)-head-tail)
	edits = appendEdits(edits, ' ', a[:head])
	edits = append(edits, shortest(a[head:len(a)-tail], b[head:len(b)-tail])...)
	return appendEdits(edits, ' ', a[len(a)-tail:])
}

func appendEdits(edits []edit, op byte, lines []string) []edit {
	for _, line := range lines {
		edits = append(edits, edit{op, line})
	}
	return edits
}

// shortest is the greedy algorithm of Myers, "An O(ND) Difference Algorithm" (1986): for
// each number of edits d it keeps how far one gets on each diagonal k.
func shortest(a, b []string) []edit {
	if len(a) == 0 || len(b) == 0 {
		return appendEdits(appendEdits(nil, '-', a), '+', b)
	}
	limit := min(len(a)+len(b), maxEdits)
	reach := make([]int, 2*limit+3) // by k+limit+1: the line of a
	var steps [][]int               // reach before each d, for the diagonals from -d to d
	for d := 0; d <= limit; d++ {
		steps = append(steps, slices.Clone(reach[limit+1-d:limit+2+d]))
		for k := -d; k <= d; k += 2 {
			at := k + limit + 1
			x := reach[at-1] + 1
			if k == -d || k != d && reach[at-1] < reach[at+1] {
				x = reach[at+1]
			}
			for x < len(a) && x-k < len(b) && a[x] == b[x-k] {
				x++
			}
			reach[at] = x
			if x >= len(a) && x-k >= len(b) {
				return retrace(a, b, steps)
			}
		}
	}
	return appendEdits(appendEdits(nil, '-', a), '+', b)
}

// retrace follows the steps of shortest back from the end.
func retrace(a, b []string, steps [][]int) []edit {
	var edits []edit
	x, y := len(a), len(b)
	for d := len(steps) - 1; d > 0; d-- {
		reached := func(k int) int { return steps[d][k+d] } // with d-1 edits
		k := x - y
		inserted := k == -d || k != d && reached(k-1) < reached(k+1)
		from := k - 1
		if inserted {
			from = k + 1
		}
		fromX, fromY := reached(from), reached(from)-from
		for ; x > fromX && y > fromY; x, y = x-1, y-1 {
			edits = append(edits, edit{' ', a[x-1]})
		}
		if inserted {
			edits = append(edits, edit{'+', b[y-1]})
		} else {
			edits = append(edits, edit{'-', a[x-1]})
		}
		x, y = fromX, fromY
	}
	for ; x > 0; x-- {
		edits = append(edits, edit{' ', a[x-1]})
	}
	slices.Reverse(edits)
	return edits
}
