package kubernetes_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/platformbus/platform/kubernetes"
)

// patchBy are the options of a patch that a field manager of that name sends.
func patchBy(manager string) metav1.PatchOptions { return metav1.PatchOptions{FieldManager: manager} }

// labelled is a definition of a Deployment called name with a label, an annotation and an
// environment.
func labelled(name string) string {
	d := strings.Replace(deployment(name, "example.com/web:1"), "metadata: {name: "+name+"}", "metadata: {name: "+name+", labels: {tier: front}, annotations: {example.com/owner: us}}", 1)
	return strings.Replace(d, "containers: [{name: main,", "containers: [{name: main, env: [{name: A, value: a}, {name: B, value: b}],", 1)
}

// merge has someone who is not us change an object by a merge patch.
func merge(t *testing.T, w env, name, patch string) *appsv1.Deployment {
	t.Helper()
	d, err := w.client.AppsV1().Deployments(w.namespace).Patch(t.Context(), name, types.StrategicMergePatchType, []byte(patch), patchBy("someone"))
	require.NoError(t, err)
	return d
}

// serverSide has another manager apply a part of a Deployment.
func serverSide(t *testing.T, w env, name, rest string, force bool) error {
	t.Helper()
	options := metav1.PatchOptions{FieldManager: "another", Force: &force}
	body := fmt.Sprintf(`{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":%q},%s}`, name, rest)
	_, err := w.client.AppsV1().Deployments(w.namespace).Patch(t.Context(), name, types.ApplyPatchType, []byte(body), options)
	return err
}

// asDefined is what of a Deployment is as labelled says.
type asDefined struct {
	replicas         int32
	image            string
	env, tier, owner string
}

func readDeployment(d *appsv1.Deployment) asDefined {
	c := d.Spec.Template.Spec.Containers[0]
	var env []string
	for _, v := range c.Env {
		env = append(env, v.Name+"="+v.Value)
	}
	return asDefined{*d.Spec.Replicas, c.Image, strings.Join(env, " "), d.Labels["tier"], d.Annotations["example.com/owner"]}
}

