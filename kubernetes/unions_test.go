package kubernetes_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"

	"github.com/platformbus/platform/kubernetes"
)

var (
	coreServices   = corev1.SchemeGroupVersion.WithResource("services")
	appDeployments = appsv1.SchemeGroupVersion.WithResource("deployments")
	definitions    = schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}
)

// A sequence is definitions of one object, each of which takes the place of the one before.
type sequence struct {
	resource      schema.GroupVersionResource
	clusterScoped bool
	definitions   []string
}

// workloadWith defines a workload called x.
func workloadWith(kind, spec, pod string) string {
	return fmt.Sprintf(`
apiVersion: apps/v1
kind: %s
metadata: {name: x}
spec:
  %s
  selector: {matchLabels: {app: x}}
  template:
    metadata: {labels: {app: x}}
    spec: {%s}
`, kind, spec, pod)
}

const plainPod = "containers: [{name: main, image: 'example.com/a:1'}]"

func workloads(kind string, specs ...string) sequence {
	s := sequence{resource: appsv1.SchemeGroupVersion.WithResource(strings.ToLower(kind) + "s")}
	for _, spec := range specs {
		s.definitions = append(s.definitions, workloadWith(kind, spec, plainPod))
	}
	return s
}

func pods(pods ...string) sequence {
	s := sequence{resource: appDeployments}
	for _, pod := range pods {
		s.definitions = append(s.definitions, workloadWith("Deployment", "", pod))
	}
	return s
}

// volumes are sources of a volume; an empty one is none.
func volumes(sources ...string) sequence {
	var all []string
	for _, source := range sources {
		if source != "" {
			source = ", " + source
		}
		all = append(all, plainPod+", volumes: [{name: v"+source+"}, {name: other, secret: {secretName: s}}]")
	}
	return pods(all...)
}

func containers(fields ...string) sequence {
	var all []string
	for _, field := range fields {
		all = append(all, "containers: [{name: main, image: 'example.com/a:1', "+field+"}]")
	}
	return pods(all...)
}

func services(specs ...string) sequence {
	s := sequence{resource: coreServices}
	for _, spec := range specs {
		s.definitions = append(s.definitions, "apiVersion: v1\nkind: Service\nmetadata: {name: x}\nspec: {selector: {app: x}, "+spec+"}")
	}
	return s
}

func webhooks(w env, kind string, configs ...string) sequence {
	s := sequence{resource: schema.GroupVersionResource{Group: "admissionregistration.k8s.io", Version: "v1", Resource: strings.ToLower(kind) + "s"}, clusterScoped: true}
	for _, config := range configs {
		s.definitions = append(s.definitions, fmt.Sprintf(`
apiVersion: admissionregistration.k8s.io/v1
kind: %s
metadata: {name: %s}
webhooks:
- name: a.example.com
  clientConfig: %s
  admissionReviewVersions: [v1]
  sideEffects: None
  failurePolicy: Ignore
  namespaceSelector: {matchLabels: {nobody: has-it}}
  rules: [{apiGroups: [''], apiVersions: ['*'], operations: [CREATE], resources: [configmaps]}]
`, kind, w.namespace, config))
	}
	return s
}

const ports = "ports: [{name: a, port: 80}, {name: b, port: 53, protocol: UDP}, {name: c, port: 53}]"

