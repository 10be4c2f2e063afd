package manifest_test

import (
	"os"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/platformbus/platform/kubernetes/manifest"
)

// readCase returns a file of testdata/cases: small inputs that were once read wrongly.
func readCase(t *testing.T, name string) []byte {
	t.Helper()
	data, err := os.ReadFile("testdata/cases/" + name)
	require.NoError(t, err)
	return data
}

// Parse, Load and SetImages refuse the same, with the same reason.
func TestCasesThatAreRefused(t *testing.T) {
	for name, want := range map[string]string{
		"23-sops.yaml":               `document at line 1: Secret "sealed": it is encrypted with SOPS, and has to be decrypted first`,
		"19a-annotation-number.yaml": `document at line 1: Service "scraped": the annotations "prometheus.io/port", "prometheus.io/scrape" have to be strings: write their values in quotes`,
	} {
		data := readCase(t, name)
		_, err := manifest.Parse(data)
		require.EqualError(t, err, want)
		_, err = manifest.SetImages(data, nil)
		require.EqualError(t, err, "set images: "+want)
		_, _, err = manifest.Load(fstest.MapFS{name: {Data: data}})
		require.EqualError(t, err, name+": "+want)
	}
}

func TestCaseOfNulls(t *testing.T) {
	objects, err := manifest.Parse(readCase(t, "15-nulls.yaml"))
	require.NoError(t, err)
	assert.Equal(t, map[string]any{"name": "nulls", "annotations": map[string]any{"b": "1"}}, objects[0].Object["metadata"])
}
