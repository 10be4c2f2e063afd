package daemon

import (
	"reflect"
	"testing"

	"github.com/spf13/pflag"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Each of the Cluster's Options can be set, apart from those that the program makes.
func TestClusterOptionsHaveFlags(t *testing.T) {
	var c config
	flags := pflag.NewFlagSet("", pflag.ContinueOnError)
	c.addFlags(flags)
	c.options.AdoptFieldManagers = nil
	flags.VisitAll(func(f *pflag.Flag) {
		value := map[string]string{"string": "x", "stringSlice": "x", "duration": "1h", "bool": "true"}[f.Value.Type()]
		if value == "" {
			value = "1"
		}
		require.NoError(t, f.Value.Set(value), f.Name)
	})
	made := map[string]bool{"Logger": true, "Events": true, "Metrics": true, "TracerProvider": true}
	v := reflect.ValueOf(c.options)
	for i := range v.NumField() {
		name := v.Type().Field(i).Name
		assert.Equal(t, made[name], v.Field(i).IsZero(), "Options.%s", name)
	}
}
