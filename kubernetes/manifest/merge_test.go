package manifest_test

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/platformbus/platform/kubernetes/manifest"
)

// Each row is a definition that was synced, and how the cluster has it since. The
// definition is the same, so that only the comparison of values tells.
func TestPlanCompares(t *testing.T) {
	const (
		own    = "apiVersion: apps/v1\nkind: StatefulSet\nmetadata: {name: x}\n"
		podOf  = own + "spec: {template: {spec: {%s}}}\n"
		svc    = "apiVersion: v1\nkind: Service\nmetadata: {name: x}\nspec: {%s}\n"
		custom = "apiVersion: example.com/v1\nkind: Thing\nmetadata: {name: x}\nspec: {%s}\n"
	)
	for _, c := range []struct {
		name, form, defined, live string
		want                      bool // whether it differs
	}{
		{"a default", podOf, "hostPID: true", "hostPID: true, dnsPolicy: ClusterFirst", false},
		{"containers by name", podOf, "containers: [{name: a}, {name: b}]", "containers: [{name: c}, {name: b}, {name: a}]", false},
		{"a container is missing", podOf, "containers: [{name: a}, {name: b}]", "containers: [{name: b}]", true},
		{"a container's value", podOf, "containers: [{name: a, image: x}, {name: b}]", "containers: [{name: b}, {name: a, image: y}]", true},
		{"init containers by name", podOf, "initContainers: [{name: a}]", "initContainers: [{name: b}, {name: a}]", false},
		{"ports by number and protocol", podOf, "containers: [{name: a, ports: [{containerPort: 53}, {containerPort: 53, protocol: UDP}]}]", "containers: [{name: a, ports: [{containerPort: 53, protocol: UDP}, {containerPort: 53, protocol: TCP}]}]", false},
		{"another protocol", podOf, "containers: [{name: a, ports: [{containerPort: 53}]}]", "containers: [{name: a, ports: [{containerPort: 53, protocol: UDP}]}]", true},
		{"variables by name", podOf, "containers: [{name: a, env: [{name: X, value: '1'}]}]", "containers: [{name: a, env: [{name: Y}, {name: X, value: '1'}]}]", false},
		{"a variable is no quantity", podOf, "containers: [{name: a, env: [{name: X, value: '1'}]}]", "containers: [{name: a, env: [{name: X, value: 1000m}]}]", true},
		{"variables of one name", podOf, "containers: [{name: a, env: [{name: X}, {name: X, value: '1'}]}]", "containers: [{name: a, env: [{name: X}, {name: X, value: '2'}]}]", true},
		{"mounts by path", podOf, "containers: [{name: a, volumeMounts: [{name: v, mountPath: /a}]}]", "containers: [{name: a, volumeMounts: [{name: v, mountPath: /b}, {name: v, mountPath: /a}]}]", false},
		{"volumes by name", podOf, "volumes: [{name: v, emptyDir: {}}]", "volumes: [{name: w}, {name: v, emptyDir: {}}]", false},
		{"spread constraints", podOf, "topologySpreadConstraints: [{topologyKey: z, whenUnsatisfiable: DoNotSchedule}]", "topologySpreadConstraints: [{topologyKey: y, whenUnsatisfiable: DoNotSchedule}, {topologyKey: z, whenUnsatisfiable: DoNotSchedule}]", false},
		{"tolerations as a whole", podOf, "tolerations: [{key: a}]", "tolerations: [{key: a}, {key: b}]", true},
		{"tolerations in order", podOf, "tolerations: [{key: a}, {key: b}]", "tolerations: [{key: b}, {key: a}]", true},
		{"with defaults", podOf, "tolerations: [{key: a}]", "tolerations: [{key: a, operator: Equal}]", false},
		{"arguments as a whole", podOf, "containers: [{name: a, args: [x, y]}]", "containers: [{name: a, args: [x]}]", true},
		{"quantities", podOf, "containers: [{name: a, resources: {limits: {cpu: 1, memory: 1024Mi}, requests: {cpu: 0.5}}}]", "containers: [{name: a, resources: {limits: {cpu: '1', memory: 1Gi}, requests: {cpu: 500m}}}]", false},
		{"other quantities", podOf, "containers: [{name: a, resources: {limits: {cpu: 1}}}]", "containers: [{name: a, resources: {limits: {cpu: 2}}}]", true},
		{"a field that is empty", podOf, "hostPID: false, volumes: [], hostname: '', nodeName: null, nodeSelector: {}, containers: [{name: a, resources: {limits: {}}}]", "dnsPolicy: ClusterFirst, containers: [{name: a, resources: {}}]", false},
		{"zero that is kept", podOf, "priority: 0", "dnsPolicy: ClusterFirst", true},
		{"false that is kept", podOf, "automountServiceAccountToken: false", "dnsPolicy: ClusterFirst", true},
		{"an empty map that is kept", podOf, "volumes: [{name: a, emptyDir: {}}]", "volumes: [{name: a}]", true},
		{"false for true", podOf, "hostPID: false", "hostPID: true", true},
		{"null", podOf, "priority: null", "priority: 5", false},
		{"whole numbers", podOf, "priority: 5.0", "priority: 5", false},
		{"a map for a list", podOf, "volumes: [{name: a}]", "volumes: {name: a}", true},
		{"a list for a text", podOf, "hostname: a", "hostname: [a]", true},
		{"service ports", svc, "ports: [{port: 80}]", "ports: [{port: 443, protocol: TCP}, {port: 80, protocol: TCP, targetPort: 80}]", false},
		{"service ports of one number", svc, "ports: [{port: 53, protocol: UDP, name: u}, {port: 53, name: t}]", "ports: [{port: 53, protocol: TCP, name: t, targetPort: 53}, {port: 53, protocol: UDP, name: u, targetPort: 53}]", false},
		{"what the cluster allocates", svc, "clusterIP: '', clusterIPs: [], ports: [{port: 80, nodePort: 0}]", "ports: [{port: 80, protocol: TCP}]", false},
		{"a chosen address", svc, "clusterIP: 10.0.0.5, ports: [{port: 80}]", "ports: [{port: 80, protocol: TCP}]", true},
		{"a chosen port", svc, "ports: [{port: 80, nodePort: 30000}]", "ports: [{port: 80, protocol: TCP, nodePort: 30001}]", true},
		{"a custom list is a whole", custom, "containers: [{name: a}]", "containers: [{name: a}, {name: b}]", true},
		{"with what is defaulted", custom, "list: [{name: a}]", "list: [{name: a, size: 1}]", false},
		{"a custom quantity is a text", custom, "limits: {cpu: '1'}", "limits: {cpu: 1000m}", true},
		{"a null in a list", custom, "list: [null]", "list: [a]", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			cluster := synced(t, fmt.Sprintf(c.form, c.defined))
			for id, live := range cluster.live {
				live["spec"] = parse(t, fmt.Sprintf(c.form, c.live))[0].Object["spec"]
				cluster.live[id] = live
			}
			_, report, err := manifest.Plan(export(t, cluster), parse(t, fmt.Sprintf(c.form, c.defined)), demo)
			require.NoError(t, err)
			assert.Len(t, report.Change, map[bool]int{true: 1}[c.want], "%s", report)
			for _, change := range report.Change {
				assert.NotEmpty(t, change.Diff)
			}
		})
	}
}

