package daemon

import (
	"path/filepath"
	"reflect"
	"testing"

	"github.com/spf13/pflag"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/platformbus/platform/cmd/internal/program"
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

// The cluster is found as kubectl finds it: $KUBECONFIG, --kubeconfig before it, --context.
func TestClusterIsFoundAsByKubectl(t *testing.T) {
	write := func(name string) string {
		config := clientcmdapi.NewConfig()
		for _, c := range []string{"one", "two"} {
			config.Clusters[c] = &clientcmdapi.Cluster{Server: "https://" + name + "-" + c + ".invalid"}
			config.Contexts[c] = &clientcmdapi.Context{Cluster: c}
		}
		config.CurrentContext = "one"
		path := filepath.Join(t.TempDir(), name)
		require.NoError(t, clientcmd.WriteToFile(*config, path))
		return path
	}
	t.Setenv("HOME", t.TempDir())
	t.Setenv("KUBECONFIG", write("environment"))
	for want, c := range map[string]config{
		"environment-one.invalid": {},
		"environment-two.invalid": {context: "two"},
		"flag-one.invalid":        {kubeconfig: write("flag")},
	} {
		access, err := c.access()
		require.NoError(t, err)
		assert.Equal(t, "https://"+want, access.Host)
	}
	_, err := (&config{context: "three"}).access()
	require.ErrorContains(t, err, "three")
	_, err = (&config{kubeconfig: "/nowhere"}).access()
	require.ErrorContains(t, err, "/nowhere")
	t.Setenv("KUBECONFIG", "")
	_, err = new(config).access()
	require.ErrorIs(t, err, program.ErrUsage)
}