// Whoever changes what a definition says, and by whatever way, the next Sync repairs it:
// one of the process that made the object, and one of another.
func TestDriftIsRepaired(t *testing.T) {
	image := func(image string) string {
		return `{"spec":{"template":{"spec":{"containers":[{"name":"main","image":"` + image + `"}]}}}}`
	}
	const imageAndMore = `"spec":{"selector":{"matchLabels":{"app":"web"}},"template":{"metadata":{"labels":{"app":"web"}},"spec":{"containers":[{"name":"main","image":%q}]}}}`
	for name, somebody := range map[string]func(t *testing.T, w env){
		"patches a field": func(t *testing.T, w env) { merge(t, w, "web", image("example.com/other:1")) },
		"patches a field and then back": func(t *testing.T, w env) {
			merge(t, w, "web", image("example.com/other:1"))
			merge(t, w, "web", image("example.com/web:1"))
		},
		"updates the whole": func(t *testing.T, w env) {
			d := live(t, w.client.AppsV1().Deployments(w.namespace).Get, "web").DeepCopy()
			d.ResourceVersion = ""
			d.Spec.Template.Spec.Containers[0].Env = d.Spec.Template.Spec.Containers[0].Env[:1]
			_, err := w.client.AppsV1().Deployments(w.namespace).Update(t.Context(), d, metav1.UpdateOptions{FieldManager: "someone"})
			require.NoError(t, err)
		},
		"removes a label":       func(t *testing.T, w env) { merge(t, w, "web", `{"metadata":{"labels":{"tier":null}}}`) },
		"changes a label":       func(t *testing.T, w env) { merge(t, w, "web", `{"metadata":{"labels":{"tier":"back"}}}`) },
		"removes an annotation": func(t *testing.T, w env) { w.kubectl(t, "", "annotate", "deployment/web", "example.com/owner-") },
		"changes an annotation": func(t *testing.T, w env) {
			w.kubectl(t, "", "annotate", "--overwrite", "deployment/web", "example.com/owner=them")
		},
		"removes a variable": func(t *testing.T, w env) {
			merge(t, w, "web", `{"spec":{"template":{"spec":{"containers":[{"name":"main","env":[{"name":"B","$patch":"delete"}]}]}}}}`)
		},
		"edits it with kubectl": func(t *testing.T, w env) {
			t.Setenv("KUBE_EDITOR", "sed -i -e s,example.com/web:1,example.com/edited:1, -e s/front/edited/")
			w.kubectl(t, "", "edit", "deployment/web")
		},
		"applies another definition with kubectl": func(t *testing.T, w env) {
			w.kubectl(t, strings.NewReplacer("web:1", "applied:1", "front", "applied").Replace(labelled("web")), "apply", "-f", "-")
		},
		"replaces it with kubectl": func(t *testing.T, w env) {
			w.kubectl(t, strings.NewReplacer("web:1", "replaced:1", "value: b", "value: c").Replace(labelled("web")), "replace", "-f", "-")
		},
		"scales it with kubectl": func(t *testing.T, w env) { w.kubectl(t, "", "scale", "deployment/web", "--replicas=5") },
		"scales it automatically": func(t *testing.T, w env) {
			scale := &autoscalingv1.Scale{ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: w.namespace}, Spec: autoscalingv1.ScaleSpec{Replicas: 7}}
			_, err := w.client.AppsV1().Deployments(w.namespace).UpdateScale(t.Context(), "web", scale, metav1.UpdateOptions{FieldManager: "kube-controller-manager"})
			require.NoError(t, err)
		},
		"applies another value by force": func(t *testing.T, w env) {
			require.NoError(t, serverSide(t, w, "web", fmt.Sprintf(imageAndMore, "example.com/forced:1"), true))
		},
		"tries to apply another value": func(t *testing.T, w env) {
			err := serverSide(t, w, "web", fmt.Sprintf(imageAndMore, "example.com/refused:1"), false)
			require.True(t, apierrors.IsConflict(err), "it is ours: %v", err)
		},
		"applies the same value too": func(t *testing.T, w env) {
			require.NoError(t, serverSide(t, w, "web", fmt.Sprintf(imageAndMore, "example.com/web:1"), false))
		},
		"takes our fields away from us": func(t *testing.T, w env) {
			merge(t, w, "web", `{"metadata":{"managedFields":[{}]}}`)
			merge(t, w, "web", image("example.com/other:1"))
		},
		"deletes it": func(t *testing.T, w env) {
			require.NoError(t, w.client.AppsV1().Deployments(w.namespace).Delete(t.Context(), "web", metav1.DeleteOptions{}))
		},
		"deletes it and makes another": func(t *testing.T, w env) {
			require.NoError(t, w.client.AppsV1().Deployments(w.namespace).Delete(t.Context(), "web", metav1.DeleteOptions{}))
			w.kubectl(t, deployment("web", "example.com/other:1"), "create", "-f", "-")
		},
		"deletes it and makes it again": func(t *testing.T, w env) {
			require.NoError(t, w.client.AppsV1().Deployments(w.namespace).Delete(t.Context(), "web", metav1.DeleteOptions{}))
			w.kubectl(t, labelled("web"), "create", "-f", "-")
		},
	} {
		t.Run("somebody "+name, func(t *testing.T) {
			w := newEnv(t, kubernetes.Options{})
			var d recorder
			warm, requests := w.recorded(t, kubernetes.Options{Events: d.note}, nil)
			all := def(apply("web", labelled("web")), apply("bystander", labelled("bystander")))
			require.NoError(t, warm.Sync(all))
			ours := ownedBy(live(t, w.client.AppsV1().Deployments(w.namespace).Get, "web"), "platform")
			require.NotEmpty(t, ours)
			cold, _ := w.recorded(t, kubernetes.Options{}, nil)
			for age, cluster := range map[string]*kubernetes.Cluster{"warm": warm, "cold": cold} {
				somebody(t, w)
				require.NoError(t, cluster.Sync(all), age)
				web := live(t, w.client.AppsV1().Deployments(w.namespace).Get, "web")
				assert.Equal(t, asDefined{2, "example.com/web:1", "A=a B=b", "front", "us"}, readDeployment(web), age)
				assert.JSONEq(t, ours, ownedBy(web, "platform"), "%s: all of it is ours again", age)
			}
			// That was enough: nothing is left to be done.
			require.NoError(t, warm.Sync(all))
			requests.take("")
			d.take()
			require.NoError(t, warm.Sync(all))
			assert.Empty(t, requests.take("PATCH"))
			assert.Equal(t, kubernetes.Unchanged, d.take()["Deployment "+w.namespace+"/web"])
		})
	}
}

