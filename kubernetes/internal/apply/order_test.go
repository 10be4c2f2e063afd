package apply

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/platformbus/platform/kubernetes/internal/api"
	"github.com/platformbus/platform/kubernetes/internal/parse"
)

// clusterScopedKinds are those of the definitions below that are in no namespace.
var clusterScopedKinds = map[string]bool{
	"Namespace": true, "CustomResourceDefinition": true, "ClusterRole": true, "ClusterRoleBinding": true, "PriorityClass": true,
	"RuntimeClass": true, "StorageClass": true, "IngressClass": true, "ValidatingAdmissionPolicy": true, "ValidatingAdmissionPolicyBinding": true,
	"MutatingAdmissionPolicy": true, "MutatingAdmissionPolicyBinding": true, "ValidatingWebhookConfiguration": true,
	"MutatingWebhookConfiguration": true, "APIService": true,
}

// stepsOf returns the steps of an action.
func stepsOf(t *testing.T, action int, text string, deleting bool) []*Step {
	t.Helper()
	defs := definitionsOf(t, text)
	var steps []*Step
	for i, d := range defs {
		res := api.Resource{GroupVersionResource: d.GVK.GroupVersion().WithResource(strings.ToLower(d.GVK.Kind)), Kind: d.GVK.Kind, Namespaced: !clusterScopedKinds[d.GVK.Kind]}
		steps = append(steps, &Step{Action: action, Index: i, Delete: deleting, Object: NewTarget(d, res, "default", fmt.Sprint(action))})
	}
	return steps
}

// definitionsOf returns the definitions in a manifest.
func definitionsOf(t *testing.T, text string) []*Definition {
	t.Helper()
	var defs []*Definition
	require.NoError(t, parse.Each(t.Context(), []byte(text), parse.NewLimits(0, parse.AnyNumber), func(o parse.Object) error {
		d, err := NewDefinition(o)
		defs = append(defs, d)
		return err
	}), text)
	return defs
}

// runInOrder runs steps one at a time and returns their nodes.
func runInOrder(t *testing.T, steps []*Step, do func(*Step) error) []*node {
	t.Helper()
	g, nodes := Graph(steps)
	g.Run(t.Context(), 1, func(_ context.Context, n *node) error { return do(n.Value) })
	return nodes
}

// positionsOf runs steps one at a time and returns their places in the order of it.
func positionsOf(t *testing.T, steps []*Step) map[*Step]int {
	t.Helper()
	order := map[*Step]int{}
	runInOrder(t, steps, func(s *Step) error {
		order[s] = len(order)
		return nil
	})
	require.Len(t, order, len(steps), "nothing is lost")
	return order
}

func podOf(kind, spec string) string {
	switch kind {
	case "Pod":
		return "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec: " + spec
	case "ReplicationController":
		return "apiVersion: v1\nkind: ReplicationController\nmetadata: {name: p}\nspec: {template: {spec: " + spec + "}}"
	case "Job":
		return "apiVersion: batch/v1\nkind: Job\nmetadata: {name: p}\nspec: {template: {spec: " + spec + "}}"
	case "CronJob":
		return "apiVersion: batch/v1\nkind: CronJob\nmetadata: {name: p}\nspec: {jobTemplate: {spec: {template: {spec: " + spec + "}}}}"
	default:
		return "apiVersion: apps/v1\nkind: " + kind + "\nmetadata: {name: p}\nspec: {template: {spec: " + spec + "}}"
	}
}

