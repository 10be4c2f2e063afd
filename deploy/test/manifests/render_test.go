package manifests_test

import (
	"maps"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"helm.sh/helm/v4/pkg/chart/common"
	"helm.sh/helm/v4/pkg/chart/common/util"
	"helm.sh/helm/v4/pkg/chart/v2/lint"
	"helm.sh/helm/v4/pkg/chart/v2/lint/support"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	"helm.sh/helm/v4/pkg/engine"
	"helm.sh/helm/v4/pkg/strvals"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"
)

// required are the values that a user must give, as in the base.
var required = []string{`nats.url="tls://nats.example:4222"`, `daemon.instance="my-cluster"`}

// valuesOf returns the values that these arguments of helm's --set-json give.
func valuesOf(t *testing.T, sets ...string) map[string]any {
	t.Helper()
	values := map[string]any{}
	for _, set := range sets {
		require.NoError(t, strvals.ParseJSON(set, values), set)
	}
	return values
}

// render renders the chart as `helm install platform --namespace platform` does. The files are
// those of the chart's templates.
func render(t *testing.T, sets ...string) (files map[string]string, err error) {
	t.Helper()
	c, err := loader.Load(chart)
	require.NoError(t, err)
	release := common.ReleaseOptions{Name: "platform", Namespace: "platform", Revision: 1, IsInstall: true}
	values, err := util.ToRenderValues(c, valuesOf(t, sets...), release, common.DefaultCapabilities)
	if err != nil {
		return nil, err
	}
	rendered, err := engine.Render(c, values)
	files = map[string]string{}
	for file, text := range rendered {
		if strings.TrimSpace(text) != "" {
			files[path.Base(file)] = text
		}
	}
	return files, err
}

// An objects is a set of objects, by kind, namespace and name.
type objects map[string]*unstructured.Unstructured

func (o objects) get(t *testing.T, key string) *unstructured.Unstructured {
	t.Helper()
	require.Contains(t, o, key)
	return o[key]
}

// add adds the objects of a file. An object that is there already is a failure, as is a field
// that its kind does not have.
func (o objects) add(t *testing.T, text string) {
	t.Helper()
	strict := serializer.NewCodecFactory(scheme.Scheme, serializer.EnableStrict).UniversalDeserializer()
	for doc := range strings.SplitSeq(text, "\n---\n") {
		if strings.TrimSpace(doc) == "" {
			continue
		}
		object := &unstructured.Unstructured{}
		require.NoError(t, yaml.UnmarshalStrict([]byte(doc), &object.Object), doc)
		if scheme.Scheme.Recognizes(object.GroupVersionKind()) {
			_, _, err := strict.Decode([]byte(doc), nil, nil)
			require.NoError(t, err, doc)
		}
		key := path.Join(object.GetKind(), object.GetNamespace(), object.GetName())
		require.NotContains(t, o, key)
		o[key] = object
	}
}

// ofChart returns the objects of the chart.
func ofChart(t *testing.T, sets ...string) objects {
	t.Helper()
	files, err := render(t, sets...)
	require.NoError(t, err)
	delete(files, "NOTES.txt")
	all := objects{}
	for _, text := range files {
		all.add(t, text)
	}
	return all
}

// ofKustomize returns the objects that `kubectl apply -k` applies.
func ofKustomize(t *testing.T, folder string) objects {
	t.Helper()
	result, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), folder)
	require.NoError(t, err)
	text, err := result.AsYaml()
	require.NoError(t, err)
	all := objects{}
	all.add(t, string(text))
	return all
}

