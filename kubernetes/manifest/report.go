package manifest

import (
	"fmt"
	"slices"
	"strings"

	"github.com/platformbus/platform/kubernetes/internal/redact"
)

// A Report says what a Plan would do, and what it leaves alone and why. Each list is in
// the order in which a Sync needs the objects. It shows no value of a Secret.
type Report struct {
	// SyncSet is the name of the sync set, or empty.
	SyncSet string
	// Add has the desired objects that the cluster does not have.
	Add []Entry
	// Change has those that it has otherwise.
	Change []Entry
	// Unseen has desired objects that are applied although nothing may change: an Export
	// does not show whether the cluster has them. A Sync finds out.
	Unseen []Entry
	// Delete has what is in the cluster, belongs to the set and is no longer desired.
	Delete []Entry
	// Refused has what would be deleted, but is not without an AllowDelete option, or
	// because others would lose something with it.
	Refused []Entry
	// Ignored has what an annotation protects from being changed or deleted, and what
	// looks as if it belonged to the set and does not.
	Ignored []Entry
	// Unchanged counts the desired objects that are as desired.
	Unchanged int
	// Notes say what else is to be known before the plan is approved.
	Notes []string
}

// An Entry is about one object.
type Entry struct {
	// ID is what the object is called, also in a SyncError: "default:deployment/web".
	ID string
	// Source and Line say where its definition was read, if it is desired and that is
	// known.
	Source string
	Line   int
	// There says, of what is unseen, that an Export has named it: the cluster has the object,
	// at whatever content.
	There bool
	// Why gives the reason, where the list that the entry is in does not.
	Why string
	// Diff is a unified diff from what the cluster has to what it would have. The marks of
	// plans are not part of it, and the values of Secrets are masked. It is empty for what
	// is left alone, and may be for a change, which Why then explains. It has at most 5,000
	// lines and 256 KiB, after which it says how many lines it leaves out; a line of more than
	// 1,000 bytes is cut, and says so.
	Diff string
}

// What String shows at most of the diffs.
const (
	maxShownOfOne = 100  // lines
	maxShownOfAll = 2000 // lines
)

// Empty says whether the plan has nothing to add, change or delete, and nothing unseen that the
// cluster may lack. Whether what is unseen and there is as desired only a Sync can tell. What is
// refused or ignored does not count.
func (r Report) Empty() bool {
	missing := func(e Entry) bool { return !e.There }
	return len(r.Add)+len(r.Change)+len(r.Delete) == 0 && !slices.ContainsFunc(r.Unseen, missing)
}

// A section of a report has the entries of one list.
type section struct {
	title, sign string
	entries     []Entry
}

func (r Report) sections() []section {
	return []section{
		{"Add", "+", r.Add},
		{"Change", "~", r.Change},
		{"Apply unseen", "?", r.Unseen},
		{"Delete", "-", r.Delete},
		{"Refuse to delete", "!", r.Refused},
		{"Ignore", "=", r.Ignored},
	}
}

// String returns the report as text for a person to read: first a line that counts, and the
// notes; then a line for each object that is not unchanged, by what happens to it; then the
// diffs, of each no more than 100 lines, and of all no more than 2,000. What is left out of
// them is counted, and an Entry has it.
func (r Report) String() string {
	var b strings.Builder
	if r.SyncSet != "" {
		fmt.Fprintf(&b, "sync set %q: ", r.SyncSet)
	}
	b.WriteString(r.summary())
	b.WriteByte('\n')
	for _, note := range r.Notes {
		fmt.Fprintf(&b, "Note: %s.\n", note)
	}
	r.writeList(&b)
	r.writeDiffs(&b)
	return b.String()
}

// summary counts, and leaves out the rarer things that did not occur.
func (r Report) summary() string {
	text := fmt.Sprintf("%d to add, %d to change, %d to delete, %d unchanged", len(r.Add), len(r.Change), len(r.Delete), r.Unchanged)
	for _, rare := range []struct {
		n    int
		what string
	}{
		{len(r.Unseen), "unseen"}, {len(r.Refused), "refused"}, {len(r.Ignored), "ignored"},
	} {
		if rare.n > 0 {
			text += fmt.Sprintf(", %d %s", rare.n, rare.what)
		}
	}
	return text
}

// writeList writes a line for each entry.
func (r Report) writeList(b *strings.Builder) {
	before := "\n"
	for _, s := range r.sections() {
		if len(s.entries) == 0 {
			continue
		}
		fmt.Fprintf(b, "%s%s:\n", before, s.title)
		before = ""
		for _, e := range s.entries {
			fmt.Fprintf(b, "%s %s", s.sign, e.ID)
			if location := (Object{Source: e.Source, Line: e.Line}).location(); location != "" {
				fmt.Fprintf(b, " (%s)", location)
			}
			if e.Why != "" {
				fmt.Fprintf(b, ": %s", redact.Line(e.Why))
			}
			b.WriteByte('\n')
		}
	}
}

// writeDiffs writes the diffs, as far as they are shown.
func (r Report) writeDiffs(b *strings.Builder) {
	left, objects, hidden := maxShownOfAll, 0, 0
	for _, s := range r.sections() {
		for _, e := range s.entries {
			if e.Diff == "" {
				continue
			}
			if left == 0 {
				objects++
				hidden += strings.Count(e.Diff, "\n")
				continue
			}
			shown, more := firstLines(e.Diff, min(left, maxShownOfOne))
			fmt.Fprintf(b, "\n%s", shown)
			if more > 0 {
				fmt.Fprintf(b, "(%d more lines about %s are not shown)\n", more, e.ID)
			}
			left -= strings.Count(shown, "\n")
		}
	}
	if objects > 0 {
		fmt.Fprintf(b, "\n(the diffs of %d more objects, of %d lines, are not shown)\n", objects, hidden)
	}
}
