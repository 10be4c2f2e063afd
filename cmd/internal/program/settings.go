package program

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"regexp"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"
)

// envPrefix begins the names of the environment variables: PLATFORM_NATS_CREDS sets --nats-creds.
const envPrefix = "PLATFORM_"

// configFlag names the configuration file.
const configFlag = "config"

// AddSettings adds the flag of the configuration file to the root command.
func AddSettings(root *cobra.Command) {
	root.PersistentFlags().String(configFlag, "", "YAML `file` with settings: the names of flags, without the dashes, and their values")
}

// EnvName returns the environment variable that sets a flag.
func EnvName(flag string) string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// A Source says where the value of a flag is from. The higher one counts.
type Source int

// The sources of a value.
const (
	FromDefault Source = iota
	FromFile
	FromEnvironment
	FromCommandLine
)

// sourceKey is the annotation of a flag that LoadSettings has set. It has the source.
const sourceKey = "platform_source"

// SourceOf returns the source of a flag's value, once LoadSettings has been called.
func SourceOf(f *pflag.Flag) Source {
	switch from := f.Annotations[sourceKey]; {
	case !f.Changed:
		return FromDefault
	case len(from) == 0:
		return FromCommandLine
	case from[0] == envPrefix:
		return FromEnvironment
	}
	return FromFile
}

// setFrom sets a flag's value, which is from that source. The flag counts as changed.
func setFrom(f *pflag.Flag, source string, set func() error) error {
	f.Changed = true
	if f.Annotations == nil {
		f.Annotations = map[string][]string{}
	}
	f.Annotations[sourceKey] = []string{source}
	return set()
}

// LoadSettings sets the flags of cmd that the command line does not set: from the environment,
// or else from the configuration file. A setting of the file that no command has is an error,
// since it is most likely a typing error; one of another command is ignored, so that commands
// may share a file.
func LoadSettings(cmd *cobra.Command) error {
	file := cmd.Flag(configFlag)
	if value, ok := os.LookupEnv(EnvName(configFlag)); ok && !file.Changed {
		if err := file.Value.Set(value); err != nil {
			return Usage("%s: %w", EnvName(configFlag), err)
		}
	}
	settings, err := readSettings(file.Value.String())
	if err != nil {
		return Usage("the settings: %w", err)
	}
	for name := range settings {
		if !isSetting(cmd.Root(), name) {
			return Usage("the settings in %s: %.100q is not the name of a flag%s", file.Value, name, hint(cmd.Root(), name))
		}
	}
	var failed []error
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if f.Changed || f.Name == configFlag || f.Name == "help" {
			return
		}
		from, err := EnvName(f.Name), error(nil)
		if text, ok := os.LookupEnv(from); ok && text != "" {
			err = setFrom(f, envPrefix, func() error { return f.Value.Set(text) })
		} else if value, ok := settings[f.Name]; ok {
			from = file.Value.String()
			err = setFrom(f, configFlag, func() error { return setFlag(f, value) })
		}
		if err != nil {
			failed = append(failed, fmt.Errorf("--%s (from %s): %w", f.Name, from, err))
		}
	})
	if len(failed) > 0 {
		return Usage("%w", errors.Join(failed...))
	}
	return nil
}

// readSettings reads the configuration file; the name may be empty. To yaml/v3 the key yes is
// a text, and to YAML 1.1 it is true. The values are nodes, since a flag gets a value as it is
// written: as numbers, the instance 0123 would be 83, and the version 1.10 would be 1.1.
func readSettings(name string) (settings map[string]yaml.Node, err error) {
	if name == "" {
		return nil, nil
	}
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	for decoder := yaml.NewDecoder(bytes.NewReader(text)); ; {
		var document map[string]yaml.Node
		err := decoder.Decode(&document)
		switch {
		case errors.Is(err, io.EOF):
			return settings, nil
		case err != nil:
			return nil, &fs.PathError{Op: "read", Path: name, Err: withoutContent(err)}
		case len(settings) > 0 && len(document) > 0:
			return nil, &fs.PathError{Op: "read", Path: name, Err: errors.New("there are settings in more than one document")}
		case len(document) > 0:
			settings = document
		}
	}
}

