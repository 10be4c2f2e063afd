package kubernetes_test

import (
	"cmp"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/platformbus/platform"
	"github.com/platformbus/platform/flux"
	"github.com/platformbus/platform/kubernetes"
)

func sorted(services []platform.Service) []platform.Service {
	slices.SortFunc(services, func(a, b platform.Service) int { return cmp.Compare(a.ID, b.ID) })
	return services
}

func TestServices(t *testing.T) {
	w := newEnv(t, kubernetes.Options{})
	external := "apiVersion: v1\nkind: Service\nmetadata: {name: external}\nspec: {type: ExternalName, externalName: example.com}"
	require.NoError(t, w.Sync(def(
		apply("web", deployment("web", "example.com/web:1"), service("web", "web")),
		apply("external", external), apply("lonely", service("lonely", "lonely")),
		apply("idle", strings.Replace(deployment("idle", "example.com/i:1"), "replicas: 2", "replicas: 0", 1), service("idle", "idle")),
	)))
	// An Apply of the same waits until it is ready.
	require.NoError(t, w.Apply([]platform.ServiceDefinition{{ServiceID: w.id("web"), NewDefinition: []byte(deployment("web", "example.com/web:1"))}}))

	all, err := w.AllServices(w.namespace, flux.ServiceIDSet{w.id("lonely"): {}})
	require.NoError(t, err)
	all = sorted(all)
	require.Len(t, all, 3)
	assert.Equal(t, []flux.ServiceID{w.id("external"), w.id("idle"), w.id("web")}, []flux.ServiceID{all[0].ID, all[1].ID, all[2].ID})
	assert.Equal(t, platform.ContainersOrExcuse{Excuse: "service has no selector"}, all[0].Containers)
	assert.Equal(t, "example.com", all[0].Metadata["external_name"])
	assert.Equal(t, "scaled to zero", all[1].Status)

	web := all[2]
	there := live(t, w.client.CoreV1().Services(w.namespace).Get, "web")
	assert.Equal(t, platform.ContainersOrExcuse{Containers: []platform.Container{{Name: "main", Image: "example.com/web:1"}}}, web.Containers)
	assert.Equal(t, there.Spec.ClusterIP, web.IP)
	assert.Equal(t, "ready", web.Status)
	assert.Equal(t, string(there.UID), web.Metadata["uid"])
	assert.Equal(t, "ClusterIP", web.Metadata["type"])
	assert.Equal(t, "80/TCP", web.Metadata["ports"])

	some, err := w.SomeServices([]flux.ServiceID{w.id("web"), w.id("missing"), "nowhere/web", w.id("web"), w.id("lonely")})
	require.NoError(t, err)
	some = sorted(some)
	require.Len(t, some, 2, "what does not exist is left out, and nothing is there twice")
	assert.Equal(t, w.id("lonely"), some[0].ID)
	assert.Equal(t, "no matching replication controllers or deployments", some[0].Containers.Excuse)
	assert.Equal(t, web.Containers, some[1].Containers)
	assert.Equal(t, web.ID, some[1].ID)

	everywhere, err := w.AllServices("", nil)
	require.NoError(t, err)
	assert.True(t, slices.ContainsFunc(everywhere, func(s platform.Service) bool { return s.ID == w.id("web") }))
}

func TestServicesBadInput(t *testing.T) {
	w := newEnv(t, kubernetes.Options{})
	_, err := w.AllServices("no-such-namespace", nil)
	require.Error(t, err)
	assert.Contains(t, err.Error(), `namespace "no-such-namespace"`)

	require.NoError(t, w.Sync(def(apply("web", service("web", "web")))))
	found, err := w.SomeServices([]flux.ServiceID{"no-slash", w.id("web")})
	require.Error(t, err)
	assert.Contains(t, err.Error(), `service ID "no-slash"`)
	require.Len(t, found, 1, "the others are there beside the error")

	found, err = w.SomeServices(nil)
	require.NoError(t, err)
	assert.Empty(t, found)
}

