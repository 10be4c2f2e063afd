package kubernetes_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/platformbus/platform"
	"github.com/platformbus/platform/kubernetes"
	"github.com/platformbus/platform/kubernetes/manifest"
)

// exported returns the exported objects of the test's namespace, by kind and name.
func exported(t *testing.T, w env, data []byte) map[string]manifest.Object {
	t.Helper()
	objects, err := manifest.Parse(data)
	require.NoError(t, err)
	found := map[string]manifest.Object{}
	for _, o := range objects {
		if o.GetNamespace() == w.namespace || o.GetName() == w.namespace || strings.Contains(o.GetName(), w.namespace) {
			found[o.GetKind()+" "+o.GetName()] = o
		}
	}
	return found
}

func TestExport(t *testing.T) {
	w := newEnv(t, kubernetes.Options{})
	definition, object := crd(w.namespace, "Gizmo")
	secret := "apiVersion: v1\nkind: Secret\nmetadata: {name: key}\nstringData: {password: hunter2}"
	policy := "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: all}\nspec: {podSelector: {}, policyTypes: [Ingress]}"
	headless := "apiVersion: v1\nkind: Service\nmetadata: {name: headless}\nspec: {clusterIP: None, selector: {app: web}, ports: [{port: 80}]}"
	all := def(
		apply("crd", definition), apply("object", object), apply("secret", secret), apply("policy", policy),
		apply("map", configMap("map", "1")), apply("headless", headless),
		apply("web", deployment("web", "example.com/web:1"), service("web", "web")),
	)
	require.NoError(t, w.Sync(all))
	require.NoError(t, w.Apply([]platform.ServiceDefinition{{ServiceID: w.id("web"), NewDefinition: []byte(deployment("web", "example.com/web:1"))}}))

	mine := w.as(t, w.cp.Config(), kubernetes.Options{Namespaces: []string{w.namespace}}) // others' are on their way out
	data, err := mine.Export()
	require.NoError(t, err)
	again, err := mine.Export()
	require.NoError(t, err)
	assert.Equal(t, string(data), string(again), "the same cluster gives the same bytes")
	assert.NotContains(t, string(data), "aHVudGVyMg==")
	assert.Regexp(t, `(?m)^# Secrets left out: \d+$`, string(data))

	got := exported(t, w, data)
	names := []string{}
	for name := range got {
		names = append(names, name)
	}
	assert.ElementsMatch(t, []string{
		"Namespace " + w.namespace,
		"CustomResourceDefinition gizmos." + w.namespace + ".example.com",
		"Gizmo one", "NetworkPolicy all", "ConfigMap map", "Service headless", "Service web", "Deployment web",
	}, names, "no pods, replica sets, endpoints, events, default account or root CA")

	for name, o := range got {
		assert.NotContains(t, o.Object, "status", name)
		for _, field := range []string{"uid", "resourceVersion", "generation", "creationTimestamp", "managedFields"} {
			assert.NotContains(t, o.Object["metadata"], field, name)
		}
	}
	assert.Equal(t, map[string]any{}, got["NetworkPolicy all"].Object["spec"].(map[string]any)["podSelector"], "an empty selector means something")
	assert.Equal(t, "None", got["Service headless"].Object["spec"].(map[string]any)["clusterIP"])
	assert.NotContains(t, got["Service web"].Object["spec"], "clusterIP")
	assert.NotContains(t, got["Deployment web"].GetAnnotations(), "deployment.kubernetes.io/revision")

	withSecrets, err := w.as(t, w.cp.Config(), kubernetes.Options{ExportSecrets: true}).Export()
	require.NoError(t, err)
	assert.Contains(t, exported(t, w, withSecrets), "Secret key")
	assert.NotContains(t, string(withSecrets), "left out")
}

// What is exported can be synced, and then changes nothing.
func TestExportedCanBeSynced(t *testing.T) {
	w := newEnv(t, kubernetes.Options{})
	definition, object := crd(w.namespace, "Gimmick")
	all := def(apply("crd", definition), apply("object", object), apply("web", deployment("web", "example.com/web:1"), service("web", "web")))
	require.NoError(t, w.Sync(all))
	mine := w.as(t, w.cp.Config(), kubernetes.Options{Namespaces: []string{w.namespace}}) // others' are on their way out
	first, err := mine.Export()
	require.NoError(t, err)
	objects := exported(t, w, first)
	require.NotEmpty(t, objects)
	var actions []platform.SyncAction
	for name, o := range objects {
		data, err := o.MarshalJSON()
		require.NoError(t, err)
		actions = append(actions, apply(name, string(data)))
	}
	require.NoError(t, w.Sync(def(actions...)))
	second, err := mine.Export()
	require.NoError(t, err)
	assert.Equal(t, string(first), string(second))
}

func TestExportForbidden(t *testing.T) {
	w := newEnv(t, kubernetes.Options{})
	config, err := w.cp.ConfigFor("nobody-" + w.namespace)
	require.NoError(t, err)
	data, err := w.as(t, config, kubernetes.Options{}).Export()
	require.Error(t, err)
	assert.Contains(t, err.Error(), "export: list apiservices.apiregistration.k8s.io: ")
	assert.Contains(t, err.Error(), "; list deployments.apps: ")
	assert.NotNil(t, data, "what could be seen is there, if nothing")
}
