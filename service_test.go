package platform_test

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/platformbus/platform"
)

func TestContainersOrExcuse(t *testing.T) {
	known := []platform.Container{{Name: "web", Image: "nginx:1"}}
	for name, tt := range map[string]struct {
		in  platform.ContainersOrExcuse
		err string
	}{
		"neither":    {platform.ContainersOrExcuse{}, ""},
		"containers": {platform.ContainersOrExcuse{Containers: known}, ""},
		"excuse":     {platform.ContainersOrExcuse{Excuse: "empty selector"}, "empty selector"},
		"both":       {platform.ContainersOrExcuse{Containers: known, Excuse: "one namespace is forbidden"}, "one namespace is forbidden"},
	} {
		t.Run(name, func(t *testing.T) {
			service := platform.Service{ID: "default/web", Containers: tt.in}
			assert.Equal(t, tt.in.Containers, service.ContainersOrNil())
			containers, err := service.ContainersOrError()
			assert.Equal(t, tt.in.Containers, containers, "an excuse does not hide what is known")
			if tt.err == "" {
				assert.NoError(t, err)
			} else {
				assert.EqualError(t, err, tt.err)
			}
		})
	}
}