func sequences(w env) map[string]sequence {
	const (
		url     = "{url: 'https://a.example.com/x'}"
		serving = "{service: {namespace: default, name: a}}"
	)
	handler := func(probe string) string {
		return fmt.Sprintf("livenessProbe: {%[1]s}, readinessProbe: {%[1]s, periodSeconds: 5}, startupProbe: {%[1]s}", probe)
	}
	hook := func(handler string) string {
		return fmt.Sprintf("lifecycle: {preStop: {%[1]s}, postStart: {%[1]s}}", handler)
	}
	env := func(source string) string { return "env: [{name: A, value: a}, {name: X" + source + "}]" }
	return map[string]sequence{
		"deployment strategy": workloads("Deployment",
			"strategy: {type: RollingUpdate, rollingUpdate: {maxSurge: 2, maxUnavailable: 0}}", "strategy: {type: Recreate}", "",
			"strategy: {type: Recreate}", "strategy: {type: RollingUpdate}", "strategy: {type: Recreate}", "strategy: {rollingUpdate: {maxSurge: 3}}",
			"strategy: {rollingUpdate: {maxUnavailable: 1}}"),
		"stateful set strategy": workloads("StatefulSet",
			"updateStrategy: {type: RollingUpdate, rollingUpdate: {partition: 1}}", "updateStrategy: {type: OnDelete}", "", "updateStrategy: {type: OnDelete}",
			"updateStrategy: {type: RollingUpdate}", "updateStrategy: {type: OnDelete}"),
		"daemon set strategy": workloads("DaemonSet",
			"updateStrategy: {type: RollingUpdate, rollingUpdate: {maxUnavailable: 2}}", "updateStrategy: {type: OnDelete}", "", "updateStrategy: {type: OnDelete}"),
		"volume": volumes("configMap: {name: c, defaultMode: 256}", "emptyDir: {}", "secret: {secretName: s}", "configMap: {name: c}", "hostPath: {path: /a}",
			"", "configMap: {name: c}", "", "projected: {sources: [{serviceAccountToken: {path: t}}]}", "downwardAPI: {items: [{path: p, fieldRef: {fieldPath: metadata.name}}]}",
			"ephemeral: {volumeClaimTemplate: {spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}}}", "persistentVolumeClaim: {claimName: c}",
			"iscsi: {targetPortal: '10.0.0.1:3260', iqn: 'iqn.2001-04.com.example:storage', lun: 0}", "emptyDir: {medium: Memory}"),
		"probe": containers(handler("httpGet: {port: 80}"), handler("exec: {command: [a]}"), handler("httpGet: {port: 80, path: /x}"), handler("tcpSocket: {port: 80}"),
			handler("grpc: {port: 80}"), handler("httpGet: {port: 80}"), handler("grpc: {port: 80, service: s}"), "livenessProbe: null", handler("exec: {command: [a]}")),
		"lifecycle": containers(hook("httpGet: {port: 80}"), hook("exec: {command: [a]}"), hook("sleep: {seconds: 1}"), hook("httpGet: {port: 80, path: /x}"), hook("sleep: {seconds: 2}")),
		"env": containers(env(", value: x"), env(", valueFrom: {fieldRef: {fieldPath: metadata.name}}"), env(", value: other"), env(", valueFrom: {resourceFieldRef: {resource: limits.cpu}}"),
			env(", valueFrom: {secretKeyRef: {name: s, key: k}}"), env(", valueFrom: {fieldRef: {fieldPath: metadata.name}}"), env(", valueFrom: {configMapKeyRef: {name: s, key: k}}"),
			env(", valueFrom: {resourceFieldRef: {resource: limits.cpu}}"), env(""), env(", valueFrom: {fieldRef: {fieldPath: metadata.name}}"), env(""), env(", value: z")),
		"init containers": pods("initContainers: [{name: i, image: 'example.com/a:1', env: [{name: X, valueFrom: {fieldRef: {fieldPath: metadata.name}}}]}], "+plainPod,
			"initContainers: [{name: i, image: 'example.com/a:1', env: [{name: X, value: x}]}], "+plainPod),
		"host network": pods("hostNetwork: true, containers: [{name: main, image: 'example.com/a:1', ports: [{containerPort: 80}, {containerPort: 53, protocol: UDP}]}]",
			"containers: [{name: main, image: 'example.com/a:1', ports: [{containerPort: 80}, {containerPort: 53, protocol: UDP}]}]",
			"hostNetwork: true, containers: [{name: main, image: 'example.com/a:1', ports: [{containerPort: 80, hostPort: 80}]}]",
			"containers: [{name: main, image: 'example.com/a:1', ports: [{containerPort: 80, hostPort: 80}]}]",
			"hostNetwork: false, containers: [{name: main, image: 'example.com/a:1', ports: [{containerPort: 80}]}]",
			"hostNetwork: true, containers: [{name: main, image: 'example.com/a:1', ports: [{containerPort: 80}]}]",
			"hostNetwork: false, initContainers: [{name: i, image: 'example.com/a:1'}], containers: [{name: main, image: 'example.com/a:1', ports: [{containerPort: 80}]}]"),
		"service type": services("type: NodePort, "+ports, "type: ClusterIP, "+ports, "type: ExternalName, externalName: a.example.com", ports, "type: LoadBalancer, "+ports,
			"type: ExternalName, externalName: a.example.com", "type: NodePort, "+ports, "type: ExternalName, externalName: b.example.com, "+ports, "type: LoadBalancer, "+ports, ports),
		"load balancer": services("type: LoadBalancer, loadBalancerClass: example.com/a, allocateLoadBalancerNodePorts: false, externalTrafficPolicy: Local, "+ports, ports,
			"type: LoadBalancer, externalTrafficPolicy: Local, healthCheckNodePort: 30071, "+ports, "type: NodePort, "+ports, "type: LoadBalancer, loadBalancerSourceRanges: [10.0.0.0/8], externalTrafficPolicy: Local, "+ports,
			"type: NodePort, externalTrafficPolicy: Local, "+ports, "type: LoadBalancer, loadBalancerClass: example.com/b, "+ports, "type: ExternalName, externalName: a.example.com",
			"type: LoadBalancer, externalTrafficPolicy: Local, "+ports, "type: LoadBalancer, "+ports),
		"session affinity": services("sessionAffinity: ClientIP, "+ports, "sessionAffinity: None, "+ports, "sessionAffinity: ClientIP, sessionAffinityConfig: {clientIP: {timeoutSeconds: 60}}, "+ports,
			ports, "sessionAffinity: ClientIP, "+ports, "sessionAffinity: ClientIP, sessionAffinityConfig: {clientIP: {timeoutSeconds: 60}}, "+ports, "type: ExternalName, externalName: a.example.com"),
		"validating webhook": webhooks(w, "ValidatingWebhookConfiguration", url, serving, url),
		"mutating webhook":   webhooks(w, "MutatingWebhookConfiguration", serving, url, "{service: {namespace: default, name: a, path: /x, port: 8443}}", url),
	}
}

