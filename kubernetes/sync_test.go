package kubernetes_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/platformbus/platform"
	"github.com/platformbus/platform/kubernetes"
)

func TestSyncOfNothing(t *testing.T) {
	w := newEnv(t, kubernetes.Options{})
	require.NoError(t, w.Sync(platform.SyncDef{}))
	require.NoError(t, w.Sync(def(platform.SyncAction{ResourceID: "nothing to do"}, apply("only a comment", "# hello"))))
}

func TestSyncAppliesAndDeletes(t *testing.T) {
	w := newEnv(t, kubernetes.Options{})
	maps := w.client.CoreV1().ConfigMaps(w.namespace)
	list := `{"apiVersion":"v1","kind":"List","items":[
		{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"c"},"data":{"value":"3"}},
		{"apiVersion":"v1","kind":"List","items":[{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"d"},"data":{"value":"4"}}]}]}`
	require.NoError(t, w.Sync(def(
		apply("two documents", configMap("a", "1"), configMap("b", "2")),
		apply("list", list),
	)))
	for name, want := range map[string]string{"a": "1", "b": "2", "c": "3", "d": "4"} {
		assert.Equal(t, want, live(t, maps.Get, name).Data["value"], name)
	}

	uid := live(t, maps.Get, "c").UID
	require.NoError(t, w.Sync(def(
		apply("changed", configMap("a", "changed")),
		remove("deleted", configMap("b", "")),
		platform.SyncAction{ResourceID: "made anew", Delete: []byte(configMap("c", "")), Apply: []byte(configMap("c", "anew"))},
	)))
	assert.Equal(t, "changed", live(t, maps.Get, "a").Data["value"])
	_, err := maps.Get(t.Context(), "b", metav1.GetOptions{})
	assert.True(t, apierrors.IsNotFound(err), "b is deleted")
	assert.Equal(t, "anew", live(t, maps.Get, "c").Data["value"])
	assert.NotEqual(t, uid, live(t, maps.Get, "c").UID, "c is another object")
	assert.Equal(t, "4", live(t, maps.Get, "d").Data["value"], "d is left alone")
}

func TestSyncDeletingWhatIsGoneSucceeds(t *testing.T) {
	w := newEnv(t, kubernetes.Options{})
	require.NoError(t, w.Sync(def(
		remove("gone", configMap("gone", "")),
		remove("of a kind that is gone", "apiVersion: gone.example.com/v1\nkind: Gone\nmetadata: {name: a}"),
		platform.SyncAction{ResourceID: "and then applied", Delete: []byte(configMap("x", "")), Apply: []byte(configMap("x", "1"))},
	)))
	assert.Equal(t, "1", live(t, w.client.CoreV1().ConfigMaps(w.namespace).Get, "x").Data["value"])
}

// Within an action the object must be really gone before it is applied, finalizers and
// all.
func TestSyncAwaitsDeletionBeforeApply(t *testing.T) {
	w := newEnv(t, kubernetes.Options{})
	maps := w.client.CoreV1().ConfigMaps(w.namespace)
	require.NoError(t, w.Sync(def(apply("held", heldMap("held")))))
	action := platform.SyncAction{ResourceID: "held", Delete: []byte(configMap("held", "")), Apply: []byte(configMap("held", "new"))}

	ctx, cancel := context.WithCancelCause(t.Context())
	synced := make(chan error, 1)
	go func() { synced <- w.WithContext(ctx).Sync(def(action)) }()
	require.Eventually(t, func() bool { return live(t, maps.Get, "held").DeletionTimestamp != nil }, testLimit, testTick)
	cancel(errors.New("enough"))
	text := syncErrors(t, <-synced)["held"]
	assert.Contains(t, text, "delete ConfigMap "+w.namespace+"/held: wait until it is gone, for its finalizers example.com/hold: enough")
	assert.Contains(t, text, "apply ConfigMap "+w.namespace+"/held: not attempted")

	go func() { synced <- w.Sync(def(action)) }()
	w.letGo(t, "held")
	require.NoError(t, <-synced)
	assert.Equal(t, "new", live(t, maps.Get, "held").Data["value"])
}

