package kubernetes_test

import (
	"context"
	"errors"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/platformbus/platform"
	"github.com/platformbus/platform/kubernetes"
)

// The events of a call go to the observers of its context, and to no other call's.
func TestContextWithEvents(t *testing.T) {
	var all, outer, one, two recorder
	w := newEnv(t, kubernetes.Options{Events: all.note})
	ctx := kubernetes.ContextWithEvents(t.Context(), outer.note)
	view := platform.WithContext(ctx, w.Cluster)

	var calls sync.WaitGroup
	errs := make([]error, 2)
	for i, r := range []*recorder{&one, &two} {
		name := []string{"one", "two"}[i]
		calls.Go(func() {
			observed := platform.WithContext(kubernetes.ContextWithEvents(ctx, r.note), view)
			errs[i] = observed.Sync(def(apply(name, configMap(name, "a"))))
		})
	}
	calls.Wait()
	require.NoError(t, errors.Join(errs...))
	require.NoError(t, platform.WithContext(context.Background(), w.Cluster).Sync(def(apply("three", configMap("three", "a")))))

	object := func(name string) string { return "ConfigMap " + w.namespace + "/" + name }
	assert.Equal(t, map[string]kubernetes.Result{object("one"): kubernetes.Applied}, one.take())
	assert.Equal(t, map[string]kubernetes.Result{object("two"): kubernetes.Applied}, two.take())
	assert.Len(t, outer.take(), 2, "the outer context's observer sees the calls below it, each event once")
	assert.Len(t, all.take(), 3)
}
