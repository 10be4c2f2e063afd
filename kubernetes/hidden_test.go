package kubernetes_test

import (
	"context"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/platformbus/platform"
	"github.com/platformbus/platform/flux"
	"github.com/platformbus/platform/kubernetes"
	"github.com/platformbus/platform/kubernetes/manifest"
)

// readable are the rules of one who may read what a listing needs.
func readable(except ...string) []rbacv1.PolicyRule {
	without := func(resources ...string) []string {
		return slices.DeleteFunc(resources, func(r string) bool { return slices.Contains(except, r) })
	}
	return []rbacv1.PolicyRule{
		{APIGroups: []string{""}, Resources: without("services", "replicationcontrollers", "pods", "namespaces"), Verbs: []string{"get", "list"}},
		{APIGroups: []string{"apps"}, Resources: without("deployments", "statefulsets", "daemonsets", "replicasets"), Verbs: []string{"get", "list"}},
	}
}

// userWith returns a Cluster seen by a user with rules in some namespaces, or in all of
// them if none is given.
func (w env) userWith(t *testing.T, name string, options kubernetes.Options, rules []rbacv1.PolicyRule, namespaces ...string) *kubernetes.Cluster {
	t.Helper()
	user := name + "-" + w.namespace
	subjects := []rbacv1.Subject{{Kind: "User", APIGroup: rbacv1.GroupName, Name: user}}
	meta := metav1.ObjectMeta{Name: user}
	role := &rbacv1.ClusterRole{ObjectMeta: meta, Rules: rules}
	_, err := w.client.RbacV1().ClusterRoles().Create(t.Context(), role, metav1.CreateOptions{})
	require.NoError(t, err)
	t.Cleanup(func() {
		assert.NoError(t, w.client.RbacV1().ClusterRoles().Delete(context.Background(), user, metav1.DeleteOptions{}))
	})
	ref := rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: user}
	if len(namespaces) == 0 {
		_, err := w.client.RbacV1().ClusterRoleBindings().Create(t.Context(), &rbacv1.ClusterRoleBinding{ObjectMeta: meta, RoleRef: ref, Subjects: subjects}, metav1.CreateOptions{})
		require.NoError(t, err)
		t.Cleanup(func() {
			assert.NoError(t, w.client.RbacV1().ClusterRoleBindings().Delete(context.Background(), user, metav1.DeleteOptions{}))
		})
	}
	for _, namespace := range namespaces {
		_, err := w.client.RbacV1().RoleBindings(namespace).Create(t.Context(), &rbacv1.RoleBinding{ObjectMeta: meta, RoleRef: ref, Subjects: subjects}, metav1.CreateOptions{})
		require.NoError(t, err)
	}
	config, err := w.cp.ConfigFor(user)
	require.NoError(t, err)
	return w.as(t, config, options)
}

func ids(services []platform.Service) []flux.ServiceID {
	var all []flux.ServiceID
	for _, s := range sorted(services) {
		all = append(all, s.ID)
	}
	return all
}

