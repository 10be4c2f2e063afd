package deploytest

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/promql/promqltest"
	"github.com/prometheus/prometheus/rules"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Each situation is of three hours and is scraped every minute, from minute 0 to minute 180. It begins a
// million seconds after 1970.
const minutes = 180

var begin = time.Unix(1_000_000, 0)

// A scene is what Prometheus sees: the values of each series, in the notation of promtool's tests. In a
// change to a scene a target alone stands for all of its series.
type scene map[string]string

// What is at rest: two daemons that are synced all the time, and a service that calls them.
const (
	d1      = `{job="platform-daemon", instance="d1"`
	d2      = `{job="monitoring/platform-daemon", instance="d2"` // as a PodMonitor calls it
	service = `{job="platform-service", instance="s1"`
)

func calm() scene {
	s := scene{}
	for _, target := range []string{d1, d2, service} {
		maps.Copy(s, scene{
			"up" + target + "}":                            "1x180",
			"process_start_time_seconds" + target + "}":    "900000x180",
			"flux_bus_kick_total" + target + "}":           "0x180",
			"flux_natsbus_subscriptions" + target + "}":    "1x180",
			"flux_natsbus_reconnects_total" + target + "}": "0x180",
			resent(target):        "0x180",
			bytes(target, "sent"): "0+10000000x180",
		})
		for _, method := range []string{"AllServices", "Apply", "Sync"} {
			s[requests(target, method, true)] = "0+100x180"
			s[requests(target, method, false)] = "0x180"
			for _, le := range []string{"1", "10", "600", "1800", "+Inf"} {
				s[bucket(target, method, le)] = "0+100x180"
			}
			for _, outcome := range []string{"ok", "error", "unavailable"} {
				s[calls(target, "made", method, outcome)] = "0x180"
			}
			for _, outcome := range []string{"ok", "error", "refused"} {
				s[calls(target, "served", method, outcome)] = "0x180"
			}
			side := "served"
			if target == service {
				side = "made"
			}
			s[calls(target, side, method, "ok")] = "0+100x180"
		}
		s[inFlight(target, "made")], s[inFlight(target, "served")] = "3x180", "3x180"
		if target == service {
			s["flux_natsbus_subscriptions"+target+"}"] = "0x180"
			continue
		}
		s["flux_kubernetes_objects_in_flight"+target+"}"] = "5x180"
		s["flux_kubernetes_last_sync_timestamp_seconds"+target+"}"] = "1000000+60x180"
		for _, result := range []string{"applied", "unchanged", "deleted", "ignored", "skipped", "failed", "stalled"} {
			s[objects(target, result)] = "0x180"
		}
		s[objects(target, "unchanged")] = "0+100x180"
	}
	return s
}

func requests(target, method string, success bool) string {
	return fmt.Sprintf(`flux_platform_request_duration_seconds_count%s, method=%q, success="%t"}`, target, method, success)
}

func bucket(target, method, le string) string {
	return fmt.Sprintf(`flux_platform_request_duration_seconds_bucket%s, method=%q, success="true", le=%q}`, target, method, le)
}

func calls(target, side, method, outcome string) string {
	return fmt.Sprintf(`flux_natsbus_calls_total%s, side=%q, method=%q, outcome=%q}`, target, side, method, outcome)
}

func inFlight(target, side string) string {
	return fmt.Sprintf(`flux_natsbus_calls_in_flight%s, side=%q}`, target, side)
}

func bytes(target, direction string) string {
	return fmt.Sprintf(`flux_natsbus_body_bytes_total%s, direction=%q}`, target, direction)
}

func objects(target, result string) string {
	return fmt.Sprintf(`flux_kubernetes_objects_total%s, result=%q}`, target, result)
}

func resent(target string) string { return "flux_natsbus_chunks_resent_total" + target + "}" }