// What may not be listed is said: in the excuse of the service that lacks it, and in an
// error beside the result.
func TestServicesForbidden(t *testing.T) {
	w := newEnv(t, kubernetes.Options{})
	require.NoError(t, w.Sync(def(apply("web", deployment("web", "example.com/web:1"), service("web", "web"), statefulSet("db", "example.com/db:1"), service("db", "db")))))
	user := "reader-" + w.namespace
	config, err := w.cp.ConfigFor(user)
	require.NoError(t, err)
	reader := w.as(t, config, kubernetes.Options{})
	_, err = reader.AllServices(w.namespace, nil)
	require.Error(t, err)
	assert.Contains(t, err.Error(), "list services in namespace "+w.namespace+": services is forbidden")

	role := &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Name: "reader"}, Rules: []rbacv1.PolicyRule{
		{APIGroups: []string{""}, Resources: []string{"services", "replicationcontrollers"}, Verbs: []string{"list"}},
		{APIGroups: []string{"apps"}, Resources: []string{"deployments", "daemonsets", "replicasets"}, Verbs: []string{"list"}},
	}}
	_, err = w.client.RbacV1().Roles(w.namespace).Create(t.Context(), role, metav1.CreateOptions{})
	require.NoError(t, err)
	_, err = w.client.RbacV1().RoleBindings(w.namespace).Create(t.Context(), &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "reader"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: "reader"},
		Subjects:   []rbacv1.Subject{{Kind: "User", APIGroup: rbacv1.GroupName, Name: user}},
	}, metav1.CreateOptions{})
	require.NoError(t, err)
	var found []platform.Service
	require.Eventually(t, func() bool {
		found, err = reader.AllServices(w.namespace, nil)
		return len(found) == 2
	}, testLimit, testTick, "the API server learns of the role")
	require.Error(t, err)
	assert.Contains(t, err.Error(), "list statefulsets in namespace "+w.namespace+": statefulsets.apps is forbidden")
	assert.NotContains(t, err.Error(), "deployments")
	found = sorted(found)
	assert.Contains(t, found[0].Containers.Excuse, "list statefulsets in namespace "+w.namespace+": statefulsets.apps is forbidden")
	assert.Empty(t, found[1].Containers.Excuse)
}

// A status and an excuse are short, however many pods do not run, each for a reason of its own, and
// however many controllers a service selects.
func TestStatusAndExcuseAreBounded(t *testing.T) {
	w := newEnv(t, kubernetes.Options{})
	require.NoError(t, w.Sync(def(apply("services", service("web", "web"), service("many", "many")))))
	const n = 1000
	controller := func(name, app string, replicas int) string {
		return fmt.Sprintf(`{"metadata":{"name":%q,"namespace":%q},"spec":{"replicas":%d,"template":{"metadata":{"labels":{"app":%q}},"spec":{"containers":[{"name":"main"}]}}}}`, name, w.namespace, replicas, app)
	}
	controllers, pods := []string{controller("web", "web", n)}, []string{}
	for i := range n {
		controllers = append(controllers, controller(fmt.Sprintf("many-%d", i), "many", 0))
		pods = append(pods, fmt.Sprintf(`{"metadata":{"name":"web-%[1]d","namespace":%[2]q,"labels":{"app":"web"}},"status":{"containerStatuses":[{"name":"main","state":{"waiting":{"reason":"CrashLoopBackOff","message":"back-off restarting web-%[1]d"}}}]}}`, i, w.namespace))
	}
	lists := map[string]string{
		"/apis/apps/v1/namespaces/" + w.namespace + "/deployments": `{"apiVersion":"apps/v1","kind":"DeploymentList","items":[` + strings.Join(controllers, ",") + "]}",
		"/api/v1/namespaces/" + w.namespace + "/pods":              `{"apiVersion":"v1","kind":"PodList","items":[` + strings.Join(pods, ",") + "]}",
	}
	cluster, _ := w.recorded(t, kubernetes.Options{}, func(r *http.Request, next http.RoundTripper) (*http.Response, error) {
		list, ok := lists[r.URL.Path]
		if !ok {
			return next.RoundTrip(r)
		}
		response := refusal(r, http.StatusOK, "", "")
		response.Body, response.ContentLength = io.NopCloser(strings.NewReader(list)), int64(len(list))
		return response, nil
	})
	found, err := cluster.AllServices(w.namespace, nil)
	require.NoError(t, err)
	require.Len(t, found, 2)
	many, web := sorted(found)[0], sorted(found)[1]
	assert.True(t, strings.HasPrefix(many.Containers.Excuse, platform.ErrMultipleMatching.Error()+": Deployment many-0, "), many.Containers.Excuse)
	assert.LessOrEqual(t, len(many.Containers.Excuse), 4<<10)
	assert.Equal(t, 10, strings.Count(web.Status, "CrashLoopBackOff"), web.Status)
	assert.Contains(t, web.Status, "; and 990 more)")
}

