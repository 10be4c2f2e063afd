package kubernetes_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/platformbus/platform/kubernetes"
	"github.com/platformbus/platform/kubernetes/manifest"
)

// The files in testdata/cases are small inputs with which this library once did the wrong
// thing.

// readCase returns a file of testdata/cases.
func (w env) readCase(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile("testdata/cases/" + name + ".yaml")
	require.NoError(t, err)
	return strings.ReplaceAll(string(text), "NAMESPACE", w.namespace)
}

// sameAgain checks that to sync what was synced sends nothing, neither with the Cluster that
// has synced it nor with a new one.
func (w env) sameAgain(t *testing.T, cluster *kubernetes.Cluster, requests *recordingTransport, texts ...string) {
	t.Helper()
	cold, coldRequests := w.recorded(t, kubernetes.Options{}, nil)
	requests.take("")
	require.NoError(t, cluster.Sync(def(apply("again", texts...))))
	warmPatches := requests.take("PATCH")
	require.NoError(t, cold.Sync(def(apply("again", texts...))))
	coldPatches := coldRequests.take("PATCH")
	assert.Empty(t, warmPatches, "warm")
	assert.Empty(t, coldPatches, "cold")
	t.Logf("patches of a second Sync: %d warm, %d cold", len(warmPatches), len(coldPatches))
}

// planEmpty checks that what was synced by a plan is planned no more, and returns the Export.
func (w env) planEmpty(t *testing.T, options kubernetes.Options, text string) string {
	t.Helper()
	options.Namespaces = []string{w.namespace}
	cluster, _ := w.recorded(t, options, nil)
	objects, err := manifest.Parse([]byte(text))
	require.NoError(t, err)
	for round := range 3 {
		current, err := cluster.Export()
		require.NoError(t, err)
		def, report, err := manifest.Plan(current, objects, manifest.PlanOptions{SyncSet: "set-" + w.namespace, Namespace: w.namespace})
		require.NoError(t, err)
		require.NoError(t, cluster.Sync(def))
		if round > 0 {
			assert.True(t, report.Empty(), "%s", report)
			assert.Empty(t, def.Actions)
		}
		if round == 2 {
			return string(current)
		}
	}
	return ""
}

// Each can be synced, and costs nothing from then on.
func TestCasesCostNothing(t *testing.T) {
	for _, name := range []string{
		"01-aggregated-role", "02-merge-override", "04a-stringdata", "04b-stringdata", "05a-crd", "05e-crd", "06-endpoints", "07-sa-token-secret",
		"09a-strategy", "09b-strategy", "15-nulls", "29c-job-env", "37-service-account-false", "38-crd-and-objects", "47-service-empty",
		"52a-handover", "52b-handover",
	} {
		t.Run(name, func(t *testing.T) {
			w := newEnv(t, kubernetes.Options{})
			cluster, requests := w.recorded(t, kubernetes.Options{}, nil)
			text := w.readCase(t, name)
			w.removedAtEnd(t, text)
			require.NoError(t, cluster.Sync(def(apply("case", text))))
			w.settle(t)
			w.sameAgain(t, cluster, requests, text)
		})
	}
}

// settle waits until the control plane has written what it writes by itself about the objects
// of the cases.
func (w env) settle(t *testing.T) {
	t.Helper()
	sets, err := w.client.AppsV1().Deployments(w.namespace).List(t.Context(), metav1.ListOptions{})
	require.NoError(t, err)
	for _, d := range sets.Items {
		require.Eventually(t, func() bool {
			now := live(t, w.client.AppsV1().Deployments(w.namespace).Get, d.Name)
			return now.Status.AvailableReplicas > 0 && now.Status.ObservedGeneration == now.Generation
		}, testLimit, testTick)
	}
}

