package kubernetes_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/platformbus/platform"
	"github.com/platformbus/platform/internal/controlplane"
	"github.com/platformbus/platform/kubernetes"
)

// mayDo are the rules of one who may do something with resources of any group.
func mayDo(verbs []string, resources ...string) []rbacv1.PolicyRule {
	return []rbacv1.PolicyRule{{APIGroups: []string{"*"}, Resources: resources, Verbs: verbs}}
}

// Each service has a watch of its own, in whatever namespace it is; one that fails holds up no
// other.
func TestApplyWatchesWhatItAppliesOnly(t *testing.T) {
	w := newEnv(t, kubernetes.Options{})
	other := w.cp.Namespace(t)
	cluster, requests := w.recorded(t, kubernetes.Options{}, nil)
	web := func(namespace, tag string) string { return in(namespace, deployment("web", "example.com/web:"+tag)) }
	require.NoError(t, cluster.Sync(def(
		apply("here", web(w.namespace, "1"), service("web", "web")), apply("there", web(other, "1"), in(other, service("web", "web"))),
	)))
	requests.take("")
	there := platform.ServiceDefinition{ServiceID: env{namespace: other}.id("web"), NewDefinition: []byte(web(other, controlplane.MissingTag))}
	got := applyErrors(t, cluster.Apply([]platform.ServiceDefinition{
		{ServiceID: w.id("web"), NewDefinition: []byte(web(w.namespace, "2"))}, there,
	}))
	assert.Len(t, got, 1, "%v", got)
	assert.Contains(t, got[there.ServiceID], "roll out Deployment "+other+"/web: stalled: ProgressDeadlineExceeded")
	assert.Contains(t, got[there.ServiceID], "pods: container main (example.com/web:"+controlplane.MissingTag)
	assert.ElementsMatch(t, []string{
		"WATCH /apis/apps/v1/namespaces/" + w.namespace + "/deployments", "WATCH /apis/apps/v1/namespaces/" + other + "/deployments",
	}, requests.take("WATCH"))
	assert.EqualValues(t, 2, live(t, w.client.AppsV1().Deployments(w.namespace).Get, "web").Status.UpdatedReplicas)
}

// Services that share a controller share the wait for it, and each has what came of it.
func TestApplyOfAControllerThatServicesShare(t *testing.T) {
	w := newEnv(t, kubernetes.Options{})
	cluster, requests := w.recorded(t, kubernetes.Options{}, nil)
	require.NoError(t, cluster.Sync(def(apply("all", deployment("web", "example.com/web:1"), service("web", "web"), service("api", "web")))))
	requests.take("")
	changed := []byte(deployment("web", "example.com/web:"+controlplane.MissingTag))
	got := applyErrors(t, cluster.Apply([]platform.ServiceDefinition{
		{ServiceID: w.id("web"), NewDefinition: changed}, {ServiceID: w.id("api"), NewDefinition: changed},
	}))
	for _, name := range []string{"web", "api"} {
		assert.Contains(t, got[w.id(name)], "roll out Deployment "+w.namespace+"/web: stalled: ProgressDeadlineExceeded", name)
	}
	assert.Len(t, requests.take("WATCH"), 1)
}

