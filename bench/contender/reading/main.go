// Command reading reads a cluster: as this library does, at the minimal cost, or as its
// predecessor did.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	clientgo "k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/platformbus/platform/bench/contender/kube"
	"github.com/platformbus/platform/kubernetes"
)

// pageSize is the same as in this library, so that the results are comparable.
const pageSize = 500

// A reader reads the cluster once.
type reader func(ctx context.Context) error

var readers = map[string]func(*rest.Config) (reader, error){
	"services":               services,
	"services-floor":         servicesFloor,
	"services-per-namespace": servicesPerNamespace,
	"export":                 export,
	"export-floor":           exportFloor,
}

func main() {
	what := flag.String("what", "", "what to read, and how")
	kube.Main(func(config *rest.Config) (kube.Library, error) {
		newReader, ok := readers[*what]
		if !ok {
			return kube.Library{}, fmt.Errorf("-what: there is no reader %q", *what)
		}
		read, err := newReader(config)
		return kube.Library{Sync: func(ctx context.Context, _ [][]byte) error { return read(ctx) }}, err
	})
}

func services(config *rest.Config) (reader, error) {
	c, err := kubernetes.NewCluster(config, kubernetes.Options{})
	return func(context.Context) error {
		found, err := c.AllServices("", nil)
		return errors.Join(err, checkNotEmpty(len(found)))
	}, err
}

func checkNotEmpty(n int) error {
	if n == 0 {
		return errors.New("nothing was read")
	}
	return nil
}

// servicesFloor is the minimal cost: a list of services and a list of deployments, decoded.
func servicesFloor(config *rest.Config) (reader, error) {
	config.ContentType = runtime.ContentTypeProtobuf
	c, err := clientgo.NewForConfig(config)
	return func(ctx context.Context) error {
		both, ctx := errgroup.WithContext(ctx)
		both.Go(func() error {
			var kept []corev1.Service
			return errors.Join(pages(func(o metav1.ListOptions) (metav1.ListInterface, error) {
				list, err := c.CoreV1().Services("").List(ctx, o)
				kept = append(kept, list.Items...)
				return list, err
			}), checkNotEmpty(len(kept)))
		})
		both.Go(func() error {
			n := 0
			return errors.Join(pages(func(o metav1.ListOptions) (metav1.ListInterface, error) {
				list, err := c.AppsV1().Deployments("").List(ctx, o)
				n += len(list.Items)
				return list, err
			}), checkNotEmpty(n))
		})
		return both.Wait()
	}, err
}

// pages requests a list page by page.
func pages(page func(metav1.ListOptions) (metav1.ListInterface, error)) error {
	options := metav1.ListOptions{Limit: pageSize}
	for {
		list, err := page(options)
		if err != nil {
			return err
		}
		if options.Continue = list.GetContinue(); options.Continue == "" {
			return nil
		}
	}
}

// servicesPerNamespace is the implementation of 2017: JSON, and three sequential lists for
// each namespace.
func servicesPerNamespace(config *rest.Config) (reader, error) {
	config.ContentType = runtime.ContentTypeJSON
	c, err := clientgo.NewForConfig(config)
	return func(ctx context.Context) error {
		namespaces, err := c.CoreV1().Namespaces().List(ctx, metav1.ListOptions{})
		if err != nil {
			return err
		}
		n := 0
		for i := range namespaces.Items {
			name := namespaces.Items[i].Name
			services, err1 := c.CoreV1().Services(name).List(ctx, metav1.ListOptions{})
			deployments, err2 := c.AppsV1().Deployments(name).List(ctx, metav1.ListOptions{})
			_, err3 := c.CoreV1().ReplicationControllers(name).List(ctx, metav1.ListOptions{})
			if err := errors.Join(err1, err2, err3); err != nil {
				return err
			}
			n += min(len(services.Items), len(deployments.Items))
		}
		return checkNotEmpty(n)
	}, err
}

func export(config *rest.Config) (reader, error) {
	c, err := kubernetes.NewCluster(config, kubernetes.Options{})
	return func(context.Context) error {
		text, err := c.Export()
		return errors.Join(err, checkNotEmpty(len(text)))
	}, err
}

// exportFloor is the minimal cost: a complete, decoded list of each kind that has many
// objects.
func exportFloor(config *rest.Config) (reader, error) {
	c, err := dynamic.NewForConfig(config)
	return func(ctx context.Context) error {
		all, ctx := errgroup.WithContext(ctx)
		for _, resource := range []schema.GroupVersionResource{
			{Version: "v1", Resource: "namespaces"}, {Version: "v1", Resource: "services"}, {Group: "apps", Version: "v1", Resource: "deployments"},
		} {
			all.Go(func() error {
				n := 0
				return errors.Join(pages(func(o metav1.ListOptions) (metav1.ListInterface, error) {
					list, err := c.Resource(resource).List(ctx, o)
					n += len(list.Items)
					return list, err
				}), checkNotEmpty(n))
			})
		}
		return all.Wait()
	}, err
}
