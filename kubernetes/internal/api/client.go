// Package api is a connection to an API server. It makes the paths of all requests, of
// segments that are checked, and its errors quote nothing that is secret.
package api

import (
	"context"
	"net/http"
	"path"
	"strings"
	"time"

	"go.opentelemetry.io/otel/trace"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"

	"github.com/platformbus/platform/kubernetes/internal/kinds"
	"github.com/platformbus/platform/kubernetes/internal/recent"
)

// A Client asks an API server. All its methods may be called by many goroutines at once.
type Client struct {
	requestTimeout time.Duration
	discoverer     *discoverer
	served         *recent.Cache[schema.GroupVersion, *servedList]

	protobuf rest.Interface // built-in kinds
	metadata metadata.Interface
	dynamic  dynamic.Interface // JSON; whole objects of any kind
}

// NewClient returns a client for the API server that config leads to, each of whose requests
// may take as long as requestTimeout. Spans of requests, see WithRequests, are made by tracer; nil
// makes none. It contacts nothing yet.
func NewClient(config *rest.Config, requestTimeout time.Duration, tracer trace.Tracer) (*Client, error) {
	config = rest.CopyConfig(config)
	inner, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil, err
	}
	base, _, err := rest.DefaultServerUrlFor(config)
	if err != nil {
		return nil, err
	}
	next := inner.Transport
	if next == nil {
		next = http.DefaultTransport
	}
	prefix := strings.TrimSuffix(path.Clean("/"+base.Path), "/")
	if tracer != nil {
		next = tracing{tracer: tracer, prefix: prefix, next: next}
	}
	outer := *inner
	outer.Transport = transport{prefix: prefix, next: next}
	return newClient(config, &outer, requestTimeout)
}

func newClient(config *rest.Config, transport *http.Client, requestTimeout time.Duration) (*Client, error) {
	c := Client{requestTimeout: requestTimeout, served: newServed()}
	discovering, err := discovery.NewDiscoveryClientForConfigAndClient(config, transport)
	if err != nil {
		return nil, err
	}
	c.discoverer = newDiscoverer(discovering, requestTimeout)
	if c.dynamic, err = dynamic.NewForConfigAndClient(dynamic.ConfigFor(config), transport); err != nil {
		return nil, err
	}
	if c.metadata, err = metadata.NewForConfigAndClient(metadata.ConfigFor(config), transport); err != nil {
		return nil, err
	}
	protobuf := rest.CopyConfig(config)
	protobuf.ContentType = runtime.ContentTypeProtobuf
	protobuf.AcceptContentTypes = runtime.ContentTypeProtobuf + "," + runtime.ContentTypeJSON
	protobuf.GroupVersion = &schema.GroupVersion{}
	protobuf.NegotiatedSerializer = scheme.Codecs.WithoutConversion()
	protobuf.APIPath = "/"
	c.protobuf, err = rest.UnversionedRESTClientForConfigAndClient(protobuf, transport)
	return &c, err
}

// Ping returns nil if the API server answers and accepts our credentials.
func (c *Client) Ping(ctx context.Context) error { return c.discoverer.ping(ctx) }

// Kinds returns what the server is known to serve. It asks if it has not yet.
func (c *Client) Kinds(ctx context.Context) (*Catalog, error) { return c.discoverer.after(ctx, nil) }

// KindsAfter returns what the server serves, from an answer later than old. Of many callers
// at once, one asks.
func (c *Client) KindsAfter(ctx context.Context, old *Catalog) (*Catalog, error) {
	return c.discoverer.after(ctx, old)
}

// LatestKinds asks the server what it serves now.
func (c *Client) LatestKinds(ctx context.Context) (*Catalog, error) {
	return c.discoverer.after(ctx, c.discoverer.get())
}

// ForgetKinds makes the next caller of Kinds ask anew.
func (c *Client) ForgetKinds() { c.discoverer.forget() }

// Get gets one object of a built-in kind.
func (c *Client) Get(ctx context.Context, t Target, into runtime.Object) error {
	ctx, at, err := withPath(ctx, t)
	if err != nil {
		return err
	}
	return c.protobuf.Get().AbsPath(at).Do(ctx).Into(into)
}

// List lists objects of a built-in kind.
func (c *Client) List(ctx context.Context, t Target, options metav1.ListOptions, into runtime.Object) error {
	ctx, at, err := withPath(ctx, t)
	if err != nil {
		return err
	}
	return c.protobuf.Get().AbsPath(at).SpecificallyVersionedParams(&options, metav1.ParameterCodec, metav1.Unversioned).Do(ctx).Into(into)
}

