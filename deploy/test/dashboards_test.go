package deploytest

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A dashboard has the parts of Grafana's that are checked.
type dashboard struct {
	UID           string
	Title         string
	Description   string
	SchemaVersion int
	Templating    struct{ List []variable }
	Panels        []panel
}

type variable struct {
	Type, Name, Label, Definition string
	Datasource                    datasource
	Query                         json.RawMessage
}

type datasource struct{ Type, UID string }

type panel struct {
	ID                       int
	Type, Title, Description string
	Datasource               datasource
	GridPos                  rectangle
	Targets                  []struct{ RefID, Expr, LegendFormat string }
	FieldConfig              struct{ Defaults struct{ Unit string } }
}

type rectangle struct{ X, Y, W, H int }

func (r rectangle) overlaps(o rectangle) bool {
	return r.X < o.X+o.W && o.X < r.X+r.W && r.Y < o.Y+o.H && o.Y < r.Y+r.H
}

func dashboards(t *testing.T) map[string]dashboard {
	t.Helper()
	files, err := filepath.Glob("../dashboards/*.json")
	require.NoError(t, err)
	all := map[string]dashboard{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		var d dashboard
		require.NoError(t, json.Unmarshal(text, &d), file)
		all[filepath.Base(file)] = d
	}
	require.Len(t, all, 3)
	return all
}

var (
	variables   = regexp.MustCompile(`\$\{?(\w+)\}?`)
	legend      = regexp.MustCompile(`\{\{\s*(\w+)\s*\}\}`)
	labelLookup = regexp.MustCompile(`^label_values\((.+), (\w+)\)$`)
)

// substitute puts a value in the place of each of Grafana's variables, as Grafana does.
func (d *dashboard) substitute(t *testing.T, expr string) string {
	t.Helper()
	return variables.ReplaceAllStringFunc(expr, func(v string) string {
		name := variables.FindStringSubmatch(v)[1]
		if name == "__rate_interval" {
			return "5m"
		}
		assert.True(t, slices.ContainsFunc(d.Templating.List, func(v variable) bool { return v.Name == name }), "%s: no variable $%s", expr, name)
		return "value"
	})
}

// TestDashboards checks that every panel shows something that exists, and says what to do about it.
func TestDashboards(t *testing.T) {
	known := withRecorded(t)
	units := []string{"none", "s", "bytes", "Bps", "ops", "reqps", "percentunit", "bool_yes_no"} // Grafana's names
	uids, page := map[string]bool{}, metricsPage(t)
	for file, d := range dashboards(t) {
		t.Run(file, func(t *testing.T) {
			assert.Contains(t, page, "`"+file+"`")
			assert.NotEmpty(t, d.UID)
			assert.NotContains(t, uids, d.UID)
			uids[d.UID] = true
			assert.True(t, strings.HasPrefix(d.Title, "Flux: "), d.Title)
			assert.NotEmpty(t, d.Description)
			assert.GreaterOrEqual(t, d.SchemaVersion, 39, "the schema is a current Grafana's")

			require.NotEmpty(t, d.Templating.List)
			assert.Equal(t, "datasource", d.Templating.List[0].Type)
			assert.Equal(t, "datasource", d.Templating.List[0].Name)
			assert.JSONEq(t, `"prometheus"`, string(d.Templating.List[0].Query))
			for _, v := range d.Templating.List[1:] {
				assert.NotEmpty(t, v.Label, v.Name)
				assert.Equal(t, "query", v.Type)
				assert.Equal(t, datasource{"prometheus", "${datasource}"}, v.Datasource, v.Name)
				match := labelLookup.FindStringSubmatch(v.Definition)
				require.NotNil(t, match, v.Definition)
				labels, err := known.check(d.substitute(t, match[1]))
				require.NoError(t, err, v.Definition)
				assert.Contains(t, labels, match[2], v.Definition)
				assert.Equal(t, v.Name, match[2], "the variable is called like the label")
				assert.JSONEq(t, `{"query":`+quote(t, v.Definition)+`,"refId":"`+v.Name+`"}`, string(v.Query))
			}

			assert.GreaterOrEqual(t, len(d.Panels), 8)
			assert.LessOrEqual(t, len(d.Panels), 12)
			ids, titles := map[int]bool{}, map[string]bool{}
			for i, p := range d.Panels {
				assert.Positive(t, p.ID, p.Title)
				assert.NotContains(t, ids, p.ID, p.Title)
				assert.NotContains(t, titles, p.Title)
				ids[p.ID], titles[p.Title] = true, true
				assert.NotEmpty(t, p.Title)
				assert.Greater(t, len(strings.Fields(p.Description)), 10, "%s: what it shows, and what to do", p.Title)
				for _, alert := range regexp.MustCompile(`Flux[A-Z]\w+`).FindAllString(p.Description, -1) {
					assert.Contains(t, page, "\n### "+alert+"\n", p.Title)
				}
				assert.Contains(t, units, p.FieldConfig.Defaults.Unit, p.Title)
				assert.Equal(t, datasource{"prometheus", "${datasource}"}, p.Datasource, p.Title)
				assert.LessOrEqual(t, p.GridPos.X+p.GridPos.W, 24, p.Title)
				for _, other := range d.Panels[:i] {
					assert.False(t, p.GridPos.overlaps(other.GridPos), "%s and %s", p.Title, other.Title)
				}
				require.NotEmpty(t, p.Targets, p.Title)
				for _, target := range p.Targets {
					labels, err := known.check(d.substitute(t, target.Expr))
					require.NoError(t, err, "%s: %s", p.Title, target.Expr)
					for _, match := range legend.FindAllStringSubmatch(target.LegendFormat, -1) {
						assert.Contains(t, labels, match[1], "%s: %s has what the legend names", p.Title, target.Expr)
					}
				}
			}
		})
	}
}

func quote(t *testing.T, s string) string {
	t.Helper()
	text, err := json.Marshal(s)
	require.NoError(t, err)
	return string(text)
}
