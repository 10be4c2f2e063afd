package program

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// addBuiltins adds cobra's commands help and completion. About a command or a shell that there is
// not, they would show a help text as if that had been asked for.
func addBuiltins(root *cobra.Command) {
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	for _, cmd := range root.Commands() {
		switch cmd.Name() {
		case "help":
			show := cmd.Run
			cmd.RunE = func(cmd *cobra.Command, args []string) error {
				found, rest, err := root.Find(args)
				if err == nil && len(rest) > 0 {
					err = fmt.Errorf("unknown command %q for %q", rest[0], found.CommandPath())
				}
				if err != nil {
					return cobraError(err)
				}
				show(cmd, args)
				return nil
			}
		case "completion":
			cmd.RunE = func(*cobra.Command, []string) error {
				return Usage("want the name of a shell: bash, zsh, fish or powershell")
			}
		}
	}
}

// isBuiltin reports whether a command is one of cobra's. They have no settings, and work also
// where those of the other commands are wrong.
func isBuiltin(cmd *cobra.Command) bool {
	if cmd.HasParent() && cmd.Parent().Name() == "completion" {
		cmd = cmd.Parent()
	}
	return cmd.Name() == "help" || cmd.Name() == "completion" || cmd.Name() == cobra.ShellCompRequestCmd
}

// cobraError returns cobra's error about the arguments as a usage error on one line: cobra writes
// each command that may be meant on a line of its own.
func cobraError(err error) error {
	text, meant, found := strings.Cut(err.Error(), "\n\nDid you mean this?\n")
	if !found {
		return Usage("%w", err)
	}
	return Usage("%s; did you mean %s?", text, strings.Join(strings.Fields(meant), " or "))
}

// prepareCompletion lets the shell offer files only for the flags that take one, and takes the
// quotes that mark the name of a value out of the flags' descriptions, which cobra shows as they are.
func prepareCompletion(cmd *cobra.Command) {
	cmd.CompletionOptions.SetDefaultShellCompDirective(cobra.ShellCompDirectiveNoFileComp)
	cmd.NonInheritedFlags().VisitAll(func(f *pflag.Flag) {
		if value, _ := pflag.UnquoteUsage(f); value == "file" {
			cmd.RegisterFlagCompletionFunc(f.Name, cobra.FixedCompletions(nil, cobra.ShellCompDirectiveDefault)) //nolint:errcheck // it has a function already, then
		}
		f.Usage = strings.ReplaceAll(f.Usage, "`", "")
	})
	for _, below := range cmd.Commands() {
		prepareCompletion(below)
	}
}
