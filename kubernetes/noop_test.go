package kubernetes_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/platformbus/platform/kubernetes"
)

// definitions that the server does not keep as they are written, or to which it adds much. In
// all of them NAMESPACE stands for the test's.
var noops = map[string]string{
	"quantities": `
apiVersion: apps/v1
kind: Deployment
metadata: {name: x}
spec:
  selector: {matchLabels: {app: x}}
  template:
    metadata: {labels: {app: x}}
    spec:
      containers:
      - name: main
        image: example.com/a:1
        resources: {limits: {cpu: 1000m, memory: 1024Mi, ephemeral-storage: 1e9}, requests: {cpu: 0.5, memory: 524288k, ephemeral-storage: 1000000000}}
      - {name: side, image: 'example.com/a:1', resources: {limits: {cpu: '1.0', memory: '1073741824'}, requests: {cpu: 1, memory: 0.5Gi}}}
      - {name: none, image: 'example.com/a:1', resources: {limits: {}, requests: null}}
      volumes: [{name: v, emptyDir: {sizeLimit: 1024Mi}}, {name: w, emptyDir: {sizeLimit: '0'}}]`,
	"empty values": `
apiVersion: apps/v1
kind: Deployment
metadata: {name: x, labels: {}, annotations: {}, finalizers: []}
spec:
  replicas: 0
  minReadySeconds: 0
  paused: false
  revisionHistoryLimit: 0
  progressDeadlineSeconds: 600
  strategy: {}
  selector: {matchLabels: {app: x}, matchExpressions: []}
  template:
    metadata: {labels: {app: x}, annotations: {}, creationTimestamp: null}
    spec:
      hostNetwork: false
      hostPID: false
      hostIPC: false
      serviceAccountName: ''
      nodeName: ''
      hostname: ''
      subdomain: ''
      priorityClassName: ''
      automountServiceAccountToken: false
      terminationGracePeriodSeconds: 0
      shareProcessNamespace: false
      enableServiceLinks: false
      nodeSelector: {}
      tolerations: []
      affinity: {}
      securityContext: {}
      imagePullSecrets: []
      initContainers: []
      hostAliases: []
      topologySpreadConstraints: []
      volumes: []
      containers:
      - name: main
        image: example.com/a:1
        workingDir: ''
        command: []
        args: []
        env: [{name: A, value: ''}, {name: B}]
        envFrom: []
        ports: []
        volumeMounts: []
        resources: {}
        securityContext: {}
        stdin: false
        stdinOnce: false
        tty: false
        lifecycle: {}
        livenessProbe: {httpGet: {port: 80, path: '', host: ''}, initialDelaySeconds: 0}`,
	"empty in others": `
apiVersion: v1
kind: ConfigMap
metadata: {name: x}
data: {}
binaryData: {}
immutable: false
---
apiVersion: v1
kind: ConfigMap
metadata: {name: x2}
data: {a: '', b: "0", c: "\n"}
---
apiVersion: v1
kind: Secret
metadata: {name: x}
type: ''
data: {a: ''}
stringData: {}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: x}
secrets: []
imagePullSecrets: []
automountServiceAccountToken: true
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: x}
rules: []
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: x2}
rules: [{apiGroups: [''], resources: [pods], verbs: [get], resourceNames: [], nonResourceURLs: []}]
---
apiVersion: v1
kind: Service
metadata: {name: x}
spec: {selector: {}, ports: [], clusterIP: None, type: '', sessionAffinity: '', externalIPs: [], publishNotReadyAddresses: false, loadBalancerIP: '', externalName: ''}`,
	"ports": `
apiVersion: v1
kind: Service
metadata: {name: x}
spec: {selector: {app: x}, ports: [{name: t, port: 53, protocol: TCP}, {name: u, port: 53, protocol: UDP}, {name: s, port: 80, targetPort: http}, {name: z, port: 81, targetPort: 81, nodePort: 0}]}
---
apiVersion: v1
kind: Service
metadata: {name: x2}
spec: {selector: {app: x}, ports: [{name: u, port: 53, protocol: UDP}, {name: t, port: 53}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: x}
spec:
  selector: {matchLabels: {app: x}}
  template:
    metadata: {labels: {app: x}}
    spec:
      containers:
      - {name: a, image: 'example.com/a:1', ports: [{containerPort: 53}, {containerPort: 53, protocol: UDP}, {containerPort: 80, hostPort: 0, hostIP: '', name: ''}]}
      - {name: b, image: 'example.com/a:1', ports: [{containerPort: 54, protocol: UDP, name: u}, {containerPort: 54, protocol: TCP, name: t}]}`,
	"autoscalers": `
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: x}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: nobody}
  minReplicas: 1
  maxReplicas: 3
  metrics: [{type: Resource, resource: {name: cpu, target: {type: Utilization, averageUtilization: 80}}}, {type: Pods, pods: {metric: {name: a}, target: {type: AverageValue, averageValue: 1000m}}}]
  behavior: {scaleDown: {policies: [{type: Percent, value: 10, periodSeconds: 60}], stabilizationWindowSeconds: 0}}
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: x2}
spec: {scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: nobody}, maxReplicas: 3}
---
apiVersion: autoscaling/v1
kind: HorizontalPodAutoscaler
metadata: {name: z}
spec: {scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: nobody}, minReplicas: 1, maxReplicas: 3, targetCPUUtilizationPercentage: 50}`,
	"network": `
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: x}
spec:
  ingressClassName: nobodys
  defaultBackend: {service: {name: a, port: {number: 80}}}
  tls: [{hosts: [a.example.com], secretName: s}]
  rules: [{host: a.example.com, http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: a, port: {name: http}}}}, {pathType: ImplementationSpecific, backend: {service: {name: a, port: {number: 80}}}}]}}, {host: ''}]
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: x}
spec: {podSelector: {}, ingress: [{from: [{podSelector: {}}, {ipBlock: {cidr: 10.0.0.0/8, except: []}}], ports: [{port: 80}, {port: 53, protocol: UDP}, {protocol: TCP}]}, {}], egress: [{}]}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: x2}
spec: {podSelector: {matchLabels: {}}, policyTypes: [Ingress], ingress: []}
---
apiVersion: networking.k8s.io/v1
kind: IngressClass
metadata: {name: NAMESPACE}
spec: {controller: example.com/c, parameters: {apiGroup: example.com, kind: P, name: p, scope: Cluster}}
---
apiVersion: v1
kind: Endpoints
metadata: {name: e}
subsets: [{addresses: [{ip: 10.1.0.1}, {ip: 10.1.0.2}], ports: [{name: t, port: 80}, {name: u, port: 53, protocol: UDP}]}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: e, labels: {kubernetes.io/service-name: e}}
addressType: IPv4
ports: [{name: t, port: 80}, {name: u, port: 53, protocol: UDP}]
endpoints: [{addresses: [10.1.0.1], conditions: {ready: true}}, {addresses: [10.1.0.2]}]`,
	"policies": `
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: x}
spec: {minAvailable: 0, selector: {matchLabels: {app: x}}}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: x2}
spec: {maxUnavailable: 50%, selector: {}, unhealthyPodEvictionPolicy: AlwaysAllow}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: x}
roleRef: {kind: Role, name: x}
subjects: [{kind: ServiceAccount, name: a}, {kind: ServiceAccount, name: b, namespace: default}, {kind: User, name: u}, {kind: Group, name: g}, {kind: Group, name: h, apiGroup: rbac.authorization.k8s.io}, {kind: ServiceAccount, name: c, apiGroup: ''}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: NAMESPACE}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: NAMESPACE}
subjects: []
---
apiVersion: v1
kind: ResourceQuota
metadata: {name: x}
spec: {hard: {requests.cpu: 1000m, limits.memory: 1024Mi, pods: 100, count/configmaps: '1000'}, scopes: []}
---
apiVersion: v1
kind: ResourceQuota
metadata: {name: x2}
spec: {hard: {pods: '100'}, scopeSelector: {matchExpressions: [{scopeName: PriorityClass, operator: In, values: [high]}]}}
---
apiVersion: v1
kind: LimitRange
metadata: {name: x}
spec: {limits: [{type: Container, default: {cpu: 1000m, memory: 1024Mi}, min: {cpu: 0.1}}, {type: PersistentVolumeClaim, min: {storage: 1Gi}}]}`,
	"stateful": `
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: x}
spec:
  serviceName: x
  replicas: 0
  selector: {matchLabels: {app: x}}
  template:
    metadata: {labels: {app: x}}
    spec: {containers: [{name: main, image: 'example.com/a:1', volumeMounts: [{name: data, mountPath: /d, readOnly: false, subPath: ''}]}]}
  volumeClaimTemplates:
  - metadata: {name: data}
    spec: {accessModes: [ReadWriteOnce], storageClassName: '', resources: {requests: {storage: 1024Mi}}}
  - metadata: {name: logs, labels: {a: b}, creationTimestamp: null}
    spec: {accessModes: [ReadWriteOnce], volumeMode: Filesystem, resources: {requests: {storage: 0.5Gi}}}
    status: {}
  - apiVersion: v1
    kind: PersistentVolumeClaim
    metadata: {name: raw}
    spec: {accessModes: [ReadWriteMany], volumeMode: Block, resources: {requests: {storage: '10'}}, selector: {matchLabels: {a: b}}}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: x}
spec: {accessModes: [ReadWriteOnce], storageClassName: '', resources: {requests: {storage: 1024Mi}}}
---
apiVersion: v1
kind: PersistentVolume
metadata: {name: NAMESPACE}
spec: {capacity: {storage: 1024Mi}, accessModes: [ReadWriteOnce], persistentVolumeReclaimPolicy: Retain, storageClassName: NAMESPACE, hostPath: {path: /a}}
---
apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata: {name: NAMESPACE}
provisioner: example.com/p
parameters: {}
mountOptions: []
allowVolumeExpansion: false
---
apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata: {name: NAMESPACE-2}
provisioner: example.com/p
reclaimPolicy: Retain
volumeBindingMode: WaitForFirstConsumer
allowedTopologies: [{matchLabelExpressions: [{key: a, values: [b]}]}]
---
apiVersion: storage.k8s.io/v1
kind: CSIDriver
metadata: {name: NAMESPACE.example.com}
spec: {attachRequired: false, podInfoOnMount: true, volumeLifecycleModes: [Persistent], tokenRequests: []}`,
	"batch": `
apiVersion: batch/v1
kind: CronJob
metadata: {name: x}
spec:
  schedule: '0 0 * * *'
  suspend: false
  startingDeadlineSeconds: 100
  failedJobsHistoryLimit: 0
  jobTemplate: {spec: {backoffLimit: 0, template: {spec: {restartPolicy: Never, containers: [{name: main, image: 'example.com/a:1', resources: {limits: {cpu: 1000m}}}]}}}}
---
apiVersion: batch/v1
kind: Job
metadata: {name: x}
spec: {suspend: true, parallelism: 0, podFailurePolicy: {rules: [{action: Ignore, onPodConditions: [{type: DisruptionTarget}]}]}, template: {spec: {restartPolicy: Never, containers: [{name: main, image: 'example.com/a:1'}]}}}`,
	"pods": `
apiVersion: apps/v1
kind: Deployment
metadata: {name: x}
spec:
  replicas: 0
  selector: {matchLabels: {app: x}}
  template:
    metadata: {labels: {app: x}}
    spec:
      topologySpreadConstraints:
      - {maxSkew: 1, topologyKey: zone, whenUnsatisfiable: DoNotSchedule, labelSelector: {matchLabels: {app: x}}}
      - {maxSkew: 1, topologyKey: zone, whenUnsatisfiable: ScheduleAnyway, labelSelector: {matchLabels: {app: x}}, matchLabelKeys: [pod-template-hash]}
      affinity:
        podAntiAffinity: {preferredDuringSchedulingIgnoredDuringExecution: [{weight: 1, podAffinityTerm: {topologyKey: zone, labelSelector: {matchLabels: {app: x}}}}]}
        nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchExpressions: [{key: a, operator: Exists, values: []}]}]}}
      tolerations: [{operator: Exists}, {key: a, effect: NoSchedule, value: ''}, {key: a, effect: NoExecute, tolerationSeconds: 0}]
      securityContext: {runAsUser: 0, runAsNonRoot: false, fsGroup: 0, supplementalGroups: [], sysctls: [], seccompProfile: {type: RuntimeDefault}}
      imagePullSecrets: [{name: s}]
      hostAliases: [{ip: 10.0.0.1, hostnames: [a, b]}]
      dnsConfig: {options: [{name: ndots, value: '2'}, {name: edns0}], searches: []}
      readinessGates: []
      serviceAccountName: default
      volumes:
      - {name: token, projected: {sources: [{serviceAccountToken: {path: token}}, {configMap: {name: c, items: [{key: k, path: p}]}}, {downwardAPI: {items: [{path: "n", fieldRef: {fieldPath: metadata.name}}, {path: c, resourceFieldRef: {containerName: main, resource: limits.cpu}}]}}, {secret: {name: s, optional: false}}]}}
      - {name: own, projected: {defaultMode: 256, sources: [{serviceAccountToken: {path: token, expirationSeconds: 7200, audience: ''}}]}}
      - {name: cm, configMap: {name: c, items: []}}
      - {name: s, secret: {secretName: s, defaultMode: 0400, optional: true}}
      - {name: d, downwardAPI: {items: [{path: "n", fieldRef: {fieldPath: metadata.name}}]}}
      - {name: h, hostPath: {path: /a, type: ''}}
      - {name: e, emptyDir: {}}
      - {name: "n"}
      - {name: i, ephemeral: {volumeClaimTemplate: {spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1024Mi}}}}}}
      - {name: csi, csi: {driver: a.example.com, readOnly: false, volumeAttributes: {}}}
      - {name: nfs, nfs: {server: a, path: /a, readOnly: false}}
      initContainers: [{name: i, image: 'example.com/a:1', restartPolicy: Always, volumeMounts: [{name: e, mountPath: /e, readOnly: false}]}]
      containers:
      - name: main
        image: example.com/a:1
        env: [{name: A, valueFrom: {fieldRef: {fieldPath: metadata.name}}}, {name: B, valueFrom: {resourceFieldRef: {resource: limits.cpu}}}, {name: C, valueFrom: {resourceFieldRef: {resource: limits.cpu, divisor: 1000m}}}, {name: D, valueFrom: {secretKeyRef: {name: s, key: k, optional: false}}}]
        envFrom: [{configMapRef: {name: c}, prefix: ''}, {secretRef: {name: s, optional: false}}]
        securityContext: {capabilities: {add: [], drop: [ALL]}, privileged: false, allowPrivilegeEscalation: false, readOnlyRootFilesystem: false, runAsUser: 0, seLinuxOptions: {}}
        volumeMounts: [{name: e, mountPath: /e}, {name: s, mountPath: /s, readOnly: true, subPath: a}, {name: e, mountPath: /f}]
        livenessProbe: {httpGet: {port: http, httpHeaders: [{name: a, value: ''}]}, initialDelaySeconds: 1, timeoutSeconds: 1}
        readinessProbe: {tcpSocket: {port: 80}, successThreshold: 1}
        startupProbe: {grpc: {port: 80, service: ''}}
        lifecycle: {preStop: {exec: {command: [a]}}, postStart: {httpGet: {port: 80}}}
        ports: [{name: http, containerPort: 80}]`,
	"admission": `
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
metadata: {name: NAMESPACE}
webhooks:
- {name: a.example.com, admissionReviewVersions: [v1], sideEffects: None, failurePolicy: Ignore, clientConfig: {service: {namespace: default, name: a, path: /a}}, namespaceSelector: {matchLabels: {nobody: has-it}}, objectSelector: {}, rules: [{apiGroups: [''], apiVersions: ['*'], operations: [CREATE], resources: [configmaps]}, {apiGroups: [''], apiVersions: ['*'], operations: [CREATE], resources: [secrets], scope: Namespaced}]}
- {name: b.example.com, admissionReviewVersions: [v1], sideEffects: None, failurePolicy: Ignore, clientConfig: {url: 'https://a.example.com', caBundle: ''}, namespaceSelector: {matchLabels: {nobody: has-it}}, rules: [], matchConditions: []}
---
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingWebhookConfiguration
metadata: {name: NAMESPACE}
webhooks:
- {name: a.example.com, admissionReviewVersions: [v1], sideEffects: None, failurePolicy: Ignore, clientConfig: {service: {namespace: default, name: a}}, namespaceSelector: {matchLabels: {nobody: has-it}}, rules: [{apiGroups: [''], apiVersions: ['*'], operations: [CREATE], resources: [configmaps]}]}
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: NAMESPACE}
spec:
  failurePolicy: Ignore
  matchConstraints: {resourceRules: [{apiGroups: [''], apiVersions: [v1], operations: [CREATE], resources: [configmaps]}], namespaceSelector: {matchLabels: {nobody: has-it}}}
  matchConditions: [{name: a, expression: 'true'}]
  variables: [{name: v, expression: '1'}]
  validations: [{expression: 'true', message: ''}]
  auditAnnotations: []
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {name: NAMESPACE}
spec: {policyName: NAMESPACE, validationActions: [Audit], matchResources: {namespaceSelector: {matchLabels: {nobody: has-it}}}}
---
apiVersion: scheduling.k8s.io/v1
kind: PriorityClass
metadata: {name: NAMESPACE}
value: 0
globalDefault: false
description: ''
---
apiVersion: node.k8s.io/v1
kind: RuntimeClass
metadata: {name: NAMESPACE}
handler: a
overhead: {podFixed: {cpu: 1000m}}
---
apiVersion: flowcontrol.apiserver.k8s.io/v1
kind: PriorityLevelConfiguration
metadata: {name: NAMESPACE}
spec: {type: Limited, limited: {limitResponse: {type: Reject}}}
---
apiVersion: flowcontrol.apiserver.k8s.io/v1
kind: FlowSchema
metadata: {name: NAMESPACE}
spec: {priorityLevelConfiguration: {name: NAMESPACE}, rules: [{subjects: [{kind: User, user: {name: nobody}}], resourceRules: [{apiGroups: [''], resources: [a], verbs: [get], namespaces: ['*']}]}]}
---
apiVersion: apiregistration.k8s.io/v1
kind: APIService
metadata: {name: v1.NAMESPACE.example.net}
spec: {group: NAMESPACE.example.net, version: v1, groupPriorityMinimum: 1000, versionPriority: 15, insecureSkipTLSVerify: true, service: {namespace: default, name: nobody}}
---
apiVersion: coordination.k8s.io/v1
kind: Lease
metadata: {name: x}
spec: {holderIdentity: a, leaseDurationSeconds: 10, acquireTime: '2026-01-01T00:00:00.000000Z', renewTime: '2026-01-01T00:00:00.500000Z'}
---
apiVersion: v1
kind: Namespace
metadata: {name: NAMESPACE-more, labels: {a: ''}}
spec: {}`,
	"kinds": `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: as.NAMESPACE.example.com, creationTimestamp: null, annotations: {controller-gen.kubebuilder.io/version: v0.14.0}}
spec:
  group: NAMESPACE.example.com
  names: {kind: A, listKind: AList, plural: as, singular: a, shortNames: [], categories: []}
  scope: Namespaced
  preserveUnknownFields: false
  versions:
  - name: v1
    served: true
    storage: true
    deprecated: false
    additionalPrinterColumns: [{jsonPath: .spec.a, name: A, type: string, priority: 0, description: '', format: ''}]
    subresources: {status: {}}
    schema:
      openAPIV3Schema:
        description: ''
        type: object
        required: []
        properties:
          apiVersion: {type: string}
          kind: {type: string}
          metadata: {type: object}
          spec:
            type: object
            nullable: false
            properties:
              text: {type: string, default: '', minLength: 0, maxLength: 10, pattern: ''}
              flag: {type: boolean, default: false}
              count: {type: integer, format: int32, minimum: 0, maximum: 100, exclusiveMinimum: false}
              list: {type: array, items: {type: string}, x-kubernetes-list-type: set, minItems: 0}
              map: {type: object, additionalProperties: {type: string}}
              any: {type: object, x-kubernetes-preserve-unknown-fields: true}
              not: {type: object, x-kubernetes-embedded-resource: false}
              port: {anyOf: [{type: integer}, {type: string}], x-kubernetes-int-or-string: true}
              enum: {type: string, enum: ['', a]}
              deep: {type: array, default: [], items: {type: object, properties: {a: {type: object, properties: {b: {type: string}}}}}}
          status: {type: object, properties: {ready: {type: boolean}}}
status: {acceptedNames: {kind: "", plural: ""}, conditions: [], storedVersions: []}
---
apiVersion: NAMESPACE.example.com/v1
kind: A
metadata: {name: x}
spec: {text: '', flag: false, count: 0, list: [], map: {}, any: {a: false, b: 0, c: '', d: [], e: {}, f: {g: {}}, h: [{}, [], 0]}, not: {}, port: 0, enum: '', deep: [{a: {}}, {}]}
---
apiVersion: NAMESPACE.example.com/v1
kind: A
metadata: {name: x2}
spec: {text: a}
status: {}
---
apiVersion: NAMESPACE.example.com/v1
kind: A
metadata: {name: z, labels: {}, annotations: {}}
spec: {port: '80', count: 1, list: [b, a], any: {a: 1.0, b: 1.5, c: 1e3, d: 100000000000}}`,
}

