package redact

import (
	"cmp"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/platformbus/platform/kubernetes/internal/kinds"
)

// values are texts that nothing may show.
type values struct {
	byStart map[string][]string // by their first bytes, at most keySize; the longest first
	many    bool                // there are more than maxValues
}

const (
	// minValue is how long a value of an object that is no Secret must be, in bytes, to be
	// looked for in texts: shorter ones stand in every text.
	minValue = 4
	// shortValue is how long a value must be to be hidden also within a word.
	shortValue = 6
	// maxValues is for how many values a text is searched. Nothing is shown of one about an
	// object that has more.
	maxValues = 10_000
	keySize   = 4
)

// reasons are words that stand in what the API server says of objects. Where an object that
// is no Secret has one of them for a value, the reason is worth more.
var reasons = func() map[string]bool {
	all := map[string]bool{}
	for word := range strings.FieldsSeq("immutable forbidden invalid required unsupported denied request found value values " +
		"field fields namespace namespaces name names expected must already exists cannot change changed duplicate " +
		"true false null none default error failed string list object array integer number boolean hidden") {
		all[word] = true
	}
	return all
}()

// valuesOf returns the values of a definition that no text may show, in the forms in which a
// webhook or a policy may quote them.
func valuesOf(content map[string]any, secret bool) values {
	found, shown := map[string]bool{}, map[string]bool{}
	collect("", content, secret, found, shown)
	if len(found) > maxValues {
		return values{many: true}
	}
	all := map[string]bool{}
	add := func(value string) {
		quoted := strconv.Quote(value)
		all[value], all[quoted[1:len(quoted)-1]] = true, true
		if text, err := json.Marshal(value); err == nil {
			all[string(text[1:len(text)-1])] = true
		}
		all[strings.Join(strings.Fields(value), " ")] = true
	}
	for value := range found {
		if !secret && (shown[value] || len(value) < minValue || reasons[value]) {
			continue
		}
		add(value)
		if secret {
			add(base64.StdEncoding.EncodeToString([]byte(value)))
			if plain, err := base64.StdEncoding.DecodeString(value); err == nil {
				add(string(plain))
			}
		}
	}
	v := values{byStart: map[string][]string{}}
	for value := range all {
		if strings.TrimSpace(value) != "" {
			start := value[:min(keySize, len(value))]
			v.byStart[start] = append(v.byStart[start], value)
		}
	}
	for _, some := range v.byStart {
		slices.SortFunc(some, func(a, b string) int { return cmp.Or(len(b)-len(a), strings.Compare(a, b)) })
	}
	return v
}

// collect notes the scalars below a path: those that are secret, and those that are not.
func collect(path string, value any, secret bool, found, shown map[string]bool) {
	switch v := value.(type) {
	case nil:
	case map[string]any:
		for name, below := range v {
			collect(path+"."+name, below, secret, found, shown)
		}
	case []any:
		for _, below := range v {
			collect(path+"[]", below, secret, found, shown)
		}
	default:
		into := shown
		if kinds.IsSecretField(path) || secret && !kinds.IsShownInSecret(path) {
			into = found
		}
		into[fmt.Sprint(v)] = true
	}
}

// hide hides the values wherever they stand in a text. A short one counts only where it is a
// word of its own. Of a text that was cut the end may be a part of a value.
func (v values) hide(text string, cut bool) string {
	if v.many {
		return fmt.Sprintf("(not shown, since the definition has more than %d values that might be secret)", maxValues)
	}
	if len(v.byStart) == 0 {
		return text
	}
	var b strings.Builder
	for i := 0; i < len(text); {
		if strings.HasPrefix(text[i:], Hidden) {
			b.WriteString(Hidden)
			i += len(Hidden)
			continue
		}
		value, partly := v.at(text, i)
		switch {
		case partly && cut:
			return b.String()
		case value == "":
			b.WriteByte(text[i])
			i++
		default:
			b.WriteString(Hidden)
			i += len(value)
		}
	}
	return b.String()
}

// at returns the longest value that stands at a place of a text, or "". It also says whether
// the rest of the text may be the beginning of one.
func (v values) at(text string, i int) (value string, partly bool) {
	rest := text[i:]
	for size := min(keySize, len(rest)); size > 0; size-- {
		for _, candidate := range v.byStart[rest[:size]] {
			switch {
			case strings.HasPrefix(rest, candidate):
				if len(candidate) >= shortValue || isAlone(text, i, i+len(candidate)) {
					return candidate, false
				}
			case len(rest) < len(candidate) && strings.HasPrefix(candidate, rest):
				partly = true
			}
		}
	}
	return "", partly
}

// isAlone says whether what stands in a text from begin to end is no part of a word.
func isAlone(text string, begin, end int) bool {
	return (begin == 0 || !isWord(text[begin-1]) || !isWord(text[begin])) && (end == len(text) || !isWord(text[end]) || !isWord(text[end-1]))
}

func isWord(c byte) bool {
	return c == '_' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= 0x80
}
