package manifest_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/platformbus/platform"
	"github.com/platformbus/platform/kubernetes/manifest"
)

func parse(t testing.TB, text string) []manifest.Object {
	t.Helper()
	objects, err := manifest.Parse([]byte(text))
	require.NoError(t, err)
	return objects
}

func export(t testing.TB, p platform.Platform) []byte {
	t.Helper()
	text, err := p.Export()
	require.NoError(t, err)
	return text
}

var demo = manifest.PlanOptions{SyncSet: "demo"}

// synced is a cluster to which the text was synced as the set demo.
func synced(t testing.TB, text string) *cluster {
	t.Helper()
	c := newCluster()
	def, _, err := manifest.Plan(nil, parse(t, text), demo)
	require.NoError(t, err)
	require.NoError(t, c.Sync(def))
	return c
}

// outline is what the plan does: + adds, ~ changes, ? applies unseen, - deletes, ! refuses,
// / ignores.
func outline(r manifest.Report) string {
	var parts []string
	for _, s := range []struct {
		mark    string
		entries []manifest.Entry
	}{{"+", r.Add}, {"~", r.Change}, {"?", r.Unseen}, {"-", r.Delete}, {"!", r.Refused}, {"/", r.Ignored}} {
		for _, e := range s.entries {
			parts = append(parts, s.mark+e.ID)
		}
	}
	return strings.Join(parts, " ")
}

const deployment = `---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: prod}
spec:
  replicas: 2
  template:
    metadata: {labels: {app: web}}
    spec:
      hostNetwork: false
      containers:
      - name: web
        image: nginx:1
        env: []
        ports: [{containerPort: 80}]
        resources: {limits: {cpu: 1000m}}
`

func docs(texts ...string) string { return strings.Join(texts, "\n---\n") }

func inSet(text string) string { // without the mark
	return strings.Replace(text, "metadata: {", "metadata: {labels: {platform/sync-set: demo}, ", 1)
}

const (
	namespaceProd = "apiVersion: v1\nkind: Namespace\nmetadata: {name: prod}\n"
	widgetCRD     = "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: widgets.example.com}\n" +
		"spec: {group: example.com, scope: Cluster, names: {kind: Widget, plural: widgets}}\n"
	widget = "apiVersion: example.com/v1\nkind: Widget\nmetadata: {name: w}\nspec: {size: 1}\n"
	claim  = "apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {name: data, namespace: prod}\nspec: {resources: {requests: {storage: 1024Mi}}}\n"
	data   = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c, namespace: prod}\ndata: {a: '1', b: '2'}\n"
	secret = "apiVersion: v1\nkind: Secret\nmetadata: {name: s, namespace: prod}\ndata: {old: aHVudGVyMg==, kept: aHVudGVyMw==}\nstringData: {plain: hunter4}\n"
)

