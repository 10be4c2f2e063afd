package kubernetes_test

import (
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/platformbus/platform"
	"github.com/platformbus/platform/flux"
	"github.com/platformbus/platform/kubernetes"
)

// hostileNames are names that would make another path of one, if a path were made of them.
var hostileNames = []string{
	"..", ".", "../secrets/one", "../../other/secrets/one", "a/b", "/", "//", "x/proxy", "x/proxy/api/v1/secrets", "a/../../secrets/one",
	"a%2fb", "%2e%2e", "a%", "a/", "/a", "..%2fsecrets%2fone", "one/finalize", "one/status", "connection reset by peer/a",
}

// No name, namespace, group or version that a stranger gives leads to a path but the intended
// ones. It is an error at once, which names it.
func TestHostileNamesReachNothing(t *testing.T) {
	w := newEnv(t, kubernetes.Options{})
	require.NoError(t, w.Sync(def(apply("victim", "apiVersion: v1\nkind: Secret\nmetadata: {name: one}\nstringData: {a: b}"))))
	intended := regexp.MustCompile(`^[A-Z]+( metadata)? (/api|/apis|/api/v1/namespaces|` +
		`/api/v1/(namespaces/` + w.namespace + `/)?(configmaps|services|secrets|pods|replicationcontrollers)|` +
		`/apis/apps/v1/(namespaces/` + w.namespace + `/)?(deployments|statefulsets|daemonsets|replicasets))$`)
	manifests := map[string]string{
		"name":            "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: %q}",
		"name, recreated": "apiVersion: v1\nkind: Service\nmetadata: {name: %q, annotations: {platform/recreate: 'true'}}",
		"namespace's":     "apiVersion: v1\nkind: Namespace\nmetadata: {name: %q}",
		"namespace":       "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, namespace: %q}",
		"version":         "apiVersion: %q\nkind: ConfigMap\nmetadata: {name: a}",
		"group":           "apiVersion: %q/v1\nkind: Deployment\nmetadata: {name: a}",
		"in a List":       "apiVersion: v1\nkind: ConfigMapList\nitems: [{metadata: {name: %q}}]",
	}
	for _, name := range hostileNames {
		t.Run(name, func(t *testing.T) {
			cluster, requests := w.recorded(t, kubernetes.Options{Timeout: 10 * time.Second}, nil)
			calls := map[string]func() error{
				"AllServices": func() error { _, err := cluster.AllServices(name, nil); return err },
				"SomeServices": func() error {
					_, err := cluster.SomeServices([]flux.ServiceID{flux.MakeServiceID(name, "a")})
					return err
				},
				"SomeServices, name": func() error {
					_, err := cluster.SomeServices([]flux.ServiceID{flux.MakeServiceID(w.namespace, name)})
					return err
				},
				"Apply, namespace": func() error {
					return cluster.Apply([]platform.ServiceDefinition{{ServiceID: flux.MakeServiceID(name, "a"), NewDefinition: []byte(deployment("a", "x"))}})
				},
				"Apply, name": func() error {
					return cluster.Apply([]platform.ServiceDefinition{{ServiceID: flux.MakeServiceID(w.namespace, name), NewDefinition: []byte(deployment("a", "x"))}})
				},
			}
			for what, text := range manifests {
				text = fmt.Sprintf(text, name)
				calls["Sync, apply, "+what] = func() error { return cluster.Sync(def(apply("a", text))) }
				calls["Sync, delete, "+what] = func() error { return cluster.Sync(def(remove("a", text))) }
				calls["Sync, both, "+what] = func() error {
					return cluster.Sync(def(platform.SyncAction{ResourceID: "a", Delete: []byte(text), Apply: []byte(text)}))
				}
			}
			for what, call := range calls {
				err := call()
				if assert.Error(t, err, what) {
					assert.NotContains(t, err.Error(), "took longer", what)
				}
			}
			for _, request := range requests.take("") {
				assert.Regexp(t, intended, request)
			}
		})
	}
	secret := live(t, w.client.CoreV1().Secrets(w.namespace).Get, "one")
	assert.Nil(t, secret.DeletionTimestamp)
	assert.Nil(t, live(t, w.client.CoreV1().Namespaces().Get, w.namespace).DeletionTimestamp)
}