// What may not be listed in one namespace is no excuse for a service of another.
func TestServicesOfAnotherNamespaceHaveNoExcuse(t *testing.T) {
	w := newEnv(t, kubernetes.Options{})
	closed := w.cp.Namespace(t)
	require.NoError(t, w.Sync(def(apply("services", service("web", "web"), in(closed, service("web", "web"))))))
	cluster, _ := w.recorded(t, kubernetes.Options{Namespaces: []string{w.namespace, closed}}, func(r *http.Request, next http.RoundTripper) (*http.Response, error) {
		if r.URL.Path == "/apis/apps/v1/namespaces/"+closed+"/deployments" {
			return refusal(r, http.StatusForbidden, metav1.StatusReasonForbidden, "not here"), nil
		}
		return next.RoundTrip(r)
	})
	here, there := w.id("web"), flux.MakeServiceID(closed, "web")
	hidden := "list deployments in namespace " + closed + ": not here"
	for name, call := range map[string]func() ([]platform.Service, error){
		"AllServices":  func() ([]platform.Service, error) { return cluster.AllServices("", nil) },
		"SomeServices": func() ([]platform.Service, error) { return cluster.SomeServices([]flux.ServiceID{here, there}) },
	} {
		found, err := call()
		require.ErrorContains(t, err, hidden, name)
		excuses := map[flux.ServiceID]string{}
		for _, s := range found {
			excuses[s.ID] = s.Containers.Excuse
		}
		assert.Equal(t, map[flux.ServiceID]string{
			here: platform.ErrNoMatching.Error(), there: platform.ErrNoMatching.Error() + " among those that could be seen: " + hidden,
		}, excuses, name)
	}
}

// However many services there are, a listing takes one list for each kind.
func TestServicesTakeOneListForEachKind(t *testing.T) {
	w := newEnv(t, kubernetes.Options{})
	var all []platform.SyncAction
	for _, name := range []string{"a", "b", "c", "d", "e"} {
		all = append(all, apply(name, deployment(name, "example.com/app:1"), service(name, name)))
	}
	require.NoError(t, w.Sync(def(all...)))
	config := w.cp.Config()
	var (
		mu       sync.Mutex
		requests []string // guarded by mu
	)
	config.WrapTransport = func(next http.RoundTripper) http.RoundTripper {
		return roundTripper(func(r *http.Request) (*http.Response, error) {
			mu.Lock()
			defer mu.Unlock()
			requests = append(requests, r.Method+" "+r.URL.Path)
			assert.Contains(t, r.Header.Get("Accept"), "protobuf")
			return next.RoundTrip(r)
		})
	}
	found, err := w.as(t, config, kubernetes.Options{}).AllServices("", nil)
	require.NoError(t, err)
	assert.GreaterOrEqual(t, len(found), 5)
	slices.Sort(requests)
	requests = slices.DeleteFunc(requests, func(r string) bool { return strings.HasSuffix(r, "/pods") }) // only while some are not ready
	assert.Equal(t, []string{
		"GET /api/v1/replicationcontrollers", "GET /api/v1/services", "GET /apis/apps/v1/daemonsets",
		"GET /apis/apps/v1/deployments", "GET /apis/apps/v1/replicasets", "GET /apis/apps/v1/statefulsets",
	}, requests)
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
