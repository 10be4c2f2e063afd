package kubernetes

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"

	"github.com/platformbus/platform"
)

// Export returns definitions of every object of every kind that can be listed, as
// multi-document YAML in a defined order, see platform.Platform. It leaves out what
// others own or the system makes, and of each object what only the server sets. Secrets
// are left out, and counted in a comment, unless Options.ExportSecrets is set. A kind
// that cannot be listed is an error beside what could be.
func (c *Cluster) Export() ([]byte, error) {
	ctx, cancel := c.call()
	defer cancel()
	known, err := c.catalog.after(ctx, c.catalog.get()) // what has come since counts too
	if err != nil {
		return nil, platform.ClusterError(fmt.Errorf("export: %w", err))
	}
	var (
		mu      sync.Mutex
		docs    []exported // guarded by mu
		errs    []error    // guarded by mu
		group   sync.WaitGroup
		slots   = make(chan struct{}, c.options.Concurrency)
		secrets int
	)
	for gv, err := range known.broken {
		errs = append(errs, fmt.Errorf("export: the kinds of %v are not known: %w", gv, err))
	}
	for _, res := range exportable(known) {
		group.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			found, err := c.export(ctx, res)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				errs = append(errs, fmt.Errorf("export %s: %w", res.GroupResource(), err))
			}
			if res.GroupResource() == secretResource && !c.options.ExportSecrets {
				secrets = len(found)
				return
			}
			docs = append(docs, found...)
		})
	}
	group.Wait()
	slices.SortFunc(docs, exported.compare)
	out := bytes.NewBuffer([]byte{}) // nil would not survive every transport
	if secrets > 0 {
		fmt.Fprintf(out, "# %d Secrets are left out.\n", secrets)
	}
	for _, doc := range docs {
		out.WriteString("---\n")
		out.Write(doc.yaml)
	}
	sortErrors(errs)
	if err := join(errs...); err != nil {
		return out.Bytes(), platform.ClusterError(err)
	}
	return out.Bytes(), nil
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
func (c *clients) export(ctx context.Context, res resource) ([]exported, error) {
	var docs []exported
	err := c.pages(ctx, func(ctx context.Context, options metav1.ListOptions) (metav1.ListInterface, error) {
		if options.Continue == "" {
			docs = nil
		}
		list, err := c.dynamicOf(res, "").List(ctx, options)
		if err != nil {
			return nil, err
		}
		for i := range list.Items {
			object := &list.Items[i]
			if isSystems(object, res) {
				continue
			}
			strip(object)
			text, err := yaml.Marshal(object.Object)
			if err != nil {
				return nil, fmt.Errorf("%s %s: %w", object.GetKind(), object.GetName(), err)
			}
			kind := object.GroupVersionKind().GroupKind()
			docs = append(docs, exported{
				objectKey: objectKey{kind, object.GetNamespace(), object.GetName()},
				order:     orderOf(kind),
				yaml:      text,
			})
		}
		return list, nil
	})
	return docs, err
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
	if systemNamespaces[namespace] || len(object.GetOwnerReferences()) > 0 || object.GetDeletionTimestamp() != nil {
		return true
	}
	switch labels := object.GetLabels(); {
	case labels["kubernetes.io/bootstrapping"] == "rbac-defaults",
		labels["kube-aggregator.kubernetes.io/automanaged"] != "",
		labels["apiserver.kubernetes.io/selfsign-issuer"] != "":
		return true
	}
	switch res.GroupResource() {
	case schema.GroupResource{Resource: "namespaces"}:
		return systemNamespaces[name] || name == metav1.NamespaceDefault
	case schema.GroupResource{Resource: "serviceaccounts"}:
		return name == "default"
	case schema.GroupResource{Resource: "configmaps"}:
		return name == "kube-root-ca.crt"
	case schema.GroupResource{Resource: "services"}:
		return name == "kubernetes" && namespace == metav1.NamespaceDefault
	case secretResource:
		kind, _ := object.Object["type"].(string)
		return kind == "kubernetes.io/service-account-token" || kind == "bootstrap.kubernetes.io/token"
	case schema.GroupResource{Group: "scheduling.k8s.io", Resource: "priorityclasses"}:
		return strings.HasPrefix(name, "system-")
	case schema.GroupResource{Group: "networking.k8s.io", Resource: "servicecidrs"}:
		return name == "kubernetes"
	}
	return false
}
