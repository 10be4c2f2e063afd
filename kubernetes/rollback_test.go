package kubernetes_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/platformbus/platform"
	"github.com/platformbus/platform/internal/controlplane"
	"github.com/platformbus/platform/kubernetes"
)

// A Deployment that goes back to what ran before a rollout that stalled is not said to have
// stalled, though its status says so for a while.
func TestApplyGoesBackAfterAStalledRollout(t *testing.T) {
	for _, replicas := range []string{"1", "3"} {
		w := newEnv(t, kubernetes.Options{})
		of := func(tag string) string {
			return strings.Replace(deployment("web", "example.com/web:"+tag), "replicas: 2", "replicas: "+replicas, 1)
		}
		roll := func(tag string) error {
			return w.Apply([]platform.ServiceDefinition{{ServiceID: w.id("web"), NewDefinition: []byte(of(tag))}})
		}
		require.NoError(t, w.Sync(def(apply("web", of("1"), service("web", "web")))))
		require.NoError(t, roll("1"))
		for range 2 {
			stalled := applyErrors(t, roll(controlplane.MissingTag))
			assert.Contains(t, stalled[w.id("web")], "stalled: ProgressDeadlineExceeded")
			require.NoError(t, roll("1"), "with %s replicas", replicas)
			services, err := w.AllServices(w.namespace, nil)
			require.NoError(t, err)
			assert.Equal(t, "ready", services[0].Status)
		}
	}
}

// A listing says that a Deployment is updating, not that it has stalled, while its status still
// blames the pods that it no longer wants.
func TestServicesGoBackAfterAStalledRollout(t *testing.T) {
	w := newEnv(t, kubernetes.Options{})
	require.NoError(t, w.Sync(def(apply("web", deployment("web", "example.com/web:1"), service("web", "web")))))
	require.NoError(t, w.Apply([]platform.ServiceDefinition{{ServiceID: w.id("web"), NewDefinition: []byte(deployment("web", "example.com/web:1"))}}))
	status := func() string {
		services, err := w.AllServices(w.namespace, nil)
		require.NoError(t, err)
		return services[0].Status
	}
	require.Error(t, w.Apply([]platform.ServiceDefinition{{ServiceID: w.id("web"), NewDefinition: []byte(deployment("web", "example.com/web:"+controlplane.MissingTag))}}))
	assert.Contains(t, status(), "stalled: ProgressDeadlineExceeded")
	require.NoError(t, w.Sync(def(apply("web", deployment("web", "example.com/web:1")))))
	require.Eventually(t, func() bool {
		now := status()
		if !strings.HasPrefix(now, "stalled") {
			return now == "ready"
		}
		// Until the controller has looked at the definition nobody can know.
		d := live(t, w.client.AppsV1().Deployments(w.namespace).Get, "web")
		assert.Less(t, d.Status.ObservedGeneration, d.Generation, now)
		return false
	}, testLimit, testTick)
}

func TestApplyToAPausedDeployment(t *testing.T) {
	w := newEnv(t, kubernetes.Options{})
	require.NoError(t, w.Sync(def(apply("web", deployment("web", "example.com/web:1"), service("web", "web")))))
	require.NoError(t, w.Apply([]platform.ServiceDefinition{{ServiceID: w.id("web"), NewDefinition: []byte(deployment("web", "example.com/web:1"))}}))
	w.kubectl(t, "", "rollout", "pause", "deployment/web")
	got := applyErrors(t, w.Apply([]platform.ServiceDefinition{{ServiceID: w.id("web"), NewDefinition: []byte(deployment("web", "example.com/web:2"))}}))
	assert.Equal(t, "roll out Deployment "+w.namespace+"/web: paused: 0 of 2 updated, 2 available", got[w.id("web")])
}
