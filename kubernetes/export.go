package kubernetes

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	"go.yaml.in/yaml/v2"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/platformbus/platform"
)

// Export returns definitions of every object of every kind that can be listed, as
// multi-document YAML in a defined order, see platform.Platform. It leaves out what
// others own or the system makes, and of each object what it was not defined to be.
// Namespaces are those that Options offer; Kubernetes' own only if Options.Namespaces
// names them. Secrets are left out, and counted in a comment, unless
// Options.ExportSecrets is set. What may not be seen is said in an error beside the rest.
func (c *Cluster) Export() ([]byte, error) {
	ctx, cancel := c.call()
	defer cancel()
	known, err := c.catalog.after(ctx, c.catalog.get()) // what has come since counts too
	if err != nil {
		return nil, platform.ClusterError(fmt.Errorf("export: %w", err))
	}
	var errs []error
	for gv, err := range known.broken {
		errs = append(errs, fmt.Errorf("ask which kinds are in %v: %w", gv, err))
	}
	var (
		mu      sync.Mutex
		docs    []exported // guarded by mu
		secrets int        // guarded by mu
		group   sync.WaitGroup
		slots   = make(chan struct{}, c.options.Concurrency)
	)
	for _, res := range exportable(known) {
		group.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			var (
				found []exported
				count int
				seen  seen
			)
			if res.GroupResource() == secretResource && !c.options.ExportSecrets {
				count, seen = c.countSecrets(ctx, res)
			} else {
				found, seen = c.export(ctx, res)
			}
			mu.Lock()
			defer mu.Unlock()
			// A kind that is not found was removed since the server was asked for its kinds.
			errs = append(errs, slices.DeleteFunc(seen.hidden, apierrors.IsNotFound)...)
			docs = append(docs, found...)
			secrets += count
		})
	}
	group.Wait()
	sortErrors(errs)
	if err := join(errs...); err != nil {
		return joinDocuments(docs, secrets), platform.ClusterError(fmt.Errorf("export: %w", err))
	}
	return joinDocuments(docs, secrets), nil
}

// joinDocuments returns the documents in their order. It is never nil, which not every
// transport would tell from no answer.
func joinDocuments(docs []exported, secrets int) []byte {
	slices.SortFunc(docs, exported.compare)
	const separator = "---\n"
	size := 0
	for _, doc := range docs {
		size += len(separator) + len(doc.yaml)
	}
	comment := ""
	if secrets > 0 {
		comment = fmt.Sprintf("# Secrets left out: %d\n", secrets)
	}
	out := append(make([]byte, 0, len(comment)+size), comment...)
	for i := range docs {
		out = append(append(out, separator...), docs[i].yaml...)
		docs[i].yaml = nil
	}
	return out
}

var secretResource = schema.GroupResource{Resource: "secrets"}

// An exported object is ready to be written.
type exported struct {
	objectKey
	order int // of its kind
	yaml  []byte
}

// compare puts what others need first: namespaces, definitions of kinds, then the rest by
// kind, namespace and name.
func (e exported) compare(other exported) int {
	for _, c := range []int{
		e.order - other.order,
		strings.Compare(e.Group, other.Group),
		strings.Compare(e.Kind, other.Kind),
		strings.Compare(e.namespace, other.namespace),
		strings.Compare(e.name, other.name),
	} {
		if c != 0 {
			return c
		}
	}
	return 0
}

func orderOf(kind schema.GroupKind) int {
	switch {
	case kind == namespaceKind:
		return 0
	case kind == crdKind:
		return 1
	case isGate(kind):
		return 3
	default:
		return 2
	}
}

// notDefinitions are resources whose objects the system makes; nobody defines them.
var notDefinitions = map[schema.GroupResource]bool{
	{Resource: "bindings"}:                           true,
	{Resource: "componentstatuses"}:                  true,
	{Resource: "endpoints"}:                          true,
	{Resource: "events"}:                             true,
	{Resource: "nodes"}:                              true,
	{Group: "apps", Resource: "controllerrevisions"}: true,
	{Group: "certificates.k8s.io", Resource: "podcertificaterequests"}:               true,
	{Group: "certificates.k8s.io", Resource: "certificatesigningrequests"}:           true,
	{Group: "coordination.k8s.io", Resource: "leases"}:                               true,
	{Group: "coordination.k8s.io", Resource: "leasecandidates"}:                      true,
	{Group: "discovery.k8s.io", Resource: "endpointslices"}:                          true,
	{Group: "events.k8s.io", Resource: "events"}:                                     true,
	{Group: "flowcontrol.apiserver.k8s.io", Resource: "flowschemas"}:                 true,
	{Group: "flowcontrol.apiserver.k8s.io", Resource: "prioritylevelconfigurations"}: true,
	{Group: "networking.k8s.io", Resource: "ipaddresses"}:                            true,
	{Group: "storage.k8s.io", Resource: "csinodes"}:                                  true,
	{Group: "storage.k8s.io", Resource: "csistoragecapacities"}:                      true,
	{Group: "storage.k8s.io", Resource: "volumeattachments"}:                         true,
	{Group: "resource.k8s.io", Resource: "resourceslices"}:                           true,
}