// asNew returns what the API server would make of a definition if the object was not there.
func (w env) asNew(t *testing.T, s sequence, definition string) map[string]any {
	t.Helper()
	object := parsed(t, definition)[0].Unstructured
	twin := object.DeepCopy()
	twin.SetName(w.namespace + "-twin")
	unstructured.RemoveNestedField(twin.Object, "spec", "healthCheckNodePort") // it has it
	made, err := s.client(t, w).Create(t.Context(), twin, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
	require.NoError(t, err)
	return content(made)
}

// content is what a definition decides of an object; values that are allocated are only said
// to be there.
func content(object *unstructured.Unstructured) map[string]any {
	c := object.DeepCopy().Object
	delete(c, "metadata")
	delete(c, "status")
	delete(c, "apiVersion")
	delete(c, "kind")
	if object.GetKind() != "Service" {
		return c
	}
	spec := c["spec"].(map[string]any)
	hide := func(m map[string]any, name string) {
		if _, there := m[name]; there {
			m[name] = "allocated"
		}
	}
	hide(spec, "clusterIP")
	hide(spec, "clusterIPs")
	hide(spec, "healthCheckNodePort")
	list, _ := spec["ports"].([]any)
	for _, port := range list {
		hide(port.(map[string]any), "nodePort")
	}
	return c
}

// What the server has filled in for one definition, and the next one forbids, goes; what a
// definition makes of an object does not depend on what was there before.
func TestUnions(t *testing.T) {
	for name, s := range sequences(newEnv(t, kubernetes.Options{})) {
		t.Run(name, func(t *testing.T) {
			w := newEnv(t, kubernetes.Options{})
			if s.clusterScoped {
				w.removedAtEnd(t, s.definitions[0])
			}
			cluster, requests := w.recorded(t, kubernetes.Options{}, nil)
			var uid types.UID
			for i, definition := range s.definitions {
				text := fmt.Sprintf("%d: %s", i, definition)
				if !assert.NoError(t, cluster.Sync(def(apply("x", definition))), text) {
					continue
				}
				object := s.live(t, w, definition)
				assert.Equal(t, w.asNew(t, s, definition), content(object), text)
				if i > 0 {
					assert.Equal(t, uid, object.GetUID(), "it is the same object")
				}
				uid = object.GetUID()
				w.sameAgain(t, cluster, requests, definition)
				if t.Failed() {
					t.Fatal(text)
				}
			}
		})
	}
}

func (s sequence) client(t *testing.T, w env) dynamic.ResourceInterface {
	if s.clusterScoped {
		return w.dynamic(t).Resource(s.resource)
	}
	return w.dynamic(t).Resource(s.resource).Namespace(w.namespace)
}

func (s sequence) live(t *testing.T, w env, definition string) *unstructured.Unstructured {
	t.Helper()
	object, err := s.client(t, w).Get(t.Context(), parsed(t, definition)[0].GetName(), metav1.GetOptions{})
	require.NoError(t, err)
	return object
}

// definition of a kind whose versions are converted as it says.
func converted(w env, conversion string) string {
	definition, _ := crd(w.namespace, "Turncoat")
	return strings.Replace(definition, "  scope: Namespaced\n", "  scope: Namespaced\n"+conversion, 1)
}

func TestUnionOfAConversion(t *testing.T) {
	const webhook = "  conversion: {strategy: Webhook, webhook: {conversionReviewVersions: [v1], clientConfig: %s}}\n"
	url, serving := fmt.Sprintf(webhook, "{url: 'https://a.example.com/x'}"), fmt.Sprintf(webhook, "{service: {namespace: default, name: a}}")
	none := map[string]any{"strategy": "None"}
	hook := func(config map[string]any) map[string]any {
		return map[string]any{"strategy": "Webhook", "webhook": map[string]any{"conversionReviewVersions": []any{"v1"}, "clientConfig": config}}
	}
	service := hook(map[string]any{"service": map[string]any{"namespace": "default", "name": "a", "port": int64(443)}})
	w := newEnv(t, kubernetes.Options{})
	cluster, requests := w.recorded(t, kubernetes.Options{}, nil)
	w.removedAtEnd(t, converted(w, ""))
	var uid types.UID
	for i, c := range []struct {
		conversion string
		want       any
	}{
		{serving, service}, {"  conversion: {strategy: None}\n", none}, {serving, service}, {"", none}, {url, hook(map[string]any{"url": "https://a.example.com/x"})}, {serving, service},
		{url, hook(map[string]any{"url": "https://a.example.com/x"})}, {"  conversion: {strategy: None}\n", none},
	} {
		require.NoError(t, cluster.Sync(def(apply("crd", converted(w, c.conversion)))), i)
		object, err := w.dynamic(t).Resource(definitions).Get(t.Context(), "turncoats."+w.namespace+".example.com", metav1.GetOptions{})
		require.NoError(t, err)
		got, _, err := unstructured.NestedFieldNoCopy(object.Object, "spec", "conversion")
		require.NoError(t, err)
		assert.Equal(t, c.want, got, i)
		if i > 0 {
			assert.Equal(t, uid, object.GetUID())
		}
		uid = object.GetUID()
		w.sameAgain(t, cluster, requests, converted(w, c.conversion))
	}
}

// What another manager owns is not taken: it is said, and the object is made again if its
// definition allows it.
func TestUnionOfTwoOwners(t *testing.T) {
	w := newEnv(t, kubernetes.Options{})
	recreate := workloadWith("Deployment", "strategy: {type: Recreate}", plainPod)
	require.NoError(t, w.Sync(def(apply("x", workloadWith("Deployment", "strategy: {type: RollingUpdate}", plainPod)))))
	deployments := w.client.AppsV1().Deployments(w.namespace)
	kind, patch := mergePatch(t, map[string]any{"spec": map[string]any{"strategy": map[string]any{"rollingUpdate": map[string]any{"maxSurge": 3}}}})
	before, err := deployments.Patch(t.Context(), "x", kind, patch, metav1.PatchOptions{FieldManager: "somebody"})
	require.NoError(t, err)

	cluster, requests := w.recorded(t, kubernetes.Options{}, nil)
	text := syncErrors(t, cluster.Sync(def(apply("x", recreate))))["x"]
	assert.Contains(t, text, "rollingUpdate")
	assert.Contains(t, text, "platform/recreate")
	d := live(t, deployments.Get, "x")
	assert.Equal(t, before.Spec, d.Spec)
	assert.Contains(t, managersOf(d), "somebody Update")
	assert.LessOrEqual(t, len(requests.take("PATCH")), 3)

	require.NoError(t, cluster.Sync(def(apply("x", recreatable(recreate)))))
	d = live(t, deployments.Get, "x")
	assert.NotEqual(t, before.UID, d.UID)
	assert.Equal(t, appsv1.DeploymentStrategy{Type: appsv1.RecreateDeploymentStrategyType}, d.Spec.Strategy)
	w.sameAgain(t, cluster, requests, recreatable(recreate))
}

// Remains are not to blame for a definition that is wrong by itself: to make the object again
// would not help, and is not offered.
func TestUnionBesideAnotherError(t *testing.T) {
	w := newEnv(t, kubernetes.Options{})
	require.NoError(t, w.Sync(def(apply("x", workloadWith("Deployment", "strategy: {type: RollingUpdate}", plainPod)))))
	uid := live(t, w.client.AppsV1().Deployments(w.namespace).Get, "x").UID
	wrong := workloadWith("Deployment", "strategy: {type: Recreate}", strings.Replace(plainPod, "name: main", "name: NOT_A_NAME", 1))
	for _, definition := range []string{wrong, recreatable(wrong)} {
		text := syncErrors(t, w.Sync(def(apply("x", definition))))["x"]
		assert.Contains(t, text, "containers[0].name")
		assert.NotContains(t, text, "platform/recreate")
		assert.Equal(t, uid, live(t, w.client.AppsV1().Deployments(w.namespace).Get, "x").UID)
	}
}

// A port of the host goes with the host's network, unless somebody chose it. API servers before
// Kubernetes 1.28 fill it in in templates of pods, and nobody owns it then; here it is written,
// and its owner taken off the record.
func TestHostPorts(t *testing.T) {
	pod := func(network, port string) string {
		return workloadWith("DaemonSet", "", network+"containers: [{name: main, image: 'example.com/a:1', ports: [{containerPort: 80"+port+"}, {containerPort: 90}]}]")
	}
	withNetwork, without := pod("hostNetwork: true, ", ""), pod("", "")
	for name, c := range map[string]struct {
		manager string // who applied it with the network
		chosen  string // who chose the port 80
		want    []int32
	}{
		"ours":                    {"platform", "", []int32{0, 0}},
		"adopted":                 {"kubectl", "", []int32{0, 0}},
		"chosen by someone":       {"platform", "somebody", []int32{80, 0}},
		"chosen by one we adopt":  {"platform", "kubectl-edit", []int32{0, 0}},
		"everything is another's": {"somebody", "", []int32{80, 90}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newEnv(t, kubernetes.Options{})
			sets := w.client.AppsV1().DaemonSets(w.namespace)
			require.NoError(t, w.as(t, w.cp.Config(), kubernetes.Options{Namespace: w.namespace, FieldManager: c.manager}).Sync(def(apply("x", withNetwork))))
			_, err := sets.Patch(t.Context(), "x", types.StrategicMergePatchType, []byte(`{"spec": {"template": {"spec": {"containers": [{"name": "main", "ports": [
				{"containerPort": 80, "protocol": "TCP", "hostPort": 80}, {"containerPort": 90, "protocol": "TCP", "hostPort": 90}]}]}}}}`), metav1.PatchOptions{FieldManager: "the-server"})
			require.NoError(t, err)
			w.disown(t, "x", "the-server")
			if c.chosen != "" {
				chooser := w.as(t, w.cp.Config(), kubernetes.Options{Namespace: w.namespace, FieldManager: c.chosen})
				require.NoError(t, chooser.Sync(def(apply("x", pod("", ", hostPort: 80")))))
			}
			uid := live(t, sets.Get, "x").UID
			cluster, requests := w.recorded(t, kubernetes.Options{}, nil)
			require.NoError(t, cluster.Sync(def(apply("x", without))))
			d := live(t, sets.Get, "x")
			assert.Equal(t, uid, d.UID)
			var got []int32
			for _, p := range d.Spec.Template.Spec.Containers[0].Ports {
				got = append(got, p.HostPort)
			}
			assert.Equal(t, c.want, got)
			w.sameAgain(t, cluster, requests, without)
		})
	}
}

// disown takes a manager of a DaemonSet off the record.
func (w env) disown(t *testing.T, name, manager string) {
	t.Helper()
	sets := w.client.AppsV1().DaemonSets(w.namespace)
	set := live(t, sets.Get, name)
	kind, patch := mergePatch(t, map[string]any{"metadata": map[string]any{"resourceVersion": set.ResourceVersion, "managedFields": slices.DeleteFunc(set.ManagedFields,
		func(entry metav1.ManagedFieldsEntry) bool { return entry.Manager == manager })}})
	_, err := sets.Patch(t.Context(), name, kind, patch, patchBy("nobody"))
	require.NoError(t, err)
}
