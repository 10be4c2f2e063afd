package kubernetes_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/platformbus/platform/internal/controlplane"
	"github.com/platformbus/platform/kubernetes"
	"github.com/platformbus/platform/kubernetes/manifest"
)

// planned syncs a plan of text as a set, and returns what it reported and the Export it was
// made from.
func planned(t *testing.T, cluster *kubernetes.Cluster, set, text string) (manifest.Report, string) {
	t.Helper()
	current, err := cluster.Export()
	require.NoError(t, err)
	def, report, err := manifest.Plan(current, parsed(t, text), manifest.PlanOptions{SyncSet: set, Namespace: set})
	require.NoError(t, err)
	require.NoError(t, cluster.Sync(def))
	return report, string(current)
}

// names returns the kinds and names of the exported objects whose content mark accepts.
func names(t *testing.T, export string, mark func(manifest.Object) bool) []string {
	t.Helper()
	found := []string{}
	for _, o := range parsed(t, export) {
		if mark(o) {
			found = append(found, o.GetKind()+" "+o.GetName())
		}
	}
	return found
}

// inSet accepts the objects of a sync set.
func inSet(set string) func(manifest.Object) bool {
	return func(o manifest.Object) bool { return o.GetLabels()[manifest.SyncSetLabel] == set }
}

