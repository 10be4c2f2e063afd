package program_test

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/platformbus/platform/cmd/internal/program"
	"github.com/platformbus/platform/natsbus"
)

// settings are the values that a command has been run with.
type settings struct {
	name  string
	list  []string
	limit time.Duration
	yes   bool
	ran   bool
}

// run executes a program whose command "one" has four settings, and "two" one more.
func run(args ...string) (got settings, code int) {
	root := &cobra.Command{Use: "test"}
	program.AddSettings(root)
	one := &cobra.Command{Use: "one", Args: cobra.NoArgs, RunE: func(*cobra.Command, []string) error {
		got.ran = true
		return nil
	}}
	one.Flags().StringVar(&got.name, "a-name", "default", "")
	one.Flags().StringSliceVar(&got.list, "list", nil, "")
	one.Flags().DurationVar(&got.limit, "limit", 0, "")
	one.Flags().BoolVar(&got.yes, "yes", false, "")
	two := &cobra.Command{Use: "two", RunE: one.RunE}
	two.Flags().Int("other", 0, "")
	root.AddCommand(one, two)
	root.SetArgs(args)
	code = program.Main(root)
	return got, code
}

// A flag counts before the environment, which counts before the file.
func TestSettings(t *testing.T) {
	file := filepath.Join(t.TempDir(), "config.yaml")
	write := func(text string) { require.NoError(t, os.WriteFile(file, []byte(text), 0o600)) }
	write("a-name: of the file\nlist: [a, 'b,c']\nlimit: 3s\nyes: true\nother: 1\n")

	got, code := run("one", "--config", file)
	assert.Zero(t, code)
	assert.Equal(t, settings{"of the file", []string{"a", "b,c"}, 3 * time.Second, true, true}, got)

	t.Setenv("PLATFORM_CONFIG", file)
	t.Setenv("PLATFORM_A_NAME", "of the environment")
	t.Setenv("PLATFORM_LIST", "x,y")
	got, code = run("one")
	assert.Zero(t, code)
	assert.Equal(t, settings{"of the environment", []string{"x", "y"}, 3 * time.Second, true, true}, got)
	got, _ = run("one", "--a-name", "given", "--list=", "--yes=false")
	assert.Equal(t, settings{"given", []string{}, 3 * time.Second, false, true}, got)

	// A value is as it is written, also where YAML takes it for a number or a date.
	for _, text := range []string{"0123", "1.10", "1e3", "2024-01-01", "yes", "true", "~x"} {
		write("a-name: " + text + "\nlist: [" + text + "]\n")
		t.Setenv("PLATFORM_A_NAME", "")
		t.Setenv("PLATFORM_LIST", "")
		got, _ = run("one")
		assert.Equal(t, text, got.name)
		assert.Equal(t, []string{text}, got.list)
	}
	write("a-name: &a x\nlist: [*a]\n")
	got, _ = run("one")
	assert.Equal(t, []string{"x"}, got.list)
	write("---\na-name: of the file\n---\n# nothing\n") // documents without settings do not count

	// An empty variable, as a manifest may have it, sets nothing.
	t.Setenv("PLATFORM_A_NAME", "")
	got, _ = run("one")
	assert.Equal(t, "of the file", got.name)

	for text, why := range map[string]string{
		"a_name: x\n":            "an unknown name",
		"A-NAME: x\n":            "another case",
		"config: x\n":            "a file that names a file",
		"a-name: [x]\n":          "a list in place of a value",
		"a-name: {x: y}\n":       "a map in place of a value",
		"a-name:\n":              "no value",
		"list: [a, null]\n":      "no value in a list",
		"list: [[a]]\n":          "a list in a list",
		"limit: soon\n":          "no duration",
		"yes: maybe\n":           "no boolean",
		"a-name: x\na-name: y\n": "a name twice",
		"- a\n":                  "no map",
		"a: b: c\n":              "no YAML",

		"a-name: x\n---\nyes: true\n": "a second document",
	} {
		write(text)
		got, code := run("one")
		assert.Equal(t, program.ExitUsage, code, why)
		assert.False(t, got.ran, why)
	}
	t.Setenv("PLATFORM_CONFIG", "/nowhere")
	_, code = run("one")
	assert.Equal(t, program.ExitUsage, code)
	t.Setenv("PLATFORM_CONFIG", "")
	t.Setenv("PLATFORM_LIMIT", "soon")
	_, code = run("one")
	assert.Equal(t, program.ExitUsage, code)
}

