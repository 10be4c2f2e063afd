package manifest_test

import (
	"strings"
	"testing"

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

Change prod:deployment/web (line 1): its definition has changed, and may take away spec.replicas
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

Apply unseen prod:secret/s (line 1): the export leaves out Secrets
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

Refuse to delete prod:persistentvolumeclaim/data: a volume or its claim is not deleted without AllowDeletePVCs

Ignore prod:configmap/c: its annotation platform/ignore says so
`, report.String())
	assert.True(t, report.Empty())
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