var (
	yamlLine  = regexp.MustCompile(`^yaml: (?:unmarshal errors:\n +)?line ([0-9]+): `)
	yamlTwice = regexp.MustCompile(`^yaml: unmarshal errors:\n +line ([0-9]+): mapping key .* already defined at line ([0-9]+)(?:\n|$)`)
)

// withoutContent returns an error of the YAML parser without what it quotes, which may be a secret.
func withoutContent(err error) error {
	if lines := yamlTwice.FindStringSubmatch(err.Error()); lines != nil {
		return fmt.Errorf("line %s: a name that line %s has already", lines[1], lines[2])
	}
	if line := yamlLine.FindStringSubmatch(err.Error()); line != nil {
		return fmt.Errorf("line %s: it is not YAML of names and values", line[1])
	}
	return errors.New("it is not YAML of names and values")
}

// hint returns a question whether a flag was meant, if there is just one with a name like this:
// written otherwise, such as nats_creds, or with more words, such as token-file for token.
func hint(root *cobra.Command, name string) string {
	name = strings.ToLower(strings.ReplaceAll(name, "_", "-"))
	meant := map[string]bool{}
	var visit func(*cobra.Command)
	visit = func(cmd *cobra.Command) {
		cmd.NonInheritedFlags().VisitAll(func(f *pflag.Flag) {
			if f.Name == name || strings.HasPrefix(f.Name, name+"-") {
				meant[f.Name] = isSetting(root, f.Name)
			}
		})
		for _, below := range cmd.Commands() {
			visit(below)
		}
	}
	visit(root)
	for one, is := range meant {
		if is && (len(meant) == 1 || one == name) {
			return "; did you mean " + one + "?"
		}
	}
	return ""
}

// isSetting reports whether a command, or one below it, has a flag of this name that the file may set.
func isSetting(cmd *cobra.Command, name string) bool {
	if name == configFlag || name == "help" {
		return false
	}
	if cmd.PersistentFlags().Lookup(name) != nil || cmd.Flags().Lookup(name) != nil {
		return true
	}
	for _, below := range cmd.Commands() {
		if isSetting(below, name) {
			return true
		}
	}
	return false
}

// setFlag sets a flag to a value of the file, where a list is a list.
func setFlag(f *pflag.Flag, value yaml.Node) error {
	if value.Kind == yaml.AliasNode {
		value = *value.Alias
	}
	slice, isSlice := f.Value.(pflag.SliceValue)
	switch {
	case value.Kind == yaml.SequenceNode && !isSlice:
		return errors.New("want one value, not a list")
	case value.Kind != yaml.SequenceNode:
		text, err := scalar(&value)
		if err != nil {
			return err
		}
		return f.Value.Set(text)
	}
	texts := make([]string, len(value.Content))
	for i, one := range value.Content {
		var err error
		if texts[i], err = scalar(one); err != nil {
			return err
		}
	}
	return slice.Replace(texts)
}

// scalar returns a single value as it is written.
func scalar(node *yaml.Node) (string, error) {
	switch {
	case node.Kind == yaml.AliasNode:
		return scalar(node.Alias)
	case node.Kind != yaml.ScalarNode:
		return "", errors.New("want a single value")
	case node.Tag == "!!null":
		return "", errors.New("there is no value; want one, or no such line")
	}
	return node.Value, nil
}

// TokenVariable is the environment variable with the bearer token of a service. It has no flag.
const TokenVariable = envPrefix + "TOKEN"

// Token returns the bearer token of the file that --token-file names, or of the environment if it
// names none, without the space around it: a header cannot have it. It is empty if there is none.
func Token(file string) (string, error) {
	if file == "" {
		return strings.TrimSpace(os.Getenv(TokenVariable)), nil
	}
	return ReadSecret("token-file", file)
}