// Chart and base say the same: the objects are equal, with their permissions and pods, but for the
// labels that only Helm sets, and the namespaces, which Helm does not create.
func TestChartAndBaseSayTheSame(t *testing.T) {
	for _, tt := range []struct {
		folder  string
		sets    []string
		objects int
	}{
		{"base", nil, 11},
		{"base/daemon", []string{`service.enabled=false`}, 7},
		{"base/service", []string{`daemon.enabled=false`}, 4},
		{"example", []string{
			`image={"repository": "images.example/platform", "tag": "1.0.1"}`, `nats.url="tls://nats.shop.example:4222"`,
			`daemon.instance="shop-cluster"`, `daemon.rbac.sync.namespaces=["shop"]`}, 12},
	} {
		t.Run(tt.folder, func(t *testing.T) {
			want := ofKustomize(t, path.Join("../..", tt.folder))
			maps.DeleteFunc(want, func(key string, _ *unstructured.Unstructured) bool { return strings.HasPrefix(key, "Namespace/") })
			got := ofChart(t, append(slices.Clone(required), tt.sets...)...)
			for key, object := range got {
				labels := object.GetLabels()
				for _, name := range []string{"helm.sh/chart", "app.kubernetes.io/managed-by", "app.kubernetes.io/version"} {
					assert.NotEmpty(t, labels[name], "label %s of %s", name, key)
					delete(labels, name)
				}
				object.SetLabels(labels)
			}
			require.Equal(t, slices.Sorted(maps.Keys(want)), slices.Sorted(maps.Keys(got)))
			for key, object := range want {
				assert.Equal(t, object.Object, got[key].Object, key)
			}
			assert.Len(t, got, tt.objects)
		})
	}
}

// Helm's linter has no warning.
func TestLint(t *testing.T) {
	result := lint.RunAll(chart, valuesOf(t, required...), "platform")
	for _, message := range result.Messages {
		assert.Less(t, message.Severity, support.WarningSev, message.Error())
	}
}