// situations has for each alert what it is for, and what resembles that and is harmless.
var situations = []struct {
	alert    string
	fires    scene    // changes to the calm scene, after which it fires, at minute 180
	also     []string // what else fires then, if the one thing leads to the other
	harmless []scene  // changes after which nothing fires, at any time
}{
	{
		alert:    "FluxDaemonDown",
		fires:    scene{d1: "1x100", "up" + d1 + "}": "1x100 0x79"},
		harmless: []scene{{"up" + d1 + "}": "1x100 0x3 1x75"}},
	},
	{
		alert:    "FluxNoDaemon",
		fires:    scene{d1: "_x180", d2: "_x180"},
		harmless: []scene{{"up" + d1 + "}": "1x100 0x3 1x75", "up" + d2 + "}": "1x100 0x3 1x75"}, {d1: "_x180"}},
	},
	{
		alert:    "FluxServiceDown",
		fires:    scene{service: "1x100", "up" + service + "}": "1x100 0x79"},
		harmless: []scene{{"up" + service + "}": "1x100 0x3 1x75"}, {service: "_x180"}},
	},
	{
		alert:    "FluxRestarting",
		fires:    scene{"process_start_time_seconds" + d1 + "}": "900000x139 1008400x9 1009000x9 1009600x9 1010200x10"},
		harmless: []scene{{"process_start_time_seconds" + d1 + "}": "900000x139 1008400x40"}},
	},
	{
		alert: "FluxDaemonIdle",
		fires: scene{"flux_natsbus_subscriptions" + d1 + "}": "1x100 0x79", "flux_bus_kick_total" + d1 + "}": "0x100 1x79"},
		// An upgrade: the old daemon finishes its calls, and goes.
		harmless: []scene{{"flux_natsbus_subscriptions" + d1 + "}": "1x100 0x9 stale", "flux_bus_kick_total" + d1 + "}": "0x100 1x9 stale"}},
	},
	{
		alert:    "FluxKickedRepeatedly",
		fires:    scene{"flux_bus_kick_total" + d1 + "}": "0x150 1x5 2x5 3x5 4x5 5x5"},
		harmless: []scene{{"flux_bus_kick_total" + d1 + "}": "0x150 1x29", "flux_bus_kick_total" + d2 + "}": "0x150 1x29"}},
	},
	{
		alert: "FluxCallsFailing",
		fires: scene{requests(d1, "Sync", false): "0+50x180"},
		harmless: []scene{
			{requests(d1, "Apply", true): "0x180", requests(d1, "Apply", false): "0x150 1x29"}, // one call, a failure
			{requests(d1, "Sync", false): "0+10x180"},
			{requests(service, "Sync", false): "0+100x180"},
		},
	},
	{
		alert: "FluxReadsSlow",
		fires: scene{bucket(d1, "AllServices", "1"): "0x180", bucket(d1, "AllServices", "10"): "0+90x180"},
		harmless: []scene{
			{bucket(d1, "AllServices", "1"): "0x180", bucket(d1, "AllServices", "10"): "0+98x180"},
			{bucket(d1, "Sync", "1"): "0x180", bucket(d1, "Sync", "10"): "0x180"},
		},
	},
	{
		alert:    "FluxWritesSlow",
		fires:    scene{bucket(d1, "Sync", "1"): "0x180", bucket(d1, "Sync", "10"): "0x180", bucket(d1, "Sync", "600"): "0+90x180"},
		harmless: []scene{{bucket(d1, "Apply", "1"): "0x180", bucket(d1, "Apply", "10"): "0x180", bucket(d1, "Apply", "600"): "0+98x180"}},
	},
	{
		alert: "FluxSyncStale",
		fires: scene{"flux_kubernetes_last_sync_timestamp_seconds" + d1 + "}": "920000x180"},
		harmless: []scene{
			{"flux_kubernetes_last_sync_timestamp_seconds" + d1 + "}": "990000x180"},
			{"flux_kubernetes_last_sync_timestamp_seconds" + d1 + "}": "0x180", "process_start_time_seconds" + d1 + "}": "990000x180"},
		},
	},
	{
		alert: "FluxSyncStale", // also if none has ever succeeded
		fires: scene{"flux_kubernetes_last_sync_timestamp_seconds" + d1 + "}": "0x180"},
	},
	{
		alert:    "FluxObjectsFailing",
		fires:    scene{objects(d1, "failed"): "0+10x180"},
		harmless: []scene{{objects(d1, "failed"): "0x100 100x79"}, {objects(d1, "skipped"): "0+100x180"}},
	},
	{
		alert:    "FluxRolloutsStalled",
		fires:    scene{objects(d1, "stalled"): "0x170 1x9"},
		harmless: []scene{{objects(d1, "stalled"): "1x180"}, {objects(d1, "applied"): "0+20x180"}},
	},
	{
		alert: "FluxBusUnavailable",
		fires: scene{calls(service, "made", "Sync", "unavailable"): "0+30x180"},
		harmless: []scene{
			{calls(service, "made", "Sync", "unavailable"): "0x100 4x79"},
			{calls(service, "made", "Sync", "error"): "0+100x180"},
		},
	},
	{
		alert:    "FluxBusRefusing",
		fires:    scene{calls(d1, "served", "AllServices", "refused"): "0x170 1x9"},
		harmless: []scene{{calls(d1, "served", "AllServices", "refused"): "5x180"}, {calls(d1, "served", "AllServices", "error"): "0x170 1x9"}},
	},
	{
		alert: "FluxBusOverloaded",
		fires: scene{inFlight(d1, "served"): "3x150 220x29"},
		harmless: []scene{
			{inFlight(d1, "served"): "3x150 220x5 3x23"},
			{inFlight(d1, "served"): "3x150 220x29", "flux_natsbus_subscriptions" + d1 + "}": "2x180"},
			{inFlight(service, "made"): "3x150 2000x29"},
		},
	},
	{
		alert:    "FluxBusReconnecting",
		fires:    scene{"flux_natsbus_reconnects_total" + d1 + "}": "0x150 1x5 2x5 3x5 4x5 5x5"},
		harmless: []scene{{"flux_natsbus_reconnects_total" + d1 + "}": "0x150 1x29"}},
	},
	{
		alert:    "FluxBusLosing",
		fires:    scene{resent(d1): "0+20x180"},
		harmless: []scene{{resent(d1): "0+1x180"}, {resent(d1): "0x100 10x79"}},
	},
}