// No doubt where none is needed.
func TestNoOps(t *testing.T) {
	for _, name := range slices.Sorted(maps.Keys(noops)) {
		t.Run(name, func(t *testing.T) {
			w := newEnv(t, kubernetes.Options{})
			text := strings.ReplaceAll(noops[name], "NAMESPACE", w.namespace)
			w.removedAtEnd(t, text)
			cluster, requests := w.recorded(t, kubernetes.Options{}, nil)
			require.NoError(t, cluster.Sync(def(apply("x", text))))
			w.sameAgain(t, cluster, requests, text)
		})
	}
}

// Only the schema of a kind tells whether an empty map is owned as a whole, and which defaults
// are filled in within it: a process that has not applied it does so once.
func TestEmptyMapOfACustomResource(t *testing.T) {
	w := newEnv(t, kubernetes.Options{})
	definition, object := crd(w.namespace, "Hollow")
	definition = strings.Replace(definition, "size: {type: integer}", "size: {type: integer, default: 3}", 1)
	w.removedAtEnd(t, definition)
	both := def(apply("x", definition, strings.Replace(object, "{size: 3}", "{}", 1)))
	require.NoError(t, w.Sync(both))
	cold, requests := w.recorded(t, kubernetes.Options{}, nil)
	require.NoError(t, cold.Sync(both))
	assert.Len(t, requests.take("PATCH"), 1)
	require.NoError(t, cold.Sync(both))
	assert.Empty(t, requests.take("PATCH"))
}