// As above, of whole objects.
func TestPlanComparesKinds(t *testing.T) {
	for _, c := range []struct {
		name, kind, defined, live string
		want                      bool
	}{
		{"a bound volume", "apiVersion: v1\nkind: PersistentVolumeClaim", "spec: {resources: {requests: {storage: 1024Mi}}}", "spec: {resources: {requests: {storage: 1Gi}}}", false},
		{"tokens by name", "apiVersion: v1\nkind: ServiceAccount", "secrets: [{name: t}]", "secrets: [{name: u}, {name: t}]", false},
		{"no token is mounted", "apiVersion: v1\nkind: ServiceAccount", "automountServiceAccountToken: false", "", true},
		{"pull secrets as a whole", "apiVersion: v1\nkind: ServiceAccount", "imagePullSecrets: [{name: a}]", "imagePullSecrets: [{name: b}, {name: a}]", true},
		{"aggregated rules", "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole", "aggregationRule: {clusterRoleSelectors: []}\nrules: []", "aggregationRule: {clusterRoleSelectors: null}", false},
		{"a namespace's finalizer", "apiVersion: v1\nkind: Namespace", "spec: {finalizers: [kubernetes]}", "", false},
		{"the selector of a Job", "apiVersion: batch/v1\nkind: Job", "spec: {parallelism: 1, selector: {a: b}, template: {metadata: {labels: {job-name: a}}}}", "spec: {parallelism: 1, template: {metadata: {}}}", false},
		{"a quota", "apiVersion: v1\nkind: ResourceQuota", "spec: {hard: {cpu: 1000m}}", "spec: {hard: {cpu: '1'}}", false},
		{"a target", "apiVersion: autoscaling/v2\nkind: HorizontalPodAutoscaler", "spec: {metrics: [{object: {target: {value: 1000m}}}]}", "spec: {metrics: [{object: {target: {value: '1'}}}]}", false},
		{"webhooks by name", "apiVersion: admissionregistration.k8s.io/v1\nkind: MutatingWebhookConfiguration", "webhooks: [{name: a, clientConfig: {url: x}}]", "webhooks: [{name: b}, {name: a, clientConfig: {url: x, caBundle: y}}]", false},
		{"a webhook's value", "apiVersion: admissionregistration.k8s.io/v1\nkind: MutatingWebhookConfiguration", "webhooks: [{name: a, clientConfig: {url: x}}]", "webhooks: [{name: a, clientConfig: {url: z}}]", true},
		{"data of the same meaning as a quantity", "apiVersion: v1\nkind: ConfigMap", "data: {sizeLimit: '1'}", "data: {sizeLimit: 1000m}", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			defined := c.kind + "\nmetadata: {name: x, finalizers: [a/b], annotations: {pv.kubernetes.io/bind-completed: 'yes'}}\n" + c.defined
			cluster := synced(t, defined)
			for id, live := range cluster.live {
				now := parse(t, c.kind+"\nmetadata: {name: x}\n"+c.live)[0].Object
				now["metadata"] = live["metadata"]
				annotations := now["metadata"].(map[string]any)["annotations"].(map[string]any)
				delete(annotations, "pv.kubernetes.io/bind-completed")
				now["metadata"].(map[string]any)["finalizers"] = []any{"c/d", "a/b"}
				cluster.live[id] = now
			}
			_, report, err := manifest.Plan(export(t, cluster), parse(t, defined), demo)
			require.NoError(t, err)
			assert.Len(t, report.Change, map[bool]int{true: 1}[c.want], "%s", report)
		})
	}
}

