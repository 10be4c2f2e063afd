package look_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/platformbus/platform/kubernetes/internal/look"
)

type sets = []map[string]string

// numbered returns n sets in which label has a value each of its own, and others the same.
func numbered(n int, label, value string, others map[string]string) sets {
	all := make(sets, n)
	for i := range all {
		all[i] = map[string]string{label: fmt.Sprintf("%s%03d", value, i)}
		maps.Copy(all[i], others)
	}
	return all
}

// long is a value of a label that is as long as one may be, but for three digits.
var long = strings.Repeat("x", 60)

func TestSelector(t *testing.T) {
	for _, c := range []struct {
		name string
		of   sets
		want string
	}{
		{"nothing", nil, ""},
		{"no labels", sets{{}}, ""},
		{"nil labels", sets{nil, {"a": "1"}}, ""},
		{"one", sets{{"a": "1"}}, "a in (1)"},
		{"one of two labels", sets{{"a": "1", "b": "2"}}, "a in (1),b in (2)"},
		{"a label in common", sets{{"a": "1", "b": "2"}, {"a": "1"}}, "a in (1)"},
		{"values of one label", sets{{"a": "2"}, {"a": "1"}}, "a in (1,2)"},
		{"none in common", sets{{"a": "1"}, {"b": "1"}}, ""},
		{"an empty value", sets{{"a": ""}}, "a in ()"},
		{"a label that is none", sets{{"not a label": "1", "a": "1"}}, "a in (1)"},
		{"a value that is none", sets{{"a": "not a value", "b": "1"}}, "b in (1)"},
		{"many values", numbered(33, "a", "", map[string]string{"b": "1"}), "b in (1)"},
		{"many values only", numbered(33, "a", "", nil), ""},
		{"one that is too long beside another", numbered(32, "a", long, map[string]string{"b": "1"}), "b in (1)"},
		{"too long, with a shorter one of more values", append(numbered(31, "a", long, map[string]string{"b": "1"}), map[string]string{"a": long + "000", "b": "2"}), "b in (1,2)"},
	} {
		t.Run(c.name, func(t *testing.T) { assert.Equal(t, c.want, look.Selector(c.of)) })
	}
}

// Where the label with the fewest values makes a selector too long, others still narrow it.
func TestSelectorPassesOverWhatIsTooLong(t *testing.T) {
	of := numbered(32, "short", "", nil)
	for i, set := range of {
		set["long"] = fmt.Sprintf("%s%d", long, i%31)
	}
	assert.Equal(t, look.Selector(numbered(32, "short", "", nil)), look.Selector(of))
}

func matches(t *testing.T, selector string, set map[string]string) bool {
	t.Helper()
	parsed, err := labels.Parse(selector)
	require.NoError(t, err)
	return parsed.Matches(labels.Set(set))
}

// Selectors select each of the sets, none selects everything, and none is too long for a URL.
func TestSelectors(t *testing.T) {
	for _, c := range []struct {
		name string
		of   sets
		most int // how many selectors there may be
	}{
		{"none", nil, 0},
		{"one", sets{{"app": "web"}}, 1},
		{"two of one label", sets{{"app": "web"}, {"app": "db"}}, 1},
		{"two of different labels", sets{{"app": "web"}, {"name": "db"}}, 2},
		{"a label that all share", numbered(20, "app", "", map[string]string{"env": "live"}), 1},
		{"many", numbered(100, "app", "", nil), 4},
		{"many alike", slices.Repeat(sets{{"app": "web"}}, 100), 1},
		{"long values", numbered(64, "app", long, nil), 4},
		{"long values and names", numbered(64, strings.Repeat("n", 60)+".example.com/app", long, nil), 4},
		{"long values beside short ones", numbered(64, "app", long, map[string]string{"env": "live"}), 4},
		{"the same under different labels", append(numbered(40, "app", "", nil), numbered(40, "name", "", nil)...), 4},
	} {
		t.Run(c.name, func(t *testing.T) {
			all := look.Selectors(c.of)
			assert.LessOrEqual(t, len(all), c.most)
			for _, selector := range all {
				assert.NotEmpty(t, selector, "it would select everything")
				assert.Less(t, len(selector), 2_000)
				assert.False(t, matches(t, selector, map[string]string{"app": "another", "name": "another"}), selector)
			}
			for _, set := range c.of {
				more := maps.Clone(set)
				more["more"] = "1"
				assert.True(t, slices.ContainsFunc(all, func(selector string) bool { return matches(t, selector, more) }), "%v", set)
			}
			assert.Len(t, slices.Compact(slices.Sorted(slices.Values(all))), len(all), "each once")
		})
	}
}

// The order of the sets makes no difference.
func TestSelectorsAreTheSameInAnyOrder(t *testing.T) {
	of := append(numbered(5, "app", "", map[string]string{"env": "live"}), sets{{"name": "db"}, {"env": "test"}}...)
	backwards := slices.Clone(of)
	slices.Reverse(backwards)
	assert.Equal(t, look.Selectors(of), look.Selectors(backwards))
	assert.Equal(t, look.Selector(of[:5]), look.Selector(backwards[2:]))
}

// A list for few objects is left early, and one for many may hold about twice as many.
func TestBudget(t *testing.T) {
	assert.Equal(t, 10, look.Budget(1))
	assert.Equal(t, 208, look.Budget(100))
}