func TestCaseOfAnAggregatedRole(t *testing.T) {
	w := newEnv(t, kubernetes.Options{})
	text := w.readCase(t, "01-aggregated-role")
	w.removedAtEnd(t, text)
	filled := func() bool {
		role, err := w.client.RbacV1().ClusterRoles().Get(t.Context(), w.namespace+"-all-viewers", metav1.GetOptions{})
		return err == nil && len(role.Rules) > 0
	}
	cluster, requests := w.recorded(t, kubernetes.Options{}, nil)
	require.NoError(t, cluster.Sync(def(apply("role", text))))
	require.Eventually(t, filled, testLimit, testTick)
	for _, form := range []string{"rules: [] # filled in by the control plane", "rules: null", ""} {
		text := strings.Replace(text, "rules: [] # filled in by the control plane", form, 1)
		require.NoError(t, cluster.Sync(def(apply("role", text))))
		assert.True(t, filled(), "%q", form)
		w.sameAgain(t, cluster, requests, text)
		exported := w.planEmpty(t, kubernetes.Options{}, text)
		assert.True(t, filled(), "%q", form)
		for _, o := range parsed(t, exported) {
			if o.GetName() == w.namespace+"-all-viewers" {
				assert.NotContains(t, o.Object, "rules")
			}
		}
	}
}

func parsed(t *testing.T, text string) []manifest.Object {
	t.Helper()
	objects, err := manifest.Parse([]byte(text))
	require.NoError(t, err)
	return objects
}

func TestCaseOfAMergedContainer(t *testing.T) {
	w := newEnv(t, kubernetes.Options{})
	text := w.readCase(t, "02-merge-override")
	require.NoError(t, w.Sync(def(apply("pair", text))))
	containers := func() string {
		var all []string
		for _, c := range live(t, w.client.AppsV1().Deployments(w.namespace).Get, "pair").Spec.Template.Spec.Containers {
			all = append(all, c.Name+" "+c.Image)
		}
		return strings.Join(all, ", ")
	}
	assert.Equal(t, "main example.com/pair:1, side example.com/pair:1", containers())
	for name, want := range map[string]string{
		"main": "main example.com/pair:2, side example.com/pair:1", "side": "main example.com/pair:1, side example.com/pair:2",
	} {
		changed, err := manifest.SetImages([]byte(text), map[string]string{name: "example.com/pair:2"})
		require.NoError(t, err)
		require.NoError(t, w.Sync(def(apply("pair", string(changed)))))
		assert.Equal(t, want, containers())
	}
}

func TestCaseOfStringData(t *testing.T) {
	w := newEnv(t, kubernetes.Options{})
	cluster, requests := w.recorded(t, kubernetes.Options{}, nil)
	data := func() map[string][]byte { return live(t, w.client.CoreV1().Secrets(w.namespace).Get, "login").Data }
	require.NoError(t, cluster.Sync(def(apply("login", w.readCase(t, "04a-stringdata")))))
	assert.Equal(t, map[string][]byte{"user": []byte("ann"), "token": []byte("old")}, data())
	require.NoError(t, cluster.Sync(def(apply("login", w.readCase(t, "04b-stringdata")))))
	assert.Equal(t, map[string][]byte{"user": []byte("ann")}, data())

	mixed := w.readCase(t, "04a-stringdata") + "data: {other: " + base64.StdEncoding.EncodeToString([]byte("x")) + ", token: AAAA}\n"
	require.NoError(t, cluster.Sync(def(apply("login", mixed))))
	assert.Equal(t, map[string][]byte{"user": []byte("ann"), "token": []byte("old"), "other": []byte("x")}, data())
	w.sameAgain(t, cluster, requests, mixed)
	require.NoError(t, cluster.Sync(def(apply("login", w.readCase(t, "04b-stringdata")))))
	assert.Equal(t, map[string][]byte{"user": []byte("ann")}, data())
	w.planEmpty(t, kubernetes.Options{ExportSecrets: true}, mixed)
}

