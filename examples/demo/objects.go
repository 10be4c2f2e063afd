package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
)

// kindName is the CustomResourceDefinition in kindsFile.
const kindName = "parcels.demo.platformbus.example"

// removeLimit bounds the removal, which also takes place after an interrupt.
const removeLimit = 2 * time.Minute

// demoObjects are the cluster-scoped objects that the demo creates in a foreign cluster: a
// namespace, which contains all other objects, and a CustomResourceDefinition.
type demoObjects struct {
	namespaces, kinds metadata.ResourceInterface
}

func newDemoObjects(config *rest.Config) (*demoObjects, error) {
	client, err := metadata.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	return &demoObjects{
		namespaces: client.Resource(schema.GroupVersionResource{Version: "v1", Resource: "namespaces"}),
		kinds: client.Resource(schema.GroupVersionResource{
			Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}),
	}, nil
}

// present reports which of them exist.
func (t *demoObjects) present(ctx context.Context) (hasNamespace, hasKind bool, err error) {
	if hasNamespace, err = exists(ctx, t.namespaces, namespace); err != nil {
		return false, false, fmt.Errorf("look for namespace %s: %w", namespace, err)
	}
	if hasKind, err = exists(ctx, t.kinds, kindName); err != nil {
		return false, false, fmt.Errorf("look for CustomResourceDefinition %s: %w", kindName, err)
	}
	return hasNamespace, hasKind, nil
}

// remove deletes the namespace and, if kindToo is set, the CustomResourceDefinition, and
// returns when they are gone.
func (t *demoObjects) remove(ctx context.Context, kindToo bool) error {
	ctx, cancel := context.WithTimeout(ctx, removeLimit)
	defer cancel()
	err := remove(ctx, t.namespaces, "namespace", namespace)
	if kindToo {
		err = errors.Join(err, remove(ctx, t.kinds, "customresourcedefinition", kindName))
	}
	return err
}

func exists(ctx context.Context, objects metadata.ResourceInterface, name string) (bool, error) {
	_, err := objects.Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return false, nil
	}
	return err == nil, err
}

func remove(ctx context.Context, objects metadata.ResourceInterface, kind, name string) error {
	failed := func(err error) error {
		return fmt.Errorf("remove what the demo made: %w; to be done by hand: kubectl delete %s %s", err, kind, name)
	}
	if err := objects.Delete(ctx, name, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
		return failed(err)
	}
	tick := time.NewTicker(watchTick)
	defer tick.Stop()
	for {
		there, err := exists(ctx, objects, name)
		switch {
		case err != nil:
			return failed(err)
		case !there:
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return failed(fmt.Errorf("%s %s is still there after %v", kind, name, removeLimit))
		}
	}
}
