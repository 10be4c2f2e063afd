package kubernetes_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/platformbus/platform/kubernetes"
	"github.com/platformbus/platform/kubernetes/manifest"
)

// The diff of a changed object has what changes and nothing else: what the API server has filled
// in is neither shown as lost nor as new.
func TestDiffsShowNoDefaults(t *testing.T) {
	const workload = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      tolerations: [{key: example.com/a, operator: Exists}, {key: example.com/b, operator: Exists}]
      containers:
      - name: main
        image: example.com/web:1
        ports: [{containerPort: 80}]
        env: [{name: IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}}]
        readinessProbe: {httpGet: {path: /, port: 80}}
      volumes:
      - name: all
        projected: {sources: [{serviceAccountToken: {path: token}}, {downwardAPI: {items: [{path: name, fieldRef: {fieldPath: metadata.name}}]}}]}
`
	const set = `
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db}
spec:
  serviceName: db
  selector: {matchLabels: {app: db}}
  template:
    metadata: {labels: {app: db}}
    spec: {containers: [{name: main, image: "example.com/db:1"}]}
  volumeClaimTemplates:
  - metadata: {name: data}
    spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}
`
	const service = `
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{name: http, port: 80}]}
`
	const ingress = `
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: web}
spec: {rules: [{host: a.example.com, http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}]}}]}
`
	const binding = `
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: all}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: view}
subjects: [{kind: User, name: ann}, {kind: User, name: bob}]
`
	const scaler = `
apiVersion: autoscaling/v1
kind: HorizontalPodAutoscaler
metadata: {name: web}
spec: {maxReplicas: 3, targetCPUUtilizationPercentage: 70, scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: web}}
`
	for _, c := range []struct {
		name, text, old, now string
		want                 []string // the lines of the diff that begin with + or -
	}{
		{"image", workload, "web:1", "web:2", []string{"-image: example.com/web:1", "+image: example.com/web:2"}},
		{"replicas", workload, "\n  selector:", "\n  replicas: 3\n  selector:", []string{"-replicas: 1", "+replicas: 3"}},
		{"a variable", workload, "env: [", "env: [{name: A, value: b}, ", []string{"+- name: A", "+value: b"}},
		{"a field that is defaulted", workload, "status.podIP", "status.hostIP", []string{"-fieldPath: status.podIP", "+fieldPath: status.hostIP"}},
		{"one more in a list that is replaced", workload, "sources: [", "sources: [{configMap: {name: more}}, ", []string{"+- configMap:", "+name: more"}},
		{"one changed and one more", workload, "sources: [{serviceAccountToken: {path: token}}, {downwardAPI: {items: [{path: name,", "sources: [{configMap: {name: more}}, {serviceAccountToken: {path: token}}, {downwardAPI: {items: [{path: title,",
			[]string{"+- configMap:", "+name: more", "-path: name", "+path: title"}},
		{"one less", workload, "{key: example.com/a, operator: Exists}, ", "", []string{"-- key: example.com/a", "-operator: Exists"}},
		{"of a claim template's set", set, "db:1", "db:2", []string{"-- image: example.com/db:1", "+- image: example.com/db:2"}},
		{"of a claim template", set, "1Gi", "2Gi", []string{"-storage: 1Gi", "+storage: 2Gi"}},
		{"a port", service, "port: 80}", "port: 80}, {name: more, port: 81}", []string{"+- name: more", "+port: 81"}},
		{"a selector", service, "app: web", "app: other", []string{"-app: web", "+app: other"}},
		{"a path", ingress, "path: /,", "path: /a,", []string{"-path: /", "+path: /a"}},
		{"a subject", binding, "{kind: User, name: ann}", "{kind: User, name: eve}", []string{"-name: ann", "+name: eve"}},
		{"a subject less and another", binding, "subjects: [{kind: User, name: ann}, {kind: User, name: bob}]", "subjects: [{kind: User, name: bob}]", []string{"-name: ann", "-- apiGroup: rbac.authorization.k8s.io", "-kind: User"}},
		{"another version", scaler, "maxReplicas: 3", "maxReplicas: 4", []string{"-maxReplicas: 3", "+maxReplicas: 4"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newEnv(t, kubernetes.Options{})
			cluster, _ := w.recorded(t, kubernetes.Options{Namespaces: []string{w.namespace}}, nil)
			planned(t, cluster, w.namespace, c.text)
			require.Contains(t, c.text, c.old)
			current, err := cluster.Export()
			require.NoError(t, err)
			_, report, err := manifest.Plan(current, parsed(t, strings.Replace(c.text, c.old, c.now, 1)), manifest.PlanOptions{SyncSet: w.namespace, Namespace: w.namespace})
			require.NoError(t, err)
			require.Len(t, report.Change, 1, "%s", report)
			var got []string
			for _, line := range strings.Split(report.Change[0].Diff, "\n")[2:] {
				if line != "" && line[0] != ' ' && line[0] != '@' {
					got = append(got, line[:1]+strings.TrimSpace(line[1:]))
				}
			}
			assert.Equal(t, c.want, got, "%s", report)
		})
	}
}
