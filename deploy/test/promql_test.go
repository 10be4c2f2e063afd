package deploytest

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// labelValues has the values that each label can have, by the label's name; nil stands for any.
type labelValues map[string][]string

// series has the labels of time series, by name.
type series map[string]labelValues

// check parses an expression and returns the labels of its result. It fails if the expression names
// a series or label that does not exist, or selects a value that the label never has.
func (s series) check(expr string) (labelValues, error) {
	e, err := parser.NewParser(parser.Options{}).ParseExpr(expr)
	if err != nil {
		return nil, err
	}
	return s.labels(e)
}

func (s series) labels(e parser.Expr) (labelValues, error) {
	switch e := e.(type) {
	case *parser.NumberLiteral, *parser.StringLiteral:
		return labelValues{}, nil
	case *parser.ParenExpr:
		return s.labels(e.Expr)
	case *parser.UnaryExpr:
		return s.labels(e.Expr)
	case *parser.SubqueryExpr:
		return s.labels(e.Expr)
	case *parser.MatrixSelector:
		return s.labels(e.VectorSelector)
	case *parser.VectorSelector:
		return s.selected(e)
	case *parser.AggregateExpr:
		return s.aggregated(e)
	case *parser.Call:
		return s.called(e)
	case *parser.BinaryExpr:
		return s.joined(e)
	}
	return nil, fmt.Errorf("%s: a %T is not known here", e, e)
}

func (s series) selected(e *parser.VectorSelector) (labelValues, error) {
	all, ok := s[e.Name]
	if !ok {
		return nil, fmt.Errorf("there is no series %s", e.Name)
	}
	for _, m := range e.LabelMatchers {
		if m.Name == model.MetricNameLabel {
			continue
		}
		values, ok := all[m.Name]
		switch {
		case !ok:
			return nil, fmt.Errorf("%s has no label %s", e.Name, m.Name)
		case values != nil && !slices.ContainsFunc(values, m.Matches):
			return nil, fmt.Errorf("%s: no value of %s matches %s", e.Name, m.Name, m)
		}
	}
	return all, nil
}

func (s series) aggregated(e *parser.AggregateExpr) (labelValues, error) {
	all, err := s.labels(e.Expr)
	if err != nil {
		return nil, err
	}
	grouped := labelValues{}
	for _, label := range e.Grouping {
		values, ok := all[label]
		if !ok {
			return nil, fmt.Errorf("%s has no label %s", e.Expr, label)
		}
		grouped[label] = values
	}
	switch {
	case e.Op == parser.TOPK || e.Op == parser.BOTTOMK:
		return all, nil
	case !e.Without:
		return grouped, nil
	}
	all = maps.Clone(all)
	maps.DeleteFunc(all, func(label string, _ []string) bool { _, ok := grouped[label]; return ok })
	return all, nil
}

func (s series) called(e *parser.Call) (labelValues, error) {
	result := labelValues{}
	for _, arg := range e.Args {
		all, err := s.labels(arg)
		if err != nil {
			return nil, err
		}
		maps.Copy(result, all)
	}
	switch e.Func.Name {
	case "absent", "scalar":
		return labelValues{}, nil
	case "histogram_quantile":
		if _, ok := result["le"]; !ok {
			return nil, fmt.Errorf("%s has no label le", e.Args[1])
		}
		delete(result, "le")
	case "label_replace", "label_join":
		return nil, fmt.Errorf("%s: what labels come of it is not known here", e)
	}
	return result, nil
}

func (s series) joined(e *parser.BinaryExpr) (labelValues, error) {
	left, err := s.labels(e.LHS)
	if err != nil {
		return nil, err
	}
	right, err := s.labels(e.RHS)
	if err != nil {
		return nil, err
	}
	if m := e.VectorMatching; m != nil {
		for _, label := range slices.Concat(m.MatchingLabels, m.Include) {
			if _, l := left[label]; l {
				continue
			}
			if _, r := right[label]; !r {
				return nil, fmt.Errorf("neither side of %s has a label %s", e.Op, label)
			}
		}
	}
	// Unless on or ignoring says otherwise, only equal labels meet, so either side has those of the result.
	if e.Op == parser.LOR || e.LHS.Type() == parser.ValueTypeScalar {
		left = maps.Clone(left)
		maps.Copy(left, right)
	}
	return left, nil
}

// TestCheckFindsMistakes shows that check finds what a dashboard or rule can get wrong.
func TestCheckFindsMistakes(t *testing.T) {
	s := existing(t)
	for _, tt := range []struct{ expr, want string }{
		{`sum(`, "unclosed left parenthesis"},
		{`flux_bus_kicks_total`, "there is no series flux_bus_kicks_total"},
		{`{job="x"}`, "there is no series "},
		{`flux_platform_request_duration_seconds`, "there is no series flux_platform_request_duration_seconds"},
		{`-(rate(flux_bus_kicks_total[5m]))`, "there is no series flux_bus_kicks_total"},
		{`max_over_time(flux_bus_kicks_total[5m:1m])`, "there is no series flux_bus_kicks_total"},
		{`1 + flux_bus_kicks_total`, "there is no series flux_bus_kicks_total"},
		{`flux_bus_kick_total{side="made"}`, "flux_bus_kick_total has no label side"},
		{`flux_natsbus_calls_total{outcome="lost"}`, `no value of outcome matches outcome="lost"`},
		{`flux_natsbus_calls_total{method=~"Sink|Release"}`, `no value of method matches method=~"Sink|Release"`},
		{`sum by (method) (flux_bus_kick_total)`, "flux_bus_kick_total has no label method"},
		{`sum without (method) (flux_bus_kick_total)`, "flux_bus_kick_total has no label method"},
		{`sum by (job) (sum by (instance) (up))`, "sum by (instance) (up) has no label job"},
		{`sum by (side) (sum without (side) (flux_natsbus_calls_in_flight))`, "has no label side"},
		{`up and on (side) flux_bus_kick_total`, "neither side of and has a label side"},
		{`histogram_quantile(0.9, sum by (method) (flux_platform_request_duration_seconds_bucket))`, "has no label le"},
		{`label_replace(up, "a", "b", "c", "d")`, "what labels come of it is not known here"},
	} {
		_, err := s.check(tt.expr)
		assert.ErrorContains(t, err, tt.want, tt.expr)
	}
	for expr, want := range map[string][]string{
		`flux_natsbus_calls_total{outcome!="ok"}`: {"instance", "job", "method", "outcome", "side"},
		`absent(up == 1)`:                         {},
		`topk(3, sum without (method, outcome) (flux_natsbus_calls_total))`: {"instance", "job", "side"},
		`time() - process_start_time_seconds`:                               {"instance", "job"},
		`sum(up) or vector(0)`:                                              {},
		`histogram_quantile(0.9, sum by (le, method) (rate(flux_platform_request_duration_seconds_bucket[5m])))`: {"method"},
	} {
		got, err := s.check(expr)
		require.NoError(t, err, expr)
		assert.ElementsMatch(t, want, slices.Collect(maps.Keys(got)), expr)
	}
}