// Objects of kinds whose objects programs make too are definitions if somebody defined them:
// synced by a plan they are exported, and planned no more, also after the control plane has
// filled them in.
func TestOwnAmongTheSystems(t *testing.T) {
	for _, c := range []struct {
		name, text string
		filled     func(t *testing.T, w env) bool // what the control plane does about it
		want       []string
		never      []string // is not in the export
	}{
		{name: "endpoints", text: `
apiVersion: v1
kind: Endpoints
metadata: {name: outside}
subsets: [{addresses: [{ip: 192.0.2.11}], ports: [{name: smtp, port: 25}]}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: outside-1, labels: {kubernetes.io/service-name: elsewhere}}
addressType: IPv4
endpoints: [{addresses: [192.0.2.10]}]
ports: [{name: sql, port: 5432}]
---
apiVersion: v1
kind: Service
metadata: {name: outside}
spec: {ports: [{name: smtp, port: 25}]}
`, filled: func(t *testing.T, w env) bool { // the slice that mirrors the Endpoints
			list, err := w.client.DiscoveryV1().EndpointSlices(w.namespace).List(t.Context(), metav1.ListOptions{LabelSelector: "kubernetes.io/service-name=outside"})
			return err == nil && len(list.Items) > 0
		}, want: []string{"Service outside", "Endpoints outside", "EndpointSlice outside-1"}},
		{name: "flow control", text: `
apiVersion: flowcontrol.apiserver.k8s.io/v1
kind: PriorityLevelConfiguration
metadata: {name: NAMESPACE}
spec: {type: Limited, limited: {nominalConcurrencyShares: 5, limitResponse: {type: Reject}}}
---
apiVersion: flowcontrol.apiserver.k8s.io/v1
kind: FlowSchema
metadata: {name: NAMESPACE}
spec:
  priorityLevelConfiguration: {name: NAMESPACE}
  rules:
  - subjects: [{kind: ServiceAccount, serviceAccount: {name: default, namespace: NAMESPACE}}]
    resourceRules: [{verbs: ["*"], apiGroups: ["*"], resources: ["*"], namespaces: ["*"]}]
`, want: []string{"FlowSchema NAMESPACE", "PriorityLevelConfiguration NAMESPACE"}},
		{name: "token", text: `
apiVersion: v1
kind: ServiceAccount
metadata: {name: deployer}
---
apiVersion: v1
kind: Secret
metadata: {name: deployer-token, annotations: {kubernetes.io/service-account.name: deployer}}
type: kubernetes.io/service-account-token
`, filled: func(t *testing.T, w env) bool {
			return len(live(t, w.client.CoreV1().Secrets(w.namespace).Get, "deployer-token").Data["token"]) > 0
		}, want: []string{"Secret deployer-token", "ServiceAccount deployer"}, never: []string{"token:", "ca.crt"}},
		{name: "volumes", text: `
apiVersion: v1
kind: PersistentVolume
metadata: {name: NAMESPACE-unbound}
spec: {capacity: {storage: 1Gi}, accessModes: [ReadWriteOnce], storageClassName: NAMESPACE-none, hostPath: {path: /tmp/a}}
---
apiVersion: v1
kind: PersistentVolume
metadata: {name: NAMESPACE-bound}
spec: {capacity: {storage: 1024Mi}, accessModes: [ReadWriteOnce], storageClassName: NAMESPACE, hostPath: {path: /tmp/b}}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: any}
spec: {accessModes: [ReadWriteOnce], storageClassName: NAMESPACE, resources: {requests: {storage: 1Gi}}}
---
apiVersion: v1
kind: PersistentVolume
metadata: {name: NAMESPACE-chosen, annotations: {pv.kubernetes.io/provisioned-by: disks.example.com}}
spec:
  capacity: {storage: 1Gi}
  accessModes: [ReadWriteOnce]
  storageClassName: NAMESPACE-chosen
  hostPath: {path: /tmp/c}
  claimRef: {name: chosen, namespace: NAMESPACE}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: chosen}
spec: {accessModes: [ReadWriteOnce], storageClassName: NAMESPACE-chosen, volumeName: NAMESPACE-chosen, resources: {requests: {storage: 1Gi}}}
`, filled: func(t *testing.T, w env) bool {
			volumes := w.client.CoreV1().PersistentVolumes()
			return live(t, volumes.Get, w.namespace+"-bound").Status.Phase == corev1.VolumeBound &&
				live(t, volumes.Get, w.namespace+"-chosen").Status.Phase == corev1.VolumeBound &&
				live(t, w.client.CoreV1().PersistentVolumeClaims(w.namespace).Get, "any").Status.Phase == corev1.ClaimBound
		}, want: []string{
			"PersistentVolume NAMESPACE-bound", "PersistentVolume NAMESPACE-chosen", "PersistentVolume NAMESPACE-unbound",
			"PersistentVolumeClaim any", "PersistentVolumeClaim chosen",
		}, never: []string{"uid:", "bind-completed", "bound-by-controller", "volumeName: NAMESPACE-bound", "name: any\n    namespace", "kind: PersistentVolumeClaim\n    name: "}},
		{name: "leases", text: `
apiVersion: coordination.k8s.io/v1
kind: Lease
metadata: {name: lock}
---
apiVersion: coordination.k8s.io/v1
kind: Lease
metadata: {name: held}
spec: {holderIdentity: nobody, leaseDurationSeconds: 15}
`, want: []string{"Lease held", "Lease lock"}},
		{name: "namespaces of Kubernetes", text: `
apiVersion: v1
kind: ConfigMap
metadata: {name: NAMESPACE, namespace: kube-system}
data: {a: "1"}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: NAMESPACE, namespace: kube-public}
spec:
  selector: {matchLabels: {app: NAMESPACE}}
  template: {metadata: {labels: {app: NAMESPACE}}, spec: {containers: [{name: main, image: "example.com/a:1"}]}}
`, want: []string{"ConfigMap NAMESPACE", "Deployment NAMESPACE"}},
		{name: "what each namespace has", text: `
apiVersion: v1
kind: ServiceAccount
metadata: {name: default}
imagePullSecrets: [{name: pull}]
`, want: []string{"ServiceAccount default"}},
		{name: "addresses", text: `
apiVersion: networking.k8s.io/v1
kind: ServiceCIDR
metadata: {name: NAMESPACE}
spec: {cidrs: [10.197.0.0/24]}
`, filled: func(t *testing.T, w env) bool {
			return len(live(t, w.client.NetworkingV1().ServiceCIDRs().Get, w.namespace).Finalizers) > 0
		}, want: []string{"ServiceCIDR NAMESPACE"}, never: []string{"finalizers"}},
		{name: "priority", text: `
apiVersion: scheduling.k8s.io/v1
kind: PriorityClass
metadata: {name: NAMESPACE}
value: 1000
`, want: []string{"PriorityClass NAMESPACE"}},
		{name: "aggregated role", text: `
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: NAMESPACE-all}
aggregationRule: {clusterRoleSelectors: [{matchLabels: {NAMESPACE: "yes"}}]}
rules: []
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: NAMESPACE-part, labels: {NAMESPACE: "yes"}}
rules: [{apiGroups: [""], resources: [configmaps], verbs: [get]}]
`, filled: func(t *testing.T, w env) bool {
			return len(live(t, w.client.RbacV1().ClusterRoles().Get, w.namespace+"-all").Rules) > 0
		}, want: []string{"ClusterRole NAMESPACE-all", "ClusterRole NAMESPACE-part"}},
		{name: "jobs and pods", text: `
apiVersion: batch/v1
kind: Job
metadata: {name: once}
spec: {template: {spec: {restartPolicy: Never, containers: [{name: main, image: "example.com/a:1"}]}}}
---
apiVersion: v1
kind: Pod
metadata: {name: alone}
spec: {tolerations: [{key: example.com/a, operator: Exists}], containers: [{name: main, image: "example.com/a:1"}]}
---
apiVersion: v1
kind: Pod
metadata: {name: plain}
spec: {containers: [{name: main, image: "example.com/a:1"}]}
`, filled: func(t *testing.T, w env) bool {
			return live(t, w.client.CoreV1().Pods(w.namespace).Get, "alone").Spec.NodeName != "" &&
				live(t, w.client.BatchV1().Jobs(w.namespace).Get, "once").Status.StartTime != nil
		}, want: []string{"Job once", "Pod alone", "Pod plain"}, never: []string{"nodeName", "controller-uid", "kube-api-access", "node.kubernetes.io/not-ready"}},
		{name: "what is defined to be owned", text: `
apiVersion: v1
kind: ConfigMap
metadata: {name: part, ownerReferences: [{apiVersion: v1, kind: Namespace, name: NAMESPACE, uid: UID}]}
`, want: []string{"ConfigMap part"}},
		{name: "an autoscaler at an older version", text: `
apiVersion: autoscaling/v1
kind: HorizontalPodAutoscaler
metadata: {name: web}
spec: {maxReplicas: 3, targetCPUUtilizationPercentage: 70, scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: web}}
`, want: []string{"HorizontalPodAutoscaler web"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newEnv(t, kubernetes.Options{})
			named := func(text string) string { return strings.ReplaceAll(text, "NAMESPACE", w.namespace) }
			text := strings.ReplaceAll(named(c.text), "UID", string(live(t, w.client.CoreV1().Namespaces().Get, w.namespace).UID))
			cluster, _ := w.recorded(t, kubernetes.Options{ExportSecrets: true}, nil)
			w.removedAtEnd(t, text)
			first, _ := planned(t, cluster, w.namespace, text)
			assert.False(t, first.Empty())
			if c.filled != nil {
				require.Eventually(t, func() bool { return c.filled(t, w) }, testLimit, testTick)
			}
			again, export := planned(t, cluster, w.namespace, text)
			assert.True(t, again.Empty(), "%s", again)
			_, later := planned(t, cluster, w.namespace, text)
			own := func(export string) string {
				var docs []string
				for _, doc := range strings.Split(export, "---\n") {
					if strings.Contains(doc, manifest.SyncSetLabel+": "+w.namespace+"\n") {
						docs = append(docs, doc)
					}
				}
				return strings.Join(docs, "---\n")
			}
			assert.Equal(t, own(export), own(later), "exported again, the same bytes")
			var want []string
			for _, name := range c.want {
				want = append(want, named(name))
			}
			assert.ElementsMatch(t, want, names(t, export, inSet(w.namespace)))
			for _, text := range c.never {
				without := own(export)
				without = strings.ReplaceAll(without, "uid: "+string(live(t, w.client.CoreV1().Namespaces().Get, w.namespace).UID), "")
				assert.NotContains(t, without, named(text))
			}
		})
	}
}

