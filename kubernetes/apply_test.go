package kubernetes_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/platformbus/platform"
	"github.com/platformbus/platform/flux"
	"github.com/platformbus/platform/internal/controlplane"
	"github.com/platformbus/platform/kubernetes"
)

func TestApplyRollsOut(t *testing.T) {
	w := newEnv(t, kubernetes.Options{})
	require.NoError(t, w.Sync(def(apply("all", deployment("web", "example.com/web:1"), service("web", "web"), deployment("db", "example.com/db:1"), service("db", "db")))))
	require.NoError(t, w.Apply([]platform.ServiceDefinition{
		{ServiceID: w.id("web"), NewDefinition: []byte(deployment("web", "example.com/web:2"))},
		{ServiceID: w.id("db"), NewDefinition: []byte(deployment("db", "example.com/db:2"))},
	}))
	for _, name := range []string{"web", "db"} {
		d := live(t, w.client.AppsV1().Deployments(w.namespace).Get, name)
		assert.Equal(t, "example.com/"+name+":2", d.Spec.Template.Spec.Containers[0].Image)
		assert.Equal(t, d.Generation, d.Status.ObservedGeneration)
		assert.EqualValues(t, 2, d.Status.UpdatedReplicas)
		assert.EqualValues(t, 2, d.Status.AvailableReplicas)
		assert.EqualValues(t, 2, d.Status.Replicas)
	}
	services, err := w.SomeServices([]flux.ServiceID{w.id("web")})
	require.NoError(t, err)
	assert.Equal(t, "ready", services[0].Status)
}

func (w env) id(name string) flux.ServiceID { return flux.MakeServiceID(w.namespace, name) }

func statefulSet(name, image string) string {
	return strings.NewReplacer("kind: Deployment", "kind: StatefulSet", "  progressDeadlineSeconds: 3\n", "").Replace(deployment(name, image))
}

func daemonSet(name, image string) string {
	return strings.NewReplacer("kind: Deployment", "kind: DaemonSet", "  progressDeadlineSeconds: 3\n", "", "  replicas: 2\n", "").Replace(deployment(name, image))
}

func replicaSet(name, image string) string {
	return strings.NewReplacer("kind: Deployment", "kind: ReplicaSet", "  progressDeadlineSeconds: 3\n", "").Replace(deployment(name, image))
}

func replicationController(name, image string) string {
	return strings.NewReplacer("apps/v1", "v1", "kind: Deployment", "kind: ReplicationController", "  progressDeadlineSeconds: 3\n", "", "{matchLabels: {app: "+name+"}}", "{app: "+name+"}").Replace(deployment(name, image))
}

func TestApplyEveryKindOfPodController(t *testing.T) {
	w := newEnv(t, kubernetes.Options{})
	makers := map[string]func(name, image string) string{
		"deployment": deployment, "statefulset": statefulSet, "daemonset": daemonSet, "replicaset": replicaSet, "replicationcontroller": replicationController,
	}
	var all []platform.SyncAction
	var defs []platform.ServiceDefinition
	for name, maker := range makers {
		all = append(all, apply(name, maker(name, "example.com/app:1"), service(name, name)))
		defs = append(defs, platform.ServiceDefinition{ServiceID: w.id(name), NewDefinition: []byte(maker(name, "example.com/app:2"))})
	}
	require.NoError(t, w.Sync(def(all...)))
	require.NoError(t, w.Apply(defs))
	services, err := w.AllServices(w.namespace, nil)
	require.NoError(t, err)
	require.Len(t, services, len(makers))
	for _, s := range services {
		containers, err := s.ContainersOrError()
		require.NoError(t, err, s.ID)
		assert.Equal(t, []platform.Container{{Name: "main", Image: "example.com/app:2"}}, containers, s.ID)
		assert.Equal(t, "ready", s.Status, s.ID)
	}
}

// A rollout that cannot succeed fails as soon as the controller says so, with what its
// pods say; another service is not held up, nor one that is not to be waited for.
func TestApplyStalledRollout(t *testing.T) {
	w := newEnv(t, kubernetes.Options{})
	missing := "example.com/web:" + controlplane.MissingTag
	for _, name := range []string{"good", "bad", "later"} {
		require.NoError(t, w.Sync(def(apply(name, deployment(name, "example.com/web:1"), service(name, name)))))
	}
	err := w.Apply([]platform.ServiceDefinition{
		{ServiceID: w.id("bad"), NewDefinition: []byte(deployment("bad", missing))},
		{ServiceID: w.id("later"), NewDefinition: []byte(deployment("later", missing)), Async: true},
		{ServiceID: w.id("good"), NewDefinition: []byte(deployment("good", "example.com/web:2"))},
	})
	got := applyErrors(t, err)
	require.Len(t, got, 1, "%v", got)
	text := got[w.id("bad")]
	assert.Contains(t, text, "roll out Deployment "+w.namespace+"/bad: stalled: ProgressDeadlineExceeded")
	assert.Contains(t, text, "container main ("+missing+"): ImagePullBackOff")
}

