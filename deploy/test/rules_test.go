package deploytest

import (
	"log/slog"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const rulesFile = "../dashboards/rules.yaml"

// parsedRules returns all rules, in the order of the file.
func parsedRules(t *testing.T) (all []rulefmt.Rule) {
	t.Helper()
	groups, errs := rulefmt.ParseFile(rulesFile, false, model.UTF8Validation, parser.NewParser(parser.Options{}), slog.New(slog.DiscardHandler))
	require.Empty(t, errs)
	for _, group := range groups.Groups {
		all = append(all, group.Rules...)
	}
	require.NotEmpty(t, all)
	return all
}

// withRecorded returns the series that exist, and those that the rules record.
func withRecorded(t *testing.T) series {
	t.Helper()
	known := existing(t)
	for _, rule := range parsedRules(t) {
		if rule.Record == "" {
			continue
		}
		labels, err := known.check(rule.Expr)
		require.NoError(t, err, rule.Record)
		require.NotContains(t, known, rule.Record)
		known[rule.Record] = labels
	}
	return known
}

var templateLabel = regexp.MustCompile(`\$labels\.(\w+)`)

// TestRules checks that rules name what exists, and that alerts say what to do.
func TestRules(t *testing.T) {
	known, page := withRecorded(t), metricsPage(t)
	names := map[string]bool{}
	for _, rule := range parsedRules(t) {
		if rule.Record != "" {
			assert.Regexp(t, `^target(_method)?:flux_[a-z0-9_]+(:[a-z0-9_]+)?$`, rule.Record)
			continue
		}
		t.Run(rule.Alert, func(t *testing.T) {
			assert.Regexp(t, `^Flux[A-Z]\w+$`, rule.Alert)
			assert.NotContains(t, names, rule.Alert)
			names[rule.Alert] = true
			labels, err := known.check(rule.Expr)
			require.NoError(t, err)
			assert.Contains(t, []string{"warning", "critical"}, rule.Labels["severity"])
			for _, annotation := range []string{"summary", "description"} {
				text := rule.Annotations[annotation]
				assert.True(t, strings.HasSuffix(text, "."), "%s: %q", annotation, text)
				for _, match := range templateLabel.FindAllStringSubmatch(text, -1) {
					assert.Contains(t, labels, match[1], "%s has what the %s names", rule.Expr, annotation)
				}
			}
			assert.Equal(t, "https://github.com/platformbus/platform/blob/main/docs/metrics.md#"+strings.ToLower(rule.Alert), rule.Annotations["runbook_url"])
			assert.Contains(t, page, "\n### "+rule.Alert+"\n", "the runbook's heading")
		})
	}
	for _, heading := range regexp.MustCompile(`(?m)^### (.+)$`).FindAllStringSubmatch(page, -1) {
		assert.Contains(t, names, heading[1], "docs/metrics.md has no runbook for an alert that is gone")
	}
	for _, link := range regexp.MustCompile(`\]\(#(\w+)\)`).FindAllStringSubmatch(page, -1) {
		assert.True(t, slices.ContainsFunc(parsedRules(t), func(r rulefmt.Rule) bool { return strings.ToLower(r.Alert) == link[1] }), "#%s leads somewhere", link[1])
	}
	for _, name := range regexp.MustCompile(`\bFlux[A-Z]\w+`).FindAllString(page, -1) {
		assert.Contains(t, names, name, "docs/metrics.md names alerts that exist")
	}
}