// The rules that are gathered for an aggregated role are nobody's; those of a role that is so no
// more are.
func TestPlansOfAnAggregatedRole(t *testing.T) {
	w := newEnv(t, kubernetes.Options{})
	cluster, _ := w.recorded(t, kubernetes.Options{}, nil)
	all := "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {name: " + w.namespace + "-all}\n"
	part := "\n---\napiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {name: " + w.namespace + "-part, labels: {" + w.namespace + ": part}}\n" +
		"rules: [{apiGroups: [\"\"], resources: [configmaps], verbs: [get]}]"
	w.removedAtEnd(t, all)
	const pods = `[{apiGroups: [""], resources: [pods], verbs: [list]}]`
	aggregated := "aggregationRule: {clusterRoleSelectors: [{matchLabels: {" + w.namespace + ": part}}]}\n"
	for _, form := range []struct {
		text string
		want string // the resource that the role is about
	}{
		{aggregated, "configmaps"}, {aggregated + "rules: []", "configmaps"}, {"rules: " + pods, "pods"}, {aggregated + "rules: null", "configmaps"},
		{"aggregationRule: null\nrules: " + pods, "pods"}, {aggregated + "rules: " + pods, "configmaps"},
	} {
		first, _ := planned(t, cluster, w.namespace, all+form.text+part)
		require.Eventually(t, func() bool {
			rules := live(t, w.client.RbacV1().ClusterRoles().Get, w.namespace+"-all").Rules
			return len(rules) == 1 && rules[0].Resources[0] == form.want
		}, testLimit, testTick, "%s: %s", form.text, first)
		again, export := planned(t, cluster, w.namespace, all+form.text+part)
		assert.True(t, again.Empty(), "%s: %s", form.text, again)
		for _, o := range parsed(t, export) {
			if o.GetName() == w.namespace+"-all" {
				_, isAggregated := o.Object["aggregationRule"]
				_, hasRules := o.Object["rules"]
				assert.NotEqual(t, isAggregated, hasRules, form.text)
			}
		}
	}
}

