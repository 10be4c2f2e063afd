package manifest_test

import (
	"os"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	sigsyaml "sigs.k8s.io/yaml"

	"github.com/platformbus/platform/kubernetes/manifest"
)

// readCase returns a file of ../testdata/cases: small inputs that were once read wrongly.
func readCase(t *testing.T, name string) []byte {
	t.Helper()
	data, err := os.ReadFile("../testdata/cases/" + name)
	require.NoError(t, err)
	return data
}

// Parse, Load and SetImages refuse the same, with the same reason.
func TestCasesThatAreRefused(t *testing.T) {
	for name, want := range map[string]string{
		"23-sops.yaml":               `document at line 1: Secret "sealed": it is encrypted with SOPS, and has to be decrypted first`,
		"19a-annotation-number.yaml": `document at line 1: Service "scraped": .metadata.annotations: the values of "prometheus.io/port", "prometheus.io/scrape" have to be strings: write them in quotes`,
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

// A container that merges another has its own name, and SetImages sets the image of either
// and leaves the other's (kustomize#4144). What it writes is read alike by kubectl.
func TestCaseOfMergedContainers(t *testing.T) {
	const one, two = "example.com/pair:1", "example.com/pair:2"
	data := readCase(t, "02-merge-override.yaml")
	assert.Equal(t, map[string]string{"main": one, "side": one}, imagesOf(t, data))
	for _, c := range []struct{ set, want map[string]string }{
		{map[string]string{"main": two}, map[string]string{"main": two, "side": one}},
		{map[string]string{"side": two}, map[string]string{"main": one, "side": two}},
		{map[string]string{"main": two, "side": two}, map[string]string{"main": two, "side": two}},
		{map[string]string{"main": two, "side": "x"}, map[string]string{"main": two, "side": "x"}},
		{map[string]string{"side": one}, map[string]string{"main": one, "side": one}},
	} {
		got, err := manifest.SetImages(data, c.set)
		require.NoError(t, err, c.set)
		assert.Equal(t, c.want, imagesOf(t, got), "%v:\n%s", c.set, got)
		assert.Contains(t, string(got), "name: side # another name than the one merged in\n")
		again, err := manifest.SetImages(got, c.set)
		require.NoError(t, err)
		assert.Equal(t, string(got), string(again))

		var kubectls map[string]any
		require.NoError(t, sigsyaml.Unmarshal(got, &kubectls))
		assert.Equal(t, parse(t, string(got))[0].Object, kubectls)
	}
}

// imagesOf returns the images of a Deployment by the names of the containers.
func imagesOf(t *testing.T, definition []byte) map[string]string {
	t.Helper()
	containers, _, err := unstructured.NestedSlice(parse(t, string(definition))[0].Object, "spec", "template", "spec", "containers")
	require.NoError(t, err)
	images := map[string]string{}
	for _, c := range containers {
		container := c.(map[string]any)
		images[container["name"].(string)] = container["image"].(string)
	}
	return images
}