// What a listing shows, and what it says it cannot show, with the rights that people
// really have.
func TestListingSaysWhatIsHidden(t *testing.T) {
	w := newEnv(t, kubernetes.Options{})
	second, third := w.cp.Namespace(t), w.cp.Namespace(t)
	for _, namespace := range []string{w.namespace, second, third} {
		require.NoError(t, w.Sync(def(
			apply("web", in(namespace, deployment("web", "example.com/web:1")), in(namespace, service("web", "web"))),
			apply("db", in(namespace, statefulSet("db", "example.com/db:1")), in(namespace, service("db", "db"))),
		)))
	}
	of := func(namespaces ...string) (all []flux.ServiceID) {
		slices.Sort(namespaces)
		for _, n := range namespaces {
			all = append(all, flux.MakeServiceID(n, "db"), flux.MakeServiceID(n, "web"))
		}
		return all
	}
	all := kubernetes.Options{Namespaces: []string{"t-listingsays*"}}
	// The API server learns of new rights a moment later.
	list := func(c *kubernetes.Cluster, enough func([]platform.Service) bool) (found []platform.Service, err error) {
		require.Eventually(t, func() bool {
			found, err = c.AllServices("", nil)
			return enough(found)
		}, testLimit, testTick)
		return found, err
	}
	count := func(n int) func([]platform.Service) bool {
		return func(found []platform.Service) bool { return len(found) == n }
	}

	t.Run("a reader of everything", func(t *testing.T) {
		found, err := list(w.userWith(t, "reader", all, readable()), count(6))
		require.NoError(t, err)
		assert.Equal(t, of(w.namespace, second, third), ids(found))
	})
	t.Run("two namespaces only, named", func(t *testing.T) {
		named := kubernetes.Options{Namespaces: []string{w.namespace, second}}
		c := w.userWith(t, "two", named, readable(), w.namespace, second)
		found, err := list(c, count(4))
		require.NoError(t, err)
		assert.Equal(t, of(w.namespace, second), ids(found))

		_, err = c.AllServices(third, nil)
		require.Error(t, err)
		assert.Contains(t, err.Error(), fmt.Sprintf("namespace %q is not one of those that are offered", third))
		some, err := c.SomeServices([]flux.ServiceID{flux.MakeServiceID(second, "web"), flux.MakeServiceID(third, "web")})
		require.NoError(t, err)
		assert.Equal(t, []flux.ServiceID{flux.MakeServiceID(second, "web")}, ids(some))
	})
	t.Run("one of the namespaces named is forbidden", func(t *testing.T) {
		named := kubernetes.Options{Namespaces: []string{w.namespace, third}}
		found, err := list(w.userWith(t, "one", named, readable(), w.namespace), count(2))
		assert.Equal(t, of(w.namespace), ids(found))
		require.Error(t, err)
		assert.Contains(t, err.Error(), "list services in namespace "+third+": services is forbidden")
		assert.NotContains(t, err.Error(), "in namespace "+w.namespace)
	})
	t.Run("two namespaces only, not named", func(t *testing.T) {
		c := w.userWith(t, "unnamed", all, readable(), w.namespace, second)
		_, err := c.AllServices("", nil)
		require.Error(t, err)
		assert.Contains(t, err.Error(), "list services: services is forbidden")
		assert.Contains(t, err.Error(), "Options.Namespaces can name those to look at")
		var found []platform.Service
		require.Eventually(t, func() bool {
			found, err = c.AllServices(second, nil)
			return err == nil
		}, testLimit, testTick)
		assert.Equal(t, of(second), ids(found))
	})
	t.Run("the names of namespaces, and the content of one", func(t *testing.T) {
		c := w.userWith(t, "names", all, []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"namespaces"}, Verbs: []string{"get", "list"}}})
		require.NoError(t, w.bind(t, "names-"+w.namespace, second))
		found, err := list(c, count(2))
		assert.Equal(t, of(second), ids(found))
		require.Error(t, err)
		assert.Contains(t, err.Error(), "list services in namespace "+third+": services is forbidden")
	})
	t.Run("the names of namespaces, none of which is offered", func(t *testing.T) {
		rules := []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"namespaces"}, Verbs: []string{"list"}}}
		c := w.userWith(t, "stranger", kubernetes.Options{Namespaces: []string{w.namespace + "-none*"}}, rules)
		require.Eventually(t, func() bool {
			found, err := c.AllServices("", nil)
			return err == nil && len(found) == 0
		}, testLimit, testTick)
	})
	t.Run("the namespaces cannot be listed at the moment", func(t *testing.T) {
		c, _ := w.recorded(t, kubernetes.Options{}, func(r *http.Request, next http.RoundTripper) (*http.Response, error) {
			switch r.URL.Path {
			case "/api/v1/services":
				return refusal(r, http.StatusForbidden, metav1.StatusReasonForbidden, "services is forbidden"), nil
			case "/api/v1/namespaces":
				return refusal(r, http.StatusInternalServerError, "", "etcd is broken"), nil
			}
			return next.RoundTrip(r)
		})
		_, err := c.AllServices("", nil)
		require.ErrorContains(t, err, "list services: services is forbidden; list namespaces: etcd is broken")
	})
	t.Run("no StatefulSets", func(t *testing.T) {
		found, err := list(w.userWith(t, "stateless", all, readable("statefulsets")), count(6))
		require.Error(t, err)
		assert.Contains(t, err.Error(), "list statefulsets: statefulsets.apps is forbidden")
		for _, s := range found {
			_, name := s.ID.Components()
			if name == "db" {
				assert.Contains(t, s.Containers.Excuse, "list statefulsets: statefulsets.apps is forbidden", s.ID)
			} else {
				assert.Empty(t, s.Containers.Excuse, s.ID)
			}
		}
	})
	t.Run("nothing at all", func(t *testing.T) {
		found, err := w.userWith(t, "nobody", all, nil).AllServices("", nil)
		require.Error(t, err)
		assert.Empty(t, found)
		var helpful flux.HelpfulError
		require.ErrorAs(t, err, &helpful)
		assert.Contains(t, helpful.Base().Help, "permission")
		assert.True(t, apierrors.IsForbidden(err))
	})
	t.Run("patterns", func(t *testing.T) {
		found, err := w.as(t, w.cp.Config(), kubernetes.Options{Namespaces: all.Namespaces, ExcludeNamespaces: []string{second}}).AllServices("", nil)
		require.NoError(t, err)
		assert.Equal(t, of(w.namespace, third), ids(found))
	})
}

