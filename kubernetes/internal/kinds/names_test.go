package kinds_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/platformbus/platform/kubernetes/internal/kinds"
)

func TestNames(t *testing.T) {
	for _, name := range []string{"a", "system:foo", "Upper", "a.b.c", "...", "kube-root-ca.crt", strings.Repeat("a", 253), "ü", "a b", "a\nb", "?", "#"} {
		assert.NoError(t, kinds.CheckName(name), "%q", name)
	}
	for _, name := range []string{"", ".", "..", "/", "a/b", "../secrets/one", "%", "a%2fb", "x/proxy"} {
		err := kinds.CheckName(name)
		if assert.Error(t, err, "%q", name) && name != "" {
			assert.Contains(t, err.Error(), name)
		}
	}
	long := kinds.CheckName(strings.Repeat("/", 1<<20))
	assert.Less(t, len(long.Error()), 300)
}

func TestNamespaces(t *testing.T) {
	for _, namespace := range []string{"", "default", "kube-system", "a1"} {
		assert.NoError(t, kinds.CheckNamespace(namespace), "%q", namespace)
	}
	for _, namespace := range []string{".", "..", "a/b", "a%b", "a.b", "A", "-a", "a b", "a\x1b", strings.Repeat("a", 64)} {
		assert.Error(t, kinds.CheckNamespace(namespace), "%q", namespace)
	}
}

func TestResources(t *testing.T) {
	for _, r := range []schema.GroupVersionResource{
		{Version: "v1", Resource: "configmaps"},
		{Group: "apps", Version: "v1", Resource: "deployments"},
		{Group: "example.com", Version: "v1alpha1", Resource: "odd.ones"},
	} {
		assert.NoError(t, kinds.CheckResource(r), "%v", r)
	}
	for _, r := range []schema.GroupVersionResource{
		{}, {Version: "v1"}, {Resource: "a"},
		{Version: "v1", Resource: "services/proxy"}, {Version: "v1", Resource: ".."},
		{Version: "..", Resource: "a"}, {Version: "v1/namespaces", Resource: "a"},
		{Group: "..", Version: "v1", Resource: "a"}, {Group: "a/b", Version: "v1", Resource: "a"}, {Group: "A", Version: "v1", Resource: "a"},
	} {
		assert.Error(t, kinds.CheckResource(r), "%v", r)
	}
}
