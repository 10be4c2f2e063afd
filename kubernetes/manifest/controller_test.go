package manifest_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/platformbus/platform"
	"github.com/platformbus/platform/flux"
	"github.com/platformbus/platform/kubernetes/manifest"
)

// controller is a pod controller in the namespace shop whose pods have the label app.
func controller(kind, name, app string) string {
	group := "apps/v1"
	if kind == "ReplicationController" {
		group = "v1"
	}
	return "---\napiVersion: " + group + "\nkind: " + kind + "\nmetadata:\n  name: " + name + "\n  namespace: shop\n  labels: {platform/sync-set: demo}\n" +
		"spec:\n  replicas: 2\n  template:\n    metadata: {labels: {app: " + app + ", tier: front}}\n    spec: {containers: [{name: c, image: x:1}]}\n"
}

// selecting is a service in the namespace shop.
func selecting(name, spec string) string {
	return "---\napiVersion: v1\nkind: Service\nmetadata: {name: " + name + ", namespace: shop}\nspec: " + spec + "\n"
}

func TestControllerOf(t *testing.T) {
	const owned = "  ownerReferences: [{apiVersion: apps/v1, kind: Deployment, name: web, uid: u, controller: true}]\n"
	replicaSet := strings.Replace(controller("ReplicaSet", "web-1", "web"), "  labels: {", owned+"  labels: {", 1)
	export := controller("ReplicationController", "old", "old") +
		selecting("web", "{selector: {app: web, tier: front}}") + selecting("old", "{selector: {app: old}}") +
		selecting("agent", "{selector: {app: agent}}") + selecting("two", "{selector: {tier: front}}") +
		selecting("none", "{selector: {app: nothing}}") + selecting("empty", "{ports: [{port: 80}]}") +
		selecting("away", "{type: ExternalName, externalName: example.com, selector: {app: web}}") +
		strings.ReplaceAll(selecting("web", "{selector: {app: web}}")+controller("Deployment", "web", "web"), "namespace: shop", "namespace: other") +
		controller("Deployment", "web", "web") + replicaSet + controller("DaemonSet", "agent", "agent") + controller("Job", "job", "web")
	for name, want := range map[string]string{"web": "Deployment", "old": "ReplicationController", "agent": "DaemonSet"} {
		got, err := manifest.ControllerOf([]byte(export), flux.MakeServiceID("shop", name))
		require.NoError(t, err, name)
		objects := parse(t, string(got))
		require.Len(t, objects, 1)
		assert.Equal(t, want+" shop/"+name, objects[0].GetKind()+" "+objects[0].GetNamespace()+"/"+objects[0].GetName())
		assert.Equal(t, "demo", objects[0].GetLabels()[manifest.SyncSetLabel], "the marks stay: without them it would leave its set")
		changed, err := manifest.SetImages(got, map[string]string{"c": "x:2"})
		require.NoError(t, err)
		assert.Equal(t, strings.Replace(string(got), "x:1", "x:2", 1), string(changed))
	}
	for name, want := range map[string]error{
		"missing": platform.ErrNoMatchingService, "empty": platform.ErrEmptySelector, "away": platform.ErrServiceHasNoSelector,
		"none": platform.ErrNoMatching, "two": platform.ErrMultipleMatching,
	} {
		_, err := manifest.ControllerOf([]byte(export), flux.MakeServiceID("shop", name))
		require.ErrorIs(t, err, want, name)
		assert.Contains(t, err.Error(), "the service shop/"+name)
	}
	_, err := manifest.ControllerOf([]byte(export), "shop/two")
	require.ErrorContains(t, err, ": shop:daemonset/agent, shop:deployment/web, shop:replicationcontroller/old")
}

// A List holds objects too, and what comes without a namespace is in "default".
func TestControllerOfList(t *testing.T) {
	objects := parse(t, selecting("web", "{selector: {app: web}}")+controller("StatefulSet", "web", "web")+controller("Deployment", "other", "other"))
	var items []string
	for _, o := range objects {
		o.SetNamespace("")
		text, err := o.MarshalJSON()
		require.NoError(t, err)
		items = append(items, string(text))
	}
	export := `{"apiVersion": "v1", "kind": "List", "items": [` + strings.Join(items, ",") + `]}`
	got, err := manifest.ControllerOf([]byte(export), "default/web")
	require.NoError(t, err)
	assert.Equal(t, "StatefulSet", parse(t, string(got))[0].GetKind())
}

func TestControllerOfMalformedExport(t *testing.T) {
	for export, want := range map[string]string{
		"\xff\xfe": "UTF-16",
		"a: [":     "the state of the cluster: document at line 1",
		strings.Replace(controller("Deployment", "web", "web"), "replicas: 2", "replicas: hunter2", 1): "shop:deployment/web: a field has another type",
	} {
		_, err := manifest.ControllerOf([]byte(export), "shop/web")
		require.ErrorContains(t, err, want)
		assert.NotContains(t, err.Error(), "hunter2")
	}
}