// A custom resource moves to another version of its kind.
func TestCaseOfVersions(t *testing.T) {
	w := newEnv(t, kubernetes.Options{})
	cluster, requests := w.recorded(t, kubernetes.Options{}, nil)
	w.removedAtEnd(t, w.readCase(t, "05a-crd"), w.readCase(t, "05e-crd"))
	require.NoError(t, cluster.Sync(def(apply("crd", w.readCase(t, "05a-crd"), w.readCase(t, "05b-boat-beta")))))
	// As their operators' guides say, what is stored is written anew before a version goes.
	_, patch := mergePatch(t, map[string]any{"status": map[string]any{"storedVersions": []string{"v1"}}})
	_, err := w.dynamic(t).Resource(definitions).Patch(t.Context(), "boats."+w.namespace+".example.com", types.MergePatchType, patch, metav1.PatchOptions{}, "status")
	require.NoError(t, err)
	upgraded := []string{w.readCase(t, "05c-crd-without-beta"), w.readCase(t, "05d-boat-v1")}
	require.NoError(t, cluster.Sync(def(apply("boats", upgraded...))))
	boat := w.object(t, w.own("boats"), "one")
	assert.Equal(t, map[string]any{"sails": int64(3)}, boat.Object["spec"], "what the later definition leaves out is gone")
	w.sameAgain(t, cluster, requests, upgraded...)

	require.NoError(t, cluster.Sync(def(apply("crd", w.readCase(t, "05e-crd")), apply("raft", w.readCase(t, "05f-raft-beta")))))
	require.NoError(t, cluster.Sync(def(apply("crd", w.readCase(t, "05e-crd")), apply("raft", w.readCase(t, "05g-raft-v1")))))
	raft := w.object(t, w.own("rafts"), "one")
	assert.Equal(t, map[string]any{"logs": int64(8), "rope": "hemp"}, raft.Object["spec"])
	w.sameAgain(t, cluster, requests, w.readCase(t, "05e-crd"), w.readCase(t, "05g-raft-v1"))
}

func TestCaseOfEndpoints(t *testing.T) {
	w := newEnv(t, kubernetes.Options{})
	text := w.readCase(t, "06-endpoints")
	// What the control plane makes beside them.
	require.NoError(t, w.Sync(def(apply("served", deployment("served", "example.com/a:1"), service("served", "served")))))
	require.Eventually(t, func() bool {
		_, err := w.client.CoreV1().Endpoints(w.namespace).Get(t.Context(), "served", metav1.GetOptions{})
		slices, listing := w.client.DiscoveryV1().EndpointSlices(w.namespace).List(t.Context(), metav1.ListOptions{LabelSelector: "kubernetes.io/service-name=served"})
		return err == nil && listing == nil && len(slices.Items) > 0
	}, testLimit, testTick)
	exported := w.planEmpty(t, kubernetes.Options{}, text)
	var names []string
	for _, o := range parsed(t, exported) {
		if kind := o.GetKind(); kind == "Endpoints" || kind == "EndpointSlice" {
			names = append(names, kind+" "+o.GetName())
		}
	}
	assert.ElementsMatch(t, []string{"Endpoints outside-mail", "EndpointSlice outside-db-1"}, names)
}

func TestCaseOfATokenSecret(t *testing.T) {
	w := newEnv(t, kubernetes.Options{})
	text := w.readCase(t, "07-sa-token-secret")
	require.NoError(t, w.Sync(def(apply("token", text))))
	require.Eventually(t, func() bool {
		return len(live(t, w.client.CoreV1().Secrets(w.namespace).Get, "deployer-token").Data["token"]) > 0
	}, testLimit, testTick)
	exported := w.planEmpty(t, kubernetes.Options{ExportSecrets: true}, text)
	secret := live(t, w.client.CoreV1().Secrets(w.namespace).Get, "deployer-token")
	assert.NotEmpty(t, secret.Data["token"])
	assert.Contains(t, exported, "name: deployer-token")
	assert.NotContains(t, exported, base64.StdEncoding.EncodeToString(secret.Data["token"]))
	for _, o := range parsed(t, exported) {
		if o.GetName() == "deployer-token" {
			assert.NotContains(t, o.Object, "data")
			assert.NotContains(t, o.GetAnnotations(), "kubernetes.io/service-account.uid")
		}
	}
}