// Each pair is of what is needed and what needs it. Applied the first goes first, deleted
// the second, wherever they are in the list.
func TestGraphOrdersByNeed(t *testing.T) {
	object := func(apiVersion, kind, rest string) string {
		return "apiVersion: " + apiVersion + "\nkind: " + kind + "\n" + rest
	}
	named := func(apiVersion, kind string) string { return object(apiVersion, kind, "metadata: {name: x}") }
	const admission, storage, rbac, networking = "admissionregistration.k8s.io/v1", "storage.k8s.io/v1", "rbac.authorization.k8s.io/v1", "networking.k8s.io/v1"
	pairs := map[string][2]string{
		"namespace and content":           {named("v1", "Namespace"), object("v1", "ConfigMap", "metadata: {name: a, namespace: x}")},
		"default namespace and content":   {object("v1", "Namespace", "metadata: {name: default}"), object("v1", "ConfigMap", "metadata: {name: a}")},
		"CRD and resource":                {object("apiextensions.k8s.io/v1", "CustomResourceDefinition", "metadata: {name: whys.x}\nspec: {group: x, names: {kind: Why, plural: whys}, versions: [{name: v1}, {name: v2}]}"), named("x/v1", "Why")},
		"CRD and resource of a later one": {object("apiextensions.k8s.io/v1", "CustomResourceDefinition", "metadata: {name: whys.x}\nspec: {group: x, names: {kind: Why, plural: whys}, versions: [{name: v1}, {name: v2}]}"), named("x/v2", "Why")},
		"account and its token":           {named("v1", "ServiceAccount"), object("v1", "Secret", "metadata: {name: a, annotations: {kubernetes.io/service-account.name: x}}\ntype: kubernetes.io/service-account-token")},
		"role and binding":                {named(rbac, "Role"), object(rbac, "RoleBinding", "metadata: {name: a}\nroleRef: {kind: Role, name: x}")},
		"cluster role and role binding":   {named(rbac, "ClusterRole"), object(rbac, "RoleBinding", "metadata: {name: a}\nroleRef: {kind: ClusterRole, name: x}")},
		"cluster role and binding":        {named(rbac, "ClusterRole"), object(rbac, "ClusterRoleBinding", "metadata: {name: a}\nroleRef: {kind: ClusterRole, name: x}")},
		"storage class and claim":         {named(storage, "StorageClass"), object("v1", "PersistentVolumeClaim", "metadata: {name: a}\nspec: {storageClassName: x}")},
		"storage class and template":      {named(storage, "StorageClass"), object("apps/v1", "StatefulSet", "metadata: {name: a}\nspec: {volumeClaimTemplates: [{spec: {}}, {spec: {storageClassName: x}}]}")},
		"ingress class and ingress":       {named(networking, "IngressClass"), object(networking, "Ingress", "metadata: {name: a}\nspec: {ingressClassName: x}")},
		"policy and binding":              {named(admission, "ValidatingAdmissionPolicy"), object(admission, "ValidatingAdmissionPolicyBinding", "metadata: {name: a}\nspec: {policyName: x}")},
		"mutating policy and binding":     {named(admission, "MutatingAdmissionPolicy"), object(admission, "MutatingAdmissionPolicyBinding", "metadata: {name: a}\nspec: {policyName: x}")},
	}
	for _, kind := range []string{"Pod", "Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Job", "CronJob", "ReplicationController"} {
		pairs["account and "+kind] = [2]string{named("v1", "ServiceAccount"), podOf(kind, "{serviceAccountName: x}")}
	}
	for what, pair := range map[string][2]string{
		"priority class":     {named("scheduling.k8s.io/v1", "PriorityClass"), "{priorityClassName: x}"},
		"runtime class":      {named("node.k8s.io/v1", "RuntimeClass"), "{runtimeClassName: x}"},
		"pull secret":        {named("v1", "Secret"), "{imagePullSecrets: [{name: x}]}"},
		"class of a claim":   {named(storage, "StorageClass"), "{volumes: [{name: v, ephemeral: {volumeClaimTemplate: {spec: {storageClassName: x}}}}]}"},
		"claim":              {named("v1", "PersistentVolumeClaim"), "{volumes: [{name: v, persistentVolumeClaim: {claimName: x}}]}"},
		"volume of a map":    {named("v1", "ConfigMap"), "{volumes: [{name: v, configMap: {name: x}}]}"},
		"volume of a secret": {named("v1", "Secret"), "{volumes: [{name: v, secret: {secretName: x}}]}"},
		"projected map":      {named("v1", "ConfigMap"), "{volumes: [{name: v, projected: {sources: [{configMap: {name: x}}]}}]}"},
		"projected secret":   {named("v1", "Secret"), "{volumes: [{name: v, projected: {sources: [{secret: {name: x}}]}}]}"},
		"variables of a map": {named("v1", "ConfigMap"), "{containers: [{envFrom: [{configMapRef: {name: x}}]}]}"},
		"variables":          {named("v1", "Secret"), "{initContainers: [{envFrom: [{secretRef: {name: x}}]}]}"},
		"variable of a map":  {named("v1", "ConfigMap"), "{containers: [{env: [{name: A, valueFrom: {configMapKeyRef: {name: x}}}]}]}"},
		"variable":           {named("v1", "Secret"), "{containers: [{env: [{name: A, valueFrom: {secretKeyRef: {name: x}}}]}]}"},
	} {
		pairs[what+" and pod"] = [2]string{pair[0], podOf("Deployment", pair[1])}
	}
	for _, late := range []string{"ValidatingWebhookConfiguration", "MutatingWebhookConfiguration", "ValidatingAdmissionPolicyBinding"} {
		pairs["anything and "+late] = [2]string{named("v1", "Service"), named(admission, late)}
	}
	pairs["anything and APIService"] = [2]string{podOf("Deployment", "{}"), named("apiregistration.k8s.io/v1", "APIService")}

	for name, pair := range pairs {
		for _, deleting := range []bool{false, true} {
			for _, swapped := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s/deleting=%v/swapped=%v", name, deleting, swapped), func(t *testing.T) {
					needed, needs := stepsOf(t, 0, pair[0], deleting), stepsOf(t, 1, pair[1], deleting)
					steps := append(append([]*Step{}, needed...), needs...)
					if swapped {
						steps = append(append([]*Step{}, needs...), needed...)
					}
					order := positionsOf(t, steps)
					if deleting {
						needed, needs = needs, needed
					}
					require.Less(t, order[needed[0]], order[needs[0]])
				})
			}
		}
	}
}

