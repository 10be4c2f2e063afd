package manifest

import (
	"fmt"
	"strings"
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
	// Why gives the reason, where the list that the entry is in does not.
	Why string
	// Diff is a unified diff from what the cluster has to what it would have. The marks of
	// plans are not part of it, and the values of Secrets are masked. It is empty for what
	// is left alone, and may be for a change, which Why then explains.
	Diff string
}

// Empty says whether the plan has nothing to add, change or delete. What is only unseen
// does not count.
func (r Report) Empty() bool { return len(r.Add)+len(r.Change)+len(r.Delete) == 0 }

// String returns the report as text for a person to read.
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
	for _, section := range []struct {
		title   string
		entries []Entry
	}{
		{"Add", r.Add},
		{"Change", r.Change},
		{"Apply unseen", r.Unseen},
		{"Delete", r.Delete},
		{"Refuse to delete", r.Refused},
		{"Ignore", r.Ignored},
	} {
		for _, e := range section.entries {
			e.write(&b, section.title)
		}
	}
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

func (e Entry) write(b *strings.Builder, title string) {
	fmt.Fprintf(b, "\n%s %s", title, e.ID)
	if place := (Object{Source: e.Source, Line: e.Line}).place(); place != "" {
		fmt.Fprintf(b, " (%s)", place)
	}
	if e.Why != "" {
		fmt.Fprintf(b, ": %s", e.Why)
	}
	b.WriteByte('\n')
	b.WriteString(e.Diff)
}
