package kubernetes_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/platformbus/platform"
	"github.com/platformbus/platform/kubernetes"
)

// An immutable is a definition called x, and a change to it that the API server refuses.
type immutable struct {
	resource   schema.GroupVersionResource
	definition string
	old, new   string // a part of it, and what takes its place
	field      string // what the error names
}

func immutables(w env) map[string]immutable {
	core := func(resource string) schema.GroupVersionResource {
		return schema.GroupVersionResource{Version: "v1", Resource: resource}
	}
	group := func(group, resource string) schema.GroupVersionResource {
		return schema.GroupVersionResource{Group: group, Version: "v1", Resource: resource}
	}
	// It has an address and two ports that no other Service can have at the same time.
	held := strings.Replace(service("x", "x"), "spec:\n", "spec:\n  type: LoadBalancer\n  loadBalancerClass: example.com/a\n  externalTrafficPolicy: Local\n  healthCheckNodePort: 30011\n  clusterIP: 10.0.0.78\n  clusterIPs: [10.0.0.78]\n", 1)
	held = strings.Replace(held, "{port: 80}", "{port: 80, nodePort: 30012}", 1)
	job := "apiVersion: batch/v1\nkind: Job\nmetadata: {name: x}\nspec: {template: {spec: {restartPolicy: Never, containers: [{name: main, image: 'example.com/job:1'}]}}}"
	return map[string]immutable{
		"selector":           {group("apps", "deployments"), deployment("x", "example.com/web:1"), "{app: x}", "{app: other}", "spec.selector"},
		"stateful set":       {group("apps", "statefulsets"), strings.Replace(statefulSet("x", "example.com/db:1"), "replicas: 2", "replicas: 1\n  serviceName: db", 1), "serviceName: db", "serviceName: other", "spec.serviceName"},
		"config map":         {core("configmaps"), "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\nimmutable: true\ndata: {value: '1'}", "'1'", "'2'", "data"},
		"secret type":        {core("secrets"), "apiVersion: v1\nkind: Secret\nmetadata: {name: x}\ntype: example.com/a", "example.com/a", "example.com/b", "type"},
		"role reference":     {group("rbac.authorization.k8s.io", "rolebindings"), roleBinding("x", "a"), "name: a}", "name: b}", "roleRef"},
		"job":                {group("batch", "jobs"), job, "job:1", "job:2", "spec.template"},
		"claim":              {core("persistentvolumeclaims"), "apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {name: x}\nspec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}", "ReadWriteOnce", "ReadWriteMany", "spec"},
		"cluster IP":         {core("services"), strings.Replace(service("x", "x"), "spec:\n", "spec:\n  clusterIP: 10.0.77.1\n", 1), "10.0.77.1", "10.0.77.2", "spec.clusterIP"},
		"beside a port":      {core("services"), strings.NewReplacer("  clusterIPs: [10.0.0.78]\n", "", "10.0.0.78", "10.0.0.79").Replace(held), "10.0.0.79", "10.0.0.80", "spec.clusterIP"},
		"class of a service": {core("services"), held, "example.com/a", "example.com/b", "spec.loadBalancerClass"},
		"headless":           {core("services"), strings.Replace(service("x", "x"), "spec:\n", "spec:\n  clusterIP: None\n", 1), "clusterIP: None", "clusterIP: 10.0.0.81", "spec.clusterIP"},
		"rule":               {w.own("rigids"), strings.Replace(strings.Replace(ownObject(w, "Rigid"), "name: one", "name: x", 1), "size: 3", "plain: 3", 1), "plain: 3", "plain: 4", "spec.plain"},
		"rule that talks":    {w.own("rigids"), strings.Replace(strings.Replace(ownObject(w, "Rigid"), "name: one", "name: x", 1), "size: 3", "telling: 3", 1), "telling: 3", "telling: 4", "spec.telling"},
	}
}

func ownObject(w env, kind string) string {
	_, object := crd(w.namespace, kind)
	return object
}

// rigid defines a kind whose fields must stay as they are.
func rigid(w env) string {
	definition, _ := crd(w.namespace, "Rigid")
	return strings.Replace(definition, "size: {type: integer}",
		`plain: {type: integer, x-kubernetes-validations: [{rule: self == oldSelf}]}, telling: {type: integer, x-kubernetes-validations: [{rule: self == oldSelf, message: telling is immutable}]}`, 1)
}

func recreatable(definition string) string {
	return strings.Replace(definition, "{name: x", "{annotations: {platform/recreate: 'true'}, name: x", 1)
}