// What a definition does not say is left to whoever says it.
func TestWhatIsNotDefinedIsNotDrift(t *testing.T) {
	w := newEnv(t, kubernetes.Options{})
	cluster, _ := w.recorded(t, kubernetes.Options{}, nil)
	all := def(apply("web", strings.Replace(labelled("web"), "  replicas: 2\n", "", 1)))
	require.NoError(t, cluster.Sync(all))
	w.kubectl(t, "", "scale", "deployment/web", "--replicas=5")
	w.kubectl(t, "", "label", "deployment/web", "team=theirs", "--field-manager=somebody")
	require.NoError(t, cluster.Sync(all))
	cold, _ := w.recorded(t, kubernetes.Options{}, nil)
	require.NoError(t, cold.Sync(all))
	d := live(t, w.client.AppsV1().Deployments(w.namespace).Get, "web")
	assert.EqualValues(t, 5, *d.Spec.Replicas)
	assert.Equal(t, map[string]string{"tier": "front", "team": "theirs"}, d.Labels)

	// A definition that names them no more leaves them to whoever has set them since.
	all.Actions[0].Apply = []byte(labelled("web"))
	require.NoError(t, cluster.Sync(all))
	assert.EqualValues(t, 2, *live(t, w.client.AppsV1().Deployments(w.namespace).Get, "web").Spec.Replicas)
	w.kubectl(t, "", "scale", "deployment/web", "--replicas=6")
	all.Actions[0].Apply = []byte(strings.Replace(labelled("web"), "  replicas: 2\n", "", 1))
	require.NoError(t, cluster.Sync(all))
	assert.EqualValues(t, 6, *live(t, w.client.AppsV1().Deployments(w.namespace).Get, "web").Spec.Replicas)
}

// An admission plug-in may change a field of ours within another writer's request. The
// managed fields do not show that.
func TestDriftByAMutatingAdmissionPolicy(t *testing.T) {
	w := newEnv(t, kubernetes.Options{})
	policy := fmt.Sprintf(`
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicy
metadata: {name: %[1]s}
spec:
  failurePolicy: Fail
  reinvocationPolicy: Never
  matchConstraints:
    namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: %[1]s}}
    resourceRules:
    - {apiGroups: ['', apps], apiVersions: ['*'], operations: [UPDATE], resources: [configmaps, deployments]}
  matchConditions: [{name: meddler, expression: "request.userInfo.username == 'meddler'"}]
  mutations:
  - patchType: JSONPatch
    jsonPatch:
      expression: >
        [object.kind == 'ConfigMap' ? JSONPatch{op: "replace", path: "/data/value", value: "meddled"} :
        object.metadata.name == 'scaled' ? JSONPatch{op: "replace", path: "/spec/replicas", value: 7} :
        JSONPatch{op: "replace", path: "/metadata/labels/tier", value: "meddled"}]
---
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicyBinding
metadata: {name: %[1]s}
spec: {policyName: %[1]s}
`, w.namespace)
	warm := w.Cluster
	all := def(apply("map", configMap("map", "1")), apply("scaled", labelled("scaled")), apply("labelled", labelled("labelled")))
	require.NoError(t, warm.Sync(all))
	admission := w.as(t, w.cp.Config(), kubernetes.Options{})
	require.NoError(t, admission.Sync(def(apply("policy", policy))))
	w.removedAtEnd(t, policy)

	config, err := w.cp.ConfigFor("meddler", "system:masters")
	require.NoError(t, err)
	meddler := env{cp: w.cp, client: clientFor(t, config), namespace: w.namespace}
	cold, _ := w.recorded(t, kubernetes.Options{}, nil)
	for age, cluster := range map[string]*kubernetes.Cluster{"warm": warm, "cold": cold} {
		for i := 0; ; i++ {
			// The policy comes into force a moment after it is there.
			touch := fmt.Sprintf(`{"metadata":{"labels":{"touched":"%s-%d"}}}`, age, i)
			m, err := meddler.client.CoreV1().ConfigMaps(w.namespace).Patch(t.Context(), "map", types.MergePatchType, []byte(touch), patchBy("meddler"))
			require.NoError(t, err)
			replicas, tier := *merge(t, meddler, "scaled", touch).Spec.Replicas, merge(t, meddler, "labelled", touch).Labels["tier"]
			if m.Data["value"] == "meddled" && replicas == 7 && tier == "meddled" {
				break
			}
			require.Less(t, i, 1000, "the policy comes into force")
		}
		require.NoError(t, cluster.Sync(all), age)
		assert.Equal(t, "1", live(t, w.client.CoreV1().ConfigMaps(w.namespace).Get, "map").Data["value"], age)
		assert.EqualValues(t, 2, *live(t, w.client.AppsV1().Deployments(w.namespace).Get, "scaled").Spec.Replicas, age)
		assert.Equal(t, "front", live(t, w.client.AppsV1().Deployments(w.namespace).Get, "labelled").Labels["tier"], age)
	}
}

