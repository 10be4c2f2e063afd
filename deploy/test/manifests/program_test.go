package manifests_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

var flagOfHelp = regexp.MustCompile(`(?m)^ +(?:-\w, )?--([a-z-]+)`)

// Each setting of the program can be given by the chart: by a value of its own, or in config.
func TestEverySettingCanBeGiven(t *testing.T) {
	secret := func(part, value, key string) string { return part + `.nats.` + value + `="` + key + `"` }
	for part, own := range map[string]map[string]string{ // the value that gives a flag; none if it is always given
		"daemon":  {"listen": "", "instance": "", "config": `daemon.config={"concurrency": 1}`},
		"service": {"listen": "", "token-file": "", "config": `service.config={"log-format": "json"}`},
	} {
		own["nats"], own["nats-creds"] = "", ""
		own["nats-nkey"] = secret(part, "nkey", "seed")
		own["nats-user"] = secret(part, "user", "daemon")
		own["nats-password-file"] = secret(part, "password", "password")
		own["nats-ca"] = secret(part, "ca", "ca.crt")
		own["nats-cert"] = secret(part, "certificate", "tls.crt")
		own["nats-key"] = secret(part, "key", "tls.key")

		help, code := run(t, nil, part, "--help")
		require.Equal(t, 0, code, help)
		flags := flagOfHelp.FindAllStringSubmatch(help, -1)
		assert.Greater(t, len(flags), 20)
		for _, flag := range flags {
			name := flag[1]
			value, isOwn := own[name]
			switch {
			case name == "help", name == "embedded-nats": // that server is for experiments on one machine
			case isOwn:
				args, env := argsAndEnv(t, part, value)
				given := slices.ContainsFunc(args, func(arg string) bool { return strings.HasPrefix(arg, "--"+name+"=") })
				_, inEnv := env["PLATFORM_"+strings.ToUpper(strings.ReplaceAll(name, "-", "_"))]
				assert.True(t, given || inEnv, "%s: --%s is given", part, name)
			default:
				files, err := render(t, append(slices.Clone(required), part+`.config={"`+name+`": "x"}`)...)
				require.NoError(t, err, "%s.config has --%s", part, name)
				assert.Contains(t, files[part+".yaml"], "\n    "+name+`: "x"`+"\n")
			}
		}
	}
}

// argsAndEnv returns the arguments and the environment of the only container of a Deployment.
func argsAndEnv(t *testing.T, part string, sets ...string) (args []string, env map[string]string) {
	t.Helper()
	sets = slices.DeleteFunc(sets, func(set string) bool { return set == "" })
	deployment := ofChart(t, append(slices.Clone(required), sets...)...).get(t, "Deployment/platform/platform-"+part)
	list, _, err := unstructured.NestedSlice(deployment.Object, "spec", "template", "spec", "containers")
	require.NoError(t, err)
	container := list[0].(map[string]any)
	args, _, err = unstructured.NestedStringSlice(container, "args")
	require.NoError(t, err)
	env = map[string]string{}
	for _, one := range container["env"].([]any) {
		env[one.(map[string]any)["name"].(string)] = one.(map[string]any)["value"].(string)
	}
	return args, env
}

// The program takes what the chart gives it: its flags exist, and the settings in the file are of
// the right types, also large numbers. It then fails because there is no cluster, and no token.
func TestProgramTakesWhatTheChartGives(t *testing.T) {
	shared := `"bus-max-body": 268435456, "bus-beat": "2s", "bus-prefix": "a\"b", "verbose": 1, "log-format": "json", "drain-timeout": "1m"`
	for _, tt := range []struct {
		part, config string
		env          []string
		want         string
	}{
		{"daemon", `"concurrency": 32, "namespaces": ["a", "b-*"], "fail-on-conflict": true, "adopt-field-managers": [], ` + shared, nil, "there is no cluster"},
		{"service", `"instance": ["a", "b"], "max-body": 33554432, ` + shared, []string{"PLATFORM_TOKEN=short"}, "the token in PLATFORM_TOKEN has 5 bytes"},
		{"daemon", `"concurency": 32`, nil, `"concurency" is not the name of a flag`},
		{"service", `"max-body": "much"`, nil, `--max-body (from`},
	} {
		sets := append(slices.Clone(required), tt.part+`.config={`+tt.config+`}`)
		args, env := argsAndEnv(t, tt.part, sets...)
		help, code := run(t, nil, append(args, "--help")...) // an unknown flag fails all the same
		require.Equal(t, 0, code, help)

		settings, _, err := unstructured.NestedStringMap(ofChart(t, sets...).get(t, "ConfigMap/platform/platform-"+tt.part).Object, "data")
		require.NoError(t, err)
		file := filepath.Join(t.TempDir(), "platform.yaml")
		require.NoError(t, os.WriteFile(file, []byte(settings["platform.yaml"]), 0o600))
		environment := slices.Clone(tt.env)
		for name, value := range env {
			environment = append(environment, name+"="+value)
		}
		output, code := run(t, environment, tt.part, "--config="+file)
		assert.Equal(t, 2, code, output)
		assert.Contains(t, output, tt.want)
	}
}
