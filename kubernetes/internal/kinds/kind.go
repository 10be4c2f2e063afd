package kinds

import (
	"strings"

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

// byKind is the table, for lookups.
var byKind = map[schema.GroupKind]*Kind{}

func init() { // the entries' functions look up others
	for i := range table {
		byKind[table[i].GroupKind] = &table[i]
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

// IsBuiltIn says whether the API server itself defines the kinds of the group.
func IsBuiltIn(group string) bool {
	return !strings.Contains(group, ".") || strings.HasSuffix(group, ".k8s.io")
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