// Sixteen objects wait for a webhook that is dead, and hold up no other.
func TestCaseOfADeadWebhook(t *testing.T) {
	w := newEnv(t, kubernetes.Options{})
	webhook, maps, _ := strings.Cut(w.readCase(t, "08-dead-webhook"), "\n---\n")
	w.removedAtEnd(t, webhook)
	require.NoError(t, w.Sync(def(apply("webhook", webhook))))
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	var d recorder
	free := make(chan struct{}, 100)
	cluster, requests := w.recorded(t, kubernetes.Options{Events: func(e kubernetes.Event) {
		d.note(e)
		if e.Result == kubernetes.Applied {
			free <- struct{}{}
		}
	}}, nil)
	failed := make(chan error, 1)
	go func() {
		failed <- cluster.WithContext(ctx).Sync(def(apply("maps", maps)))
	}()
	for range 20 {
		select {
		case <-free:
		case err := <-failed:
			t.Fatalf("the Sync ended: %v", err)
		}
	}
	require.Eventually(t, func() bool { // each has been tried
		tried := slices.Compact(slices.Sorted(slices.Values(requests.inOrder("PATCH /api/v1/namespaces/" + w.namespace + "/configmaps/checked-"))))
		return len(tried) == 16
	}, testLimit, testTick)
	cancel(fmt.Errorf("enough"))
	texts := syncErrors(t, <-failed)
	assert.Contains(t, texts["maps"], "enough; the last answer was: ")
	assert.Contains(t, texts["maps"], "failed calling webhook")
	results := d.take()
	for i := range 16 {
		assert.Equal(t, kubernetes.Failed, results[fmt.Sprintf("ConfigMap %s/checked-%d", w.namespace, i)])
	}
	for i := range 20 {
		assert.Equal(t, kubernetes.Applied, results[fmt.Sprintf("ConfigMap %s/free-%d", w.namespace, i)])
	}
}

func TestCaseOfAStrategy(t *testing.T) {
	w := newEnv(t, kubernetes.Options{})
	cluster, requests := w.recorded(t, kubernetes.Options{}, nil)
	require.NoError(t, cluster.Sync(def(apply("single", w.readCase(t, "09a-strategy")))))
	uid := live(t, w.client.AppsV1().Deployments(w.namespace).Get, "single").UID
	require.NoError(t, cluster.Sync(def(apply("single", w.readCase(t, "09b-strategy")))))
	d := live(t, w.client.AppsV1().Deployments(w.namespace).Get, "single")
	assert.Equal(t, appsv1.DeploymentStrategy{Type: appsv1.RecreateDeploymentStrategyType}, d.Spec.Strategy)
	assert.Equal(t, uid, d.UID, "it is the same object")
	w.sameAgain(t, cluster, requests, w.readCase(t, "09b-strategy"))
	require.NoError(t, cluster.Sync(def(apply("single", w.readCase(t, "09a-strategy")))))
	assert.Equal(t, appsv1.RollingUpdateDeploymentStrategyType, live(t, w.client.AppsV1().Deployments(w.namespace).Get, "single").Spec.Strategy.Type)
}

func TestCaseOfASecretThatIsANumber(t *testing.T) {
	var log bytes.Buffer
	w := newEnv(t, kubernetes.Options{Logger: slog.New(slog.NewTextHandler(&log, nil))})
	text := w.readCase(t, "10a-secret-number")
	err := w.Sync(def(apply("vault", text)))
	texts := syncErrors(t, err)
	assert.Contains(t, texts["vault"], "stringData.pin")
	_, report, planning := manifest.Plan(nil, parsed(t, text), manifest.PlanOptions{})
	require.NoError(t, planning)
	for _, shown := range []string{fmt.Sprintf("%v %+v", err, err), log.String(), report.String(), texts["vault"]} {
		assert.NotContains(t, shown, "48151623")
		assert.NotContains(t, shown, "correct-horse")
	}
}

func TestCaseOfNulls(t *testing.T) {
	w := newEnv(t, kubernetes.Options{})
	cluster, requests := w.recorded(t, kubernetes.Options{}, nil)
	text := w.readCase(t, "15-nulls")
	require.NoError(t, cluster.Sync(def(apply("nulls", text))))
	assert.Equal(t, map[string]string{"there": "1"}, live(t, w.client.CoreV1().ConfigMaps(w.namespace).Get, "nulls").Data)
	w.sameAgain(t, cluster, requests, text)
	w.planEmpty(t, kubernetes.Options{}, text)
}