// Each row syncs before, lets the cluster be changed by hand, and plans desired.
func TestPlan(t *testing.T) {
	hand := func(id string, change func(map[string]any)) func(*cluster) {
		return func(c *cluster) { change(c.live[id]) }
	}
	set := func(id string, value any, path ...string) func(*cluster) {
		return hand(id, func(o map[string]any) { _ = unstructured.SetNestedField(o, value, path...) })
	}
	drop := func(id string, path ...string) func(*cluster) {
		return hand(id, func(o map[string]any) { unstructured.RemoveNestedField(o, path...) })
	}
	const cmID = "ConfigMap prod/c"
	for _, c := range []struct {
		name, before, desired string
		byHand                func(*cluster)
		options               manifest.PlanOptions
		want                  string
	}{
		{name: "nothing"},
		{name: "add", desired: docs(data, namespaceProd, deployment), want: "+<cluster>:namespace/prod +prod:configmap/c +prod:deployment/web"},
		{name: "unchanged", before: docs(data, deployment, claim, widgetCRD, widget, secret, namespaceProd), desired: docs(data, deployment, claim, widgetCRD, widget, secret, namespaceProd)},
		{name: "a value changes", before: data, desired: strings.Replace(data, "'1'", "'9'", 1), want: "~prod:configmap/c"},
		{name: "a key is added", before: data, desired: strings.Replace(data, "{a:", "{z: '', a:", 1), want: "~prod:configmap/c"},
		{name: "a key is removed", before: data, desired: strings.Replace(data, ", b: '2'", "", 1), want: "~prod:configmap/c"},
		{name: "drift", before: data, desired: data, byHand: set(cmID, "9", "data", "a"), want: "~prod:configmap/c"},
		{name: "another's key", before: data, desired: data, byHand: set(cmID, "9", "data", "z")},
		{name: "a lost key", before: data, desired: data, byHand: drop(cmID, "data", "a"), want: "~prod:configmap/c"},
		{name: "a lost key that is empty", before: strings.Replace(data, "{a:", "{z: '', a:", 1), desired: strings.Replace(data, "{a:", "{z: '', a:", 1), byHand: drop(cmID, "data", "z"), want: "~prod:configmap/c"},
		{name: "what the server leaves out", before: deployment, desired: deployment, byHand: drop("Deployment.apps prod/web", "spec", "template", "spec", "hostNetwork")},
		{name: "what it does not of a custom resource", before: docs(widgetCRD, strings.Replace(widget, "size: 1", "size: 0", 1)), desired: docs(widgetCRD, strings.Replace(widget, "size: 1", "size: 0", 1)), byHand: drop("Widget.example.com /w", "spec", "size"), want: "~<cluster>:widget.example.com/w"},
		{name: "a lost label", before: data, desired: data, byHand: drop(cmID, "metadata", "labels"), want: "~prod:configmap/c"},
		{name: "a lost hash", before: data, desired: data, byHand: drop(cmID, "metadata", "annotations"), want: "~prod:configmap/c"},
		{name: "another container", before: deployment, desired: deployment, byHand: func(c *cluster) {
			pod := c.live["Deployment.apps prod/web"]["spec"].(map[string]any)["template"].(map[string]any)["spec"].(map[string]any)
			pod["containers"] = append([]any{map[string]any{"name": "injected"}}, pod["containers"].([]any)...)
		}},
		{name: "image", before: deployment, desired: strings.Replace(deployment, "nginx:1", "nginx:2", 1), want: "~prod:deployment/web"},
		{name: "default namespace", before: "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x, namespace: default}\n", desired: cm("x")},
		{name: "other default namespace", options: manifest.PlanOptions{Namespace: "other"}, desired: cm("x"), want: "+other:configmap/x"},
		{name: "a namespace on what is in none", before: widgetCRD + "---\n" + widget, desired: widgetCRD + "---\n" + strings.Replace(widget, "name: w", "name: w, namespace: prod", 1)},
		{name: "adoption", byHand: func(c *cluster) {
			c.live[cmID] = parse(t, data)[0].Object
		}, desired: data, want: "~prod:configmap/c"},
		{name: "another set's", options: manifest.PlanOptions{SyncSet: "other"}, before: docs(data, deployment), desired: data, want: "~prod:configmap/c"},
		{name: "without a set nothing is deleted", options: manifest.PlanOptions{Namespace: "x"}, before: docs(data, deployment), desired: data},
		{name: "deletion", before: docs(data, deployment), desired: data, want: "-prod:deployment/web"},
		{name: "what is not ours stays", byHand: func(c *cluster) { c.live[cmID] = parse(t, data)[0].Object }, before: deployment, desired: deployment},
		{name: "a copied label", byHand: func(c *cluster) { c.live[cmID] = parse(t, inSet(data))[0].Object }, before: deployment, desired: deployment, want: "/prod:configmap/c"},
		{name: "a copied object", byHand: func(c *cluster) {
			copied := (&unstructured.Unstructured{Object: c.live["Deployment.apps prod/web"]}).DeepCopy()
			copied.SetName("copy")
			c.live["Deployment.apps prod/copy"] = copied.Object
		}, before: deployment, desired: deployment, want: "/prod:deployment/copy"},
		{name: "owned by another object", byHand: set(cmID, []any{map[string]any{"uid": "1"}}, "metadata", "ownerReferences"), before: docs(data, deployment), desired: deployment, want: "/prod:configmap/c"},
		{name: "ignored by sync", byHand: set(cmID, "x, sync", "metadata", "annotations", "platform/ignore"), before: data, desired: strings.Replace(data, "'1'", "'9'", 1), want: "/prod:configmap/c"},
		{name: "ignored by sync, undesired", byHand: set(cmID, "sync", "metadata", "annotations", "platform/ignore"), before: docs(data, deployment), desired: deployment, want: "/prod:configmap/c"},
		{name: "ignored by prune", byHand: set(cmID, "prune", "metadata", "annotations", "platform/ignore"), before: docs(data, deployment), desired: deployment, want: "/prod:configmap/c"},
		{name: "ignored by prune, desired", byHand: func(c *cluster) {
			set(cmID, "prune", "metadata", "annotations", "platform/ignore")(c)
			set(cmID, "9", "data", "a")(c)
		}, before: data, desired: data, want: "~prod:configmap/c"},
		{name: "no namespace is deleted", before: docs(namespaceProd, cm("x")), desired: cm("x"), want: "!<cluster>:namespace/prod"},
		{name: "unless allowed", options: manifest.PlanOptions{AllowDeleteNamespaces: true}, before: docs(namespaceProd, data, cm("x")), desired: cm("x"), want: "-<cluster>:namespace/prod -prod:configmap/c"},
		{name: "and nothing goes with it", options: manifest.PlanOptions{AllowDeleteNamespaces: true}, before: docs(namespaceProd, data, claim, cm("x")), desired: cm("x"), want: "-prod:configmap/c !<cluster>:namespace/prod !prod:persistentvolumeclaim/data"},
		{name: "not even what is desired", options: manifest.PlanOptions{AllowDeleteNamespaces: true}, before: namespaceProd, desired: data, want: "+prod:configmap/c !<cluster>:namespace/prod"},
		{name: "no CRD is deleted", before: docs(widgetCRD, cm("x")), desired: cm("x"), want: "!<cluster>:customresourcedefinition/widgets.example.com"},
		{name: "unless that is allowed", options: manifest.PlanOptions{AllowDeleteCRDs: true}, before: docs(widgetCRD, widget, cm("x")), desired: cm("x"), want: "-<cluster>:customresourcedefinition/widgets.example.com -<cluster>:widget.example.com/w"},
		{name: "with no object of others", options: manifest.PlanOptions{AllowDeleteCRDs: true}, before: docs(widgetCRD, cm("x")), desired: cm("x"), byHand: func(c *cluster) { c.live["Widget.example.com /w"] = parse(t, widget)[0].Object }, want: "!<cluster>:customresourcedefinition/widgets.example.com"},
		{name: "no claim is deleted", before: docs(claim, cm("x")), desired: cm("x"), want: "!prod:persistentvolumeclaim/data"},
		{name: "unless it is allowed", options: manifest.PlanOptions{AllowDeletePVCs: true}, before: docs(claim, cm("x")), desired: cm("x"), want: "-prod:persistentvolumeclaim/data"},
		{name: "the system's", before: docs(strings.Replace(data, "prod", "kube-system", 1), strings.Replace(namespaceProd, "prod", "default", 1)), byHand: func(c *cluster) { clear(c.live) }, desired: docs(strings.Replace(data, "prod", "kube-system", 1), strings.Replace(namespaceProd, "prod", "default", 1)), want: "?<cluster>:namespace/default ?kube-system:configmap/c"},
		{name: "a Secret is changed", before: secret, desired: strings.Replace(secret, "hunter4", "hunter5", 1), want: "~prod:secret/s"},
		{name: "a Secret is changed by hand", before: secret, desired: secret, byHand: set("Secret prod/s", "aHVudGVyNg==", "data", "old"), want: "~prod:secret/s"},
		{name: "a Secret's key is removed", before: secret, desired: strings.Replace(secret, "old: aHVudGVyMg==, ", "", 1), want: "~prod:secret/s"},
		{name: "a Secret is written otherwise", before: secret, desired: strings.Replace(secret, "stringData: {plain: hunter4}", "stringData: {plain: hunter4, kept: hunter3}", 1)},
		{name: "Secrets are left out", before: docs(secret, cm("x")), desired: docs(secret, cm("x")), byHand: func(c *cluster) { c.secrets = false }, want: "?prod:secret/s"},
		{name: "Secrets are left out and not desired", before: docs(secret, cm("x")), desired: cm("x"), byHand: func(c *cluster) { c.secrets = false }, want: ""},
		{name: "another version", before: deployment, desired: strings.Replace(deployment, "apps/v1", "apps/v1beta2", 1), want: "~prod:deployment/web"},
	} {
		t.Run(c.name, func(t *testing.T) {
			cluster := synced(t, c.before)
			if c.byHand != nil {
				c.byHand(cluster)
			}
			options := c.options
			if options.SyncSet == "" && options.Namespace != "x" {
				options.SyncSet = "demo"
			}
			current, desired := export(t, cluster), parse(t, c.desired)
			before, err := json.Marshal(desired)
			require.NoError(t, err)
			def, report, err := manifest.Plan(current, desired, options)
			require.NoError(t, err)
			assert.Equal(t, c.want, outline(report), "%s", report)
			assert.Len(t, def.Actions, len(report.Add)+len(report.Change)+len(report.Unseen)+len(report.Delete))
			assert.NotContains(t, report.String(), "hunter")
			after, err := json.Marshal(desired)
			require.NoError(t, err)
			assert.Equal(t, string(before), string(after), "the argument is changed")

			require.NoError(t, cluster.Sync(def))
			_, again, err := manifest.Plan(export(t, cluster), desired, options)
			require.NoError(t, err)
			again.Unseen = nil // which is applied each time
			assert.True(t, again.Empty() || c.name == "the system's", "planned again: %s", again)
		})
	}
}