// What limits the pods of a namespace comes before them, but its failure is not theirs.
func TestGraphAppliesLimitsBeforePods(t *testing.T) {
	for _, kind := range []string{"LimitRange", "ResourceQuota"} {
		limit := "apiVersion: v1\nkind: " + kind + "\nmetadata: {name: x}"
		steps := append(stepsOf(t, 0, podOf("Deployment", "{}"), false), stepsOf(t, 1, limit, false)...)
		order := positionsOf(t, steps)
		require.Less(t, order[steps[1]], order[steps[0]], kind)

		failing := append(stepsOf(t, 0, podOf("Deployment", "{}"), false), stepsOf(t, 1, limit, false)...)
		nodes := runInOrder(t, failing, func(s *Step) error {
			if s.Object.GVK.Kind == kind {
				return fmt.Errorf("refused")
			}
			return nil
		})
		require.Error(t, nodes[1].Err)
		require.NoError(t, nodes[0].Err)
	}
}

// Many pods and many limits do not have an edge for each pair of them.
func TestGraphOfManyLimitsIsSmall(t *testing.T) {
	const n = 2000
	limits := definitionsOf(t, "apiVersion: v1\nkind: LimitRange\nmetadata: {name: x}")
	pods := definitionsOf(t, podOf("Pod", "{}"))
	var steps []*Step
	for i := range n {
		for _, d := range []*Definition{limits[0], pods[0]} {
			named := *d
			named.Name = fmt.Sprint(i)
			steps = append(steps, &Step{Object: NewTarget(&named, api.Resource{Kind: d.GVK.Kind, Namespaced: true}, "default", "")})
		}
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	Graph(steps)
	runtime.ReadMemStats(&after)
	require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(50<<20), "bytes; the edges of all pairs take four times as many")
}