// What the system makes is no definition, with the same kinds.
func TestTheSystemsOwn(t *testing.T) {
	w := newEnv(t, kubernetes.Options{})
	ctx := t.Context()
	byOthers := metav1.CreateOptions{FieldManager: "a-program"}

	provisioned := &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: w.namespace + "-provisioned", Annotations: map[string]string{"pv.kubernetes.io/provisioned-by": "disks.example.com"}},
		Spec: corev1.PersistentVolumeSpec{
			Capacity: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}, AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			StorageClassName: w.namespace, PersistentVolumeSource: corev1.PersistentVolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/tmp/d"}},
		},
	}
	_, err := w.client.CoreV1().PersistentVolumes().Create(ctx, provisioned, byOthers)
	require.NoError(t, err)
	t.Cleanup(func() {
		assert.NoError(t, w.client.CoreV1().PersistentVolumes().Delete(context.Background(), provisioned.Name, metav1.DeleteOptions{}))
	})
	lease := func(name, manager string) {
		holder, now := "one", metav1.NewMicroTime(time.Unix(1, 0))
		_, err := w.client.CoordinationV1().Leases(w.namespace).Create(ctx, &coordinationv1.Lease{
			ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: coordinationv1.LeaseSpec{HolderIdentity: &holder, AcquireTime: &now, RenewTime: &now},
		}, metav1.CreateOptions{FieldManager: manager})
		require.NoError(t, err)
	}
	lease("leader", "a-program")
	lease("kustomize-controller-leader-election", "kustomize-controller") // an adopted manager's own election
	_, err = w.client.CoreV1().ConfigMaps("kube-system").Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: w.namespace}}, byOthers)
	require.NoError(t, err)
	t.Cleanup(func() {
		assert.NoError(t, w.client.CoreV1().ConfigMaps("kube-system").Delete(context.Background(), w.namespace, metav1.DeleteOptions{}))
	})

	// Ours, which an election uses.
	require.NoError(t, w.Sync(def(apply("lock", "apiVersion: coordination.k8s.io/v1\nkind: Lease\nmetadata: {name: lock, labels: {a: b}}"))))
	renew := func(at int64) {
		kind, patch := mergePatch(t, map[string]any{"spec": map[string]any{"holderIdentity": "one", "renewTime": metav1.NewMicroTime(time.Unix(at, 0))}})
		_, err := w.client.CoordinationV1().Leases(w.namespace).Patch(ctx, "lock", kind, patch, metav1.PatchOptions{FieldManager: "a-program"})
		require.NoError(t, err)
	}
	renew(2)
	all := func(namespaces ...string) string {
		t.Helper()
		out, err := w.as(t, w.cp.Config(), kubernetes.Options{ExportSecrets: true, Namespaces: namespaces}).Export()
		require.NoError(t, err)
		return string(out)
	}
	own := func(export string) []string {
		return names(t, export, func(o manifest.Object) bool {
			return strings.HasPrefix(o.GetNamespace(), "kube-") || o.GetNamespace() == w.namespace || strings.HasPrefix(o.GetName(), w.namespace)
		})
	}
	mine := all(w.namespace)
	assert.ElementsMatch(t, []string{"Namespace " + w.namespace, "Lease lock"}, own(mine))
	renew(3)
	assert.Equal(t, mine, all(w.namespace), "an election renews its lease for ever")
	assert.ElementsMatch(t, []string{"ConfigMap " + w.namespace}, own(all("kube-system")), "asked for by name")
}

