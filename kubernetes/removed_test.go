package kubernetes_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/platformbus/platform/kubernetes"
)

// A kind that is removed between the question which kinds there are and the list of its
// objects has no objects: that is no error.
func TestExportOfAKindThatIsRemovedMeanwhile(t *testing.T) {
	w := newEnv(t, kubernetes.Options{})
	definition, object := crd(w.namespace, "Fleeting")
	require.NoError(t, w.Sync(def(apply("crd", definition), apply("object", object), apply("map", configMap("a", "1")))))
	config := w.cp.Config()
	config.Wrap(func(next http.RoundTripper) http.RoundTripper {
		return roundTripper(func(r *http.Request) (*http.Response, error) {
			if strings.HasSuffix(r.URL.Path, "/fleetings") { // the server answers as it does when they are gone
				r = r.Clone(r.Context())
				r.URL.Path += "-that-are-gone"
			}
			return next.RoundTrip(r)
		})
	})
	data, err := w.as(t, config, kubernetes.Options{Namespaces: []string{w.namespace}}).Export()
	require.NoError(t, err)
	assert.NotContains(t, string(data), "\nkind: Fleeting\n")
	assert.Contains(t, string(data), "name: a")
}
