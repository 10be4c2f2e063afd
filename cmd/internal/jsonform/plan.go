package jsonform

import (
	"github.com/platformbus/platform/internal/oneline"
	"github.com/platformbus/platform/kubernetes/manifest"
)

// An Entry is the JSON form of a manifest.Entry.
type Entry struct {
	ID     string `json:"id"`
	Source string `json:"source,omitempty"`
	Line   int    `json:"line,omitempty"`
	There  bool   `json:"there,omitempty"`
	Why    string `json:"why,omitempty"`
	Diff   string `json:"diff,omitempty"`
}

// Report returns the JSON form of a report.
func Report(r manifest.Report) map[string]any {
	result := map[string]any{"empty": r.Empty(), "unchanged": r.Unchanged, "notes": append([]string{}, r.Notes...)}
	if r.SyncSet != "" {
		result["set"] = r.SyncSet
	}
	for name, list := range map[string][]manifest.Entry{
		"add": r.Add, "change": r.Change, "unseen": r.Unseen, "delete": r.Delete, "refused": r.Refused, "ignored": r.Ignored,
	} {
		entries := make([]Entry, 0, len(list))
		for _, e := range list {
			entries = append(entries, Entry{oneline.Line(e.ID), oneline.Line(e.Source), e.Line, e.There, oneline.Line(e.Why), e.Diff})
		}
		result[name] = entries
	}
	return result
}