// Names that are odd, and legal, go on working.
func TestOddNames(t *testing.T) {
	w := newEnv(t, kubernetes.Options{})
	role := func(name string) string {
		return fmt.Sprintf("apiVersion: rbac.authorization.k8s.io/v1\nkind: Role\nmetadata: {name: %q}\nrules: []", name)
	}
	names := []string{"system:foo", "Upper-Case", "a.b.c", "...", "ünï", "a b", "a?b#c", "a:b@c", strings.Repeat("n", 253)}
	var all, none platform.SyncDef
	for _, name := range names {
		all.Actions = append(all.Actions, apply(name, role(name)))
		none.Actions = append(none.Actions, remove(name, role(name)))
	}
	require.NoError(t, w.Sync(all))
	require.NoError(t, w.Sync(all))
	for _, name := range names {
		live(t, w.client.RbacV1().Roles(w.namespace).Get, name)
	}
	require.NoError(t, w.Sync(none))
	left, err := w.client.RbacV1().Roles(w.namespace).List(t.Context(), metav1.ListOptions{})
	require.NoError(t, err)
	assert.Empty(t, left.Items)
}

// A name with characters that do not show, which the API server may accept, is quoted in an
// error.
func TestNamesInErrorsAreQuoted(t *testing.T) {
	w := newEnv(t, kubernetes.Options{})
	got := syncErrors(t, w.Sync(def(apply("a", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: \"a\\nb\\e[2J\\u202e\"}"))))
	assert.Contains(t, got["a"], `"a\nb\x1b[2J\u202e"`)
	assert.NotRegexp(t, "[\\n\\x1b\u202e]", got["a"])
}

// What a CustomResourceDefinition says of its kind is believed when the API server has
// accepted it, and decides no deletion.
func TestDefinitionsThatTheServerRefusesAreNotBelieved(t *testing.T) {
	w := newEnv(t, kubernetes.Options{})
	require.NoError(t, w.Sync(def(apply("victim", "apiVersion: v1\nkind: Secret\nmetadata: {name: one}\nstringData: {a: b}"))))
	cluster, requests := w.recorded(t, kubernetes.Options{}, nil)
	crd := func(group, plural string) string {
		return fmt.Sprintf(`{"apiVersion":"apiextensions.k8s.io/v1","kind":"CustomResourceDefinition","metadata":{"name":"foos.example.com"},"spec":{"group":%q,"scope":"Namespaced",
			"names":{"plural":%q,"singular":"foo","kind":"Foo"},"versions":[{"name":"v1","served":true,"storage":true,"schema":{"openAPIV3Schema":{"type":"object","x-kubernetes-preserve-unknown-fields":true}}}]}}`,
			group, plural)
	}
	for _, c := range []struct{ group, plural, apiVersion string }{{"", "secrets", "v1"}, {"example.com", "secrets/one", "example.com/v1"}, {"example.com", "..", "example.com/v1"}} {
		foo := "apiVersion: " + c.apiVersion + "\nkind: Foo\nmetadata: {name: one}"
		got := syncErrors(t, cluster.Sync(def(apply("crd", crd(c.group, c.plural)), remove("deleted", foo), apply("applied", foo))))
		assert.Contains(t, got["crd"], "apply CustomResourceDefinition")
		assert.Contains(t, got["applied"], `not attempted, since "crd" failed`)
		assert.NotContains(t, got, "deleted", "it cannot be there")
		for _, request := range requests.take("") {
			assert.NotContains(t, request, "secrets/")
			assert.NotContains(t, request, "DELETE")
		}
	}
	assert.Nil(t, live(t, w.client.CoreV1().Secrets(w.namespace).Get, "one").DeletionTimestamp)
}

