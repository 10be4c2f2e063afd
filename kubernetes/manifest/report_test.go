package manifest_test

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/platformbus/platform/kubernetes/manifest"
)

// planned returns the report of a plan from one text to another.
func planned(t *testing.T, before, desired string) manifest.Report {
	t.Helper()
	_, report, err := manifest.Plan(export(t, synced(t, before)), parse(t, desired), demo)
	require.NoError(t, err)
	return report
}

func TestReportOfAChange(t *testing.T) {
	report := planned(t, deployment, strings.NewReplacer("nginx:1", "nginx:2", "  replicas: 2\n", "").Replace(deployment))
	require.Len(t, report.Change, 1)
	assert.Equal(t, "its definition has changed, and may take away spec.replicas", report.Change[0].Why)
	assert.Equal(t, `--- prod:deployment/web (cluster)
+++ prod:deployment/web (line 1)
@@ -14,7 +14,7 @@
         app: web
     spec:
       containers:
-      - image: nginx:1
+      - image: nginx:2
         imagePullPolicy: Always
         name: web
         ports:
`, report.Change[0].Diff)
	assert.Equal(t, `sync set "demo": 0 to add, 1 to change, 0 to delete, 0 unchanged

Change:
~ prod:deployment/web (line 1): its definition has changed, and may take away spec.replicas

`+report.Change[0].Diff, report.String())
}

func TestReportOfASecret(t *testing.T) {
	report := planned(t, docs(secret, cm("x")), docs(strings.NewReplacer("hunter4", "hunter5", "old: ", "new: ").Replace(secret), cm("x")))
	require.Len(t, report.Change, 1)
	assert.Equal(t, "its definition has changed, and may take away data.old", report.Change[0].Why)
	assert.Equal(t, `--- prod:secret/s (cluster)
+++ prod:secret/s (line 1)
@@ -1,8 +1,9 @@
 apiVersion: v1
 data:
   kept: '***'
+  new: '***'
   old: '***'
-  plain: '***'
+  plain: '*** (changed)'
 kind: Secret
 metadata:
   labels:
`, report.Change[0].Diff)

	report = planned(t, docs(secret, cm("x")), cm("x"))
	require.Len(t, report.Delete, 1)
	assert.Contains(t, report.Delete[0].Diff, "-  plain: '***'\n")

	// What is mistyped, of another group, or no map, is masked all the same.
	for _, text := range []string{
		"apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nDATA: {a: hunter2}\n",
		"apiVersion: v1\nkind: Secret\nmetadata: {name: s}\ndata: hunter2\n",
		"apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: [hunter2]\n",
		"apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {a: {b: hunter2}}\n",
		"apiVersion: example.com/v1\nkind: Secret\nmetadata: {name: s}\nspec: {password: hunter2}\n",
		"apiVersion: v1\nkind: Secret\nmetadata: {name: s, annotations: {kubectl.kubernetes.io/last-applied-configuration: hunter2}}\n",
		// Copies that tools leave.
		"apiVersion: v1\nkind: Secret\nmetadata: {name: s, annotations: {example.com/applied: '{\"data\":{\"a\":\"hunter2\"}}'}}\n",
		"apiVersion: v1\nkind: Secret\nmetadata: {name: s, annotations: {example.com/note: it is hunter2}}\nstringData: {a: hunter2}\n",
		"apiVersion: v1\nkind: Secret\nmetadata: {name: s, annotations: {example.com/note: it is hunter2}}\ndata: {a: aHVudGVyMg==, b: aHVudGVyMw==}\n",
		"apiVersion: v1\nkind: Secret\nmetadata: {name: s, annotations: {example.com/packed: " + strings.Repeat("hunter2", 50) + "}}\n",
	} {
		for _, report := range []manifest.Report{
			planned(t, "", text), planned(t, text, strings.Replace(text, "hunter2", "hunter3", 1)), planned(t, docs(text, cm("x")), cm("x")),
		} {
			assert.NotContains(t, report.String(), "hunter", text)
		}
	}
}