// bind lets a user read everything in a namespace.
func (w env) bind(t *testing.T, user, namespace string) error {
	_, err := w.client.RbacV1().RoleBindings(namespace).Create(t.Context(), &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: user},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "view"},
		Subjects:   []rbacv1.Subject{{Kind: "User", APIGroup: rbacv1.GroupName, Name: user}},
	}, metav1.CreateOptions{})
	return err
}

// A group whose server is down hides its own kinds only.
func TestBrokenAggregatedAPI(t *testing.T) {
	w := newEnv(t, kubernetes.Options{})
	group := "broken-" + w.namespace + ".example.com"
	apiService := fmt.Sprintf(`
apiVersion: apiregistration.k8s.io/v1
kind: APIService
metadata: {name: v1.%[1]s}
spec: {group: %[1]s, version: v1, groupPriorityMinimum: 100, versionPriority: 100, insecureSkipTLSVerify: true, service: {name: nobody, namespace: %[2]s}}
`, group, w.namespace)
	require.NoError(t, w.Sync(def(apply("api", apiService), apply("web", deployment("web", "example.com/web:1"), service("web", "web")))))
	t.Cleanup(func() { assert.NoError(t, w.Sync(def(remove("api", apiService)))) })

	fresh := w.as(t, w.cp.Config(), kubernetes.Options{Namespace: w.namespace})
	require.Eventually(t, func() bool { // until the API server has noticed
		current, err := fresh.Export()
		return err == nil && strings.Contains(string(current), "# Not exported: "+group)
	}, testLimit, testTick)
	err := fresh.Sync(def(
		apply("good", configMap("good", "1")),
		apply("of the broken group", "apiVersion: "+group+"/v1\nkind: Thing\nmetadata: {name: a}"),
		remove("deleted from the broken group", "apiVersion: "+group+"/v1\nkind: Thing\nmetadata: {name: a}"),
	))
	got := syncErrors(t, err)
	assert.Len(t, got, 2, "what is broken may hide what is to be deleted: %v", got)
	for id, text := range got {
		assert.Contains(t, text, "Thing a: the cluster", id)
	}
	found, err := fresh.AllServices(w.namespace, nil)
	require.NoError(t, err)
	assert.Len(t, found, 1)
	data, err := fresh.Export()
	require.NoError(t, err)
	assert.Regexp(t, `(?m)^# Not exported: `+regexp.QuoteMeta(group)+`/v1: .+$`, string(data), "what is not there is said")
	assert.Contains(t, string(data), "name: good")

	// A loop beside it applies what it can, deletes what it knows, and takes the APIService away.
	set := "set-" + w.namespace
	loop := func(text string) (manifest.Report, error) {
		t.Helper()
		current, err := fresh.Export()
		require.NoError(t, err)
		d, report, err := manifest.Plan(current, parsed(t, text), manifest.PlanOptions{SyncSet: set, Namespace: w.namespace, DeleteBudget: 10, AllowDeleteNamespaces: true})
		require.NoError(t, err)
		return report, fresh.Sync(d)
	}
	namespace := "\n---\napiVersion: v1\nkind: Namespace\nmetadata: {name: " + w.namespace + "-b}"
	thing := "\n---\napiVersion: " + group + "/v1\nkind: Thing\nmetadata: {name: a}"
	report, err := loop(configMap("kept", "1") + "\n---\n" + configMap("gone", "1") + namespace + "\n---" + apiService + thing)
	assert.Len(t, syncErrors(t, err), 1, "%v", err)
	require.Len(t, report.Unseen, 1, "%s", report)
	assert.Contains(t, report.Unseen[0].Why, "the export could not show "+group+"/v1 (")
	report, err = loop(configMap("kept", "2"))
	require.NoError(t, err)
	assert.Len(t, report.Change, 1, "%s", report)
	assert.Len(t, report.Delete, 2, "the map and the APIService: %s", report)
	require.Len(t, report.Refused, 1, "nothing can be known of what is in the namespace: %s", report)
	assert.Contains(t, report.String(), "Note: the export could not show "+group+"/v1 (")
	require.Eventually(t, func() bool { // until the API server has noticed
		current, err := fresh.Export()
		return err == nil && !strings.Contains(string(current), "# Not exported")
	}, testLimit, testTick)
	report, err = loop(configMap("kept", "2"))
	require.NoError(t, err)
	assert.Len(t, report.Delete, 1, "%s", report)
	report, err = loop(configMap("kept", "2"))
	require.NoError(t, err)
	assert.True(t, report.Empty(), "%s", report)
}