// Nothing that is wrong in one entry keeps another from being applied, and each is told
// by its ResourceID.
func TestSyncReportsEveryFailure(t *testing.T) {
	w := newEnv(t, kubernetes.Options{})
	require.NoError(t, w.Sync(def(apply("immutable", deployment("web", "example.com/web:1")))))
	err := w.Sync(def(
		apply("good", configMap("good", "1")),
		apply("malformed", "kind: ["),
		apply("no name", "apiVersion: v1\nkind: ConfigMap\nmetadata: {}"),
		apply("no kind", "apiVersion: v1\nmetadata: {name: a}"),
		apply("empty object", "{}"),
		apply("unknown kind", "apiVersion: example.com/v1\nkind: Unheard\nmetadata: {name: a}"),
		apply("removed version", "apiVersion: extensions/v1beta1\nkind: Deployment\nmetadata: {name: a}"),
		apply("no such namespace", strings.Replace(configMap("a", "1"), "{name: a}", "{name: a, namespace: nowhere}", 1)),
		apply("unknown field", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\nbogus: 1"),
		apply("invalid", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: NOT_A_NAME}"),
		apply("immutable", strings.ReplaceAll(deployment("web", "example.com/web:1"), "{app: web}", "{app: other}")),
		apply("twice", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: FIRST}"),
		apply("twice", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: SECOND}"),
		platform.SyncAction{ResourceID: "half", Delete: []byte(configMap("half", "")), Apply: []byte("kind: [")},
		apply("also good", configMap("also-good", "1")),
	))
	got := syncErrors(t, err)
	for id, want := range map[string]string{
		"malformed":         "read the definition to apply: document at line 1:",
		"no name":           "ConfigMap: metadata.name is missing",
		"no kind":           "kind is missing",
		"empty object":      "apiVersion is missing",
		"unknown kind":      "Unheard a: the cluster has no kind Unheard in example.com/v1",
		"removed version":   "the cluster has no kind Deployment in extensions/v1beta1; it has one in apps/v1",
		"no such namespace": `apply ConfigMap nowhere/a: namespaces "nowhere" not found`,
		"unknown field":     ".bogus: field not declared in schema",
		"invalid":           "apply ConfigMap " + w.namespace + "/NOT_A_NAME: ",
		"immutable":         "spec.selector",
		"half":              "read the definition to apply",
	} {
		assert.Contains(t, got[id], want, id)
		assert.NotContains(t, got[id], "\n", "%s: one line", id)
	}
	assert.Contains(t, got["twice"], "FIRST")
	assert.Contains(t, got["twice"], "SECOND")
	assert.Len(t, got, 12, "%v", got)
	maps := w.client.CoreV1().ConfigMaps(w.namespace)
	live(t, maps.Get, "good")
	live(t, maps.Get, "also-good")

	// Nothing of it is in the way of the next.
	require.NoError(t, w.Sync(def(apply("good", configMap("good", "2")), apply("half", configMap("half", "1")))))
	assert.Equal(t, "2", live(t, maps.Get, "good").Data["value"])
	live(t, maps.Get, "half")
}

func TestSyncScope(t *testing.T) {
	w := newEnv(t, kubernetes.Options{})
	name := w.namespace + "-role"
	t.Cleanup(func() {
		assert.NoError(t, w.client.RbacV1().ClusterRoles().Delete(context.Background(), name, metav1.DeleteOptions{}))
	})
	role := "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {name: %s%s}\nrules: []"
	require.NoError(t, w.Sync(def(
		apply("cluster-scoped, with a namespace", fmt.Sprintf(role, name, ", namespace: "+w.namespace)),
		apply("namespaced, without", configMap("a", "1")),
	)))
	assert.Empty(t, live(t, w.client.RbacV1().ClusterRoles().Get, name).Namespace)
	assert.Equal(t, w.namespace, live(t, w.client.CoreV1().ConfigMaps(w.namespace).Get, "a").Namespace)
}

// crd returns a definition of a kind of the test's own, and of an object of it.
func crd(namespace, kind string) (definition, object string) {
	lower := strings.ToLower(kind)
	group := namespace + ".example.com"
	return fmt.Sprintf(`
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: %[1]ss.%[2]s}
spec:
  group: %[2]s
  scope: Namespaced
  names: {kind: %[3]s, plural: %[1]ss, singular: %[1]s}
  versions:
  - name: v1
    served: true
    storage: true
    schema:
      openAPIV3Schema:
        type: object
        properties: {spec: {type: object, properties: {size: {type: integer}}}}
`, lower, group, kind), fmt.Sprintf("apiVersion: %s/v1\nkind: %s\nmetadata: {name: one}\nspec: {size: 3}", group, kind)
}

func TestSyncForbidden(t *testing.T) {
	w := newEnv(t, kubernetes.Options{})
	config, err := w.cp.ConfigFor("nobody-" + w.namespace)
	require.NoError(t, err)
	got := syncErrors(t, w.as(t, config, kubernetes.Options{Namespace: w.namespace}).Sync(def(apply("a", configMap("a", "1")), remove("b", configMap("b", "")))))
	assert.Contains(t, got["a"], "apply ConfigMap "+w.namespace+"/a: ")
	assert.Contains(t, got["a"], "forbidden")
	assert.Contains(t, got["b"], "forbidden")

	_, err = w.client.RbacV1().RoleBindings(w.namespace).Create(t.Context(), &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "edit"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "edit"},
		Subjects:   []rbacv1.Subject{{Kind: "User", APIGroup: rbacv1.GroupName, Name: "nobody-" + w.namespace}},
	}, metav1.CreateOptions{})
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		return w.as(t, config, kubernetes.Options{Namespace: w.namespace}).Sync(def(apply("a", configMap("a", "1")))) == nil
	}, testLimit, testTick, "who may write to one namespace only can sync to it")
}
