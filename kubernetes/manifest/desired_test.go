package manifest_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/platformbus/platform"
	"github.com/platformbus/platform/kubernetes/manifest"
)

func TestDesired(t *testing.T) {
	objects, err := manifest.Desired(platform.SyncDef{Actions: []platform.SyncAction{
		{ResourceID: "a.yaml", Apply: []byte(cm("a") + "---\n" + cm("b"))}, {ResourceID: "c.yaml", Apply: []byte(cm("c"))}, {ResourceID: "empty"},
	}})
	require.NoError(t, err)
	var got []string
	for _, o := range objects {
		got = append(got, fmt.Sprintf("%s:%d %s", o.Source, o.Line, o.GetName()))
	}
	assert.Equal(t, []string{"a.yaml:1 a", "a.yaml:5 b", "c.yaml:1 c"}, got)

	for want, action := range map[string]platform.SyncAction{
		"x.yaml: document at line 1:":   {ResourceID: "x.yaml", Apply: []byte("kind: A")},
		`"a\nb": it deletes something:`: {ResourceID: "a\nb", Apply: []byte(cm("a")), Delete: []byte(cm("a"))},
	} {
		_, err := manifest.Desired(platform.SyncDef{Actions: []platform.SyncAction{{ResourceID: "first", Apply: []byte(cm("a"))}, action}})
		require.ErrorContains(t, err, want)
	}
}

// What the manifests may become in memory is bounded by their size together: many small ones may
// not each become a mebibyte.
func TestDesiredIsBounded(t *testing.T) {
	var b strings.Builder
	b.WriteString(cm("a") + "data:\n  a: &a " + strings.Repeat("x", 1000) + "\n")
	for i := range 500 {
		fmt.Fprintf(&b, "  a%d: *a\n", i)
	}
	action := platform.SyncAction{ResourceID: "bomb", Apply: []byte(b.String())}
	_, err := manifest.Desired(platform.SyncDef{Actions: []platform.SyncAction{action}})
	require.NoError(t, err)
	many := platform.SyncDef{}
	for range 10 {
		many.Actions = append(many.Actions, action)
	}
	_, err = manifest.Desired(many)
	require.ErrorContains(t, err, "bomb: document at line 1: its aliases or tags stand for far more than its size")
}