// A kind whose objects cannot be listed hides what is of its group, and keeps no call waiting.
func TestGroupThatCannotBeListed(t *testing.T) {
	w := newEnv(t, kubernetes.Options{})
	definition, object := crd(w.namespace, "Gadget")
	group := w.namespace + ".example.com"
	text := definition + "\n---\n" + object + "\n---\n" + configMap("good", "1")
	w.removedAtEnd(t, definition)
	planned(t, w.Cluster, w.namespace, text)
	answers := map[string]func(r *http.Request) (*http.Response, error){
		"a dead conversion webhook": func(r *http.Request) (*http.Response, error) {
			return refusal(r, http.StatusInternalServerError, metav1.StatusReasonInternalError, "conversion webhook for "+group+"/v1, Kind=Gadget failed: Post \"https://nobody\":\n# Secrets left out: 7\ndial tcp: connection refused"), nil
		},
		"a dead server": func(r *http.Request) (*http.Response, error) {
			return refusal(r, http.StatusServiceUnavailable, metav1.StatusReasonServiceUnavailable, "error trying to reach service"), nil
		},
		"a broken object": func(r *http.Request) (*http.Response, error) {
			return refusal(r, http.StatusInternalServerError, metav1.StatusReasonInternalError, "illegal base64 data"), nil
		},
		"a server that does not answer": func(r *http.Request) (*http.Response, error) {
			<-r.Context().Done()
			return nil, r.Context().Err()
		},
	}
	for name, answer := range answers {
		t.Run(name, func(t *testing.T) {
			broken, _ := w.recorded(t, kubernetes.Options{Namespaces: []string{w.namespace}, RequestTimeout: 4 * time.Second}, func(r *http.Request, next http.RoundTripper) (*http.Response, error) {
				if strings.HasPrefix(r.URL.Path, "/apis/"+group+"/v1/") && r.Method == http.MethodGet {
					return answer(r)
				}
				return next.RoundTrip(r)
			})
			current, err := broken.Export()
			require.NoError(t, err)
			assert.Regexp(t, `^# Not exported: `+regexp.QuoteMeta(group)+`/v1: list gadgets\.`, string(current))
			assert.NotContains(t, string(current), "\n#", "one line")
			assert.Contains(t, string(current), "name: good")
			_, report, err := manifest.Plan(current, parsed(t, text), manifest.PlanOptions{SyncSet: w.namespace, Namespace: w.namespace})
			require.NoError(t, err)
			require.Len(t, report.Unseen, 1, "%s", report)
			assert.Equal(t, 2, report.Unchanged)
			_, report, err = manifest.Plan(current, nil, manifest.PlanOptions{SyncSet: w.namespace, Namespace: w.namespace, AllowDeleteCRDs: true, DeleteBudget: 10})
			require.NoError(t, err)
			assert.Len(t, report.Delete, 1, "%s", report)
			require.Len(t, report.Refused, 1, "the definition of the kind: %s", report)
			assert.Contains(t, report.Refused[0].Why, group)
		})
	}
	t.Run("forbidden", func(t *testing.T) {
		broken, _ := w.recorded(t, kubernetes.Options{}, func(r *http.Request, next http.RoundTripper) (*http.Response, error) {
			if strings.HasPrefix(r.URL.Path, "/apis/"+group+"/v1/") {
				return refusal(r, http.StatusForbidden, metav1.StatusReasonForbidden, "not for you"), nil
			}
			return next.RoundTrip(r)
		})
		current, err := broken.Export()
		require.Error(t, err)
		assert.Contains(t, err.Error(), "list gadgets."+group)
		assert.NotContains(t, string(current), "# Not exported")
		assert.Contains(t, string(current), "name: good")
	})
	t.Run("Kubernetes' own", func(t *testing.T) {
		var asked atomic.Int32
		broken, _ := w.recorded(t, kubernetes.Options{}, func(r *http.Request, next http.RoundTripper) (*http.Response, error) {
			if r.URL.Path == "/apis/apps/v1/deployments" && asked.Add(1) <= 3 {
				return refusal(r, http.StatusServiceUnavailable, metav1.StatusReasonServiceUnavailable, "a moment"), nil
			}
			return next.RoundTrip(r)
		})
		current, err := broken.Export()
		require.NoError(t, err)
		assert.Greater(t, asked.Load(), int32(3))
		assert.NotContains(t, string(current), "# Not exported")
	})
}

// A namespace on its way out is no reason to fail.
func TestNamespaceBeingDeleted(t *testing.T) {
	w := newEnv(t, kubernetes.Options{})
	require.NoError(t, w.Sync(def(apply("held", heldMap("held")), apply("web", deployment("web", "example.com/web:1"), service("web", "web")))))
	require.NoError(t, w.client.CoreV1().Namespaces().Delete(t.Context(), w.namespace, metav1.DeleteOptions{}))
	t.Cleanup(func() { w.letGo(t, "held") })
	_, err := w.AllServices("", nil)
	require.NoError(t, err)
	got := syncErrors(t, w.Sync(def(apply("late", configMap("late", "1")))))
	assert.Contains(t, got["late"], "because it is being terminated")
	data, err := w.Export()
	require.NoError(t, err)
	assert.NotContains(t, string(data), "name: "+w.namespace+"\n---")
}
