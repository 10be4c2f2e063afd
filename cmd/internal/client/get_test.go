package client

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/platformbus/platform"
)

// A long reason widens no other line, and cells that are empty break no column.
func TestTableOfServices(t *testing.T) {
	var b strings.Builder
	require.NoError(t, writeServices(&b, []platform.Service{
		{ID: "a/web", Status: "ready", Containers: platform.ContainersOrExcuse{Containers: []platform.Container{{Name: "web", Image: "web:1"}}}},
		{ID: "a/longer", Status: "stalled: ImagePullBackOff: not found", Containers: platform.ContainersOrExcuse{
			Excuse: "incomplete", Containers: []platform.Container{{Name: "db", Image: "db:1"}, {Name: "log", Image: "log:1"}},
		}},
		{ID: "a/new", Status: "updating (container web (web:2): pulling)"},
		{ID: "a/none", Status: "unknown", Containers: platform.ContainersOrExcuse{Excuse: "empty selector"}},
	}))
	assert.Equal(t, `SERVICE    STATUS     IMAGES              DETAIL
a/web      ready      web=web:1
a/longer   stalled    db=db:1 log=log:1   ImagePullBackOff: not found; incomplete
a/new      updating                       (container web (web:2): pulling)
a/none     unknown                        empty selector
`, b.String())
}
