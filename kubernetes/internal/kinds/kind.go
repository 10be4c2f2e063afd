// Package kinds is what the other packages know of Kubernetes' kinds: what their objects may be
// called, refer to and look like, which fields are secret, and what the API server makes of them.
package kinds

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// A Kind is what is known of one kind. Each field answers a question that Sync, Apply,
// AllServices, Export, Plan or SetImages asks; the zero value of those above Optional is no
// answer, and a test fails if an entry of the table has it.
type Kind struct {
	schema.GroupKind

	// Scope says whether objects of the kind are in namespaces.
	Scope Scope
	// Stage is when objects of the kind are applied.
	Stage Stage
	// Pods is where an object has the specification of the pods that it is or makes.
	Pods Path
	// References are to what must be there before an object can do its work.
	References func(object map[string]any) []Reference
	// Strip takes off an exported object what the server and the controllers set by themselves.
	Strip func(object map[string]any, chosen Fields)
	// Origin says who makes objects of the kind.
	Origin Origin

	// Optional: what few kinds have.

	// Workload reads an object of a kind of pod controllers that services select pods of.
	Workload func(runtime.Object) Workload
	// Resource is how such a kind is listed, and StatusAs how kstatus knows its status.
	Resource schema.GroupVersionResource
	StatusAs schema.GroupVersionKind
	// LimitsPods says that objects of the kind decide what the pods of their namespace may be.
	LimitsPods bool
	// IsSecret says that objects of the kind are secret as a whole.
	IsSecret bool
}

// A Scope says whether objects of a kind are in namespaces.
type Scope int

// The scopes.
const (
	Namespaced Scope = iota + 1
	ClusterScoped
)

// A Stage is when objects of a kind are applied and listed, apart from what they refer to.
type Stage int

// The stages, in their order.
const (
	NamespacesFirst Stage = iota + 1
	DefinitionsNext       // of kinds
	Ordinary
	// AdmissionLast is for kinds whose objects decide about requests for others, or answer
	// them. One that is in force before what serves it is up would fail the rest of a Sync.
	AdmissionLast
)

// A Path leads to a field. A path without elements leads nowhere.
type Path []string

// NoPods is the path of kinds that have no pods.
var NoPods = Path{}

// A Reference is to an object by what names it: one in the same namespace, or one that
// is in none.
type Reference struct {
	schema.GroupKind
	Name          string
	ClusterScoped bool
}

// Namespace returns the namespace of the object that an object in namespace means.
func (r Reference) Namespace(namespace string) string {
	if r.ClusterScoped {
		return ""
	}
	return namespace
}

const (
	rbacGroup      = "rbac.authorization.k8s.io"
	admissionGroup = "admissionregistration.k8s.io"
)

// Kinds that code has to name.
var (
	Namespace                = schema.GroupKind{Kind: "Namespace"}
	Secret                   = schema.GroupKind{Kind: "Secret"}
	ConfigMap                = schema.GroupKind{Kind: "ConfigMap"}
	Service                  = schema.GroupKind{Kind: "Service"}
	ServiceAccount           = schema.GroupKind{Kind: "ServiceAccount"}
	PersistentVolumeClaim    = schema.GroupKind{Kind: "PersistentVolumeClaim"}
	PersistentVolume         = schema.GroupKind{Kind: "PersistentVolume"}
	Job                      = schema.GroupKind{Group: "batch", Kind: "Job"}
	CustomResourceDefinition = schema.GroupKind{Group: "apiextensions.k8s.io", Kind: "CustomResourceDefinition"}
	clusterTrustBundle       = schema.GroupKind{Group: "certificates.k8s.io", Kind: "ClusterTrustBundle"}
	priorityClass            = schema.GroupKind{Group: "scheduling.k8s.io", Kind: "PriorityClass"}
	serviceCIDR              = schema.GroupKind{Group: "networking.k8s.io", Kind: "ServiceCIDR"}
	statefulSetKind          = schema.GroupKind{Group: "apps", Kind: "StatefulSet"}
	limitRangeKind           = schema.GroupKind{Kind: "LimitRange"}
	lease                    = schema.GroupKind{Group: "coordination.k8s.io", Kind: "Lease"}
	clusterRole              = schema.GroupKind{Group: rbacGroup, Kind: "ClusterRole"}
	apiService               = schema.GroupKind{Group: "apiregistration.k8s.io", Kind: "APIService"}
	Deployment               = schema.GroupKind{Group: "apps", Kind: "Deployment"}
)

// A Workload is what a pod controller says of itself.
type Workload struct {
	metav1.ObjectMeta
	// Template is that of its pods; nil if it has none.
	Template *corev1.PodTemplateSpec
	// Conditions are those of its status that tell what keeps it from getting further.
	Conditions []Condition

	Unobserved bool  // its controller has not looked at the last change yet
	Paused     bool  // somebody told it to wait
	Desired    int32 // pods wanted
	Current    int32 // pods there, old ones included
	Updated    int32 // pods made from the last definition
	Available  int32 // pods that serve
}

// A Condition says what keeps a Workload from getting further.
type Condition struct{ Reason, Message string }

// An Origin says who makes objects of a kind.
type Origin int

// The origins.
const (
	// Users is for kinds whose objects users define, apart from those that bear a mark of the
	// system.
	Users Origin = iota + 1
	// SystemOrOurs is for kinds whose objects programs make for themselves. One is a
	// definition if our field manager, or one whose fields it adopts, has an entry in it.
	SystemOrOurs
	// System is for kinds whose objects nobody defines.
	System
)