// A list that is too long for its elements to be aligned takes nothing from the work that there may
// be for others, and each plan shows the same lists aligned.
func TestPlanAlignsWhatItCan(t *testing.T) {
	const form = "apiVersion: example.com/v1\nkind: Thing\nmetadata: {name: x}\nspec: {%s}\n"
	for _, c := range []struct {
		name    string
		lengths []int
		want    string // the lists whose defaults are not shown as lost
	}{
		{"one that is too long", []int{150, 1}, "b"},
		{"more than there may be work", []int{90, 90, 90, 1}, "a b d"},
	} {
		t.Run(c.name, func(t *testing.T) {
			defined, live := "", ""
			for i, n := range c.lengths {
				list := string(rune('a' + i))
				defined += list + ": [" + strings.Repeat("{key: a}, ", n) + "], "
				live += list + ": [" + strings.Repeat("{key: a, z-"+list+": x}, ", n) + "{key: b}], "
			}
			for range 20 {
				_, report, err := manifest.Plan([]byte(fmt.Sprintf(form, live)), parse(t, fmt.Sprintf(form, defined)), demo)
				require.NoError(t, err)
				require.Len(t, report.Change, 1)
				var aligned []string
				for i := range c.lengths {
					if list := string(rune('a' + i)); !regexp.MustCompile(`(?m)^- +z-` + list).MatchString(report.Change[0].Diff) {
						aligned = append(aligned, list)
					}
				}
				require.Equal(t, c.want, strings.Join(aligned, " "), "%s", report.Change[0].Diff)
			}
		})
	}
}

func TestPlanComparesBytes(t *testing.T) {
	const before = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\nbinaryData:\n  a: |\n    AAAA\n    AAAA\n"
	c := synced(t, before)
	current := strings.Replace(string(export(t, c)), "a: |\n    AAAA\n    AAAA\n", "a: AAAAAAAA\n", 1)
	require.Contains(t, current, "a: AAAAAAAA")
	_, report, err := manifest.Plan([]byte(current), parse(t, before), demo)
	require.NoError(t, err)
	assert.Empty(t, outline(report))
	_, report, err = manifest.Plan([]byte(strings.Replace(current, "AAAAAAAA", "AAAAAAAB", 1)), parse(t, before), demo)
	require.NoError(t, err)
	assert.Equal(t, "~default:configmap/x", outline(report))
}

// BenchmarkPlan plans as many objects as a large cluster has, nothing of which changes:
// the time is that of reading the export.
func BenchmarkPlan(b *testing.B) {
	for _, n := range []int{1000, 10_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			var text strings.Builder
			for i := range n {
				text.WriteString(strings.ReplaceAll(deployment, "web", fmt.Sprintf("web-%d", i)))
			}
			desired := parse(b, text.String())
			current := export(b, synced(b, text.String()))
			b.SetBytes(int64(len(current)))
			b.ReportAllocs()
			for b.Loop() {
				if _, report, err := manifest.Plan(current, desired, demo); err != nil || report.Unchanged != n {
					b.Fatal(err, report)
				}
			}
		})
	}
}