// It takes rights in the namespaces of the services only.
func TestApplyWithRightsInItsNamespacesOnly(t *testing.T) {
	w := newEnv(t, kubernetes.Options{})
	other := w.cp.Namespace(t)
	two := func(tag string) (platform.SyncDef, []platform.ServiceDefinition) {
		var (
			sync  platform.SyncDef
			defs  []platform.ServiceDefinition
			image = "example.com/web:" + tag
		)
		for _, namespace := range []string{w.namespace, other} {
			web := in(namespace, deployment("web", image))
			sync.Actions = append(sync.Actions, apply(namespace, web, in(namespace, service("web", "web"))))
			defs = append(defs, platform.ServiceDefinition{ServiceID: env{namespace: namespace}.id("web"), NewDefinition: []byte(web)})
		}
		return sync, defs
	}
	all, _ := two("1")
	require.NoError(t, w.Sync(all))
	rules := append(readable(), mayDo([]string{"get", "list", "watch", "patch"}, "deployments")...)
	user := w.userWith(t, "local", kubernetes.Options{}, rules, w.namespace, other)
	_, defs := two("2")
	require.Eventually(t, func() bool { return user.Apply(defs) == nil }, testLimit, testTick, "the rights come into force")
	for _, namespace := range []string{w.namespace, other} {
		d := live(t, w.client.AppsV1().Deployments(namespace).Get, "web")
		assert.Equal(t, "example.com/web:2", d.Spec.Template.Spec.Containers[0].Image)
		assert.EqualValues(t, 2, d.Status.UpdatedReplicas)
		assert.EqualValues(t, 2, d.Status.AvailableReplicas)
	}
	_, defs = two(controlplane.MissingTag)
	got := applyErrors(t, user.Apply(defs))
	assert.Len(t, got, 2)
	for id, text := range got {
		assert.Contains(t, text, "stalled: ProgressDeadlineExceeded", id)
		assert.Contains(t, text, "pods: container main", id)
	}
}

// Who may write an object, but not look at it, can apply it after another step; what
// needs a look says that it may not.
func TestSyncWithoutTheRightToLook(t *testing.T) {
	w := newEnv(t, kubernetes.Options{})
	blind := w.userWith(t, "blind", kubernetes.Options{Namespace: w.namespace}, mayDo([]string{"create", "patch", "delete"}, "configmaps"), w.namespace)
	require.Eventually(t, func() bool { return blind.Sync(def(apply("a", configMap("a", "0")))) == nil }, testLimit, testTick, "the rights come into force")
	maps := w.client.CoreV1().ConfigMaps(w.namespace)
	require.NoError(t, blind.Sync(def(apply("first", configMap("a", "1")), apply("second", configMap("a", "2")))))
	assert.Equal(t, "2", live(t, maps.Get, "a").Data["value"])

	got := syncErrors(t, blind.Sync(def(
		platform.SyncAction{ResourceID: "anew", Delete: []byte(configMap("a", "2")), Apply: []byte(configMap("a", "3"))},
		remove("gone", configMap("b", "1")),
	)))
	assert.Contains(t, got["anew"], "delete ConfigMap "+w.namespace+"/a: look at what is there: ")
	assert.Contains(t, got["anew"], "forbidden")
	assert.Contains(t, got["anew"], `apply ConfigMap `+w.namespace+`/a: not attempted, since "anew" failed`)
	assert.Contains(t, got["gone"], "delete ConfigMap "+w.namespace+"/b: look at what is there: ", "it may say that it is to be left alone")
	assert.Equal(t, "2", live(t, maps.Get, "a").Data["value"])
}

// Who may not see other Services does not delete one for the sake of an address that may
// be another's.
func TestRecreateWithoutTheRightToSeeOthers(t *testing.T) {
	w := newEnv(t, kubernetes.Options{})
	at := func(address string) string {
		return recreatable(strings.Replace(service("x", "x"), "spec:\n", "spec:\n  clusterIP: "+address+"\n", 1))
	}
	user := w.userWith(t, "local", kubernetes.Options{Namespace: w.namespace}, mayDo([]string{"*"}, "services"), w.namespace)
	require.Eventually(t, func() bool { return user.Sync(def(apply("x", at("10.0.0.91")))) == nil }, testLimit, testTick, "the rights come into force")
	uid := live(t, w.client.CoreV1().Services(w.namespace).Get, "x").UID
	text := syncErrors(t, user.Sync(def(apply("x", at("10.0.0.92")))))["x"]
	assert.Contains(t, text, "not recreated")
	assert.Contains(t, text, "see whether another Service has 10.0.0.92: ")
	assert.Contains(t, text, "forbidden")
	there, err := w.client.CoreV1().Services(w.namespace).Get(t.Context(), "x", metav1.GetOptions{})
	require.NoError(t, err)
	assert.Equal(t, uid, there.UID)
}