func TestCasesWithAReason(t *testing.T) {
	w := newEnv(t, kubernetes.Options{})
	for name, wants := range map[string][]string{
		"19a-annotation-number": {"annotations", "quotes"},
		"23-sops":               {"SOPS"},
	} {
		texts := syncErrors(t, w.Sync(def(apply("case", w.readCase(t, name)))))
		for _, want := range wants {
			assert.Contains(t, texts["case"], want, name)
		}
	}
	require.NoError(t, w.Sync(def(apply("loader", w.readCase(t, "29c-job-env")))))
	texts := syncErrors(t, w.Sync(def(apply("loader", w.readCase(t, "29d-job-env")))))
	assert.Contains(t, texts["loader"], "spec.template")
	assert.Contains(t, texts["loader"], "immutable")
	assert.Contains(t, texts["loader"], "platform/recreate")
	assert.NotContains(t, texts["loader"], "correct-horse")
	assert.NotContains(t, texts["loader"], "loader:1")
}

// A plan sees a field go that is false, also at a version that the API server does not prefer.
func TestCaseOfFalse(t *testing.T) {
	w := newEnv(t, kubernetes.Options{})
	text := w.readCase(t, "37-service-account-false")
	w.planEmpty(t, kubernetes.Options{}, text)
	remove := func(resource schema.GroupVersionResource, patch string) {
		t.Helper()
		_, err := w.dynamic(t).Resource(resource).Namespace(w.namespace).Patch(t.Context(), "quiet", types.JSONPatchType, []byte(patch), metav1.PatchOptions{FieldManager: "somebody"})
		require.NoError(t, err)
	}
	remove(schema.GroupVersionResource{Version: "v1", Resource: "serviceaccounts"}, `[{"op": "remove", "path": "/automountServiceAccountToken"}]`)
	remove(schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "deployments"}, `[{"op": "remove", "path": "/spec/template/spec/automountServiceAccountToken"}]`)
	current, err := w.Export()
	require.NoError(t, err)
	_, report, err := manifest.Plan(current, parsed(t, text), manifest.PlanOptions{SyncSet: "set-" + w.namespace, Namespace: w.namespace})
	require.NoError(t, err)
	assert.Len(t, report.Change, 2, "%s", report)
}

func TestCaseOfAnotherVersion(t *testing.T) {
	w := newEnv(t, kubernetes.Options{})
	crd := w.readCase(t, "05e-crd")
	w.removedAtEnd(t, crd)
	text := crd + "\n---\n" + strings.Replace(w.readCase(t, "05f-raft-beta"), "logs: 8", "logs: 0", 1)
	w.planEmpty(t, kubernetes.Options{}, text)
	_, err := w.dynamic(t).Resource(w.own("rafts")).Namespace(w.namespace).Patch(t.Context(), "one", types.JSONPatchType, []byte(`[{"op": "remove", "path": "/spec/logs"}]`), metav1.PatchOptions{FieldManager: "somebody"})
	require.NoError(t, err)
	current, err := w.Export()
	require.NoError(t, err)
	_, report, err := manifest.Plan(current, parsed(t, text), manifest.PlanOptions{SyncSet: "set-" + w.namespace, Namespace: w.namespace})
	require.NoError(t, err)
	assert.Len(t, report.Change, 1, "%s", report)
}

