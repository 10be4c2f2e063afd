package kinds

import (
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

var (
	podSpec         = Path{"spec"}
	podTemplateSpec = Path{"spec", "template", "spec"}
	jobTemplateSpec = Path{"spec", "jobTemplate", "spec", "template", "spec"}
)

// table has the kinds of Kubernetes itself.
var table = []Kind{
	{GroupKind: Namespace, Scope: ClusterScoped, Stage: NamespacesFirst, Pods: NoPods, References: noReferences, Strip: stripNamespace, Origin: Users},
	{GroupKind: schema.GroupKind{Kind: "Node"}, Scope: ClusterScoped, Stage: Ordinary, Pods: NoPods, References: noReferences, Strip: stripNothing, Origin: System},
	{GroupKind: PersistentVolume, Scope: ClusterScoped, Stage: Ordinary, Pods: NoPods, References: noReferences, Strip: stripVolume, Origin: Users},
	{GroupKind: schema.GroupKind{Kind: "ComponentStatus"}, Scope: ClusterScoped, Stage: Ordinary, Pods: NoPods, References: noReferences, Strip: stripNothing, Origin: System},
	{GroupKind: ConfigMap, Scope: Namespaced, Stage: Ordinary, Pods: NoPods, References: noReferences, Strip: stripNothing, Origin: Users},
	{GroupKind: Secret, Scope: Namespaced, Stage: Ordinary, Pods: NoPods, References: tokenReferences, Strip: stripSecret, Origin: Users, IsSecret: true},
	{GroupKind: Service, Scope: Namespaced, Stage: Ordinary, Pods: NoPods, References: noReferences, Strip: stripService, Origin: Users},
	{GroupKind: ServiceAccount, Scope: Namespaced, Stage: Ordinary, Pods: NoPods, References: noReferences, Strip: stripServiceAccount, Origin: Users},
	{GroupKind: schema.GroupKind{Kind: "Pod"}, Scope: Namespaced, Stage: Ordinary, Pods: podSpec, References: noReferences, Strip: stripPod, Origin: Users},
	{GroupKind: schema.GroupKind{Kind: "PodTemplate"}, Scope: Namespaced, Stage: Ordinary, Pods: Path{"template", "spec"}, References: noReferences, Strip: stripNothing, Origin: Users},
	{GroupKind: schema.GroupKind{Kind: "ReplicationController"}, Scope: Namespaced, Stage: Ordinary, Pods: podTemplateSpec, References: noReferences, Strip: stripNothing, Origin: Users, Workload: replicationController, Resource: corev1.SchemeGroupVersion.WithResource("replicationcontrollers"), StatusAs: appsv1.SchemeGroupVersion.WithKind("ReplicaSet")},
	{GroupKind: PersistentVolumeClaim, Scope: Namespaced, Stage: Ordinary, Pods: NoPods, References: claimReferences, Strip: stripClaim, Origin: Users},
	{GroupKind: schema.GroupKind{Kind: "Endpoints"}, Scope: Namespaced, Stage: Ordinary, Pods: NoPods, References: noReferences, Strip: stripEndpoints, Origin: Users},
	{GroupKind: schema.GroupKind{Kind: "Event"}, Scope: Namespaced, Stage: Ordinary, Pods: NoPods, References: noReferences, Strip: stripNothing, Origin: System},
	{GroupKind: limitRangeKind, Scope: Namespaced, Stage: Ordinary, Pods: NoPods, References: noReferences, Strip: stripNothing, Origin: Users, LimitsPods: true},
	{GroupKind: schema.GroupKind{Kind: "ResourceQuota"}, Scope: Namespaced, Stage: Ordinary, Pods: NoPods, References: noReferences, Strip: stripNothing, Origin: Users, LimitsPods: true},
	{GroupKind: schema.GroupKind{Kind: "Binding"}, Scope: Namespaced, Stage: Ordinary, Pods: NoPods, References: noReferences, Strip: stripNothing, Origin: System},
	{GroupKind: schema.GroupKind{Group: admissionGroup, Kind: "MutatingWebhookConfiguration"}, Scope: ClusterScoped, Stage: AdmissionLast, Pods: NoPods, References: noReferences, Strip: stripNothing, Origin: Users},
	{GroupKind: schema.GroupKind{Group: admissionGroup, Kind: "ValidatingWebhookConfiguration"}, Scope: ClusterScoped, Stage: AdmissionLast, Pods: NoPods, References: noReferences, Strip: stripNothing, Origin: Users},
	{GroupKind: schema.GroupKind{Group: admissionGroup, Kind: "ValidatingAdmissionPolicy"}, Scope: ClusterScoped, Stage: AdmissionLast, Pods: NoPods, References: noReferences, Strip: stripNothing, Origin: Users},
	{GroupKind: schema.GroupKind{Group: admissionGroup, Kind: "ValidatingAdmissionPolicyBinding"}, Scope: ClusterScoped, Stage: AdmissionLast, Pods: NoPods, References: policyReference, Strip: stripNothing, Origin: Users},
	{GroupKind: schema.GroupKind{Group: admissionGroup, Kind: "MutatingAdmissionPolicy"}, Scope: ClusterScoped, Stage: AdmissionLast, Pods: NoPods, References: noReferences, Strip: stripNothing, Origin: Users},
	{GroupKind: schema.GroupKind{Group: admissionGroup, Kind: "MutatingAdmissionPolicyBinding"}, Scope: ClusterScoped, Stage: AdmissionLast, Pods: NoPods, References: policyReference, Strip: stripNothing, Origin: Users},
	{GroupKind: CustomResourceDefinition, Scope: ClusterScoped, Stage: DefinitionsNext, Pods: NoPods, References: noReferences, Strip: stripNothing, Origin: Users},
	{GroupKind: apiService, Scope: ClusterScoped, Stage: AdmissionLast, Pods: NoPods, References: noReferences, Strip: stripNothing, Origin: Users},
	{GroupKind: Deployment, Scope: Namespaced, Stage: Ordinary, Pods: podTemplateSpec, References: noReferences, Strip: stripNothing, Origin: Users, Workload: deployment, Resource: appsv1.SchemeGroupVersion.WithResource("deployments"), StatusAs: appsv1.SchemeGroupVersion.WithKind("Deployment")},
	{GroupKind: statefulSetKind, Scope: Namespaced, Stage: Ordinary, Pods: podTemplateSpec, References: claimTemplateReferences, Strip: stripNothing, Origin: Users, Workload: statefulSet, Resource: appsv1.SchemeGroupVersion.WithResource("statefulsets"), StatusAs: appsv1.SchemeGroupVersion.WithKind("StatefulSet")},
	{GroupKind: schema.GroupKind{Group: "apps", Kind: "DaemonSet"}, Scope: Namespaced, Stage: Ordinary, Pods: podTemplateSpec, References: noReferences, Strip: stripNothing, Origin: Users, Workload: daemonSet, Resource: appsv1.SchemeGroupVersion.WithResource("daemonsets"), StatusAs: appsv1.SchemeGroupVersion.WithKind("DaemonSet")},
	{GroupKind: schema.GroupKind{Group: "apps", Kind: "ReplicaSet"}, Scope: Namespaced, Stage: Ordinary, Pods: podTemplateSpec, References: noReferences, Strip: stripNothing, Origin: Users, Workload: replicaSet, Resource: appsv1.SchemeGroupVersion.WithResource("replicasets"), StatusAs: appsv1.SchemeGroupVersion.WithKind("ReplicaSet")},
	{GroupKind: schema.GroupKind{Group: "apps", Kind: "ControllerRevision"}, Scope: Namespaced, Stage: Ordinary, Pods: NoPods, References: noReferences, Strip: stripNothing, Origin: System},
	{GroupKind: schema.GroupKind{Group: "autoscaling", Kind: "HorizontalPodAutoscaler"}, Scope: Namespaced, Stage: Ordinary, Pods: NoPods, References: noReferences, Strip: stripNothing, Origin: Users},
	{GroupKind: Job, Scope: Namespaced, Stage: Ordinary, Pods: podTemplateSpec, References: noReferences, Strip: stripJob, Origin: Users},
	{GroupKind: schema.GroupKind{Group: "batch", Kind: "CronJob"}, Scope: Namespaced, Stage: Ordinary, Pods: jobTemplateSpec, References: noReferences, Strip: stripNothing, Origin: Users},
	{GroupKind: schema.GroupKind{Group: "certificates.k8s.io", Kind: "CertificateSigningRequest"}, Scope: ClusterScoped, Stage: Ordinary, Pods: NoPods, References: noReferences, Strip: stripNothing, Origin: System},
	{GroupKind: clusterTrustBundle, Scope: ClusterScoped, Stage: Ordinary, Pods: NoPods, References: noReferences, Strip: stripNothing, Origin: Users},
	{GroupKind: schema.GroupKind{Group: "certificates.k8s.io", Kind: "PodCertificateRequest"}, Scope: Namespaced, Stage: Ordinary, Pods: NoPods, References: noReferences, Strip: stripNothing, Origin: System},
	{GroupKind: lease, Scope: Namespaced, Stage: Ordinary, Pods: NoPods, References: noReferences, Strip: stripLease, Origin: SystemOrOurs},
	{GroupKind: schema.GroupKind{Group: "coordination.k8s.io", Kind: "LeaseCandidate"}, Scope: Namespaced, Stage: Ordinary, Pods: NoPods, References: noReferences, Strip: stripNothing, Origin: System},
	{GroupKind: schema.GroupKind{Group: "discovery.k8s.io", Kind: "EndpointSlice"}, Scope: Namespaced, Stage: Ordinary, Pods: NoPods, References: noReferences, Strip: stripNothing, Origin: Users},
	{GroupKind: schema.GroupKind{Group: "events.k8s.io", Kind: "Event"}, Scope: Namespaced, Stage: Ordinary, Pods: NoPods, References: noReferences, Strip: stripNothing, Origin: System},
	{GroupKind: schema.GroupKind{Group: "extensions", Kind: "Deployment"}, Scope: Namespaced, Stage: Ordinary, Pods: podTemplateSpec, References: noReferences, Strip: stripNothing, Origin: Users},
	{GroupKind: schema.GroupKind{Group: "extensions", Kind: "DaemonSet"}, Scope: Namespaced, Stage: Ordinary, Pods: podTemplateSpec, References: noReferences, Strip: stripNothing, Origin: Users},
	{GroupKind: schema.GroupKind{Group: "extensions", Kind: "ReplicaSet"}, Scope: Namespaced, Stage: Ordinary, Pods: podTemplateSpec, References: noReferences, Strip: stripNothing, Origin: Users},
	{GroupKind: schema.GroupKind{Group: "extensions", Kind: "Ingress"}, Scope: Namespaced, Stage: Ordinary, Pods: NoPods, References: ingressReferences, Strip: stripNothing, Origin: Users},
	{GroupKind: schema.GroupKind{Group: "extensions", Kind: "NetworkPolicy"}, Scope: Namespaced, Stage: Ordinary, Pods: NoPods, References: noReferences, Strip: stripNothing, Origin: Users},
	{GroupKind: schema.GroupKind{Group: "flowcontrol.apiserver.k8s.io", Kind: "FlowSchema"}, Scope: ClusterScoped, Stage: Ordinary, Pods: NoPods, References: noReferences, Strip: stripNothing, Origin: Users},
	{GroupKind: schema.GroupKind{Group: "flowcontrol.apiserver.k8s.io", Kind: "PriorityLevelConfiguration"}, Scope: ClusterScoped, Stage: Ordinary, Pods: NoPods, References: noReferences, Strip: stripNothing, Origin: Users},
	{GroupKind: schema.GroupKind{Group: "internal.apiserver.k8s.io", Kind: "StorageVersion"}, Scope: ClusterScoped, Stage: Ordinary, Pods: NoPods, References: noReferences, Strip: stripNothing, Origin: System},
	{GroupKind: schema.GroupKind{Group: "networking.k8s.io", Kind: "IngressClass"}, Scope: ClusterScoped, Stage: Ordinary, Pods: NoPods, References: noReferences, Strip: stripNothing, Origin: Users},
	{GroupKind: schema.GroupKind{Group: "networking.k8s.io", Kind: "IPAddress"}, Scope: ClusterScoped, Stage: Ordinary, Pods: NoPods, References: noReferences, Strip: stripNothing, Origin: System},
	{GroupKind: serviceCIDR, Scope: ClusterScoped, Stage: Ordinary, Pods: NoPods, References: noReferences, Strip: stripNothing, Origin: Users},
	{GroupKind: schema.GroupKind{Group: "networking.k8s.io", Kind: "Ingress"}, Scope: Namespaced, Stage: Ordinary, Pods: NoPods, References: ingressReferences, Strip: stripNothing, Origin: Users},
	{GroupKind: schema.GroupKind{Group: "networking.k8s.io", Kind: "NetworkPolicy"}, Scope: Namespaced, Stage: Ordinary, Pods: NoPods, References: noReferences, Strip: stripNothing, Origin: Users},
	{GroupKind: schema.GroupKind{Group: "node.k8s.io", Kind: "RuntimeClass"}, Scope: ClusterScoped, Stage: Ordinary, Pods: NoPods, References: noReferences, Strip: stripNothing, Origin: Users},
	{GroupKind: schema.GroupKind{Group: "policy", Kind: "PodSecurityPolicy"}, Scope: ClusterScoped, Stage: Ordinary, Pods: NoPods, References: noReferences, Strip: stripNothing, Origin: Users},
	{GroupKind: schema.GroupKind{Group: "policy", Kind: "PodDisruptionBudget"}, Scope: Namespaced, Stage: Ordinary, Pods: NoPods, References: noReferences, Strip: stripNothing, Origin: Users},
	{GroupKind: clusterRole, Scope: ClusterScoped, Stage: Ordinary, Pods: NoPods, References: noReferences, Strip: stripClusterRole, Origin: Users},
	{GroupKind: schema.GroupKind{Group: rbacGroup, Kind: "ClusterRoleBinding"}, Scope: ClusterScoped, Stage: Ordinary, Pods: NoPods, References: roleReference, Strip: stripNothing, Origin: Users},
	{GroupKind: schema.GroupKind{Group: rbacGroup, Kind: "Role"}, Scope: Namespaced, Stage: Ordinary, Pods: NoPods, References: noReferences, Strip: stripNothing, Origin: Users},
	{GroupKind: schema.GroupKind{Group: rbacGroup, Kind: "RoleBinding"}, Scope: Namespaced, Stage: Ordinary, Pods: NoPods, References: roleReference, Strip: stripNothing, Origin: Users},
	{GroupKind: schema.GroupKind{Group: "resource.k8s.io", Kind: "DeviceClass"}, Scope: ClusterScoped, Stage: Ordinary, Pods: NoPods, References: noReferences, Strip: stripNothing, Origin: Users},
	{GroupKind: schema.GroupKind{Group: "resource.k8s.io", Kind: "ResourceSlice"}, Scope: ClusterScoped, Stage: Ordinary, Pods: NoPods, References: noReferences, Strip: stripNothing, Origin: System},
	{GroupKind: schema.GroupKind{Group: "resource.k8s.io", Kind: "DeviceTaintRule"}, Scope: ClusterScoped, Stage: Ordinary, Pods: NoPods, References: noReferences, Strip: stripNothing, Origin: Users},
	{GroupKind: schema.GroupKind{Group: "resource.k8s.io", Kind: "ResourceClaim"}, Scope: Namespaced, Stage: Ordinary, Pods: NoPods, References: noReferences, Strip: stripNothing, Origin: Users},
	{GroupKind: schema.GroupKind{Group: "resource.k8s.io", Kind: "ResourceClaimTemplate"}, Scope: Namespaced, Stage: Ordinary, Pods: NoPods, References: noReferences, Strip: stripNothing, Origin: Users},
	{GroupKind: priorityClass, Scope: ClusterScoped, Stage: Ordinary, Pods: NoPods, References: noReferences, Strip: stripNothing, Origin: Users},
	{GroupKind: schema.GroupKind{Group: "storage.k8s.io", Kind: "StorageClass"}, Scope: ClusterScoped, Stage: Ordinary, Pods: NoPods, References: noReferences, Strip: stripNothing, Origin: Users},
	{GroupKind: schema.GroupKind{Group: "storage.k8s.io", Kind: "VolumeAttachment"}, Scope: ClusterScoped, Stage: Ordinary, Pods: NoPods, References: noReferences, Strip: stripNothing, Origin: System},
	{GroupKind: schema.GroupKind{Group: "storage.k8s.io", Kind: "CSIDriver"}, Scope: ClusterScoped, Stage: Ordinary, Pods: NoPods, References: noReferences, Strip: stripNothing, Origin: Users},
	{GroupKind: schema.GroupKind{Group: "storage.k8s.io", Kind: "CSINode"}, Scope: ClusterScoped, Stage: Ordinary, Pods: NoPods, References: noReferences, Strip: stripNothing, Origin: System},
	{GroupKind: schema.GroupKind{Group: "storage.k8s.io", Kind: "VolumeAttributesClass"}, Scope: ClusterScoped, Stage: Ordinary, Pods: NoPods, References: noReferences, Strip: stripNothing, Origin: Users},
	{GroupKind: schema.GroupKind{Group: "storage.k8s.io", Kind: "CSIStorageCapacity"}, Scope: Namespaced, Stage: Ordinary, Pods: NoPods, References: noReferences, Strip: stripNothing, Origin: SystemOrOurs},
	{GroupKind: schema.GroupKind{Group: "storagemigration.k8s.io", Kind: "StorageVersionMigration"}, Scope: ClusterScoped, Stage: Ordinary, Pods: NoPods, References: noReferences, Strip: stripNothing, Origin: Users},
	{GroupKind: schema.GroupKind{Group: "scheduling.k8s.io", Kind: "PodGroup"}, Scope: Namespaced, Stage: Ordinary, Pods: NoPods, References: noReferences, Strip: stripNothing, Origin: Users},
	{GroupKind: schema.GroupKind{Group: "scheduling.k8s.io", Kind: "CompositePodGroup"}, Scope: Namespaced, Stage: Ordinary, Pods: NoPods, References: noReferences, Strip: stripNothing, Origin: Users},
	{GroupKind: schema.GroupKind{Group: "scheduling.k8s.io", Kind: "Workload"}, Scope: Namespaced, Stage: Ordinary, Pods: NoPods, References: noReferences, Strip: stripNothing, Origin: Users},
	{GroupKind: schema.GroupKind{Group: "resource.k8s.io", Kind: "ResourcePoolStatusRequest"}, Scope: ClusterScoped, Stage: Ordinary, Pods: NoPods, References: noReferences, Strip: stripNothing, Origin: System},
	{GroupKind: schema.GroupKind{Group: "lifecycle.k8s.io", Kind: "EvictionRequest"}, Scope: Namespaced, Stage: Ordinary, Pods: NoPods, References: noReferences, Strip: stripNothing, Origin: System},
}

// byKind is the table, for lookups.
var byKind = map[schema.GroupKind]*Kind{}

func init() { // the entries' functions look up others
	for i := range table {
		k := &table[i]
		byKind[k.GroupKind] = k
		if k.IsSecret {
			secretKinds[k.Kind], secretPlurals[strings.ToLower(k.Kind)+"s"] = true, true
		}
	}
}

// Lookup returns the entry of a kind, or nil if it is none of Kubernetes' own.
func Lookup(kind schema.GroupKind) *Kind { return byKind[kind] }

// unknown is the entry of all kinds that are not in the table.
var unknown = Kind{Stage: Ordinary, Pods: NoPods, References: noReferences, Strip: stripNothing, Origin: Users}

// Of returns the entry of a kind, or one that answers for kinds that are not Kubernetes'
// own. The scope of these is not known.
func Of(kind schema.GroupKind) *Kind {
	if k := byKind[kind]; k != nil {
		return k
	}
	return &unknown
}

// Workloads returns the entries of the kinds of pod controllers.
func Workloads() []*Kind {
	var found []*Kind
	for i := range table {
		if k := byKind[table[i].GroupKind]; k.Workload != nil {
			found = append(found, k)
		}
	}
	return append(found, added...)
}

// added has the entries of Add.
var added []*Kind

// Add adds an entry to the table, and returns a function that takes it out again. It is for
// tests, which call it while nothing else uses this package.
func Add(k Kind) (remove func()) {
	byKind[k.GroupKind] = &k
	if k.Workload != nil {
		added = append(added, &k)
	}
	return func() {
		delete(byKind, k.GroupKind)
		added = nil
	}
}

// PodSpec returns the specification of the pods that an object is or makes, or nil.
func PodSpec(kind schema.GroupKind, object map[string]any) any {
	if path := Of(kind).Pods; len(path) > 0 {
		return Nested(object, path...)
	}
	return nil
}

// PodPaths returns where objects of a kind may have the specification of their pods: for kinds
// that are not Kubernetes' own, where such kinds mostly have it.
func PodPaths(kind schema.GroupKind) []Path {
	if k := Lookup(kind); k == nil {
		return []Path{podTemplateSpec, jobTemplateSpec}
	} else if len(k.Pods) > 0 {
		return []Path{k.Pods}
	}
	return nil
}