// A schema that gains a default changes live objects without anyone writing them. What a
// definition says stays, and what it does not say is the default's.
func TestDriftBySchemaDefault(t *testing.T) {
	w := newEnv(t, kubernetes.Options{})
	definition, object := crd(w.namespace, "Paint")
	spec := func() any { return w.object(t, w.own("paints"), "one").Object["spec"] }
	all := def(apply("crd", definition), apply("object", object))
	require.NoError(t, w.Sync(all))
	w.removedAtEnd(t, definition)

	all.Actions[0].Apply = []byte(strings.Replace(definition, "size: {type: integer}", "size: {type: integer}, color: {type: string, default: red}", 1))
	require.NoError(t, w.Sync(all))
	require.Eventually(t, func() bool { return assert.ObjectsAreEqual(map[string]any{"size": int64(3), "color": "red"}, spec()) },
		testLimit, testTick, "the API server takes up the new schema")
	cold, requests := w.recorded(t, kubernetes.Options{}, nil)
	for _, step := range []struct {
		definition string
		want       any
	}{
		{object, map[string]any{"size": int64(3), "color": "red"}},
		{object + "\n", map[string]any{"size": int64(3), "color": "red"}},
		{strings.Replace(object, "size: 3", "size: 3, color: blue", 1), map[string]any{"size": int64(3), "color": "blue"}},
		{strings.Replace(object, "size: 3", "color: red", 1), map[string]any{"color": "red"}},
		{object, map[string]any{"size": int64(3), "color": "red"}},
	} {
		all.Actions[1].Apply = []byte(step.definition)
		require.NoError(t, cold.Sync(all))
		assert.Equal(t, step.want, spec(), step.definition)
	}
	requests.take("")
	require.NoError(t, cold.Sync(all))
	assert.Empty(t, requests.take("PATCH"))
}

// What a new definition leaves out, or says otherwise, is so in the cluster.
func TestChangedDefinition(t *testing.T) {
	full := strings.Replace(labelled("web"), "    spec:\n", "    spec:\n      nodeSelector: {kubernetes.io/os: linux}\n      tolerations: [{key: a, operator: Exists}]\n      initContainers: [{name: setup, image: example.com/setup:1}]\n", 1)
	full = strings.Replace(full, "env: [", "ports: [{containerPort: 80}, {containerPort: 81}], args: [first, second], env: [", 1)
	for name, change := range map[string]struct {
		old, new string
		gone     func(d *appsv1.Deployment) any // what shall be nil, or empty
	}{
		"a label":                {"labels: {tier: front}, ", "labels: {}, ", func(d *appsv1.Deployment) any { return d.Labels["tier"] }},
		"all labels":             {"labels: {tier: front}, ", "", func(d *appsv1.Deployment) any { return d.Labels["tier"] }},
		"an annotation":          {", annotations: {example.com/owner: us}", "", func(d *appsv1.Deployment) any { return d.Annotations["example.com/owner"] }},
		"a variable":             {", {name: B, value: b}", "", func(d *appsv1.Deployment) any { return d.Spec.Template.Spec.Containers[0].Env[1:] }},
		"all variables":          {" env: [{name: A, value: a}, {name: B, value: b}],", "", func(d *appsv1.Deployment) any { return d.Spec.Template.Spec.Containers[0].Env }},
		"a port":                 {", {containerPort: 81}", "", func(d *appsv1.Deployment) any { return d.Spec.Template.Spec.Containers[0].Ports[1:] }},
		"the arguments":          {" args: [first, second],", "", func(d *appsv1.Deployment) any { return d.Spec.Template.Spec.Containers[0].Args }},
		"an argument":            {"args: [first, second]", "args: [first]", func(d *appsv1.Deployment) any { return d.Spec.Template.Spec.Containers[0].Args[1:] }},
		"a section that is map":  {"      nodeSelector: {kubernetes.io/os: linux}\n", "", func(d *appsv1.Deployment) any { return d.Spec.Template.Spec.NodeSelector }},
		"a section that is list": {"      tolerations: [{key: a, operator: Exists}]\n", "", func(d *appsv1.Deployment) any { return d.Spec.Template.Spec.Tolerations }},
		"a container":            {"      initContainers: [{name: setup, image: example.com/setup:1}]\n", "", func(d *appsv1.Deployment) any { return d.Spec.Template.Spec.InitContainers }},
	} {
		t.Run(name, func(t *testing.T) {
			w := newEnv(t, kubernetes.Options{})
			require.Contains(t, full, change.old)
			before, after := def(apply("web", full)), def(apply("web", strings.Replace(full, change.old, change.new, 1)))
			cold, _ := w.recorded(t, kubernetes.Options{}, nil)
			for age, cluster := range map[string]*kubernetes.Cluster{"warm": w.Cluster, "cold": cold} {
				require.NoError(t, w.Sync(before))
				require.NotEmpty(t, change.gone(live(t, w.client.AppsV1().Deployments(w.namespace).Get, "web")), "it was there")
				require.NoError(t, cluster.Sync(after))
				assert.Empty(t, change.gone(live(t, w.client.AppsV1().Deployments(w.namespace).Get, "web")), age)
			}
		})
	}
}
