package manifest

import (
	"bytes"
	"fmt"
	"regexp"

	"github.com/platformbus/platform/kubernetes/internal/kinds"
	"github.com/platformbus/platform/kubernetes/internal/redact"
)

// omissions is what an Export says that it does not have.
type omissions struct {
	secrets string          // how many it leaves out, if it does
	there   map[key]bool    // those of them that it names
	groups  []unlistedGroup // in the order of the comments
}

// An unlistedGroup is a version of a group that an Export could not show, and why.
type unlistedGroup struct{ group, version, why string }

func (u unlistedGroup) String() string {
	return redact.Line(fmt.Sprintf("the export could not show %s/%s (%s)", u.group, u.version, u.why))
}

// The comments in which an Export says what it does not have.
var (
	secretsLeftOut = regexp.MustCompile(`^# Secrets left out: (\d+)$`)
	secretLeftOut  = regexp.MustCompile(`^# Secret left out: ([^\s/]+)/([^\s/]+)$`)
	notExported    = regexp.MustCompile(`^# Not exported: ([^\s:/]+)/([^\s:/]+): (.+)$`)
)

// readComments reads the comments at the beginning of an Export. What follows is content, in
// which a text may look like such a comment.
func readComments(export []byte) omissions {
	l := omissions{there: map[key]bool{}}
	for line := range bytes.Lines(export) {
		if line = bytes.TrimSpace(line); len(line) > 0 && line[0] != '#' && string(line) != "---" {
			break
		}
		if match := secretsLeftOut.FindSubmatch(line); match != nil && l.secrets == "" {
			l.secrets = string(match[1])
		}
		if match := secretLeftOut.FindSubmatch(line); match != nil {
			l.there[key{kinds.Secret, string(match[1]), string(match[2])}] = true
		}
		if match := notExported.FindSubmatch(line); match != nil {
			l.groups = append(l.groups, unlistedGroup{string(match[1]), string(match[2]), string(match[3])})
		}
	}
	return l
}

// notes say what is missing.
func (l omissions) notes() []string {
	var notes []string
	if l.secrets != "" {
		notes = append(notes, fmt.Sprintf("the export leaves out %s Secrets; they are neither compared nor deleted", l.secrets))
	}
	for _, u := range l.groups {
		notes = append(notes, u.String()+"; nothing of that group is deleted, nor is any namespace")
	}
	return notes
}

// ofGroup says that a group could not be shown, at some version, or nothing.
func (l omissions) ofGroup(group string) string {
	for _, u := range l.groups {
		if u.group == group {
			return u.String()
		}
	}
	return ""
}