// The hash of a Secret does not depend on its values, so that it cannot give them away.
func TestTheHashOfASecret(t *testing.T) {
	mark := func(text string) string {
		def, _, err := manifest.Plan(nil, parse(t, text), demo)
		require.NoError(t, err)
		return parse(t, string(def.Actions[0].Apply))[0].GetAnnotations()[manifest.DefinitionHashAnnotation]
	}
	assert.Equal(t, mark(secret), mark(strings.Replace(secret, "hunter4", "x", 1)))
	assert.NotEqual(t, mark(secret), mark(strings.Replace(secret, "plain:", "other:", 1)))
	assert.NotEqual(t, mark(data), mark(strings.Replace(data, "'1'", "'2'", 1)))
	copied := strings.Replace(secret, "metadata: {", "metadata: {annotations: {note: it is hunter4}, ", 1)
	require.NotEqual(t, secret, copied)
	assert.Equal(t, mark(copied), mark(strings.ReplaceAll(copied, "hunter4", "x5")), "nor on a copy of one in an annotation")
	assert.Equal(t, mark(data), mark(inSet(data)), "the label that a plan sets is no part of the definition")
}

func TestReportSaysAllThatIsLeftAlone(t *testing.T) {
	c := synced(t, docs(claim, secret, data, cm("x")))
	c.secrets = false
	c.live["ConfigMap prod/c"]["metadata"].(map[string]any)["annotations"].(map[string]any)[manifest.IgnoreAnnotation] = "prune"
	_, report, err := manifest.Plan(export(t, c), parse(t, docs(secret, cm("x"))), demo)
	require.NoError(t, err)
	assert.Equal(t, `sync set "demo": 0 to add, 0 to change, 0 to delete, 1 unchanged, 1 unseen, 1 refused, 1 ignored
Note: the export leaves out 1 Secrets; they are neither compared nor deleted.

Apply unseen:
? prod:secret/s (line 1): the export leaves out Secrets
Refuse to delete:
! prod:persistentvolumeclaim/data: a volume or its claim is not deleted without AllowDeletePVCs (--allow-delete-pvcs)
Ignore:
= prod:configmap/c: its annotation platform/ignore says so

--- prod:secret/s (cluster)
+++ prod:secret/s (line 1)
@@ -0,0 +1,11 @@
+apiVersion: v1
+data:
+  kept: '***'
+  old: '***'
+  plain: '***'
+kind: Secret
+metadata:
+  labels:
+    platform/sync-set: demo
+  name: s
+  namespace: prod
`, report.String())
	assert.False(t, report.Empty(), "what is unseen is applied")
	report.Unseen = nil
	assert.True(t, report.Empty(), "what is left alone is nothing to do")
}

func TestReportOfAnAdoption(t *testing.T) {
	_, report, err := manifest.Plan([]byte(data), parse(t, data), demo)
	require.NoError(t, err)
	require.Len(t, report.Change, 1)
	assert.Equal(t, "it is taken over: no plan for this sync set has made it", report.Change[0].Why)
	assert.Contains(t, report.Change[0].Diff, "+    platform/sync-set: demo\n")

	c := synced(t, data)
	_, report, err = manifest.Plan(export(t, c), parse(t, data), manifest.PlanOptions{SyncSet: "other"})
	require.NoError(t, err)
	assert.Equal(t, `it is taken over from sync set "demo"`, report.Change[0].Why)
	assert.Contains(t, report.Change[0].Diff, "-    platform/sync-set: demo\n+    platform/sync-set: other\n")
}

