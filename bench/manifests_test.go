package main

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/platformbus/platform/kubernetes/manifest"
)

func TestManifests(t *testing.T) {
	for _, n := range []int{50, 100, 1000} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			docs, err := manifests("bench", n, n/100)
			require.NoError(t, err)
			require.Len(t, docs, n)
			kinds, names, newer := map[string]int{}, map[string]bool{}, 0
			for _, doc := range docs {
				objects, err := manifest.Parse(doc)
				require.NoError(t, err)
				require.Len(t, objects, 1)
				o := objects[0]
				kinds[o.GetKind()]++
				names[o.GetKind()+" "+o.GetNamespace()+"/"+o.GetName()] = true
				if o.GetLabels()[versionLabel] == newVersion {
					newer++
				}
				assert.Equal(t, resources[o.GetKind()].GroupVersion(), o.GroupVersionKind().GroupVersion())
			}
			assert.Len(t, kinds, 1+len(appTemplates))
			assert.Len(t, names, n)
			assert.Equal(t, n/25, kinds["Namespace"])
			assert.Equal(t, n/100, newer)
		})
	}
}

func TestADeploymentHasTheSizeOfARealOne(t *testing.T) {
	docs, err := manifests("bench", 50, 0)
	require.NoError(t, err)
	for _, doc := range docs {
		objects, err := manifest.Parse(doc)
		require.NoError(t, err)
		if objects[0].GetKind() == "Deployment" {
			assert.True(t, len(doc) > 1000 && len(doc) < 2048, "%d bytes", len(doc))
		}
	}
}

func TestManifestsOfOtherCases(t *testing.T) {
	for _, test := range []struct {
		c         syncCase
		kinds     int
		megabytes float64
		newer     int
	}{
		{ofLargeCluster, 8, 0.05, 1},
		{ofLargeObjects, 10, 27, 0},
	} {
		t.Run(test.c.what, func(t *testing.T) {
			n := test.c.sizes[0]
			docs, err := test.c.manifests("bench", n, n/100)
			require.NoError(t, err)
			require.Len(t, docs, n)
			kinds, newer, size := map[string]bool{}, 0, 0
			for _, doc := range docs {
				size += len(doc)
				objects, err := manifest.Parse(doc)
				require.NoError(t, err)
				require.Len(t, objects, 1)
				o := objects[0]
				kinds[o.GetKind()] = true
				if o.GetLabels()[versionLabel] == newVersion {
					newer++
				}
				assert.Equal(t, resources[o.GetKind()].GroupVersion(), o.GroupVersionKind().GroupVersion())
				assert.Equal(t, ourLabel, "app.kubernetes.io/part-of="+o.GetLabels()["app.kubernetes.io/part-of"])
			}
			assert.Len(t, kinds, test.kinds)
			assert.Equal(t, test.newer, newer)
			assert.InEpsilon(t, test.megabytes, float64(size)/(1<<20), 0.1)
		})
	}
}