// Where nobody says that a rollout is stalled, the time limit does, and what was awaited.
func TestApplyTimesOut(t *testing.T) {
	w := newEnv(t, kubernetes.Options{Timeout: 2 * time.Second})
	require.NoError(t, w.Sync(def(apply("web", statefulSet("web", "example.com/web:1"), service("web", "web")))))
	got := applyErrors(t, w.Apply([]platform.ServiceDefinition{
		{ServiceID: w.id("web"), NewDefinition: []byte(statefulSet("web", "example.com/web:"+controlplane.MissingTag))},
	}))
	text := got[w.id("web")]
	assert.Contains(t, text, "roll out StatefulSet "+w.namespace+"/web: the call took longer than 2s")
	assert.Contains(t, text, "ImagePullBackOff")
}

func applyErrors(t *testing.T, err error) map[flux.ServiceID]string {
	t.Helper()
	var failed platform.ApplyError
	require.ErrorAs(t, err, &failed)
	texts := map[flux.ServiceID]string{}
	for id, err := range failed {
		texts[id] = err.Error()
	}
	return texts
}

func TestApplyErrors(t *testing.T) {
	w := newEnv(t, kubernetes.Options{})
	external := "apiVersion: v1\nkind: Service\nmetadata: {name: external}\nspec: {type: ExternalName, externalName: example.com}"
	bare := "apiVersion: v1\nkind: Service\nmetadata: {name: bare}\nspec: {ports: [{port: 80}]}"
	require.NoError(t, w.Sync(def(
		apply("web", deployment("web", "example.com/web:1"), service("web", "web")),
		apply("other services", external, bare, service("lonely", "lonely"), service("torn", "torn")),
		apply("two of an app", strings.Replace(deployment("torn", "example.com/t:1"), "name: torn", "name: torn-a", 1), strings.Replace(deployment("torn", "example.com/t:1"), "name: torn", "name: torn-b", 1)),
	)))
	web := deployment("web", "example.com/web:2")
	for _, c := range []struct {
		service    flux.ServiceID
		definition string
		is         error
		says       string
	}{
		{w.id("missing"), web, platform.ErrNoMatchingService, ""},
		{"nowhere/web", web, platform.ErrNoMatchingService, ""},
		{w.id("external"), web, platform.ErrServiceHasNoSelector, ""},
		{w.id("bare"), web, platform.ErrEmptySelector, ""},
		{w.id("lonely"), web, platform.ErrNoMatching, ""},
		{w.id("torn"), web, platform.ErrMultipleMatching, "Deployment torn-a, Deployment torn-b"},
		{w.id("web"), configMap("web", "1"), platform.ErrWrongResourceKind, "the definition is of ConfigMap"},
		{w.id("web"), deployment("other", "example.com/web:2"), platform.ErrWrongResourceKind, "/other"},
		{w.id("web"), statefulSet("web", "example.com/web:2"), platform.ErrWrongResourceKind, "StatefulSet"},
		{w.id("web"), strings.Replace(web, "name: web", "name: web, namespace: elsewhere", 1), platform.ErrWrongResourceKind, "elsewhere/web"},
		{w.id("web"), "kind: [", nil, "read the definition: document at line 1"},
		{w.id("web"), "", nil, "want one object, got 0"},
		{w.id("web"), web + "\n---\n" + web, nil, "want one object, got 2"},
		{w.id("web"), strings.Replace(web, "apps/v1", "apps/v1beta1", 1), nil, "the cluster has no kind Deployment in apps/v1beta1; it has one in apps/v1"},
		{w.id("web"), strings.Replace(web, "replicas: 2", "replicas: many", 1), nil, "replicas"},
		{"no-slash", web, nil, `service ID "no-slash"`},
	} {
		t.Run(fmt.Sprint(c.service, c.is, c.says), func(t *testing.T) {
			err := w.Apply([]platform.ServiceDefinition{{ServiceID: c.service, NewDefinition: []byte(c.definition)}})
			text, ok := applyErrors(t, err)[c.service]
			require.True(t, ok, "the entry is of the service: %v", err)
			if c.is != nil {
				require.ErrorIs(t, err, c.is)
			}
			assert.Contains(t, text, c.says)
			assert.NotContains(t, text, "\n", "one line")
		})
	}
	assert.Equal(t, "example.com/web:1", live(t, w.client.AppsV1().Deployments(w.namespace).Get, "web").Spec.Template.Spec.Containers[0].Image)
	require.NoError(t, w.Apply(nil))
}

// Two definitions of one service are applied in their order, and an error of one does not
// hide that of the other.
func TestApplyTwoDefinitionsOfOneService(t *testing.T) {
	w := newEnv(t, kubernetes.Options{})
	require.NoError(t, w.Sync(def(apply("web", deployment("web", "example.com/web:1"), service("web", "web")))))
	got := applyErrors(t, w.Apply([]platform.ServiceDefinition{
		{ServiceID: w.id("web"), NewDefinition: []byte("kind: [")},
		{ServiceID: w.id("web"), NewDefinition: []byte(deployment("web", "example.com/web:2"))},
		{ServiceID: w.id("web"), NewDefinition: []byte(deployment("web", "example.com/web:3"))},
		{ServiceID: w.id("web"), NewDefinition: []byte("")},
	}))
	assert.Contains(t, got[w.id("web")], "did not find expected node content")
	assert.Contains(t, got[w.id("web")], "want one object, got 0")
	assert.Equal(t, "example.com/web:3", live(t, w.client.AppsV1().Deployments(w.namespace).Get, "web").Spec.Template.Spec.Containers[0].Image)
}
