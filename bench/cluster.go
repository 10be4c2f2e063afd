package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"regexp"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"

	"github.com/platformbus/platform/internal/controlplane"
)

// A cluster is the control plane that all contenders of a case use.
type cluster struct {
	*controlplane.ControlPlane
	typed    kubernetes.Interface
	metadata metadata.Interface
	shared   bool // others have objects in the namespaces of ours, which stay therefore
}

func startCluster(ctx context.Context) (*cluster, error) {
	cp, err := controlplane.Start(ctx, controlplane.Options{NoControllerManager: true, NoScheduler: true, NoKwok: true})
	if err != nil {
		return nil, err
	}
	c := &cluster{ControlPlane: cp}
	if c.typed, err = kubernetes.NewForConfig(cp.Config()); err == nil {
		c.metadata, err = metadata.NewForConfig(cp.Config())
	}
	if err != nil {
		_ = cp.Stop()
		return nil, err
	}
	return c, nil
}

var marked = metav1.ListOptions{LabelSelector: ourLabel}

// clean deletes all objects of a run, so that they do not affect the next run or appear in
// its lists.
func (c *cluster) clean(ctx context.Context) error {
	namespaces, err := c.typed.CoreV1().Namespaces().List(ctx, marked)
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(8)
	group.Go(func() error { return c.cleanDefinitions(ctx) })
	for i := range namespaces.Items {
		group.Go(func() error { return c.cleanNamespace(ctx, &namespaces.Items[i]) })
	}
	if err := group.Wait(); err != nil {
		return fmt.Errorf("clean up: %w", err)
	}
	return nil
}

func (c *cluster) cleanNamespace(ctx context.Context, namespace *corev1.Namespace) error {
	for kind, resource := range resources {
		if kind == "Namespace" || resource == definitions {
			continue
		}
		objects := c.metadata.Resource(resource).Namespace(namespace.Name)
		if err := objects.DeleteCollection(ctx, metav1.DeleteOptions{}, marked); err != nil {
			return err
		}
	}
	if c.shared {
		namespace.Labels, namespace.Annotations = nil, nil
		namespace.ManagedFields = []metav1.ManagedFieldsEntry{{}} // which clears them
		_, err := c.typed.CoreV1().Namespaces().Update(ctx, namespace, metav1.UpdateOptions{})
		return err
	}
	if err := c.typed.CoreV1().Namespaces().Delete(ctx, namespace.Name, metav1.DeleteOptions{}); err != nil {
		return err
	}
	// The namespace controller, which does not run here, would do this at the end.
	namespace.ResourceVersion = ""
	namespace.Spec.Finalizers = nil
	_, err := c.typed.CoreV1().Namespaces().Finalize(ctx, namespace, metav1.UpdateOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

// cleanDefinitions deletes the definitions of kinds, and waits until the API server has
// removed their kinds.
func (c *cluster) cleanDefinitions(ctx context.Context) error {
	client := c.metadata.Resource(definitions)
	if err := client.DeleteCollection(ctx, metav1.DeleteOptions{}, marked); err != nil {
		return err
	}
	return wait.PollUntilContextCancel(ctx, 100*time.Millisecond, true, func(ctx context.Context) (bool, error) {
		list, err := client.List(ctx, marked)
		return err == nil && len(list.Items) == 0, err
	})
}

// verify returns an error unless the cluster has size objects, of which changed are of the
// new version.
func (c *cluster) verify(ctx context.Context, size, changed int) error {
	count, newer := 0, 0
	for _, resource := range resources {
		list, err := c.metadata.Resource(resource).List(ctx, marked)
		if err != nil {
			return err
		}
		count += len(list.Items)
		for i := range list.Items {
			if list.Items[i].Labels[versionLabel] == newVersion {
				newer++
			}
		}
	}
	if count != size || newer != changed {
		return fmt.Errorf("the cluster has %d objects, of which %d were changed, want %d and %d", count, newer, size, changed)
	}
	return nil
}

var requestCount = regexp.MustCompile(`^apiserver_request_total\{.*\bresource="([^"]*)".*\bsubresource="([^"]*)".*\bverb="([^"]*)".*\} (.*)$`)

// requests returns the number of requests for the kinds of the manifests that the API server
// has counted. Watches and writes of a status are left out: they are the server's own.
func (c *cluster) requests(ctx context.Context) (float64, error) {
	wanted := map[string]bool{}
	for _, resource := range resources {
		wanted[resource.Resource] = true
	}
	text, err := c.typed.CoreV1().RESTClient().Get().AbsPath("/metrics").DoRaw(ctx)
	if err != nil {
		return 0, err
	}
	sum := 0.0
	lines := bufio.NewScanner(bytes.NewReader(text))
	for lines.Scan() {
		found := requestCount.FindStringSubmatch(lines.Text())
		if found == nil || !wanted[found[1]] || found[2] == "status" || found[3] == "WATCH" {
			continue
		}
		n, err := strconv.ParseFloat(found[4], 64)
		if err != nil {
			return 0, err
		}
		sum += n
	}
	return sum, lines.Err()
}