func TestPlanActions(t *testing.T) {
	webhook := "apiVersion: admissionregistration.k8s.io/v1\nkind: ValidatingWebhookConfiguration\nmetadata: {name: %s}\n"
	c := synced(t, docs(fmt.Sprintf(webhook, "old"), data, cm("x")))
	desired := docs(fmt.Sprintf(webhook, "new"), widget, deployment, widgetCRD, namespaceProd, cm("x"))
	def, _, err := manifest.Plan(export(t, c), parse(t, desired), demo)
	require.NoError(t, err)
	var got []string
	for _, a := range def.Actions {
		switch a.Delete {
		case nil:
			objects := parse(t, string(a.Apply))
			require.Len(t, objects, 1)
			assert.Equal(t, "demo", objects[0].GetLabels()[manifest.SyncSetLabel])
			assert.NotEmpty(t, objects[0].GetAnnotations()[manifest.DefinitionHashAnnotation])
			assert.NotContains(t, fmt.Sprint(objects[0].Object["spec"]), manifest.SyncSetLabel)
			got = append(got, "+"+a.ResourceID)
		default:
			assert.Nil(t, a.Apply)
			got = append(got, "-"+a.ResourceID)
		}
	}
	assert.Equal(t, []string{
		"+<cluster>:namespace/prod", "+<cluster>:customresourcedefinition/widgets.example.com", "+prod:deployment/web",
		"+<cluster>:widget.example.com/w", "+<cluster>:validatingwebhookconfiguration/new",
		"-<cluster>:validatingwebhookconfiguration/old", "-prod:configmap/c",
	}, got)
	assert.JSONEq(t, `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"c","namespace":"prod"}}`, string(def.Actions[6].Delete))

	objects := parse(t, desired)
	rand.Shuffle(len(objects), func(i, j int) { objects[i], objects[j] = objects[j], objects[i] })
	shuffled, _, err := manifest.Plan(export(t, c), objects, demo)
	require.NoError(t, err)
	assert.Equal(t, def, shuffled, "the order of desired matters")
}