// What a cluster proves its own identity with never leaves it, and is of no other's plan.
func TestCertificatesOfTheCluster(t *testing.T) {
	w := newEnv(t, kubernetes.Options{})
	namespaces := []string{"kube-system", "kube-public", w.namespace}
	certificates := []struct{ namespace, name string }{
		{"kube-system", "extension-apiserver-authentication"}, {"kube-system", "kube-root-ca.crt"}, {w.namespace, "kube-root-ca.crt"},
		{"kube-system", "kube-apiserver-legacy-service-account-token-tracking"}, {"kube-public", "cluster-info"},
	}
	_, err := w.client.CoreV1().ConfigMaps("kube-public").Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "cluster-info"}, Data: map[string]string{"kubeconfig": "a"}}, metav1.CreateOptions{})
	require.NoError(t, err)
	t.Cleanup(func() {
		assert.NoError(t, w.client.CoreV1().ConfigMaps("kube-public").Delete(context.Background(), "cluster-info", metav1.DeleteOptions{}))
	})
	var text []string
	for _, c := range certificates {
		maps := w.client.CoreV1().ConfigMaps(c.namespace)
		require.Eventually(t, func() bool {
			_, err := maps.Get(t.Context(), c.name, metav1.GetOptions{})
			return err == nil
		}, testLimit, testTick, "%v", c)
		for _, manager := range []string{"kubectl-label", "platform"} {
			_, err := maps.Patch(t.Context(), c.name, types.MergePatchType, []byte(`{"metadata": {"labels": {"of": "`+manager+`"}}}`), metav1.PatchOptions{FieldManager: manager})
			require.NoError(t, err)
		}
		text = append(text, "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: "+c.name+", namespace: "+c.namespace+"}\ndata: {a: b}")
	}
	for _, c := range [][]string{nil, namespaces, {"*"}} {
		out, err := w.as(t, w.cp.Config(), kubernetes.Options{ExportSecrets: true, Namespaces: c}).Export()
		require.NoError(t, err)
		for _, certificate := range certificates {
			assert.NotContains(t, string(out), "name: "+certificate.name)
		}
		assert.NotContains(t, string(out), "BEGIN CERTIFICATE")
	}
	d, report, err := manifest.Plan(nil, parsed(t, strings.Join(text, "\n---\n")), manifest.PlanOptions{SyncSet: "certificates"})
	require.NoError(t, err)
	assert.Empty(t, d.Actions)
	assert.Len(t, report.Ignored, len(certificates), "%s", report)
	assert.True(t, report.Empty())
}

// Nobody has defined anything: there is nothing to export, whatever namespaces are named. What
// is applied to the namespace default counts from then on.
func TestExportOfABareCluster(t *testing.T) {
	controlplane.Require(t) // for its rules about what is missing
	cp, err := controlplane.Start(t.Context(), controlplane.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, cp.Stop()) })
	w := env{cp: cp, client: clientFor(t, cp.Config()), namespace: "default"}
	require.Eventually(t, func() bool { // the last thing that the control plane makes
		_, err := w.client.CoreV1().ConfigMaps("kube-system").Get(t.Context(), "kube-root-ca.crt", metav1.GetOptions{})
		account, missing := w.client.CoreV1().ServiceAccounts("default").Get(t.Context(), "default", metav1.GetOptions{})
		return err == nil && missing == nil && account.Name != ""
	}, testLimit, testTick)
	for _, namespaces := range [][]string{nil, {"kube-system"}, {"kube-*", "default"}} {
		out, err := w.as(t, cp.Config(), kubernetes.Options{ExportSecrets: true, Namespaces: namespaces}).Export()
		require.NoError(t, err)
		assert.Empty(t, string(out), "%v", namespaces)
	}
	const text = `
apiVersion: v1
kind: Namespace
metadata: {name: default, labels: {team: a}}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: default, namespace: default}
automountServiceAccountToken: false
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: view, labels: {team: a}}
`
	cluster := w.as(t, cp.Config(), kubernetes.Options{})
	first, _ := planned(t, cluster, "default", text)
	assert.Len(t, first.Unseen, 2, "%s", first)
	again, export := planned(t, cluster, "default", text)
	assert.True(t, again.Empty(), "%s", again)
	assert.Equal(t, []string{"Namespace default", "ServiceAccount default", "ClusterRole view"}, names(t, export, func(manifest.Object) bool { return true }))
}