// What the cluster allots might be what another Service wants.
func TestGraphAppliesChoosingServicesFirst(t *testing.T) {
	given := "apiVersion: v1\nkind: Service\nmetadata: {name: given}\nspec: {ports: [{port: 80}]}"
	for _, spec := range []string{
		"{type: NodePort, ports: [{port: 80}, {port: 81, nodePort: 30123}]}", "{clusterIP: 10.0.0.9, ports: [{port: 80}]}",
		"{type: LoadBalancer, externalTrafficPolicy: Local, healthCheckNodePort: 30124, ports: [{port: 80}]}",
	} {
		choosing := "apiVersion: v1\nkind: Service\nmetadata: {name: choosing}\nspec: " + spec
		steps := append(stepsOf(t, 0, given, false), stepsOf(t, 1, choosing, false)...)
		order := positionsOf(t, steps)
		require.Less(t, order[steps[1]], order[steps[0]], spec)
	}
	for _, spec := range []string{"{clusterIP: None}", "{clusterIP: \"\"}", "{type: ExternalName, externalName: example.com}"} {
		other := "apiVersion: v1\nkind: Service\nmetadata: {name: other}\nspec: " + spec
		steps := append(stepsOf(t, 0, given, false), stepsOf(t, 1, other, false)...)
		order := positionsOf(t, steps)
		require.Less(t, order[steps[0]], order[steps[1]], spec)
	}
}

// What names another object of the same name, or one elsewhere, does not wait for it.
func TestGraphDoesNotOrderStrangers(t *testing.T) {
	for name, pair := range map[string][2]string{
		"another kind":      {"apiVersion: v1\nkind: Secret\nmetadata: {name: x}", podOf("Deployment", "{volumes: [{name: v, configMap: {name: x}}]}")},
		"another namespace": {"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x, namespace: elsewhere}", podOf("Deployment", "{volumes: [{name: v, configMap: {name: x}}]}")},
		"a label":           {"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: other, labels: {x: x}}"},
		"a broken pod":      {"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}", podOf("Deployment", "{volumes: {configMap: {name: x}}, containers: [1, null, {env: x}]}")},
	} {
		t.Run(name, func(t *testing.T) {
			steps := append(stepsOf(t, 0, pair[1], false), stepsOf(t, 1, pair[0], false)...)
			order := positionsOf(t, steps)
			require.Less(t, order[steps[0]], order[steps[1]], "the order of the list")
		})
	}
}

// The same object is dealt with in the order of the list, whatever else there is.
func TestGraphKeepsTheOrderOfOneObject(t *testing.T) {
	for seed := range uint64(500) {
		r := rand.New(rand.NewPCG(seed, 2))
		kinds := []string{
			"apiVersion: v1\nkind: Namespace\nmetadata: {name: %s}", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: %s, namespace: a}",
			"apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: %s, namespace: b}", "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: %s, namespace: b}\nspec: {template: {spec: {serviceAccountName: a}}}",
			"apiVersion: admissionregistration.k8s.io/v1\nkind: ValidatingWebhookConfiguration\nmetadata: {name: %s}",
		}
		var steps []*Step
		for action := range 1 + r.IntN(12) {
			text := fmt.Sprintf(kinds[r.IntN(len(kinds))], string(rune('a'+r.IntN(2))))
			half := r.IntN(3)
			if half != 0 {
				steps = append(steps, stepsOf(t, action, text, true)...)
			}
			if half != 1 {
				steps = append(steps, stepsOf(t, action, text, false)...)
			}
		}
		order := positionsOf(t, steps)
		for i, s := range steps {
			for _, later := range steps[i+1:] {
				if later.Object.Key == s.Object.Key && order[later] < order[s] {
					// Only a webhook configuration that is applied and then deleted, with
					// what must come between, goes round in a circle.
					require.Equal(t, "ValidatingWebhookConfiguration", s.Object.GVK.Kind, "seed %d: %v after %v", seed, s, later)
				}
			}
		}
	}
}

// Within an action Apply is pointless where Delete has failed. Another action speaks for
// itself.
func TestGraphAfterAFailedDeletion(t *testing.T) {
	const text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}"
	steps := append(stepsOf(t, 0, text, true), append(stepsOf(t, 0, text, false), stepsOf(t, 1, text, false)...)...)
	nodes := runInOrder(t, steps, func(s *Step) error {
		if s.Delete {
			return fmt.Errorf("held by a finalizer")
		}
		return nil
	})
	require.Error(t, nodes[0].Err)
	require.True(t, nodes[1].Skipped)
	require.Equal(t, nodes[0], nodes[1].Blocker)
	require.NoError(t, nodes[2].Err)
}
