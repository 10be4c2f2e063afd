package manifest_test

import (
	"os"
	"testing"
	"testing/fstest"

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
		"23-sops.yaml":  `document at line 1: Secret "sealed": it is encrypted with SOPS, and has to be decrypted first`,
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