func TestImmutableFieldIsNamed(t *testing.T) {
	w := newEnv(t, kubernetes.Options{})
	require.NoError(t, w.Sync(def(apply("kind", rigid(w)))))
	w.removedAtEnd(t, rigid(w))
	for name, c := range immutables(w) {
		t.Run(name, func(t *testing.T) {
			cluster, requests := w.recorded(t, kubernetes.Options{}, nil)
			require.NoError(t, cluster.Sync(def(apply("x", c.definition))))
			uid := w.object(t, c.resource, "x").GetUID()
			requests.take("")
			require.Contains(t, c.definition, c.old)
			text := syncErrors(t, cluster.Sync(def(apply("x", strings.ReplaceAll(c.definition, c.old, c.new)))))["x"]
			assert.Contains(t, text, w.namespace+"/x: ")
			assert.Contains(t, text, c.field)
			assert.NotContains(t, text, "\n")
			assert.Len(t, requests.take("PATCH"), 1, "it is not tried again")
			assert.Equal(t, uid, w.object(t, c.resource, "x").GetUID(), "it is not touched without being told to")
			require.NoError(t, cluster.Sync(def(remove("x", c.definition))))
		})
	}
}

func TestRecreate(t *testing.T) {
	w := newEnv(t, kubernetes.Options{})
	require.NoError(t, w.Sync(def(apply("kind", rigid(w)))))
	w.removedAtEnd(t, rigid(w))
	for name, c := range immutables(w) {
		t.Run(name, func(t *testing.T) {
			cluster, requests := w.recorded(t, kubernetes.Options{}, nil)
			before := recreatable(c.definition)
			require.NotEqual(t, c.definition, before)
			require.NoError(t, cluster.Sync(def(apply("x", before))))
			uid := w.object(t, c.resource, "x").GetUID()
			after := def(apply("x", strings.ReplaceAll(before, c.old, c.new)))
			requests.take("")
			require.NoError(t, cluster.Sync(after))
			assert.Len(t, requests.take("DELETE"), 1)
			again := w.object(t, c.resource, "x").GetUID()
			assert.NotEqual(t, uid, again, "it is another object")
			require.NoError(t, cluster.Sync(after))
			assert.Empty(t, requests.take("DELETE"), "once")
			assert.Equal(t, again, w.object(t, c.resource, "x").GetUID())
			require.NoError(t, cluster.Sync(def(remove("x", c.definition))))
		})
	}
}

// Where a policy says that something cannot be changed, the words are its own, and so is
// the code.
func TestRecreateWhereAPolicyForbidsTheChange(t *testing.T) {
	w := newEnv(t, kubernetes.Options{})
	policy := fmt.Sprintf(`
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: %[1]s}
spec:
  matchConstraints:
    namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: %[1]s}}
    resourceRules: [{apiGroups: [''], apiVersions: ['*'], operations: [UPDATE], resources: [configmaps]}]
  validations:
  - {expression: "object.data == oldObject.data", reason: Forbidden, message: data cannot change}
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {name: %[1]s}
spec: {policyName: %[1]s, validationActions: [Deny]}
`, w.namespace)
	require.NoError(t, w.Sync(def(apply("policy", policy), apply("x", configMap("x", "1")), apply("probe", configMap("probe", "1")))))
	w.removedAtEnd(t, policy)
	maps := w.client.CoreV1().ConfigMaps(w.namespace)
	require.Eventually(t, func() bool {
		kind, patch := mergePatch(t, map[string]any{"data": map[string]string{"value": "probed"}})
		_, err := maps.Patch(t.Context(), "probe", kind, patch, metav1.PatchOptions{DryRun: []string{metav1.DryRunAll}})
		return apierrors.IsForbidden(err)
	}, testLimit, testTick, "it comes into force")
	text := syncErrors(t, w.Sync(def(apply("x", configMap("x", "2")))))["x"]
	assert.Contains(t, text, "denied request: data cannot change")
	uid := live(t, maps.Get, "x").UID
	require.NoError(t, w.Sync(def(apply("x", recreatable(configMap("x", "2"))))))
	there := live(t, maps.Get, "x")
	assert.NotEqual(t, uid, there.UID)
	assert.Equal(t, "2", there.Data["value"])
}

// What the API server would not have is no reason to delete what is there.
func TestRecreateKeepsWhatItCannotReplace(t *testing.T) {
	w := newEnv(t, kubernetes.Options{})
	before := recreatable(deployment("x", "example.com/web:1"))
	cluster, requests := w.recorded(t, kubernetes.Options{}, nil)
	require.NoError(t, cluster.Sync(def(apply("x", before))))
	there := live(t, w.client.AppsV1().Deployments(w.namespace).Get, "x")
	for name, broken := range map[string]string{
		"both wrong": strings.Replace(strings.ReplaceAll(before, "{app: x}", "{app: other}"), "name: main", "name: NOT_A_NAME", 1),
		"selector":   strings.Replace(before, "matchLabels: {app: x}", "matchLabels: {app: other}", 1), // which the pods do not have
		"no change":  strings.Replace(before, "name: main", "name: NOT_A_NAME", 1),
	} {
		text := syncErrors(t, cluster.Sync(def(apply("x", broken))))["x"]
		assert.Contains(t, text, "apply Deployment "+w.namespace+"/x: ", name)
		assert.NotContains(t, text, "\n", name)
	}
	assert.Empty(t, requests.take("DELETE"))
	assert.Equal(t, there.UID, live(t, w.client.AppsV1().Deployments(w.namespace).Get, "x").UID)
}

