package redact

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"sort"
	"strconv"
	"strings"

	"github.com/platformbus/platform/kubernetes/internal/kinds"
)

// values are texts that nothing may show.
type values struct {
	sorted []entry
	many   bool // there are more than maxValues
}

// An entry is one value.
type entry struct {
	text string
	// prefix is the index of the longest other value that this one begins with, or -1.
	prefix int
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
	collector{secret, found, shown}.collect("", content, false)
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
	v := values{sorted: make([]entry, 0, len(all))}
	for _, text := range slices.Sorted(maps.Keys(all)) {
		if strings.TrimSpace(text) == "" {
			continue
		}
		prefix := len(v.sorted) - 1
		for prefix >= 0 && !strings.HasPrefix(text, v.sorted[prefix].text) {
			prefix = v.sorted[prefix].prefix
		}
		v.sorted = append(v.sorted, entry{text, prefix})
	}
	return v
}

// A collector collects the scalars of a definition: those that are secret, and those that are not.
type collector struct {
	secret       bool // the definition is of a Secret
	found, shown map[string]bool
}

// collect collects the scalars at a path and below it. hidden says that all of them are secret.
func (c collector) collect(path string, value any, hidden bool) {
	switch v := value.(type) {
	case nil:
	case map[string]any:
		hidden = hidden || path != "" && c.hides(path+".")
		path = pathEnd(path) + "."
		for name, below := range v {
			c.collect(path+name, below, hidden)
		}
	case []any:
		hidden = hidden || c.hides(path+"[]")
		path = pathEnd(path) + "[]"
		for _, below := range v {
			c.collect(path, below, hidden)
		}
	default:
		into := c.shown
		if hidden || c.hides(path) {
			into = c.found
		}
		into[fmt.Sprint(v)] = true
	}
}

// hides says whether what is at a path, or below one that ends in "." or "[]", is secret.
func (c collector) hides(path string) bool {
	return kinds.IsSecretField(path) || c.secret && !kinds.IsShownInSecret(path)
}

// maxPathEnd is how much of a path tells what a field below it is, in bytes. There may be very many
// fields below a very long path.
const maxPathEnd = 128

// pathEnd returns the end of a path that is long, from the beginning of a name on.
func pathEnd(path string) string {
	if cut := len(path) - maxPathEnd; cut > 0 {
		path = path[cut:]
		path = path[max(strings.IndexByte(path, '.'), 0):]
	}
	return path
}

// hide hides the values wherever they stand in a text. A short one counts only where it is a
// word of its own. Of a text that was cut the end may be a part of a value.
func (v values) hide(text string, cut bool) string {
	if v.many {
		return fmt.Sprintf("(not shown, since the definition has more than %d values that might be secret)", maxValues)
	}
	if len(v.sorted) == 0 {
		return text
	}
	var b strings.Builder
	for i := 0; i < len(text); {
		if strings.HasPrefix(text[i:], Hidden) {
			b.WriteString(Hidden)
			i += len(Hidden)
			continue
		}
		size, partly := v.at(text, i)
		switch {
		case size > 0:
			b.WriteString(Hidden)
			i += size
		case partly && cut:
			return b.String()
		default:
			b.WriteByte(text[i])
			i++
		}
	}
	return b.String()
}

// at returns how long the longest value is that stands at a place of a text, or 0. It also says
// whether the rest of the text may be the beginning of one.
func (v values) at(text string, i int) (size int, partly bool) {
	rest := text[i:]
	// In this order, what begins with rest comes right after it. What rest begins with comes before
	// it, and all between the two begin with that too.
	after := sort.Search(len(v.sorted), func(n int) bool { return v.sorted[n].text > rest })
	for n := after - 1; n >= 0; n = v.sorted[n].prefix {
		size := len(v.sorted[n].text)
		if strings.HasPrefix(rest, v.sorted[n].text) && (size >= shortValue || isAlone(text, i, i+size)) {
			return size, false
		}
	}
	return 0, after < len(v.sorted) && strings.HasPrefix(v.sorted[after].text, rest)
}

// isAlone says whether what stands in a text from begin to end is no part of a word.
func isAlone(text string, begin, end int) bool {
	return (begin == 0 || !isWord(text[begin-1]) || !isWord(text[begin])) && (end == len(text) || !isWord(text[end]) || !isWord(text[end-1]))
}

func isWord(c byte) bool {
	return c == '_' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= 0x80
}