// exportable returns the resources to export, each kind once: a kind that two groups
// serve, such as Event, is one that notDefinitions names.
func exportable(known *kinds) []resource {
	var chosen []resource
	for _, res := range known.preferred {
		if res.listable && !notDefinitions[res.GroupResource()] && res.Group != "metrics.k8s.io" {
			chosen = append(chosen, res)
		}
	}
	return chosen
}

// export lists a resource page by page, and keeps of each object no more than is written.
func (c *clients) export(ctx context.Context, res resource) ([]exported, seen) {
	var where scope
	if res.namespaced {
		where = c.offered()
	}
	return listScope(ctx, c, where, res.GroupResource().String(), func(ctx context.Context, namespace string, options metav1.ListOptions) ([]exported, metav1.ListInterface, error) {
		list, err := c.dynamicOf(res, namespace).List(ctx, options)
		if err != nil {
			return nil, nil, err
		}
		wanted := slices.DeleteFunc(list.Items, func(object unstructured.Unstructured) bool { return !c.exports(&object, res) })
		docs := make([]exported, len(wanted))
		errs := make([]error, len(wanted))
		inParallel(len(wanted), func(i int) {
			object := &wanted[i]
			docs[i].objectKey = objectKey{res.gvk().GroupKind(), object.GetNamespace(), object.GetName()}
			docs[i].order = orderOf(docs[i].GroupKind)
			strip(object)
			docs[i].yaml, errs[i] = yaml.Marshal(object.Object)
			object.Object = nil
		})
		return docs, list, join(errs...)
	})
}

// countSecrets counts the Secrets that are left out, without looking into them. Those that
// Kubernetes makes itself have an owner or a namespace that tell.
func (c *clients) countSecrets(ctx context.Context, res resource) (int, seen) {
	found, seen := listScope(ctx, c, c.offered(), res.GroupResource().String(), func(ctx context.Context, namespace string, options metav1.ListOptions) ([]int, metav1.ListInterface, error) {
		list, err := c.metadataOf(res, namespace).List(ctx, options)
		if err != nil {
			return nil, nil, err
		}
		n := 0
		for i := range list.Items {
			if meta := &list.Items[i]; c.exportsFrom(meta.Namespace) && len(meta.OwnerReferences) == 0 && meta.DeletionTimestamp == nil {
				n++
			}
		}
		return []int{n}, list, nil
	})
	sum := 0
	for _, n := range found {
		sum += n
	}
	return sum, seen
}

// exports says whether an object is exported: its namespace is offered, and it is
// somebody's definition.
func (c *clients) exports(object *unstructured.Unstructured, res resource) bool {
	namespace := object.GetNamespace()
	if res.GroupResource() == (schema.GroupResource{Resource: "namespaces"}) {
		namespace = object.GetName()
	}
	return c.exportsFrom(namespace) && !isSystems(object, res)
}

// exportsFrom says whether what is in a namespace, or in none, is exported.
func (c *clients) exportsFrom(namespace string) bool {
	if namespace == "" {
		return true
	}
	return c.offers(namespace) && (!systemNamespaces[namespace] || slices.Contains(c.options.Namespaces, namespace))
}

// systemNamespaces are made, and filled, by Kubernetes itself.
var systemNamespaces = map[string]bool{
	metav1.NamespaceSystem: true,
	metav1.NamespacePublic: true,
	"kube-node-lease":      true,
}

// isSystems says whether an object is somebody's own doing rather than a definition: it
// is owned by another object, made by Kubernetes itself, or on its way out.
func isSystems(object *unstructured.Unstructured, res resource) bool {
	name, namespace := object.GetName(), object.GetNamespace()
	if len(object.GetOwnerReferences()) > 0 || object.GetDeletionTimestamp() != nil {
		return true
	}
	if labels := object.GetLabels(); labels["kubernetes.io/bootstrapping"] == "rbac-defaults" ||
		labels["kube-aggregator.kubernetes.io/automanaged"] != "" {
		return true
	}
	switch res.GroupResource() {
	case schema.GroupResource{Resource: "namespaces"}:
		return systemNamespaces[name] || name == metav1.NamespaceDefault
	case schema.GroupResource{Resource: "persistentvolumes"}:
		return object.GetAnnotations()["pv.kubernetes.io/provisioned-by"] != ""
	case schema.GroupResource{Resource: "serviceaccounts"}:
		return name == "default"
	case schema.GroupResource{Resource: "configmaps"}:
		return name == "kube-root-ca.crt"
	case schema.GroupResource{Resource: "services"}:
		return name == "kubernetes" && namespace == metav1.NamespaceDefault
	case secretResource:
		kind, _ := object.Object["type"].(string)
		return kind == "kubernetes.io/service-account-token" || kind == "bootstrap.kubernetes.io/token"
	case schema.GroupResource{Group: "certificates.k8s.io", Resource: "clustertrustbundles"}:
		return strings.HasPrefix(name, "kubernetes.io:")
	case schema.GroupResource{Group: "scheduling.k8s.io", Resource: "priorityclasses"}:
		return strings.HasPrefix(name, "system-")
	case schema.GroupResource{Group: "networking.k8s.io", Resource: "servicecidrs"}:
		return name == "kubernetes"
	}
	return false
}