// listJSON lists objects of any kind, and returns the answer as it is.
func (c *Client) listJSON(ctx context.Context, t Target, options metav1.ListOptions) ([]byte, error) {
	ctx, at, err := withPath(ctx, t)
	if err != nil {
		return nil, err
	}
	return c.protobuf.Get().AbsPath(at).
		SetHeader("Accept", runtime.ContentTypeJSON).
		SpecificallyVersionedParams(&options, metav1.ParameterCodec, metav1.Unversioned).
		Do(ctx).Raw()
}

// Metadata asks for objects of a resource, in a namespace or in all, by their metadata.
func (c *Client) Metadata(r schema.GroupVersionResource, namespace string) Metadata {
	return Metadata{Target{GroupVersionResource: r, Namespace: namespace}, c.metadata.Resource(r).Namespace(namespace)}
}

// Objects asks for whole objects of a resource, in a namespace or in all.
func (c *Client) Objects(r schema.GroupVersionResource, namespace string) Objects {
	return Objects{Target{GroupVersionResource: r, Namespace: namespace}, c.dynamic.Resource(r).Namespace(namespace)}
}

// withObjectPath returns a context for requests about the object of that name.
func (t Target) withObjectPath(ctx context.Context, name string) (context.Context, error) {
	if err := kinds.CheckName(name); err != nil {
		return nil, err
	}
	t.Name = name
	ctx, _, err := withPath(ctx, t)
	return ctx, err
}

// Metadata is a resource whose objects are known by their metadata. Its methods are those of
// metadata.ResourceInterface.
type Metadata struct {
	all  Target
	next metadata.ResourceInterface
}

// Get gets one object.
func (m Metadata) Get(ctx context.Context, name string) (*metav1.PartialObjectMetadata, error) {
	ctx, err := m.all.withObjectPath(ctx, name)
	if err != nil {
		return nil, err
	}
	return m.next.Get(ctx, name, metav1.GetOptions{})
}

// List lists objects.
func (m Metadata) List(ctx context.Context, options metav1.ListOptions) (*metav1.PartialObjectMetadataList, error) {
	ctx, _, err := withPath(ctx, m.all)
	if err != nil {
		return nil, err
	}
	return m.next.List(ctx, options)
}

// Watch watches objects.
func (m Metadata) Watch(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
	ctx, _, err := withPath(ctx, m.all)
	if err != nil {
		return nil, err
	}
	return m.next.Watch(ctx, options)
}

// Patch patches one object.
func (m Metadata) Patch(ctx context.Context, name string, kind types.PatchType, patch []byte, options metav1.PatchOptions) (*metav1.PartialObjectMetadata, error) {
	ctx, err := m.all.withObjectPath(ctx, name)
	if err != nil {
		return nil, err
	}
	return m.next.Patch(ctx, name, kind, patch, options)
}

// Delete deletes one object.
func (m Metadata) Delete(ctx context.Context, name string, options metav1.DeleteOptions) error {
	ctx, err := m.all.withObjectPath(ctx, name)
	if err != nil {
		return err
	}
	return m.next.Delete(ctx, name, options)
}

// Objects is a resource whose objects are had whole. Its methods are those of
// dynamic.ResourceInterface.
type Objects struct {
	all  Target
	next dynamic.ResourceInterface
}

// Get gets one object.
func (o Objects) Get(ctx context.Context, name string) (*unstructured.Unstructured, error) {
	ctx, err := o.all.withObjectPath(ctx, name)
	if err != nil {
		return nil, err
	}
	return o.next.Get(ctx, name, metav1.GetOptions{})
}

// List lists objects.
func (o Objects) List(ctx context.Context, options metav1.ListOptions) (*unstructured.UnstructuredList, error) {
	ctx, _, err := withPath(ctx, o.all)
	if err != nil {
		return nil, err
	}
	return o.next.List(ctx, options)
}

// Watch watches objects.
func (o Objects) Watch(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
	ctx, _, err := withPath(ctx, o.all)
	if err != nil {
		return nil, err
	}
	return o.next.Watch(ctx, options)
}

// Create makes one object.
func (o Objects) Create(ctx context.Context, object *unstructured.Unstructured, options metav1.CreateOptions) (*unstructured.Unstructured, error) {
	ctx, _, err := withPath(ctx, o.all)
	if err != nil {
		return nil, err
	}
	return o.next.Create(ctx, object, options)
}

// ListTyped lists objects of a kind, as Go types where there are some.
func (c *Client) ListTyped(ctx context.Context, t Target, kind string, options metav1.ListOptions) (runtime.Object, error) {
	list, err := scheme.Scheme.New(t.GroupVersion().WithKind(kind + "List"))
	if err != nil { // none of Kubernetes' own
		return c.Objects(t.GroupVersionResource, t.Namespace).List(ctx, options)
	}
	return list, c.List(ctx, t, options, list)
}