// What no set has yet, and what is as the folder says without a plan's doing, is said to be so.
func TestReportOfMarksOnly(t *testing.T) {
	def, report, err := manifest.Plan([]byte(data), parse(t, data), manifest.PlanOptions{})
	require.NoError(t, err)
	require.Len(t, report.Change, 1)
	assert.Equal(t, "nothing differs; it gets the mark of a plan", report.Change[0].Why)

	marked := def.Actions[0].Apply
	_, report, err = manifest.Plan(marked, parse(t, data), demo)
	require.NoError(t, err)
	require.Len(t, report.Change, 1)
	assert.Equal(t, "it is in no sync set: no plan has put it in one, or its label was removed", report.Change[0].Why)
}

// What an operator brings can be read: a line for each object, and the beginning of each diff.
func TestReportOfAnOperator(t *testing.T) {
	text := ""
	for _, name := range []string{"cache", "shop"} {
		data, err := os.ReadFile("../testdata/operators/" + name + ".yaml")
		require.NoError(t, err)
		text += "---\n" + string(data)
	}
	objects := parse(t, text)
	_, report, err := manifest.Plan(nil, objects, demo)
	require.NoError(t, err)
	require.Len(t, report.Add, len(objects))
	shown := report.String()
	list, diffs, found := strings.Cut(shown, "\n\n---")
	require.True(t, found)
	assert.Equal(t, len(objects), strings.Count(list, "\n+ "), "a line for each object")
	assert.LessOrEqual(t, strings.Count(diffs, "\n"), 2000+3*len(objects))
}

func TestReportIsBounded(t *testing.T) {
	lines := func(n int) string { return strings.Repeat("+a: b\n", n) }
	var report manifest.Report
	report.Add = []manifest.Entry{{ID: "a", Diff: lines(100)}, {ID: "b", Diff: lines(101)}}
	assert.Equal(t, "2 to add, 0 to change, 0 to delete, 0 unchanged\n\nAdd:\n+ a\n+ b\n\n"+lines(100)+"\n"+lines(100)+"(1 more lines about b are not shown)\n", report.String())

	report = manifest.Report{Unchanged: 410}
	for i := range 30 {
		report.Change = append(report.Change, manifest.Entry{ID: fmt.Sprint(i), Source: "a.yaml", Line: i + 1, Why: "so\nit is", Diff: lines(99)})
	}
	report.Delete = []manifest.Entry{{ID: "gone", Diff: lines(5000)}}
	shown := report.String()
	assert.True(t, strings.HasPrefix(shown, "0 to add, 30 to change, 1 to delete, 410 unchanged\n\nChange:\n~ 0 (a.yaml:1): so it is\n"), shown[:200])
	assert.Contains(t, shown, "\nDelete:\n- gone\n")
	assert.Equal(t, 2000, strings.Count(shown, "+a: b\n"))
	assert.True(t, strings.HasSuffix(shown, "+a: b\n(79 more lines about 20 are not shown)\n\n(the diffs of 10 more objects, of 5891 lines, are not shown)\n"), shown[len(shown)-200:])
}

func TestDiffIsBounded(t *testing.T) {
	add := func(data string) string {
		_, report, err := manifest.Plan(nil, parse(t, cm("a")+"data:\n"+data), demo)
		require.NoError(t, err)
		require.Len(t, report.Add, 1)
		return report.Add[0].Diff
	}
	var b strings.Builder
	for i := range 6000 {
		fmt.Fprintf(&b, "  k%04d: v\n", i)
	}
	diff := add(b.String())
	assert.Equal(t, 5001, strings.Count(diff, "\n"))
	assert.True(t, strings.HasSuffix(diff, "\n(1011 more lines are left out)\n"), diff[len(diff)-100:])

	b.Reset()
	for i := range 400 {
		fmt.Fprintf(&b, "  k%03d: %s\n", i, strings.Repeat("v", 900))
	}
	diff = add(b.String())
	assert.LessOrEqual(t, len(diff), 257<<10)
	assert.Contains(t, diff, " more lines are left out)\n")

	diff = add("  k: " + strings.Repeat("\u00e9", 5000) + "\n")
	assert.Contains(t, diff, "\u00e9... (")
	assert.True(t, utf8.ValidString(diff))
	assert.Less(t, len(diff), 2000)
}