// What is defined in the same Sync is seen from the next one on as anything else is.
func TestCaseOfAKindAndItsObjects(t *testing.T) {
	w := newEnv(t, kubernetes.Options{})
	text := w.readCase(t, "38-crd-and-objects")
	w.removedAtEnd(t, text)
	cluster, requests := w.recorded(t, kubernetes.Options{}, nil)
	require.NoError(t, cluster.Sync(def(apply("pins", text))))
	assert.Empty(t, requests.inOrder("GET /apis/apiextensions.k8s.io/v1/customresourcedefinitions/"), "the definition is not read as a whole")
	polls := requests.take("GET /apis/" + w.namespace + ".example.com")
	assert.LessOrEqual(t, len(polls), 8, "%v", polls)
	w.sameAgain(t, cluster, requests, text)
	pins := w.dynamic(t).Resource(w.own("pins")).Namespace(w.namespace)
	kind, patch := mergePatch(t, map[string]any{"metadata": map[string]any{"annotations": map[string]string{"platform/ignore": "sync"}}, "spec": map[string]any{"at": 7}})
	_, err := pins.Patch(t.Context(), "a", kind, patch, metav1.PatchOptions{FieldManager: "somebody"})
	require.NoError(t, err)
	require.NoError(t, cluster.Sync(def(apply("pins", text))))
	assert.Equal(t, map[string]any{"at": int64(7)}, w.object(t, w.own("pins"), "a").Object["spec"])
	assert.Empty(t, requests.take("PATCH"))
}

func TestCaseOfAHollowService(t *testing.T) {
	w := newEnv(t, kubernetes.Options{})
	exported := w.planEmpty(t, kubernetes.Options{}, w.readCase(t, "47-service-empty"))
	address := live(t, w.client.CoreV1().Services(w.namespace).Get, "hollow").Spec.ClusterIP
	require.NotEmpty(t, address)
	assert.NotContains(t, exported, address)
}

// An object that another tool has applied is ours once we apply it, and what our definition
// leaves out goes. What somebody else has set stays.
func TestCaseOfAHandover(t *testing.T) {
	for _, manager := range kubernetes.DefaultAdoptFieldManagers() {
		t.Run(manager, func(t *testing.T) {
			w := newEnv(t, kubernetes.Options{})
			other := w.as(t, w.cp.Config(), kubernetes.Options{Namespace: w.namespace, FieldManager: manager})
			require.NoError(t, other.Sync(def(apply("handed", w.readCase(t, "52a-handover")))))
			deployments := w.client.AppsV1().Deployments(w.namespace)
			kind, patch := mergePatch(t, map[string]any{"metadata": map[string]any{"labels": map[string]string{"by": "controller"}}})
			_, err := deployments.Patch(t.Context(), "handed", kind, patch, metav1.PatchOptions{FieldManager: "a-controller"})
			require.NoError(t, err)
			cluster, requests := w.recorded(t, kubernetes.Options{}, nil)
			require.NoError(t, cluster.Sync(def(apply("handed", w.readCase(t, "52b-handover")))))
			d := live(t, deployments.Get, "handed")
			require.Len(t, d.Spec.Template.Spec.Containers, 1)
			assert.Empty(t, d.Spec.Template.Spec.Containers[0].Env)
			assert.Equal(t, "controller", d.Labels["by"])
			w.settle(t)
			w.sameAgain(t, cluster, requests, w.readCase(t, "52b-handover"))
		})
	}
}

func TestHandoverNever(t *testing.T) {
	w := newEnv(t, kubernetes.Options{})
	require.NoError(t, w.Sync(def(apply("web", strings.Replace(labelled("web"), "  replicas: 2\n", "", 1)))))
	w.kubectl(t, "", "rollout", "restart", "deployment/web")
	w.kubectl(t, "", "scale", "deployment/web", "--replicas=3")
	require.NoError(t, w.Sync(def(apply("web", strings.Replace(labelled("web"), "  replicas: 2\n", "", 1)))))
	d := live(t, w.client.AppsV1().Deployments(w.namespace).Get, "web")
	assert.NotEmpty(t, d.Spec.Template.Annotations["kubectl.kubernetes.io/restartedAt"])
	assert.EqualValues(t, 3, *d.Spec.Replicas)

	nobody := w.as(t, w.cp.Config(), kubernetes.Options{Namespace: w.namespace, AdoptFieldManagers: []string{}})
	w.kubectl(t, "", "label", "deployment/web", "by=hand")
	require.NoError(t, nobody.Sync(def(apply("web", strings.Replace(labelled("web"), "  replicas: 2\n", "", 1)))))
	assert.Equal(t, "hand", live(t, w.client.AppsV1().Deployments(w.namespace).Get, "web").Labels["by"])
}