func TestPlanRefuses(t *testing.T) {
	for _, c := range []struct {
		name, current string
		desired       []manifest.Object
		options       manifest.PlanOptions
		want          string
	}{
		{"malformed", "a: [", nil, demo, "plan: the state of the cluster: document at line 1"},
		{"twice in the cluster", cm("x") + "---\n" + cm("x"), nil, demo, "plan: the state of the cluster: line 5: default:configmap/x is defined a second time, first at line 1"},
		{"twice desired", "", parse(t, cm("x")+"---\n"+cm("x")), demo, "plan: line 5: default:configmap/x is defined a second time, first at line 1"},
		{"twice by the default namespace", "", parse(t, cm("x")+"---\n"+cm("x")+"  namespace: default\n"), demo, "plan: line 5: default:configmap/x is defined a second time"},
		{"a nil object", "", []manifest.Object{{}}, demo, "plan: object 1 of those desired is nil"},
		{"an empty object", "", []manifest.Object{{Unstructured: &unstructured.Unstructured{}}}, demo, "plan: the kind or the name is missing"},
		{"a name that is none", "", parse(t, "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: \"a\\nb\"}\n"), demo, `line 1: "a\nb" cannot be in the name of an object`},
		{"a path for a name", "", []manifest.Object{{Unstructured: &unstructured.Unstructured{Object: map[string]any{"kind": "A", "metadata": map[string]any{"name": "a/b"}}}}}, demo, `plan: the name "a/b" is not one: may not contain '/'`},
		{"labels that are none", "", parse(t, "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, labels: [x]}\n"), demo, "line 1: default:configmap/a: metadata.labels is not a map"},
		{"what cannot be sent", "", []manifest.Object{{Unstructured: &unstructured.Unstructured{Object: map[string]any{"kind": "A", "metadata": map[string]any{"name": "a"}, "x": make(chan int)}}}}, demo, "json: unsupported type"},
		{"a set's name", "", nil, manifest.PlanOptions{SyncSet: "a b"}, `plan: the name of the sync set, "a b"`},
		{"a namespace's name", "", nil, manifest.PlanOptions{Namespace: "A"}, `plan: the namespace "A"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			def, report, err := manifest.Plan([]byte(c.current), c.desired, c.options)
			require.ErrorContains(t, err, c.want)
			assert.NotContains(t, err.Error(), "\n", "one line")
			assert.Empty(t, def.Actions)
			assert.Zero(t, report)
		})
	}
}

// many is n ConfigMaps.
func many(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "---\n"+configMap, fmt.Sprintf("c%05d", i))
	}
	return b.String()
}

func TestPlanDeleteBudget(t *testing.T) {
	for _, c := range []struct {
		name           string
		before, remain int
		budget         int
		refused        bool
	}{
		{"ten of a few", 12, 2, 0, false},
		{"eleven of a few", 12, 1, 0, true},
		{"a quarter of many", 100, 75, 0, false},
		{"more than a quarter of many", 100, 74, 0, true},
		{"everything", 2, 0, 0, true},
		{"everything, expressly", 2, 0, 2, false},
		{"more than the budget", 20, 17, 2, true},
		{"as much as the budget", 20, 18, 2, false},
		{"a budget of none", 20, 19, -1, true},
		{"nothing to delete", 20, 20, -1, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			current := export(t, synced(t, many(c.before)))
			def, report, err := manifest.Plan(current, parse(t, many(c.remain)), manifest.PlanOptions{SyncSet: "demo", DeleteBudget: c.budget})
			assert.Len(t, report.Delete, c.before-c.remain, "the report is there all the same")
			if !c.refused {
				require.NoError(t, err)
				assert.Len(t, def.Actions, c.before-c.remain)
				return
			}
			var over *manifest.DeleteBudgetError
			require.ErrorAs(t, err, &over)
			assert.Equal(t, "demo", over.SyncSet)
			assert.Equal(t, c.before, over.Owned)
			assert.Len(t, over.IDs, c.before-c.remain)
			assert.Contains(t, err.Error(), "default:configmap/c")
			assert.Empty(t, def.Actions)
		})
	}
	text := (&manifest.DeleteBudgetError{SyncSet: "s", Budget: 1, Owned: 30, IDs: strings.Split(strings.Repeat("x ", 22), " ")[:22]}).Error()
	assert.Equal(t, `plan: 22 of the 30 objects of sync set "s" would be deleted, and the budget is 1: `+strings.Repeat("x, ", 19)+"x and 2 more; allow more with DeleteBudget (--delete-budget)", text)
}

// Whatever is synced by a plan, the next plan of the same is empty, the cluster holds what
// is desired, and of the set nothing else.
func TestPlanConverges(t *testing.T) {
	for seed := range uint64(60) {
		r := rand.New(rand.NewPCG(seed, 1))
		c := newCluster()
		for range 4 {
			text := random(r)
			options := manifest.PlanOptions{
				SyncSet: "demo", DeleteBudget: 1000,
				AllowDeleteCRDs: true, AllowDeleteNamespaces: true, AllowDeletePVCs: true,
			}
			desired := parse(t, text)
			def, report, err := manifest.Plan(export(t, c), desired, options)
			require.NoError(t, err)
			require.NoError(t, c.Sync(def))
			current := export(t, c)
			_, again, err := manifest.Plan(current, desired, options)
			require.NoError(t, err)
			require.Empty(t, outline(again), "seed %d: after\n%s\nof\n%s\nagain\n%s", seed, report, text, again)
			require.Equal(t, len(desired), again.Unchanged)
			require.Len(t, c.live, len(desired), "seed %d", seed)
			if len(c.live) == 0 {
				continue
			}
			_, before, err := manifest.Plan(current, nil, options)
			require.NoError(t, err)
			require.Len(t, before.Delete, len(desired))
		}
	}
}

// random returns a few objects out of a few names, and with a few values.
func random(r *rand.Rand) string {
	var b strings.Builder
	for _, make := range []func(name string) string{
		func(name string) string {
			return fmt.Sprintf("kind: ConfigMap\napiVersion: v1\nmetadata: {name: %s}\ndata: {k%d: '%d', j: ''}\n", name, r.IntN(3), r.IntN(3))
		},
		func(name string) string {
			return fmt.Sprintf("kind: Secret\napiVersion: v1\nmetadata: {name: %s, namespace: x}\nstringData: {k%d: '%d'}\n", name, r.IntN(3), r.IntN(3))
		},
		func(name string) string {
			text := strings.ReplaceAll(deployment[4:], "web", name)
			return strings.Replace(text, "nginx:1", fmt.Sprintf("nginx:%d", r.IntN(3)), 1)
		},
		func(name string) string {
			return fmt.Sprintf("kind: Namespace\napiVersion: v1\nmetadata: {name: %s, annotations: {a%d: b}}\n", name, r.IntN(3))
		},
		func(name string) string {
			return fmt.Sprintf("kind: Thing\napiVersion: example.com/v1\nmetadata: {name: %s, namespace: default}\nspec: {list: [{name: %d, x: 1.0}], empty: {}, %s}\n", name, r.IntN(3), []string{"a: 1", "b: null", "c: [1, a]"}[r.IntN(3)])
		},
	} {
		for _, name := range []string{"one", "two", "three"} {
			if r.IntN(2) == 0 {
				b.WriteString("---\n" + make(name))
			}
		}
	}
	return b.String()
}