// What is installed follows the values.
func TestValues(t *testing.T) {
	with := func(sets ...string) objects { return ofChart(t, append(slices.Clone(required), sets...)...) }
	container := func(o objects, part string) map[string]any {
		list, _, err := unstructured.NestedSlice(o.get(t, "Deployment/platform/platform-"+part).Object, "spec", "template", "spec", "containers")
		require.NoError(t, err)
		require.Len(t, list, 1)
		return list[0].(map[string]any)
	}

	o := with(`image={"digest": "sha256:` + strings.Repeat("0a", 32) + `"}`)
	assert.Equal(t, "platform@sha256:"+strings.Repeat("0a", 32), container(o, "daemon")["image"])

	o = with(`fullnameOverride="other"`, `daemon.rbac.sync.namespaces=["shop"]`)
	assert.Contains(t, o, "Deployment/platform/other-daemon")
	assert.Contains(t, o, "RoleBinding/shop/other-daemon-sync")

	// Without credentials nothing is mounted.
	o = with(`daemon.nats.secret=""`)
	assert.Equal(t, []any{"daemon", "--listen=:8081"}, container(o, "daemon")["args"])
	assert.NotContains(t, container(o, "daemon"), "volumeMounts")

	// A daemon for some namespaces lists only these, and is told so.
	o = with(`daemon.rbac.list.namespaces=["a", "b"]`, `daemon.rbac.export.enabled=false`)
	assert.Contains(t, o, "RoleBinding/a/platform-daemon-list")
	assert.Contains(t, o, "RoleBinding/b/platform-daemon-list")
	assert.Contains(t, container(o, "daemon")["args"], "--namespaces=a,b")
	for key := range o {
		assert.NotContains(t, key, "ClusterRoleBinding/")
		assert.NotContains(t, key, "export")
	}

	o = with(`daemon.rbac.sync.extraRules=[{"apiGroups": ["batch"], "resources": ["jobs"], "verbs": ["get"]}]`,
		`daemon.rbac.sync.clusterRules=[{"apiGroups": [""], "resources": ["namespaces"], "verbs": ["patch"]}]`)
	rules, _, err := unstructured.NestedSlice(o.get(t, "ClusterRole/platform-daemon-sync").Object, "rules")
	require.NoError(t, err)
	assert.Equal(t, []any{"jobs"}, rules[len(rules)-1].(map[string]any)["resources"])
	assert.Len(t, rules, 4)
	assert.Contains(t, o, "ClusterRoleBinding/platform-daemon-sync-cluster")

	o = with(`daemon.rbac.create=false`, `daemon.serviceAccount={"create": false, "name": "mine"}`, `service.enabled=false`)
	assert.Equal(t, []string{"Deployment/platform/platform-daemon"}, slices.Collect(maps.Keys(o)))
	account, _, err := unstructured.NestedString(o.get(t, "Deployment/platform/platform-daemon").Object, "spec", "template", "spec", "serviceAccountName")
	require.NoError(t, err)
	assert.Equal(t, "mine", account)

	// The names of the PodMonitors are those that the alerts expect of Prometheus' jobs.
	o = with(`daemon.podMonitor=true`, `service.podMonitor=true`)
	assert.Contains(t, o, "PodMonitor/platform/platform-daemon")
	endpoints, _, err := unstructured.NestedSlice(o.get(t, "PodMonitor/platform/platform-service").Object, "spec", "podMetricsEndpoints")
	require.NoError(t, err)
	assert.Equal(t, []any{map[string]any{"port": "http", "authorization": map[string]any{
		"credentials": map[string]any{"name": "platform-service-token", "key": "token"}}}}, endpoints)

	// A pod is replaced when its settings change; what pods are selected by stays.
	pod := `"podLabels": {"team": "a", "app.kubernetes.io/name": "other"}, "nodeSelector": {"disk": "ssd"}, "priorityClassName": "high",
		"tolerations": [{"key": "a", "operator": "Exists"}], "affinity": {"podAntiAffinity": {}}, "podAnnotations": {"b": "c"}`
	sums := map[string]bool{}
	for _, concurrency := range []string{"1", "2"} {
		o = with(`daemon={"instance": "a", "config": {"concurrency": `+concurrency+`}, `+pod+`}`, `image.pullSecrets=[{"name": "registry"}]`)
		template, _, err := unstructured.NestedMap(o.get(t, "Deployment/platform/platform-daemon").Object, "spec", "template")
		require.NoError(t, err)
		labels, _, err := unstructured.NestedStringMap(template, "metadata", "labels")
		require.NoError(t, err)
		assert.Equal(t, map[string]string{"team": "a", "app.kubernetes.io/name": "platform",
			"app.kubernetes.io/instance": "platform", "app.kubernetes.io/component": "daemon"}, labels)
		annotations, _, err := unstructured.NestedStringMap(template, "metadata", "annotations")
		require.NoError(t, err)
		assert.Equal(t, "c", annotations["b"])
		sums[annotations["checksum/config"]] = true
		for _, field := range []string{"nodeSelector", "priorityClassName", "tolerations", "affinity", "imagePullSecrets"} {
			assert.Contains(t, template["spec"], field)
		}
	}
	assert.Len(t, sums, 2)
}

// The notes name what is still to be done, with the names of this release.
func TestNotes(t *testing.T) {
	files, err := render(t, append(slices.Clone(required), `daemon.rbac.sync.namespaces=["shop"]`)...)
	require.NoError(t, err)
	for _, part := range []string{
		"kubectl -n platform create secret generic platform-daemon-nats --from-file=daemon.creds\n",
		"kubectl -n platform create secret generic platform-service-nats --from-file=service.creds\n",
		"kubectl -n platform create secret generic platform-service-token --from-file=token=/dev/stdin\n",
		"kubectl -n platform rollout status deployment/platform-daemon\n", "It may sync shop.\n",
		`-o 'go-template={{index .data "token" | base64decode}}')`, "http://127.0.0.1:8080/v1/instances/my-cluster\n",
	} {
		assert.Contains(t, files["NOTES.txt"], part)
	}
	files, err = render(t, append(slices.Clone(required), `service.enabled=false`)...)
	require.NoError(t, err)
	assert.Contains(t, files["NOTES.txt"], "It may sync no namespace yet")
	assert.NotContains(t, files["NOTES.txt"], "service")
}