// An address or port that another Service has is not free: what is there stays.
func TestRecreateKeepsAServiceWhoseNewAddressIsTaken(t *testing.T) {
	w := newEnv(t, kubernetes.Options{})
	at := func(name, address string, port int) string {
		return strings.NewReplacer("{name: "+name+"}", "{name: "+name+", annotations: {platform/recreate: 'true'}}",
			"spec:\n", "spec:\n  type: NodePort\n  clusterIP: "+address+"\n", "{port: 80}", fmt.Sprintf("{port: 80, nodePort: %d}", port)).Replace(service(name, name))
	}
	cluster, requests := w.recorded(t, kubernetes.Options{}, nil)
	require.NoError(t, cluster.Sync(def(apply("x", at("x", "10.0.0.85", 30015)), apply("other", at("other", "10.0.0.86", 30016)))))
	there := live(t, w.client.CoreV1().Services(w.namespace).Get, "x")
	text := syncErrors(t, cluster.Sync(def(apply("x", at("x", "10.0.0.86", 30015)))))["x"]
	assert.Contains(t, text, "not recreated, since the API server would not have it: the Service "+w.namespace+"/other has the address 10.0.0.86")
	text = syncErrors(t, cluster.Sync(def(apply("x", at("x", "10.0.0.87", 30016)))))["x"]
	assert.Contains(t, text, "30016: provided port is already allocated")
	assert.Empty(t, requests.take("DELETE"))
	assert.Equal(t, there.UID, live(t, w.client.CoreV1().Services(w.namespace).Get, "x").UID)
}

// A lockedBuffer may be written to by many goroutines.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer // guarded by mu
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) take() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	defer l.b.Reset()
	return l.b.String()
}

// A live object that says so is left alone by apply and by delete, and the log says so.
func TestIgnoredObjectIsLeftAlone(t *testing.T) {
	w := newEnv(t, kubernetes.Options{})
	var (
		log lockedBuffer
		d   recorder
	)
	options := kubernetes.Options{Logger: slog.New(slog.NewTextHandler(&log, nil)), Events: d.note}
	warm, requests := w.recorded(t, options, nil)
	maps := w.client.CoreV1().ConfigMaps(w.namespace)
	require.NoError(t, warm.Sync(def(apply("a", configMap("a", "1")), apply("b", configMap("b", "1")))))
	kind, patch := mergePatch(t, map[string]any{"metadata": map[string]any{"annotations": map[string]string{"platform/ignore": "export, sync"}}, "data": map[string]string{"value": "by hand"}})
	_, err := maps.Patch(t.Context(), "a", kind, patch, patchBy("someone"))
	require.NoError(t, err)
	cold, _ := w.recorded(t, options, nil)
	requests.take("")
	for name, what := range map[string]platform.SyncAction{
		"the same":         apply("a", configMap("a", "1")),
		"a change":         apply("a", configMap("a", "2")),
		"a deletion":       remove("a", configMap("a", "1")),
		"both":             {ResourceID: "a", Delete: []byte(configMap("a", "1")), Apply: []byte(configMap("a", "3"))},
		"a taken back one": apply("a", strings.Replace(configMap("a", "1"), "{name: a}", "{name: a, annotations: {platform/ignore: nothing}}", 1)),
	} {
		for age, cluster := range map[string]*kubernetes.Cluster{"warm": warm, "cold": cold} {
			log.take()
			d.take()
			require.NoError(t, cluster.Sync(def(what)), name)
			a := live(t, maps.Get, "a")
			assert.Equal(t, "by hand", a.Data["value"], "%s, %s", name, age)
			assert.Nil(t, a.DeletionTimestamp)
			assert.Equal(t, map[string]kubernetes.Result{"ConfigMap " + w.namespace + "/a": kubernetes.Ignored}, d.take(), "%s, %s", name, age)
			text := log.take()
			assert.Contains(t, text, `object="ConfigMap `+w.namespace+`/a"`)
			assert.Contains(t, text, "platform/ignore")
		}
	}
	assert.Empty(t, requests.take("PATCH"))

	w.kubectl(t, "", "annotate", "configmap/a", "platform/ignore-")
	require.NoError(t, warm.Sync(def(apply("a", configMap("a", "4")))))
	assert.Equal(t, "4", live(t, maps.Get, "a").Data["value"], "and then it is not")
}