// The same definition in two actions is one thing to do, and no doubt.
func TestSameDefinitionTwice(t *testing.T) {
	w := newEnv(t, kubernetes.Options{})
	cluster, requests := w.recorded(t, kubernetes.Options{}, nil)
	twice := func(text string) { // in a call of its own
		t.Helper()
		both := def(apply("a", text), apply("b", text))
		requests.take("")
		require.NoError(t, cluster.Sync(both))
		assert.Len(t, requests.take("PATCH"), 1, "the first time")
		require.NoError(t, cluster.Sync(both))
		assert.Empty(t, requests.take("PATCH"), "warm")
		cold, requests := w.recorded(t, kubernetes.Options{}, nil)
		require.NoError(t, cold.Sync(both))
		assert.Empty(t, requests.take("PATCH"), "cold")
	}
	twice(configMap("a", "1"))
	twice(configMap("a", "2"))
	twice(deployment("web", "example.com/web:1"))
	twice(service("web", "web"))
	twice(secret("s", "hush"))
	twice(roleBinding("b", "r"))
}

// A status that is written between two Syncs is no change, of kinds without generation either.
func TestStatusIsNoChange(t *testing.T) {
	w := newEnv(t, kubernetes.Options{})
	group := w.namespace + ".example.net"
	text := strings.ReplaceAll(fmt.Sprintf(`
apiVersion: v1
kind: ResourceQuota
metadata: {name: x}
spec: {hard: {example.com/things: '10'}}
---
apiVersion: v1
kind: Service
metadata: {name: x}
spec: {type: LoadBalancer, loadBalancerClass: example.com/nobody, ports: [{port: 80}]}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: x}
spec: {accessModes: [ReadWriteOnce], storageClassName: nobodys, resources: {requests: {storage: 1Gi}}}
---
apiVersion: apiregistration.k8s.io/v1
kind: APIService
metadata: {name: v1.GROUP}
spec: {group: GROUP, version: v1, groupPriorityMinimum: 1000, versionPriority: 15, insecureSkipTLSVerify: true, service: {namespace: %s, name: nobody}}
`, w.namespace), "GROUP", group)
	w.removedAtEnd(t, text)
	cluster, requests := w.recorded(t, kubernetes.Options{}, nil)
	require.NoError(t, cluster.Sync(def(apply("x", text))))
	core := corev1.SchemeGroupVersion
	for round := range 3 {
		for _, c := range []struct {
			resource schema.GroupVersionResource
			name     string
			status   map[string]any
		}{
			{core.WithResource("resourcequotas"), "x", map[string]any{"used": map[string]string{"example.com/things": fmt.Sprint(round + 1)}}},
			{core.WithResource("services"), "x", map[string]any{"loadBalancer": map[string]any{"ingress": []any{map[string]any{"ip": fmt.Sprintf("10.9.0.%d", round+1)}}}}},
			{core.WithResource("persistentvolumeclaims"), "x", map[string]any{"phase": []string{"Lost", "Pending", "Lost"}[round]}},
			{schema.GroupVersionResource{Group: "apiregistration.k8s.io", Version: "v1", Resource: "apiservices"}, "v1." + group,
				map[string]any{"conditions": []any{map[string]any{"type": "Tried", "status": "True", "reason": fmt.Sprint("Round", round)}}}},
		} {
			namespace := w.namespace
			if c.resource.Group != "" {
				namespace = ""
			}
			objects := w.dynamic(t).Resource(c.resource).Namespace(namespace)
			before, err := objects.Get(t.Context(), c.name, metav1.GetOptions{})
			require.NoError(t, err)
			_, patch := mergePatch(t, map[string]any{"status": c.status})
			after, err := objects.Patch(t.Context(), c.name, types.MergePatchType, patch, metav1.PatchOptions{FieldManager: "a-controller"}, "status")
			require.NoError(t, err)
			require.NotEqual(t, before.GetResourceVersion(), after.GetResourceVersion(), "%s: it is a change", c.resource.Resource)
		}
		w.sameAgain(t, cluster, requests, text)
	}
}
