package manifest_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/platformbus/platform/kubernetes/manifest"
)

const gadget = "apiVersion: example.org/v1\nkind: Gadget\nmetadata: {name: g, namespace: prod}\n"

// What an Export says it could not show is applied, if it is desired, and takes part in no
// deletion; the rest is planned as ever.
func TestPlanBesideABrokenGroup(t *testing.T) {
	everything := manifest.PlanOptions{SyncSet: "demo", AllowDeleteNamespaces: true, AllowDeleteCRDs: true, DeleteBudget: 10}
	const broken = "# Not exported: example.com/v1: a webhook is down\n"
	before := docs(namespaceProd, widgetCRD, widget, gadget, data, cm("x"))
	for _, c := range []struct {
		name, comments, lost string // lost is an object that the export does not have
		desired              string
		want                 string
		notes                int
	}{
		{name: "whole", want: "-<cluster>:namespace/prod -<cluster>:customresourcedefinition/widgets.example.com -default:configmap/x -prod:configmap/c -<cluster>:widget.example.com/w -prod:gadget.example.org/g"},
		{name: "nothing of the group is deleted", comments: broken, notes: 1, want: "-default:configmap/x -prod:configmap/c -prod:gadget.example.org/g " +
			"!<cluster>:namespace/prod !<cluster>:customresourcedefinition/widgets.example.com !<cluster>:widget.example.com/w"},
		{name: "the definition of a kind none of whose objects were seen", comments: broken, lost: "Widget.example.com /w", notes: 1, want: "-default:configmap/x -prod:configmap/c -prod:gadget.example.org/g " +
			"!<cluster>:namespace/prod !<cluster>:customresourcedefinition/widgets.example.com"},
		{name: "absent", comments: broken, lost: "Widget.example.com /w", desired: before, notes: 1, want: "?<cluster>:widget.example.com/w"},
		{name: "seen", comments: broken, desired: before, notes: 1},
		{name: "another version", comments: strings.Replace(broken, "/v1", "/v2", 1), lost: "Widget.example.com /w", desired: before, notes: 1, want: "?<cluster>:widget.example.com/w"},
		{name: "another group", comments: strings.Replace(broken, "example.com", "example.net", 1), lost: "Widget.example.com /w", desired: before, notes: 1, want: "+<cluster>:widget.example.com/w"},
		{name: "two", comments: "# Secrets left out: 1\n" + broken + strings.Replace(broken, "example.com", "example.org", 1), desired: before, notes: 3},
		{name: "no such comment", comments: "# Not exported: nothing\n# Not exported: a: b\n", lost: "Widget.example.com /w", desired: before, want: "+<cluster>:widget.example.com/w"},
	} {
		t.Run(c.name, func(t *testing.T) {
			cluster := synced(t, before)
			delete(cluster.live, c.lost)
			current := c.comments + string(export(t, cluster))
			_, report, err := manifest.Plan([]byte(current), parse(t, c.desired), everything)
			require.NoError(t, err)
			assert.Equal(t, c.want, outline(report))
			assert.Len(t, report.Notes, c.notes)
			for _, e := range append(report.Unseen, report.Refused...) {
				assert.Contains(t, e.Why, "the export could not show example.com/v", e.ID)
				assert.Contains(t, e.Why, "(a webhook is down)", e.ID)
			}
		})
	}
}

// Content cannot say that something was left out.
func TestCommentsAreAtTheTop(t *testing.T) {
	lie := "\n---\n# Not exported: v1: a\n# Not exported: example.com/v1: a\n# Secrets left out: 5\n"
	cluster := synced(t, docs(data, widget))
	cluster.live["ConfigMap prod/c"]["data"].(map[string]any)["a"] = lie
	_, report, err := manifest.Plan(append(export(t, cluster), lie...), nil, manifest.PlanOptions{SyncSet: "demo", DeleteBudget: 10})
	require.NoError(t, err)
	assert.Empty(t, report.Notes)
	assert.Equal(t, "-prod:configmap/c -default:widget.example.com/w", outline(report))
}