// What is defined and made in one Sync is deleted by one that defines it again.
func TestKindsOfTheSameSync(t *testing.T) {
	w := newEnv(t, kubernetes.Options{})
	crd := strings.NewReplacer("NAME", w.namespace).Replace(`
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: pins.NAME.example.com}
spec:
  group: NAME.example.com
  scope: Namespaced
  names: {plural: pins, singular: pin, kind: Pin}
  versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}}]`)
	pin := "apiVersion: " + w.namespace + ".example.com/v1\nkind: Pin\nmetadata: {name: a}\nspec: {size: 1}"
	w.removedAtEnd(t, crd)
	cluster, requests := w.recorded(t, kubernetes.Options{}, nil)
	require.NoError(t, cluster.Sync(def(apply("pin", pin), apply("crd", crd))))
	requests.take("")
	require.NoError(t, cluster.Sync(def(apply("pin", pin), apply("crd", crd))))
	assert.Empty(t, requests.take("PATCH"), "what has not changed is not sent again")
	require.NoError(t, cluster.Sync(def(remove("pin", pin), apply("crd", crd))))
	assert.Len(t, requests.take("DELETE"), 1)
	pins := schema.GroupVersionResource{Group: w.namespace + ".example.com", Version: "v1", Resource: "pins"}
	_, err := w.dynamic(t).Resource(pins).Namespace(w.namespace).Get(t.Context(), "a", metav1.GetOptions{})
	assert.True(t, apierrors.IsNotFound(err), "%v", err)
}

// What discovery lists, which an aggregated API server may write, goes into no path
// unchecked either.
func TestHostileDiscoveryReachesNothing(t *testing.T) {
	w := newEnv(t, kubernetes.Options{})
	const groups = `{"kind":"APIGroupDiscoveryList","apiVersion":"apidiscovery.k8s.io/v2","metadata":{},"items":[%s]}`
	group := func(name, version, resource string) string {
		return fmt.Sprintf(`{"metadata":{"name":%q},"versions":[{"version":%q,"resources":[{"resource":%q,"responseKind":{"group":%[1]q,"version":%[2]q,"kind":"Foo"},"scope":"Namespaced","singularResource":"foo","verbs":["list","get","patch","create","delete"]}]}]}`,
			name, version, resource)
	}
	hostile := fmt.Sprintf(groups, strings.Join([]string{
		group("a.example.com", "v1", ".."), group("b.example.com", "v1", "..%2fsecrets"), group("c.example.com", "..", "foos"),
		group("../api", "v1", "secrets"), group("e.example.com", "v1/namespaces", "foos"),
	}, ","))
	cluster, requests := w.recorded(t, kubernetes.Options{Namespaces: []string{w.namespace}}, func(r *http.Request, next http.RoundTripper) (*http.Response, error) {
		if r.URL.Path != "/apis" {
			return next.RoundTrip(r)
		}
		response := refusal(r, http.StatusOK, "", "")
		response.Header.Set("Content-Type", "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList")
		response.Body, response.ContentLength = io.NopCloser(strings.NewReader(hostile)), int64(len(hostile))
		return response, nil
	})
	_, err := cluster.Export()
	require.Error(t, err)
	for _, what := range []string{`".."`, `"..%2fsecrets"`, `"../api"`, `"v1/namespaces"`} {
		assert.ErrorContains(t, err, what)
	}
	require.Error(t, cluster.Sync(def(apply("a", "apiVersion: a.example.com/v1\nkind: Foo\nmetadata: {name: a}"), remove("b", "apiVersion: b.example.com/v1\nkind: Foo\nmetadata: {name: a}"))))
	for _, request := range requests.take("") {
		assert.Regexp(t, `^[A-Z]+( metadata)? /(api|apis|api/v1/(namespaces/`+w.namespace+`/)?[a-z]+)$`, request)
	}
}