// Each of the bus's Options can be set, apart from those that the program makes.
func TestBusOptionsHaveFlags(t *testing.T) {
	var n program.NATS
	flags := pflag.NewFlagSet("", pflag.ContinueOnError)
	n.AddFlags(flags)
	flags.VisitAll(func(f *pflag.Flag) {
		value := map[string]string{"string": "x", "duration": "1h"}[f.Value.Type()]
		if value == "" {
			value = "7"
		}
		require.NoError(t, f.Value.Set(value), f.Name)
	})
	made := map[string]bool{"Metrics": true, "Logger": true}
	v := reflect.ValueOf(n.BusOptions(natsbus.Metrics{}, nil))
	for i := range v.NumField() {
		name := v.Type().Field(i).Name
		assert.Equal(t, made[name], v.Field(i).IsZero(), "Options.%s", name)
	}
}

// An error of the file says where it is, and what was meant, and quotes nothing but a name.
func TestSettingsErrors(t *testing.T) {
	file := filepath.Join(t.TempDir(), "config.yaml")
	root := func() *cobra.Command {
		root := &cobra.Command{Use: "test"}
		program.AddSettings(root)
		root.Flags().String("token-file", "", "")
		root.Flags().String("nats", "", "")
		root.Flags().String("nats-creds", "", "")
		root.Flags().String("bus-beat", "", "")
		root.Flags().String("bus-silence", "", "")
		return root
	}
	for text, want := range map[string]string{
		"nats: x\nnats-creds: hidden: y\n":         ": line 2: it is not YAML of names and values (see",
		"- hidden\n":                               ": line 1: it is not YAML of names and values (see",
		"nats: x\nbus-beat: y\nnats: hidden\n":     ": line 3: a name that line 1 has already (see",
		"'line 7: hidden': x\n'line 7: hidden': y": ": line 2: a name that line 1 has already (see",
		"\t{hidden\n":                              ": it is not YAML of names and values (see", // the parser names no first line
		"token: hidden\n":                          `"token" is not the name of a flag; did you mean token-file? (see`,
		"nats_creds: hidden\n":                     `"nats_creds" is not the name of a flag; did you mean nats-creds? (see`,
		"NATS: hidden\n":                           `"NATS" is not the name of a flag; did you mean nats? (see`,
		"bus: hidden\n":                            `"bus" is not the name of a flag (see`, // it may be two
		"config_: hidden\n":                        `"config_" is not the name of a flag (see`,
	} {
		require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
		cmd := root()
		require.NoError(t, cmd.ParseFlags([]string{"--config", file}))
		err := program.LoadSettings(cmd)
		require.ErrorIs(t, err, program.ErrUsage, text)
		assert.ErrorContains(t, err, want)
		assert.NotContains(t, strings.ReplaceAll(err.Error(), file, ""), "hidden")
	}
}

// The space around a token is no part of it: a Secret may end in a line break.
func TestToken(t *testing.T) {
	t.Setenv(program.TokenVariable, "0123456789abcdef\n")
	token, err := program.Token("")
	require.NoError(t, err)
	assert.Equal(t, "0123456789abcdef", token)
	file := filepath.Join(t.TempDir(), "token")
	require.NoError(t, os.WriteFile(file, []byte("fedcba9876543210\n"), 0o600))
	token, err = program.Token(file)
	require.NoError(t, err)
	assert.Equal(t, "fedcba9876543210", token)
}

// The source of a value is the highest that has one.
func TestSourceOf(t *testing.T) {
	file := filepath.Join(t.TempDir(), "config.yaml")
	require.NoError(t, os.WriteFile(file, []byte("one: x\ntwo: x\nthree: x\n"), 0o600))
	t.Setenv("PLATFORM_ONE", "y")
	t.Setenv("PLATFORM_TWO", "y")
	cmd := &cobra.Command{Use: "test"}
	program.AddSettings(cmd)
	want := map[string]program.Source{"one": program.FromCommandLine, "two": program.FromEnvironment, "three": program.FromFile, "four": program.FromDefault}
	for name := range want {
		cmd.Flags().String(name, "", "")
	}
	require.NoError(t, cmd.ParseFlags([]string{"--config", file, "--one", "z"}))
	require.NoError(t, program.LoadSettings(cmd))
	for name, source := range want {
		assert.Equal(t, source, program.SourceOf(cmd.Flags().Lookup(name)), name)
	}
}