// TestAlerts shows that each alert fires in the situation that it is for, that no other does unless it is
// said so, and that none fires in a harmless one.
func TestAlerts(t *testing.T) {
	known := existing(t)
	tested, spared := map[string]bool{}, map[string]bool{}
	for _, tt := range situations {
		tested[tt.alert] = true
		spared[tt.alert] = spared[tt.alert] || len(tt.harmless) > 0
		t.Run(tt.alert, func(t *testing.T) {
			t.Parallel()
			firing := play(t, known, tt.fires, 100)
			assert.ElementsMatch(t, append([]string{tt.alert}, tt.also...), firing[minutes])
		})
		for i, changes := range tt.harmless {
			t.Run(fmt.Sprintf("%s/harmless_%d", tt.alert, i), func(t *testing.T) {
				t.Parallel()
				assertNoneFires(t, play(t, known, changes, 0))
			})
		}
	}
	t.Run("calm", func(t *testing.T) {
		t.Parallel()
		assertNoneFires(t, play(t, known, nil, 0))
	})
	for _, rule := range parsedRules(t) {
		if rule.Alert != "" {
			assert.Contains(t, tested, rule.Alert, "has a situation")
			assert.True(t, spared[rule.Alert], "%s has a harmless situation", rule.Alert)
		}
	}
}

func assertNoneFires(t *testing.T, firing [][]string) {
	t.Helper()
	for minute, alerts := range firing {
		require.Empty(t, alerts, "at minute %d", minute)
	}
}

// play evaluates the rules at each minute, from the first on, of the calm scene with the changes. It returns
// the names of the alerts that fire, by minute.
func play(t *testing.T, known series, changes scene, first int) [][]string {
	t.Helper()
	all := calm()
	for _, target := range []string{d1, d2, service} {
		if values, ok := changes[target]; ok {
			maps.DeleteFunc(all, func(series, _ string) bool { return values == "_x180" && strings.Contains(series, target) })
			for series := range all {
				if strings.Contains(series, target) {
					all[series] = values
				}
			}
		}
	}
	for series, values := range changes {
		if _, ok := all[series]; ok {
			all[series] = values
			continue
		}
		require.Contains(t, []string{d1, d2, service}, series, "changes are to series of the calm scene")
	}
	var load strings.Builder
	load.WriteString("load 1m\n")
	for _, series := range slices.Sorted(maps.Keys(all)) {
		_, err := known.check(series)
		require.NoError(t, err, "scenes have series that exist")
		fmt.Fprintf(&load, "  %s %s\n", series, all[series])
	}
	p := parser.NewParser(parser.Options{})
	suite, err := promqltest.NewLazyLoader(load.String(), promqltest.LazyLoaderOpts{
		EnableAtModifier: true, EnableNegativeOffset: true, StartTime: begin, Parser: p,
	})
	require.NoError(t, err)
	defer func() { require.NoError(t, suite.Close()) }()
	manager := rules.NewManager(&rules.ManagerOptions{
		QueryFunc:    rules.EngineQueryFunc(suite.QueryEngine(), suite.Storage()),
		AppendableV2: suite.Storage(),
		Context:      context.Background(),
		NotifyFunc:   func(context.Context, string, ...*rules.Alert) {},
		Logger:       slog.New(slog.DiscardHandler),
		Parser:       p,
	})
	groups, errs := manager.LoadGroups(time.Minute, labels.EmptyLabels(), "", nil, false, rulesFile)
	require.Empty(t, errs)
	inOrder := slices.SortedFunc(maps.Values(groups), func(a, b *rules.Group) int {
		return strings.Compare(order(a), order(b))
	})
	firing := make([][]string, minutes+1)
	for minute := first; minute <= minutes; minute++ {
		at := begin.Add(time.Duration(minute) * time.Minute)
		suite.WithSamplesTill(at, func(err error) {
			require.NoError(t, err)
			for _, group := range inOrder {
				group.Eval(suite.Context(), at)
				for _, rule := range group.Rules() {
					require.NoError(t, rule.LastError(), rule.Name())
					if alert, ok := rule.(*rules.AlertingRule); ok && alert.State() == rules.StateFiring {
						firing[minute] = append(firing[minute], alert.Name())
						assertRendered(t, alert)
					}
				}
			}
		})
	}
	return firing
}

// order has the recording rules first, of which alerts are made.
func order(g *rules.Group) string {
	if g.Name() == "flux-recording" {
		return ""
	}
	return g.Name()
}

// assertRendered checks that the texts of an alert have values where templates were.
func assertRendered(t *testing.T, rule *rules.AlertingRule) {
	t.Helper()
	for _, alert := range rule.ActiveAlerts() {
		alert.Annotations.Range(func(l labels.Label) {
			for _, mistake := range []string{"{{", "<no value>", "<error", "%!", "  ", "NaN"} {
				assert.NotContains(t, l.Value, mistake, "%s of %s", l.Name, rule.Name())
			}
		})
	}
}
